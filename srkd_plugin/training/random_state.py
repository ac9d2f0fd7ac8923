"""The random states of a process: Python's, numpy's, torch's and those of its CUDA device."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def capture() -> dict[str, Any]:
    """All random states, as numbers, lists and tensors only, so that ``torch.load(weights_only=True)`` reads them."""
    version, numbers, gauss = random.getstate()
    numpys = np.random.get_state(legacy=False)
    words = numpys["state"]
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [
            *(numpys["bit_generator"], words["key"].tolist(), int(words["pos"])),
            *(int(numpys["has_gauss"]), float(numpys["gauss"])),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def restore(state: Mapping[str, Any]) -> None:
    """Put back what :func:`capture` returned."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@contextmanager
def seeded(key: Sequence[int]) -> Iterator[None]:
    """Draw from streams of one's own in this block, of Python, numpy and torch on the CPU; then go on as before.

    Args:
        key: Non-negative integers; equal keys give equal streams, others independent ones.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence(list(key)).generate_state(4)
    random.seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2:])
    # torch.manual_seed would seed the CUDA devices, too
    torch.default_generator.manual_seed(int(words[1]) << 31 ^ int(words[3]))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
