#!/usr/bin/env python
"""Speed of our bicubic resize against BasicSR's imresize, on one thread, interleaved in one run: a Markdown table.

  python benchmarks/resize.py [--repeats 15]

A cell says how many times as fast ours is, with the medians of ours and BasicSR's.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, Callable

import cv2
import numpy as np
import timing
import torch

from srkd_plugin.cli.parser import positive_int
from srkd_plugin.images.matlab_resize import downscale, upscale
from srkd_plugin.utils import markdown

SIZES = ((512, 768), (1356, 2040))
"""Height and width of HR: Kodak's, and DIV2K's usual one."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=positive_int, default=15, help="runs of each (%(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(markdown.heading(["", *(f"{w}x{h}" for h, w in SIZES)]))
    for title, resize, factor in (("reduce", downscale, lambda s: 1 / s), ("enlarge", upscale, float)):
        for scale in (2, 3, 4):
            cells = [_compare(resize, image, scale, factor(scale), args.repeats) for image in _images(title, scale)]
            print(markdown.row([f"{title} x{scale}", *cells]), flush=True)


def _images(title: str, scale: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for h, w in SIZES:
        coarse = rng.integers(0, 256, (h // 8, w // 8, 3), np.uint8)
        hr = cv2.resize(coarse, (w - w % 12, h - h % 12), interpolation=cv2.INTER_CUBIC)
        yield hr if title == "reduce" else downscale(hr, scale)


def _compare(resize: Callable[..., Any], image: np.ndarray, scale: int, factor: float, repeats: int) -> str:
    steps: dict[str, timing.Step] = {
        "ours": lambda: resize(image, scale),
        "stock": lambda: _resize_as_basicsr(image, factor),
    }
    seconds = timing.interleaved(steps, repeats, warm_up=1, timer=timing.wall_timer)
    ours, stock = (timing.Spread.of(seconds[name]).median for name in steps)
    return f"{stock / ours:.1f} times ({ours * 1e3:.0f} ms, {stock * 1e3:.0f} ms)"


def _resize_as_basicsr(image: np.ndarray, factor: float) -> np.ndarray:
    from basicsr.utils.matlab_functions import imresize

    return np.clip(np.round(imresize(image.astype(np.float32) / 255.0, factor) * 255.0), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
