"""Gradients of several batches that make one step of the optimizer (``train.accumulate``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from basicsr.utils import get_root_logger
from torch import Tensor, nn

STATE = "accumulated"
"""Key of a training state: what has been accumulated since the last step."""


class GradientAccumulation:
    """Sums up gradients batch by batch; in every k-th iteration the optimizer gets their mean.

    With losses that are means over a batch, k batches of equal size give the step of one that is k times as large. The
    sums are kept beside ``.grad``, so that each iteration by itself can be looked at, scaled and left out as it is
    without accumulation. They are the same on all ranks, as DDP averages the gradients of each batch.

    Args:
        batches: k, >= 1; with 1 the gradients stay where they are.
    """

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self._sums: list[Optional[Tensor]] = []
        self._count = 0

    def take(self, parameters: Sequence[nn.Parameter], counts: bool, iteration: int) -> bool:
        """Add an iteration's gradients; after the backward pass.

        Args:
            parameters: All that the optimizer trains, always in the same order.
            counts: Whether this batch counts; one with values that are not finite does not.
            iteration: Its number; the first is 1.

        Returns:
            Whether the optimizer takes a step now. The mean over the batches that counted is then in ``.grad``.
        """
        if self.batches == 1:
            return counts
        if counts:
            self._add(parameters)
        if iteration % self.batches or not self._count:
            return False
        for parameter, total in zip(parameters, self._sums):
            parameter.grad = None if total is None else total.div_(self._count)
        self._sums, self._count = [], 0
        return True

    def _add(self, parameters: Sequence[nn.Parameter]) -> None:
        sums = self._sums or [None] * len(parameters)
        self._sums, self._count = [], self._count + 1
        for parameter, total in zip(parameters, sums):
            found, parameter.grad = parameter.grad, None  # it is the sum's now, and nobody else writes to it
            self._sums.append(total if found is None else found if total is None else total.add_(found))

    def state_dict(self) -> dict[str, Any]:
        """What a training state needs; nothing directly after a step."""
        if not self._count:
            return {}
        sums = [None if total is None else total.cpu().clone() for total in self._sums]
        return {STATE: {"count": self._count, "sums": sums}}

    def load_state_dict(self, state: Mapping[str, Any], parameters: Sequence[nn.Parameter]) -> None:
        """Go on from a training state; what is not of these parameters is left out, and that is logged.

        Args:
            state: The training state.
            parameters: See :meth:`take`.
        """
        self._sums, self._count = [], 0
        if STATE not in state:
            return
        sums, count = state[STATE]["sums"], state[STATE]["count"]
        fits = len(sums) == len(parameters) and all(s is None or s.shape == p.shape for s, p in zip(sums, parameters))
        if not fits or self.batches == 1:
            text = f"The gradients of {count} batches since the last step are left out: the run has "
            get_root_logger().warning(text + ("no train.accumulate any more." if fits else "other connectors now."))
            return
        self._sums = [None if s is None else s.to(p.device, copy=True) for s, p in zip(sums, parameters)]
        self._count = count
