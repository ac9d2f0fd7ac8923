"""The end of a process that was in a group on the CPU."""

import hashlib
import subprocess
import sys
import threading

import pytest
import tiny

from srkd_plugin.parallel import gloo

TEXT = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 240}


@pytest.mark.skipif(not gloo.TASKS.is_dir(), reason="only Linux tells what a thread does")
def test_the_end_waits_for_threads_that_have_something_to_do():
    busy = threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"password", b"salt", 3_000_000))  # a second
    busy.start()
    assert not gloo.wait_for_threads(longest=0.03)
    busy.join()
    assert gloo.wait_for_threads(longest=60)


def test_a_system_that_does_not_tell_is_given_a_moment(monkeypatch, tmp_path):
    monkeypatch.setattr(gloo, "TASKS", tmp_path / "none")
    assert gloo.wait_for_threads(longest=60)


def test_a_group_that_ddp_has_as_well_is_left_and_waited_for(tmp_path):
    code = f"""
import atexit
from srkd_plugin.parallel import gloo
import torch
import torch.distributed as dist
wait = gloo.wait_for_threads
gloo.wait_for_threads = lambda: print("in" if dist.is_initialized() else "out", wait())
gloo.begin(init_method="file://{tmp_path}/store", rank=0, world_size=1)
net = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
net(torch.ones(1, 2)).sum().backward()
print(dist.get_backend())
"""
    process = subprocess.run([sys.executable, "-c", code], env=tiny.child_environment(), **TEXT)
    assert (process.returncode, process.stdout.split("\n")) == (0, ["gloo", "out True", ""]), process.stderr
