"""A run that is started while it runs: the second start is told so, and takes nothing from the first."""

import os
import signal
import subprocess
import sys
import time

import pytest
import tiny

pytestmark = [pytest.mark.integration, tiny.needs_autoload]


@pytest.fixture
def running(checkout, data):
    """A run that has saved a checkpoint and goes on."""
    opt = tiny.distill_options(data, None, iters=1_000_000)
    opt["logger"]["print_freq"] = 1000
    tiny.write_options(opt, checkout / "options.yml")
    command = [sys.executable, "basicsr/train.py", "-opt", "options.yml"]
    states = checkout / "experiments/tiny_distill/training_states"
    with open(checkout / "log.txt", "wb") as log:
        process = subprocess.Popen(command, cwd=checkout, stdout=log, stderr=log, start_new_session=True)
        try:
            while not (states.is_dir() and any(states.glob("*.state"))):
                assert process.poll() is None, (checkout / "log.txt").read_text()
                time.sleep(0.05)
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize("flags", [[], ["--auto_resume"]], ids=["anew", "resumed"])
def test_the_second_start_is_told_who_runs_it(checkout, running, flags):
    second = tiny.run("basicsr/train.py", "-opt", "options.yml", *flags, cwd=checkout)
    assert second.returncode == 2, second.stdout
    assert f"another process writes there: process {running.pid} on " in second.stdout
    assert "basicsr/train.py -opt options.yml" in second.stdout
    assert "Traceback" not in second.stdout
    folders = [path.name for path in (checkout / "experiments").iterdir() if path.is_dir()]
    assert folders == ["tiny_distill"], "the first start's folder was archived"
    assert running.poll() is None


def test_after_a_kill_the_run_can_be_started_again(checkout, running):
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert (checkout / "experiments/.tiny_distill.lock").exists()
    again = tiny.run("basicsr/train.py", "-opt", "options.yml", "--force_yml", "train:total_iter=2", cwd=checkout)
    assert again.returncode == 0, again.stdout
    assert not (checkout / "experiments/.tiny_distill.lock").exists()
