"""Pairs photographs with the official LR images of their data set, whose names may end in the scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from srkd_plugin.errors import InputError
from srkd_plugin.images.pairs import match


def pair_official_lr(stems: Sequence[str], files: Mapping[str, Path], scale: int, folder: Path) -> dict[str, Path]:
    """Find the LR file of each photograph: named as it, or as DIV2K does it, ``0001x2`` for ``0001``.

    All are named in one way: with photographs ``a`` and ``ax2``, an LR image ``ax2`` alone would tell nothing.
    Extensions do not matter, as what is made of the files has none.

    Args:
        stems: Names of the photographs without extensions.
        files: LR files by stem.
        scale: HR pixels per LR pixel.
        folder: Where the LR files are, for errors.

    Raises:
        InputError: One is not there, or could be either of two.
    """
    plain, with_scale = (match(stems, files, template) for template in ("{}", f"{{}}x{scale}"))
    complete = [found for found in (plain, with_scale) if not found.gt_alone]
    if len(complete) == 2:
        stem = stems[0]
        problem = f"both {stem} and {stem}x{scale} are in it, and the like for all photographs"
        raise InputError("--lq", str(folder), problem, "Keep the one that is the LR image.")
    if not complete:
        nearer = min(plain, with_scale, key=lambda found: len(found.gt_alone))
        stem = nearer.gt_alone[0].gt
        problem = f"there is no {stem} and no {stem}x{scale} in it"
        if stem in files or f"{stem}x{scale}" in files:
            problem = f"some of its names end in x{scale} and others do not, e.g. that for {stem}"
        raise InputError("--lq", str(folder), problem, "Give the LR folder of --gt and --scale.")
    return {pair.gt: files[pair.lq] for pair in complete[0].pairs}
