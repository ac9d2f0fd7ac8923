from __future__ import annotations

import os
import signal
import time

import pytest

from srkd_plugin.data.workers import WorkerKilled, default_workers, map_images
from srkd_plugin.utils.files import InputError


def square(number):
    time.sleep(0.02 * (number % 3))
    return number**2, os.getpid()


def fail_at_three(number):
    if number == 3:
        raise InputError("image", "three.png", "it is cut off", "Download it again.")
    return number


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order(workers):
    results = list(map_images(square, range(20), workers, "squares"))
    assert [value for value, _ in results] == [number**2 for number in range(20)]
    assert (os.getpid() in {pid for _, pid in results}) == (workers == 1)


def test_isolated_work_is_done_elsewhere():
    ((value, pid),) = map_images(square, [3], 1, "squares", isolated=True)
    assert value == 9
    assert pid != os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_arrive_whole(workers):
    results = map_images(fail_at_three, range(9), workers, "numbers")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match=r"^image = 'three\.png': it is cut off\. Download it again\.$"):
        next(results)


def test_a_killed_worker_is_an_error_and_no_hang():
    with pytest.raises(WorkerKilled, match="--workers = 2: a worker was killed"):
        list(map_images(die, range(4), 2, "numbers"))


def test_no_work():
    assert list(map_images(square, [], 4, "nothing")) == []
    assert default_workers() >= 1
