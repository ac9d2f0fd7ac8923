#!/usr/bin/env python
"""Write the training files of options/ from one base text per size, and a short entry for each file.

  shipped_options.py            write them
  shipped_options.py --check    say which are not current; exit code 1 if any

The bases, ``paper.yml.in``, ``demo.yml.in`` and ``realworld.yml.in``, and the entries, ``rows.yml``, are in
scripts/shipped_options/. The two files for tests (test_student.yml, demo_test.yml) are written by hand.
"""

from __future__ import annotations

import argparse
import re
import string
import sys
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

SCRIPTS = Path(__file__).resolve().parent
SOURCES, OPTIONS = SCRIPTS / "shipped_options", SCRIPTS.parent / "options"
SCHEMA = "srkd.schema.json"
"""The JSON schema beside the files, from which editors complete."""


def files() -> dict[str, str]:
    """What every file must hold, by its name."""
    content = yaml.safe_load((SOURCES / "rows.yml").read_text("utf-8"))
    bases = {size: (SOURCES / f"{size}.yml.in").read_text("utf-8") for size in content}
    return {
        f"{stem}.yml": _file(stem, row, section, bases[size])
        for size, section in content.items()
        for stem, row in section["files"].items()
    }


def _file(stem: str, row: dict[str, Any], size: dict[str, Any], base: str) -> str:
    has_teacher = row["model_type"] in ("DistillModel", "RealESRDistillModel")
    networks = (row.get("network_g", size["student"]), size["teacher"])
    student, teacher = (indent(network.rstrip(), "  ") for network in networks)
    parts = {
        "header": _header(f"{stem}.yml", row, size["torchrun"] if has_teacher else []),
        "name": f"{stem}{size['suffix']}",
        "model_type": row["model_type"],
        "train_set": "TeacherCacheDataset" if "cache" in row else "PairedImageDataset",
        "cache": f"    dataroot_teacher: {row['cache']}" if "cache" in row else "",
        "network_g": teacher if row.get("is_teacher") else student,
        "network_t": f"network_t:\n{teacher}" if has_teacher else "",
        "student": row.get("student", "").rstrip(),
        "teacher": size["teacher_section"].rstrip() if has_teacher else "",
        "path_t": indent(size["teacher_weights"].rstrip(), "  ") if has_teacher else "",
        "pixel_weight": row.get("pixel_weight", 1.0),
        "student_weights": row.get("student_weights", "~"),
        "lr": row.get("lr", size["lr"]),
        "schedule": indent(row.get("schedule", size["schedule"]).rstrip(), "  "),
        "quantize": indent(row.get("quantize", "").rstrip(), "  "),
        "distill_opt": indent(row.get("distill_opt", "").rstrip(), "  "),
    }
    for name in [name for name, part in parts.items() if part == ""]:
        base = base.replace(f"${name}\n", "")  # the line that it would stand on
    return re.sub(r"\n\n\n+", "\n\n", string.Template(base).substitute(parts))


def _header(file: str, row: dict[str, Any], more_commands: list[str]) -> str:
    """The comment above a file: what it is, and the commands that run it."""
    commands = [*row.get("before", []), "python basicsr/train.py -opt options/$file", *more_commands]
    lines = [*row["header"].rstrip().split("\n"), "", *(f"  {one.replace('$file', file)}" for one in commands)]
    schema = [f"yaml-language-server: $schema={SCHEMA}"] if (OPTIONS / SCHEMA).exists() else []
    return "\n".join(f"# {line}".rstrip() for line in [*schema, *lines])


def main() -> int:
    """Write or check the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; say which are not current")
    check = parser.parse_args().check
    wanted = files()
    stale = [name for name in wanted if _read(OPTIONS / name) != wanted[name]]
    for name in stale:
        if check:
            print(f"options/{name} is not current: run python scripts/shipped_options.py", file=sys.stderr)
        else:
            (OPTIONS / name).write_text(wanted[name], "utf-8")
            print(f"options/{name}")
    return 1 if check and stale else 0


def _read(file: Path) -> str:
    return file.read_text("utf-8") if file.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
