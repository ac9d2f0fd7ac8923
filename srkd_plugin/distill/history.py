"""The student as it was a while ago, whose images are negatives (``train.history``).

Dynamic Contrastive Knowledge Distillation (DCKD, AAAI 2025) pushes the student off what it gave before: negatives
that are always near, and come nearer as it learns. Some are made from noised inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.precision import MixedPrecision
from srkd_plugin.networks.reparameterize import fused_state_dict
from srkd_plugin.options.step_sections import HistorySection


class HistoryStudent:
    """A plain copy of the student that follows it in steps. It is in no checkpoint, and in the training state.

    It is built with the random state put back, and all ranks of a distributed run have the same one.

    Args:
        section: ``train.history``.
        network: ``network_g`` of the options.
        student: The bare student that it starts as, or its average.
        total_iter: Iterations of the run, which the parts of ``every`` divide.
        device: Where it runs.
    """

    def __init__(
        self,
        section: HistorySection,
        network: Mapping[str, Any],
        student: nn.Module,
        total_iter: int,
        device: torch.device,
    ) -> None:
        self._section, self._total_iter = section, total_iter
        with torch.random.fork_rng(devices=[]):
            self.net = build_described("network_g", dict(network)).to(device).eval().requires_grad_(False)
        self.net.load_state_dict(fused_state_dict(student))
        parameters = sum(p.numel() for p in self.net.parameters())
        get_root_logger().info(
            f"History student: {parameters:,d} parameters more in memory and in each training state, and "
            f"{1 + section.noised} forward passes more per input in each iteration in which a term reads it; it is "
            f"updated {len(updates(section, total_iter))} times in this run."
        )

    @torch.no_grad()
    def images(self, lq: Tensor, amp: MixedPrecision) -> Tensor:
        """Its images of a batch: the first of the inputs as they are, the others of noised ones.

        The noise is drawn on the CPU, whose random state a training state has, and not clipped.

        Args:
            lq: ``(N, C, h, w)`` in 0..1.
            amp: The precision in which the student runs.

        Returns:
            ``(1 + noised, N, C, H, W)``, of the dtype of ``lq``.
        """
        inputs = [lq]
        low, high = self._section.sigma
        for _ in range(self._section.noised):
            sigma = (low + (high - low) * torch.rand(len(lq), 1, 1, 1)) / 255
            inputs.append(lq + (sigma * torch.randn(lq.shape)).to(lq))
        return torch.stack([amp.forward(self.net, x) for x in inputs])

    @torch.no_grad()
    def follow(self, student: nn.Module, iteration: int) -> None:
        """Move on towards the student, if it is time; at the end of each iteration.

        Args:
            student: The bare student, or its average.
            iteration: The one that ends; the first is 1.
        """
        if not is_update(self._section, self._total_iter, iteration):
            return
        now = fused_state_dict(student)
        for name, value in self.net.named_parameters():
            value.mul_(self._section.keep).add_(now[name], alpha=1 - self._section.keep)
        for name, buffer in self.net.named_buffers():
            buffer.copy_(now.get(name, buffer))


def is_update(section: HistorySection, total_iter: int, iteration: int) -> bool:
    """Whether the history student is updated at the end of an iteration; its number alone decides, also on resume."""
    parts = len(section.every)
    return iteration % section.every[min((iteration - 1) * parts // total_iter, parts - 1)] == 0


def updates(section: HistorySection, total_iter: int) -> list[int]:
    """The iterations of a run at whose end the history student is updated."""
    return [i for i in range(1, total_iter + 1) if is_update(section, total_iter, i)]
