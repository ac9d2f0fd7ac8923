"""The card of an exported student: what it is, where it comes from, its files, and how they measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Optional

import numpy as np

from srkd_plugin.evaluate.benchmark import Benchmark, Figures, measure
from srkd_plugin.export.card_page import page
from srkd_plugin.export.job import ExportJob, Written
from srkd_plugin.runtimes.upscaler import Upscaler
from srkd_plugin.utils.files import sha256_of_file, write_atomically, write_json
from srkd_plugin.utils.timing import interleaved, wall_timer

PACKAGES = ("onnx", "onnxruntime", "pnnx", "ncnn")
"""Optional packages whose versions are on the card."""
TIMED = (128, 128)
"""Height and width of the LR image that latency is measured with."""
ROUNDS = 5
NOTE = "one measurement on the machine of the export: compare the ratios, and measure on the device that will run it"


def make_card(job: ExportJob, written: Sequence[Written], benchmarks: Sequence[Benchmark]) -> dict[str, Any]:
    """Make the content of ``card.json``; measures every file that runs here.

    Args:
        job: The student.
        written: Its files, in the staging folder.
        benchmarks: Sets to measure PSNR and SSIM on.

    Raises:
        InputError: An image of a benchmark cannot be read.
    """
    student = job.student
    runners = {one.format: one.open(one.files[0]) for one in written if one.open is not None}
    return {
        "name": job.name,
        "network": dict(student.network),
        "scale": student.scale,
        "parameters": sum(parameter.numel() for parameter in job.net.parameters()),
        "receptive_field": job.receptive_field,
        "size_multiple": job.multiple,
        **student.facts,
        "files": [_file(one) for one in written],
        "benchmarks": {one.name: _figures(one, runners) for one in benchmarks},
        "latency": _latency(runners, student.channels),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
    }


def _file(one: Written) -> dict[str, Any]:
    files = {file.name: {"bytes": file.stat().st_size, "sha256": sha256_of_file(file)} for file in one.files}
    about = {"verified": one.verified, "max_error": one.max_error, "notes": list(one.notes)}
    return {"format": one.format, "files": files, **about}


def _figures(benchmark: Benchmark, runners: Mapping[str, Upscaler]) -> dict[str, Any]:
    measured = {name: measure(upscaler, benchmark) for name, upscaler in runners.items()}
    return {"images": len(benchmark.pairs), **{name: _as_json(figures) for name, figures in measured.items()}}


def _as_json(figures: Figures) -> dict[str, Any]:
    by_image = {name: [figures.psnr[name], figures.ssim[name]] for name in figures.psnr}
    return {"psnr": figures.mean_psnr, "ssim": figures.mean_ssim, "psnr and ssim by image": by_image}


def _latency(runners: Mapping[str, Upscaler], channels: int) -> dict[str, Any]:
    """Medians of interleaved runs with the runtimes' own numbers of threads, and their ratios to the first one."""
    lq = np.random.default_rng(0).random((1, channels, *TIMED), np.float32)
    steps = {name: partial(upscaler, lq) for name, upscaler in runners.items()}
    seconds = interleaved(steps, ROUNDS, warm_up=1, timer=wall_timer)
    medians = {name: median(times) for name, times in seconds.items()}
    first = next(iter(medians.values()))
    ratios = {name: round(value / first, 3) for name, value in medians.items()}
    milliseconds = {name: round(1000 * value, 2) for name, value in medians.items()}
    return {"lr": list(TIMED), "rounds": ROUNDS, "note": NOTE, "milliseconds": milliseconds, "ratio": ratios}


def _version(package: str) -> Optional[str]:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write_card(folder: Path, card: Mapping[str, Any]) -> list[Path]:
    """Write ``card.json`` and ``card.md``."""
    files = [folder / "card.json", folder / "card.md"]
    write_json(files[0], card)
    write_atomically(files[1], page(card).encode())
    return files
