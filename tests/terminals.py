"""A terminal for processes that tests launch: what they write to it, and what then stands on it."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any, NamedTuple

import tiny

COLUMNS = 250


class Shown(NamedTuple):
    """What a process left."""

    code: int
    stdout: str
    terminal: str
    """All that it wrote to the terminal, in order."""

    @property
    def lines(self) -> list[str]:
        """The lines that stand on the terminal in the end, where each was written from its begin on."""
        lines = []
        for line in self.terminal.replace("\r\n", "\n").split("\n"):
            on_it = ""
            for part in line.split("\r"):
                on_it = part + on_it[len(part) :]
            lines.append(re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", on_it).rstrip())
        return lines


def run_on_terminal(*arguments: Any, cwd: Path, **environment: str) -> Shown:
    """Run Python with a terminal as its standard error, :data:`COLUMNS` wide, and wait for its end."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    written = bytearray()
    with open(cwd / "stdout.txt", "w+") as output:
        child = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env=tiny.child_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=its,
        )
        os.close(its)
        while part := _read(ours):
            written += part
        os.close(ours)
        code = child.wait(timeout=240)
        output.seek(0)
        return Shown(code, output.read(), written.decode("utf-8", errors="replace"))


def _read(terminal: int) -> bytes:
    """The next bytes; none once every process has closed the terminal, which Linux says with an error."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""
