"""What every runtime gives: a model that upscales batches of images in host memory."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from srkd_plugin.errors import InputError


class Upscaler(Protocol):
    """A model in one runtime. Images of any size go in: what needs padding or a fixed size pads itself."""

    name: str
    """Runtime and precision, e.g. ``onnxruntime float32``, for tables."""
    scale: int
    channels: int
    """Channels of its input and output: 3 (RGB) or 1 (Y or gray)."""

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        """Upscale images.

        Args:
            lq: ``(N, channels, h, w)`` float32 in 0..1.

        Returns:
            ``(N, channels, scale * h, scale * w)`` float32, not clipped.

        Raises:
            InputError: ``lq`` is something else.
        """
        ...


def check_images(lq: np.ndarray, channels: int) -> None:
    """Refuse what is not a batch of images for a model of this many channels.

    Raises:
        InputError: It has another shape or dtype.
    """
    if lq.dtype != np.float32 or lq.ndim != 4 or lq.shape[1] != channels or min(lq.shape) < 1:
        problem = f"the model takes (N, {channels}, h, w) float32"
        raise InputError("images", f"{lq.dtype} {lq.shape}", problem, "Convert them.")
