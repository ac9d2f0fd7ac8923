#!/usr/bin/env python
"""What float16 and INT8 cost, from the cards of exported students: a CSV by image, and the table of docs/results.md.

    python tools/int8_results.py collect exported docs/results/int8.csv
    python tools/int8_results.py table docs/results/int8.csv

Folders of cards are called KIND_STUDENT_sSEED: ``ptq`` (a float student, with ``--fp16 --int8``), ``qat`` (the same
student after ``train.quantize``) and ``fine`` (the same fine-tuning without it).
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

FLOAT = "float32"
VARIANTS = {
    ("ptq", "ONNX float32"): FLOAT,
    ("ptq", "ONNX float16"): "float16",
    ("ptq", "ONNX INT8"): "INT8, after training",
    ("qat", "ONNX INT8"): "INT8, fine-tuned",
    ("fine", "ONNX float32"): "float32, fine-tuned alike",
}
"""What a format of a kind of card is called."""


class Row(NamedTuple):
    """PSNR of one image, in dB (Y channel, border of the scale cropped)."""

    student: str
    seed: int
    variant: str
    set: str
    image: str
    psnr: float


def collect(folder: Path) -> list[Row]:
    """The rows of all cards below a folder."""
    rows = []
    for file in sorted(folder.glob("*/card.json")):
        named = re.fullmatch(r"(ptq|qat|fine)_(\w+)_s(\d+)", file.parent.name)
        if named is None:
            raise SystemExit(f"{file.parent.name} is not called KIND_STUDENT_sSEED")
        for test_set, formats in json.loads(file.read_text())["benchmarks"].items():
            for (kind, name), variant in VARIANTS.items():
                if kind == named[1] and name in formats:
                    by_image = formats[name]["psnr and ssim by image"]
                    rows += [Row(named[2], int(named[3]), variant, test_set, i, v[0]) for i, v in by_image.items()]
    return rows


def table(rows: Iterable[Row]) -> str:
    """A line per student and variant: mean over seeds and images; the loss to float32, and that of its worst image."""
    psnr: dict[tuple[str, str, str], dict[int, dict[str, float]]] = {}
    for row in rows:
        psnr.setdefault((row.student, row.variant, row.set), {}).setdefault(row.seed, {})[row.image] = row.psnr
    students, sets = (list(dict.fromkeys(key[part] for key in psnr)) for part in (0, 2))
    lines = [["", "seeds", *sets], ["---"] * (2 + len(sets))]
    for student in students:
        for variant in dict.fromkeys(VARIANTS.values()):
            found = [psnr.get((student, variant, name)) for name in sets]
            if found[0]:
                cells = [_cell(seeds or {}, psnr[student, FLOAT, name]) for seeds, name in zip(found, sets)]
                lines.append([f"{student.replace('_', ' ')}, {variant}", str(len(found[0])), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(seeds: dict[int, dict[str, float]], reference: dict[int, dict[str, float]]) -> str:
    means = [fmean(images.values()) for images in seeds.values()]
    spread = f" ({stdev(means):.3f})" if len(means) > 1 else ""
    if seeds is reference:
        return f"{fmean(means):.3f}{spread}"
    losses = [
        {image: reference[seed][image] - value for image, value in images.items()} for seed, images in seeds.items()
    ]
    loss, worst = fmean(fmean(one.values()) for one in losses), max(max(one.values()) for one in losses)
    return f"{fmean(means):.3f}{spread}<br>{-loss:+.3f}, worst image {-worst:+.3f}"


def read(file: Path) -> list[Row]:
    """The rows of a CSV."""
    with open(file, newline="", encoding="utf-8") as lines:
        return [Row(**{**row, "seed": int(row["seed"]), "psnr": float(row["psnr"])}) for row in csv.DictReader(lines)]


def main(arguments: list[str]) -> None:
    """Collect cards, or print the table."""
    if arguments[:1] == ["collect"] and len(arguments) == 3:
        with open(arguments[2], "w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(Row._fields)
            lines.writerows([*row[:-1], f"{row.psnr:.4f}"] for row in collect(Path(arguments[1])))
    elif arguments[:1] == ["table"] and len(arguments) == 2:
        print(table(read(Path(arguments[1]))))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
