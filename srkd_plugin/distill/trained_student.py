"""What is trained in the student's place, and what of it is saved: the network itself, or one with branches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from srkd_plugin.networks.reparameterize import fused_state_dict, reparameterize
from srkd_plugin.options.network_sections import StudentSection
from srkd_plugin.quantization.network import Int8Network


class TrainedStudent:
    """Adds to the student what trains beside its weights, and takes it away where the student is saved.

    Every method is given the bare student, which may be another object in the course of a run.

    Args:
        section: The options' ``student``.
    """

    def __init__(self, section: StudentSection) -> None:
        self._has_branches = section.reparameterize

    def prepare(self, student: nn.Module) -> bool:
        """Add branches where the options ask for them; the random state is left as it was.

        Returns:
            Whether parameters were added.

        Raises:
            OptionsError: The network has no convolution for them.
        """
        if not self._has_branches:
            return False
        with torch.random.fork_rng(devices=[]):  # the run draws what it would draw without branches
            names = reparameterize(student)
        trained = sum(p.numel() for p in student.parameters())
        get_root_logger().info(f"Branches beside {len(names)} convolutions; parameters that train: {trained:,d}.")
        return True

    def weights(self, student: nn.Module) -> Mapping[str, Tensor]:
        """State dict of the plain network, for checkpoints."""
        return fused_state_dict(student)

    @torch.no_grad()
    def average_into(self, average: nn.Module, student: nn.Module, decay: float) -> None:
        """Move a running average of the plain network's parameters on.

        Args:
            average: The average, a plain network.
            student: The bare student.
            decay: Share of the average that stays.
        """
        now = self.weights(student)
        for name, value in average.named_parameters():
            value.mul_(decay).add_(now[name], alpha=1 - decay)
        if isinstance(average, Int8Network):  # ranges and scales are no sums of many iterations' ones
            for name, buffer in average.named_buffers():
                buffer.copy_(now[name])

    def state(self, student: nn.Module) -> dict[str, Any]:
        """What a training state needs beside :meth:`weights`."""
        return {"branches": student.state_dict()} if self._has_branches else {}

    def load_state(self, student: nn.Module, state: Mapping[str, Any]) -> None:
        """Take on what :meth:`state` gave; the options are known to be those of the state."""
        if self._has_branches:
            student.load_state_dict(state["branches"])
