from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
from processes import is_running

from srkd_plugin.errors import InputError
from srkd_plugin.images.worker_pool import WorkerKilled, default_workers, map_images


def square(number):
    time.sleep(0.004 * (number % 3))
    return number**2, os.getpid()


def fail_at_three(number):
    if number == 3:
        raise InputError("image", "three.png", "it is cut off", "Download it again.")
    return number


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order(workers):
    results = list(map_images(square, range(64), workers, "squares"))
    assert [value for value, _ in results] == [number**2 for number in range(64)]
    assert (os.getpid() in {pid for _, pid in results}) == (workers == 1)


def test_isolated_work_is_done_elsewhere():
    ((value, pid),) = map_images(square, [3], 1, "squares", isolated=True)
    assert value == 9
    assert pid != os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_arrive_whole(workers):
    results = map_images(fail_at_three, range(40), workers, "numbers")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match=r"^image = 'three\.png': it is cut off\. Download it again\.$"):
        next(results)


def test_a_killed_worker_is_an_error_and_no_hang():
    with pytest.raises(WorkerKilled, match="--workers = 2: a worker was killed"):
        list(map_images(die, range(40), 2, "numbers"))


def say_pid_and_wait(folder):
    (folder / str(os.getpid())).touch()
    time.sleep(600)


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL here")
def test_workers_end_with_a_killed_parent(tmp_path):
    code = (
        "import pathlib, test_worker_pool as t;"
        f"list(t.map_images(t.say_pid_and_wait, [pathlib.Path({str(tmp_path)!r})] * 40, 2, 'waiting'))"
    )
    tests = os.pathsep.join([str(Path(__file__).parent), str(tiny.PROJECT / "tests")])
    environment = tiny.child_environment(PYTHONPATH=tests)
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    parent.kill()
    parent.wait()
    for file in tmp_path.iterdir():
        wait_until(lambda pid=int(file.name): not is_running(pid))


def test_no_worker_is_started_for_a_few_items():
    assert {pid for _, pid in map_images(square, range(20), 8, "squares")} == {os.getpid()}


def test_no_work():
    assert list(map_images(square, [], 4, "nothing")) == []
    assert default_workers() >= 1
