"""Networks over whole images: in tiles where memory asks for it, as the mean of the eight flips and rotations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from srkd_plugin.errors import InputError
from srkd_plugin.networks.padding import Network

OUT_OF_MEMORY: Any = torch.cuda.OutOfMemoryError  # torch 2.0 does not say that it is an exception


class WholeImages:
    """Runs a network over images of any size.

    Args:
        network: The network; it runs without autograd.
        scale: SR factor.
        tile: Side of the tiles, in LQ pixels; None: whole images.
        overlap: LQ pixels that a tile sees beyond its sides; from the network's receptive field on, the result is that
            of the whole image.
        self_ensemble: The mean of the outputs for the 8 flips and rotations of the image, each turned back. It is
            exactly equivariant: the result for a turned image is the turned result, bit for bit, on a device on which
            the network gives equal outputs for equal inputs.
    """

    def __init__(self, network: Network, scale: int, tile: Optional[int], overlap: int, self_ensemble: bool) -> None:
        self._network, self._scale = network, scale
        self._tile, self._overlap = tile, overlap
        self._self_ensemble = self_ensemble

    def __call__(self, lq: Tensor) -> Tensor:
        """The SR image, ``(1, C, H, W)`` of the dtype of ``lq``.

        Raises:
            InputError: The GPU's memory is too small.
        """
        try:
            return self._mean_of_eight(lq) if self._self_ensemble else self._tiled(lq)
        except OUT_OF_MEMORY as error:
            tile = (self._tile or max(lq.shape[-2:])) // 2
            problem = f"the GPU's memory is too small for an image of {tuple(lq.shape[-2:])}"
            raise InputError("--tile", self._tile, problem, f"Write e.g. --tile {tile}.") from error

    def _mean_of_eight(self, lq: Tensor) -> Tensor:
        """Mean over the eight, summed in float64, where the sum of eight float32 does not depend on their order."""
        total = reduce(torch.add, (self._turned(lq, flips, transposed).double() for flips, transposed in _eight()))
        return (total / 8).to(lq.dtype)

    def _turned(self, lq: Tensor, flips: tuple[int, ...], transposed: bool) -> Tensor:
        """The SR image of the turned input, turned back."""
        turned = torch.flip(lq, flips)
        turned = turned.transpose(-2, -1) if transposed else turned
        sr = self._tiled(turned.contiguous())
        sr = sr.transpose(-2, -1) if transposed else sr
        return torch.flip(sr, flips)

    def _tiled(self, lq: Tensor) -> Tensor:
        (h, w), tile, overlap, s = lq.shape[-2:], self._tile, self._overlap, self._scale
        if tile is None or max(h, w) <= tile:
            return self._network(lq)
        rows = []
        for ys in spans(h, tile, overlap):
            row = []
            for xs in spans(w, tile, overlap):
                sr = self._network(lq[..., ys.seen, xs.seen])
                row.append(sr[..., ys.kept_of_sr(s), xs.kept_of_sr(s)])
            rows.append(torch.cat(row, dim=-1))
        return torch.cat(rows, dim=-2)


class Span(NamedTuple):
    """One tile along one side of an image, in LQ pixels: what it gives lies within what it sees."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def seen(self) -> slice:
        """What the network gets."""
        return slice(self.first, self.last)

    def given(self, scale: int) -> slice:
        """What it gives, in SR pixels of the whole image."""
        return slice(self.start * scale, self.stop * scale)

    def kept_of_sr(self, scale: int) -> slice:
        """What it gives, in SR pixels of the tile's own output."""
        return slice((self.start - self.first) * scale, (self.stop - self.first) * scale)


def spans(side: int, tile: int, overlap: int, multiple: int = 1) -> Iterator[Span]:
    """Cut a side of an image into tiles.

    Args:
        side: LQ pixels.
        tile: LQ pixels that a tile gives, the last one perhaps less; a multiple of ``multiple``.
        overlap: LQ pixels that it sees beyond them where the image has them.
        multiple: What it sees lies between multiples of this, or ends with the image.
    """
    for start in range(0, side, tile):
        stop = min(start + tile, side)
        first = max(0, start - overlap) // multiple * multiple
        yield Span(start, stop, first, min(side, -(-(stop + overlap) // multiple) * multiple))


def spans_of_size(side: int, seen: int, overlap: int, multiple: int = 1) -> Iterator[Span]:
    """Cut a side of an image into tiles that all see the same number of pixels, for models of a fixed size.

    Args:
        side: LQ pixels.
        seen: LQ pixels that a tile sees; a multiple, and at least twice ``overlap`` and one multiple. The image can end
            before the last tile does: by less than a multiple, or by more if it is smaller than a tile.
        overlap: As in :func:`spans`.
        multiple: What it sees begins at a multiple of this.
    """
    start, latest = 0, max(0, -(-side // multiple) * multiple - seen)
    while start < side:
        first = min(max(0, start - overlap) // multiple * multiple, latest)
        last = first + seen
        stop = side if last >= side else last - overlap
        yield Span(start, stop, first, last)
        start = stop


def _eight() -> Iterator[tuple[tuple[int, ...], bool]]:
    """The dimensions to flip, and whether to transpose then."""
    for flips in ((), (-1,), (-2,), (-2, -1)):
        for transposed in (False, True):
            yield flips, transposed
