"""Models of any runtime over large images: in tiles that together give what the whole image would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable, Literal, NamedTuple, Optional

import numpy as np

from srkd_plugin.errors import MISSING, InputError
from srkd_plugin.networks.receptive_field import field_of_run, field_of_size
from srkd_plugin.networks.tiling import Span, spans, spans_of_size
from srkd_plugin.runtimes.upscaler import Upscaler, check_images

DEFAULT_TILE = 256
"""LQ pixels per side of a tile, where the overlap is not large beside it."""
OVERLAPS_PER_TILE = 4
"""A tile's side is at least this many overlaps, or most of the work would be done twice."""

Read = Callable[[slice, slice], np.ndarray]
"""Gives the LQ pixels of these rows and columns, ``(1, C, h, w)`` float32 in 0..1."""


class Band(NamedTuple):
    """Rows of an SR image."""

    rows: slice
    """Which, in SR pixels of the whole image."""
    pixels: np.ndarray
    """``(1, C, rows, W)`` float32, not clipped."""


def overlap_of(upscaler: Upscaler) -> Optional[int]:
    """LQ pixels that tiles must see beyond their sides: the receptive field that the file states, or as it is measured.

    Returns:
        None if there is no such number: the model sees the whole image.
    """
    stated = getattr(upscaler, "receptive_field", None)
    if stated is not None:
        return int(stated)
    size = _fixed_size(upscaler)
    if size is not None:
        return field_of_size(upscaler, upscaler.channels, upscaler.scale, size)
    return field_of_run(upscaler, upscaler.channels, upscaler.scale, _multiple(upscaler))


class Tiles:
    """A model that sees one tile at a time; itself an :class:`~srkd_plugin.runtimes.upscaler.Upscaler`.

    With the receptive field as overlap the result is that of the whole image but for the order in which a runtime adds:
    within 1e-6.

    Args:
        upscaler: The model.
        tile: LQ pixels per side that a tile gives; None: whole images. A model of a fixed size has tiles of that size.
        overlap: LQ pixels that it sees beyond them, see :func:`overlap_of`.

    Raises:
        InputError: The model's fixed size leaves nothing between the overlaps.
    """

    def __init__(self, upscaler: Upscaler, tile: Optional[int], overlap: int) -> None:
        self.name, self.scale, self.channels = upscaler.name, upscaler.scale, upscaler.channels
        self.overlap = overlap
        self.size = _fixed_size(upscaler)
        self._upscaler, self._multiple = upscaler, _multiple(upscaler)
        self.tile = None if tile is None or self.size is not None else -(-tile // self._multiple) * self._multiple
        if self.size is not None and min(self.size) < 2 * overlap + self._multiple:
            problem = f"the model takes {self.size[0]}x{self.size[1]} only, and tiles overlap by {overlap} on each side"
            raise InputError("--model", upscaler.name, problem, "Export it without --fixed, or larger.")

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        """Upscale images; see :class:`~srkd_plugin.runtimes.upscaler.Upscaler`."""
        check_images(lq, self.channels)
        (count, channels, h, w), s = lq.shape, self.scale
        out = np.empty((count, channels, h * s, w * s), np.float32)
        for number in range(count):
            for band in self.bands(h, w, _reading(lq[number : number + 1])):
                out[number, :, band.rows] = band.pixels[0]
        return out

    def bands(self, h: int, w: int, read: Read, done: Callable[[], object] = lambda: None) -> Iterator[Band]:
        """Upscale one image from top to bottom; no more than a band of it is in memory as float32.

        Args:
            h: LQ rows.
            w: LQ columns.
            read: Gives pixels of the image.
            done: Called after each tile.
        """
        for ys in self._spans(h, 0):
            band = np.empty((1, self.channels, (ys.stop - ys.start) * self.scale, w * self.scale), np.float32)
            for xs in self._spans(w, 1):
                sr = self._upscaler(self._filled(np.ascontiguousarray(read(ys.seen, xs.seen))))
                band[..., xs.given(self.scale)] = sr[..., ys.kept_of_sr(self.scale), xs.kept_of_sr(self.scale)]
                done()
            yield Band(ys.given(self.scale), band)

    def count(self, h: int, w: int) -> int:
        """Number of tiles of an image."""
        return sum(1 for _ in self._spans(h, 0)) * sum(1 for _ in self._spans(w, 1))

    def _spans(self, side: int, axis: int) -> Iterator[Span]:
        if self.size is not None:
            return spans_of_size(side, self.size[axis], self.overlap, self._multiple)
        return spans(side, self.tile or side, self.overlap, self._multiple)

    def _filled(self, lq: np.ndarray) -> np.ndarray:
        """What ends with the image before a fixed size is reached, padded as ``run_padded`` does."""
        if self.size is None or lq.shape[-2:] == self.size:
            return lq
        (h, w), below, right = lq.shape[-2:], self.size[0] - lq.shape[-2], self.size[1] - lq.shape[-1]
        mode: Literal["reflect", "edge"] = "reflect" if below < h and right < w else "edge"
        return np.pad(lq, ((0, 0), (0, 0), (0, below), (0, right)), mode=mode)


def tiles_for(upscaler: Upscaler, tile: Optional[int] = None, overlap: Optional[int] = None) -> Tiles:
    """Tiles of a model as the flags ask for.

    Args:
        upscaler: The model.
        tile: LQ pixels per side; 0: whole images; None: as memory asks for, or whole images where tiles would not give
            the same.
        overlap: LQ pixels; None: the receptive field.

    Raises:
        InputError: The model is not one of RGB or gray images; or tiles are asked for, it sees the whole image, and no
            overlap is given.
    """
    if upscaler.channels not in (1, 3):
        problem = f"it takes images of {upscaler.channels} channels"
        raise InputError("--model", upscaler.name, problem, "Give a model of RGB or gray images.")
    size = _fixed_size(upscaler)
    if tile == 0 and size is None:
        return Tiles(upscaler, None, 0)
    found = overlap_of(upscaler) if overlap is None else overlap
    if found is not None:
        return Tiles(upscaler, tile or max(DEFAULT_TILE, OVERLAPS_PER_TILE * found), found)
    if tile is None and size is None:
        return Tiles(upscaler, None, 0)
    problem = "the model sees the whole image, so that no overlap of tiles gives what the whole image would"
    raise InputError("--overlap", MISSING, problem, "Give one, e.g. --overlap 32, and look for seams; or --tile 0.")


def _reading(lq: np.ndarray) -> Read:
    return lambda rows, columns: lq[..., rows, columns]


def _fixed_size(upscaler: Upscaler) -> Optional[tuple[int, int]]:
    return getattr(upscaler, "fixed_size", None)


def _multiple(upscaler: Upscaler) -> int:
    return getattr(upscaler, "multiple", 1)
