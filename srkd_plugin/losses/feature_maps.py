"""What losses on feature maps share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision as float32: sums over feature maps overflow it, and CPU kernels of older torch lack it."""
    return x if x.dtype == torch.float64 else x.float()


def require_values(name: str, *tensors: Tensor) -> None:
    """Refuse tensors that have no mean: empty ones, and those of whole numbers.

    Raises:
        ValueError: One is of that kind.
    """
    for x in tensors:
        if not x.is_floating_point():
            raise ValueError(f"{name} must have floating-point values; got {x.dtype}")
        if x.numel() == 0:
            raise ValueError(f"{name} is empty; got {tuple(x.shape)}")


def check_pairs(student_taps: Sequence[Tensor], teacher_taps: Sequence[Tensor], *, same_channels: bool) -> None:
    """Check that feature maps can be compared pair by pair.

    Raises:
        ValueError: There are none, they differ in number, or a pair does not fit; or a map is empty, or holds whole
            numbers.
    """
    for taps in (student_taps, teacher_taps):
        if isinstance(taps, Tensor):
            raise ValueError(f"taps must be a list of feature maps; got one tensor, {tuple(taps.shape)}")
    if not student_taps or len(student_taps) != len(teacher_taps):
        raise ValueError(
            f"student and teacher need the same number of taps, at least one; got {len(student_taps)} and "
            f"{len(teacher_taps)}"
        )
    for i, (s, t) in enumerate(zip(student_taps, teacher_taps)):
        fits = s.dim() == t.dim() == 4 and s.shape[0] == t.shape[0] and s.shape[2:] == t.shape[2:]
        if not fits or (same_channels and s.shape[1] != t.shape[1]):
            what = "(N, C, H, W) of equal shape" if same_channels else "(N, C, H, W) of equal N, H, W"
            hint = "; a connector (connector: {kernel_size: 1}) makes channels equal" if fits else ""
            raise ValueError(f"tap {i}: {what} expected; got {tuple(s.shape)} and {tuple(t.shape)}{hint}")
        require_values(f"tap {i}", s, t)
