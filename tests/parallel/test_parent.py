"""Loader workers end with a parent that is killed, in whatever phase they are."""

import os
import signal
import subprocess
import sys
import time

import pytest
from processes import is_running

SCRIPT = """
import os, sys, time
from functools import partial
from pathlib import Path
from torch.utils.data import DataLoader
from srkd_plugin.training.train_loader import _init_worker

FOLDER = Path(sys.argv[1])

class Images:
    def __init__(self, phase):
        self.phase = phase
    def __len__(self):
        return 64
    def __getitem__(self, index):
        here("work", self.phase)
        return index
    def __setstate__(self, state):
        self.__dict__.update(state)
        here("unpickling", self.phase)

def here(phase, wanted):
    if phase == wanted:
        (FOLDER / f"{os.getpid()}").touch()
        time.sleep(2)

def init(phase, worker):
    here("init", phase)

if __name__ == "__main__":
    method, workers, phase = sys.argv[2], int(sys.argv[3]), sys.argv[4]
    loader = DataLoader(Images(phase), num_workers=workers, multiprocessing_context=method)
    loader.worker_init_fn = partial(_init_worker, partial(init, phase))
    for batch in loader:
        pass
"""


def wait_until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "workers outlive their parent"
        time.sleep(0.1)


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL here")
@pytest.mark.parametrize(
    ("method", "workers", "phase"),
    [("spawn", 1, "unpickling"), ("spawn", 2, "init"), ("fork", 1, "init"), ("fork", 2, "init"), ("fork", 2, "work")],
)
def test_workers_end_with_a_killed_parent(tmp_path, method, workers, phase):
    (tmp_path / "pids").mkdir()
    (tmp_path / "train.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "train.py", tmp_path / "pids", method, str(workers), phase]
    parent = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    wait_until(lambda: list((tmp_path / "pids").iterdir()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not any(is_running(int(file.name)) for file in (tmp_path / "pids").iterdir()))
