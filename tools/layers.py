"""The picture of the layers in docs/architecture.md, made from the contract that lint-imports checks.

python tools/layers.py            write it there, and print the lines of each room
python tools/layers.py --check    say whether docs/architecture.md shows it; exit code 1 if not
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from importlinter.api import read_configuration

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "srkd_plugin"
DOCUMENT = ROOT / "docs/architecture.md"
BEGIN, END = "<!-- written by tools/layers.py -->\n", "<!-- end of what tools/layers.py writes -->\n"
WIDTH = 120


def layers() -> list[list[str]]:
    """The rooms of each layer, the topmost first, as the contract in pyproject.toml names them."""
    contracts = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    (contract,) = (contract for contract in contracts if contract["type"] == "layers")
    named = (re.findall(r"\w+", layer) for layer in contract["layers"])
    return [[room for room in rooms if files_of(room)] for rooms in named]


def files_of(room: str) -> list[Path]:
    """The modules of a room, or the module that is one by itself; none if there is no such room."""
    alone = PACKAGE / f"{room}.py"
    return [alone] if alone.is_file() else sorted((PACKAGE / room).rglob("*.py"))


def lines_by_room() -> dict[str, int]:
    """How many lines each room has."""
    return {room: sum(map(count_lines, files_of(room))) for rooms in layers() for room in rooms}


def count_lines(file: Path) -> int:
    """How many lines a file has."""
    return len(file.read_text("utf-8").splitlines())


def picture() -> str:
    """Layers, rooms and modules, each with the first line of its docstring; nothing that every commit changes."""
    lines = []
    for number, rooms in enumerate(layers(), 1):
        for room in rooms:
            files = files_of(room)
            about = {file.relative_to(PACKAGE / room).as_posix()[:-3]: _summary(file) for file in files[1:]}
            about.pop("__init__", None)
            lines.append(_entry(f"{number:2} {room}", _summary(files[0]), 22))
            lines += [_entry(f"      {name}", summary, 34) for name, summary in about.items()]
    return "\n".join(lines) + "\n"


def _entry(name: str, summary: str, indent: int) -> str:
    return textwrap.fill(f"{name:{indent}}{summary}", WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False)


def _summary(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").split("\n")[0]


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command.

    Args:
        arguments: Its arguments; by default the process's.

    Returns:
        Exit code.
    """
    parser = argparse.ArgumentParser(description="The layers of the package, for docs/architecture.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the picture is another")
    check = parser.parse_args(arguments).check
    text = DOCUMENT.read_text("utf-8")
    before, rest = text.split(BEGIN)
    wanted = f"{before}{BEGIN}\n```text\n{picture()}```\n\n{END}{rest.split(END)[1]}"
    if check:
        if text != wanted:
            print(f"{DOCUMENT.name} shows other layers: run python tools/layers.py", file=sys.stderr)
        return int(text != wanted)
    DOCUMENT.write_text(wanted, "utf-8")
    lines = lines_by_room()
    for room, count in lines.items():
        print(f"{room:16} {len(files_of(room)):3} modules {count:6} lines {count / sum(lines.values()):6.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
