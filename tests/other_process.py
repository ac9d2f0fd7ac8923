"""Another process that has begun something and waits in the middle of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import tiny

from srkd_plugin.errors import OptionsError

WAIT = """
import sys
def wait(*_, **__):
    print("waiting", flush=True)
    sys.stdin.readline()
    sys.exit(0)
"""


@contextmanager
def waiting(code: str, *arguments: object) -> Iterator[subprocess.Popen]:
    """Run Python code that calls ``wait()`` somewhere, up to there; what it prints itself goes to stderr."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tiny.PROJECT, tiny.PROJECT / "tests")))}
    command = [sys.executable, "-c", WAIT + code, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        try:
            for line in process.stdout:
                if line == "waiting\n":
                    break
            assert process.poll() is None, "it ended before it waited"
            yield process
        finally:
            process.kill()


def is_named(other: subprocess.Popen) -> Any:
    """The block is refused because the other process writes there."""
    return pytest.raises(OptionsError, match=f"another process writes there: process {other.pid} on ")
