"""One owner per output, with real processes: who is told what, and what a kill leaves."""

import json
import os
import signal
import subprocess
import sys

import pytest

from srkd_plugin.errors import InputError
from srkd_plugin.utils import owner

HOLD = """
import sys
from pathlib import Path
from srkd_plugin.utils.owner import own_until_exit
own_until_exit("--out", Path(sys.argv[1]))
print("owned", flush=True)
sys.stdin.readline()
"""
FORK = """
import os, time
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""
TRY = """
import sys
from pathlib import Path
from srkd_plugin.utils.owner import owned
with owned("--out", Path(sys.argv[1])):
    pass
"""


@pytest.fixture
def output(tmp_path):
    return tmp_path / "experiments" / "run"


@pytest.fixture
def other(output):
    """Another process that owns the output."""
    command = [sys.executable, "-c", HOLD, str(output), "--with", "a b"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "owned\n"
        yield process
        process.kill()


def test_the_second_is_told_who_owns_it(output, other):
    with pytest.raises(InputError) as refused, owner.owned("--out", output):
        pass
    assert f"process {other.pid} on " in str(refused.value)
    assert f"-c {output} --with 'a b'" in str(refused.value)
    assert f"process {other.pid} on " in owner.owner_of(output)


def test_an_owner_that_ends_leaves_nothing(output, other):
    other.communicate("\n")
    assert not owner.lock_file(output).exists()
    assert owner.owner_of(output) is None


def test_what_a_kill_leaves_is_harmless(output, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert owner.lock_file(output).exists()
    assert owner.owner_of(output) is None
    with owner.owned("--out", output):
        assert json.loads(owner.lock_file(output).read_text())["pid"] == os.getpid()
    assert not owner.lock_file(output).exists()


def test_the_lock_stays_when_the_output_is_renamed(output, other):
    output.mkdir()
    output.rename(output.with_name("run_archived"))
    with pytest.raises(InputError, match=str(other.pid)), owner.owned("--out", output):
        pass


def test_a_process_may_own_an_output_twice(output):
    with owner.owned("--out", output):
        with owner.owned("--out", output):
            pass
        assert owner.lock_file(output).exists()
        done = subprocess.run([sys.executable, "-c", TRY, str(output)], capture_output=True, text=True, check=False)
        assert f"process {os.getpid()} on " in done.stderr, "the inner block has let the output go"


def test_a_forked_process_does_not_keep_it(output):
    """Loader workers live on for some seconds when their parent is killed."""
    code = HOLD.replace('print("owned", flush=True)', FORK)
    with subprocess.Popen([sys.executable, "-c", code, str(output)], stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            with owner.owned("--out", output):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


def test_what_the_owner_says_cannot_move_the_cursor(output, other):
    about = {"pid": 1, "host": "\x1b[2Jh", "command": "a\nb", "since": "now"}
    owner.lock_file(output).write_text(json.dumps(about))
    assert owner.owner_of(output) == "process 1 on ?[2Jh, since now: a b"
    owner.lock_file(output).write_text("{")
    assert "has not said who it is" in owner.owner_of(output)


def test_a_file_system_without_locks_is_said_once_and_does_not_stop(output, monkeypatch, capfd):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(owner.fcntl, "lockf", refuse)
    with owner.owned("--out", output):
        pass
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "cannot be locked (No locks available)" in lines[0]
