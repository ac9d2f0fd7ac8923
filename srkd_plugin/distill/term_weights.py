"""What a term's loss is multiplied with in an iteration: its schedule, and the balance of its gradient with L_rec's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from torch import Tensor, nn

from srkd_plugin.options.term_sections import BalanceSection, TermSection
from srkd_plugin.training.grad_norms import gradient_norms

REFERENCE = "l_pix"
"""Log name of L_rec."""
MEASURED_AT_FIRST = 10
"""Iterations at its start in which a balance is measured every time: the ratio moves fastest there."""


class Balance:
    r"""Keeps the norm of a term's gradient at ``target`` times that of L_rec's.

    With r the running ratio of the two norms over the student's parameters, the loss is multiplied with target / r.
    r is the exponential moving average of the logarithm of the measured ratios, so that a ratio of 10 and one of 1/10
    cancel. A measurement in which either norm is 0 or not finite is left out; before the first, the factor is 1.
    """

    def __init__(self, section: BalanceSection) -> None:
        self.section = section
        self.log_ratio: Optional[float] = None
        self.measurements = 0

    def is_due(self, iteration: int) -> bool:
        """Whether the norms are measured in an iteration."""
        return self.measurements < MEASURED_AT_FIRST or iteration % self.section.every == 0

    def add(self, norm: float, reference: float) -> None:
        """Add a measurement: the norm of the unweighted term's gradient, and that of L_rec's."""
        if not (0 < norm < math.inf and 0 < reference < math.inf):
            return
        measured = math.log(norm / reference)
        keep = self.section.momentum if self.log_ratio is not None else 0.0
        self.log_ratio = keep * (self.log_ratio or 0.0) + (1 - keep) * measured
        self.measurements += 1

    @property
    def factor(self) -> float:
        """What the unweighted loss is multiplied with."""
        return 1.0 if self.log_ratio is None else self.section.target / math.exp(self.log_ratio)


class TermWeights:
    """Schedules and balances of all terms.

    Args:
        sections: The terms' options by log name.
    """

    def __init__(self, sections: Mapping[str, TermSection]) -> None:
        self.schedules = {name: section.schedule for name, section in sections.items() if section.schedule}
        self.balances = {name: Balance(section.balance) for name, section in sections.items() if section.balance}
        self._sections = sections

    def measures(self, iteration: int) -> bool:
        """Whether gradients will be measured in an iteration: the graph then stays for more backward passes."""
        due = (name for name, balance in self.balances.items() if balance.is_due(iteration))
        return any(self._sections[name].is_active(iteration) for name in due)

    def apply(
        self,
        losses: Mapping[str, Tensor],
        iteration: int,
        parameters: Sequence[nn.Parameter],
        scale: Callable[[], float] = lambda: 1.0,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Multiply the losses of a step with their factors.

        Args:
            losses: Losses by log name, L_rec among them if there are balances.
            iteration: The first is 1.
            parameters: The student's.
            scale: Called if gradients are measured; see :func:`srkd_plugin.training.grad_norms.gradient_norms`.

        Returns:
            All losses; and the factors, for the log, of those that have a schedule or a balance.
        """
        self._measure(losses, iteration, parameters, scale)
        factors = {}
        for name in losses:
            if name in self.balances or name in self.schedules:
                balance = self.balances[name].factor if name in self.balances else 1.0
                factors[name] = balance * interpolate(self.schedules.get(name) or [[1, 1.0]], iteration)
        weighted = {name: loss * factors[name] if name in factors else loss for name, loss in losses.items()}
        return weighted, {f"factor/{name}": losses[name].new_tensor(value) for name, value in factors.items()}

    def _measure(
        self,
        losses: Mapping[str, Tensor],
        iteration: int,
        parameters: Sequence[nn.Parameter],
        scale: Callable[[], float],
    ) -> None:
        due = [name for name in losses if name in self.balances and self.balances[name].is_due(iteration)]
        if not due:
            return
        norms = gradient_norms({name: losses[name] for name in (REFERENCE, *due)}, parameters, scale())
        for name in due:
            self.balances[name].add(norms[name].item(), norms[REFERENCE].item())

    def state_dict(self) -> dict[str, Any]:
        """The balances' state, for the training state."""
        return {name: [b.log_ratio, b.measurements] for name, b in self.balances.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take on a saved state; a balance that is new since then starts afresh."""
        for name, balance in self.balances.items():
            balance.log_ratio, balance.measurements = state.get(name, (None, 0))


def interpolate(schedule: Sequence[Sequence[float]], iteration: int) -> float:
    """The factor of a schedule ``[[iteration, factor], ...]``: linear between its points, constant outside."""
    if iteration <= schedule[0][0]:
        return schedule[0][1]
    for (before, low), (after, high) in zip(schedule, schedule[1:]):
        if iteration <= after:
            return low + (high - low) * (iteration - before) / (after - before)
    return schedule[-1][1]
