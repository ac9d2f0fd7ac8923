"""A model that runs in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from srkd_plugin.networks.padding import run_padded, size_multiple
from srkd_plugin.networks.student_file import StudentFile
from srkd_plugin.runtimes.upscaler import check_images


class TorchUpscaler:
    """A network of BasicSR's registry, or any other, in torch.

    Args:
        net: The network with its weights; put into eval mode.
        scale: SR factor.
        channels: Channels of its input.
        device: Where it runs; images come from host memory and go back there.
        name: See :class:`~srkd_plugin.runtimes.upscaler.Upscaler`.
    """

    def __init__(
        self, net: nn.Module, scale: int, channels: int = 3, device: str = "cpu", name: str = "torch float32"
    ) -> None:
        self.net = net.eval().to(device)
        self.scale, self.channels, self.name = scale, channels, name
        self._device = device
        self.multiple = size_multiple(self.net, channels, scale) or 1  # or the network says itself what fails
        """Its input sides are padded to multiples of this."""

    @classmethod
    def of(cls, student: StudentFile, device: str = "cpu") -> TorchUpscaler:
        """The network of a file.

        Raises:
            OptionsError: It cannot be built.
        """
        return cls(student.build(), student.scale, student.channels, device)

    @torch.no_grad()
    def __call__(self, lq: np.ndarray) -> np.ndarray:
        """Upscale images; see :class:`~srkd_plugin.runtimes.upscaler.Upscaler`."""
        check_images(lq, self.channels)
        batch = torch.from_numpy(np.ascontiguousarray(lq)).to(self._device)
        return run_padded(self.net, batch, self.multiple, self.scale).cpu().numpy()
