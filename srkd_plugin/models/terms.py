"""A distillation term: a named loss and the tensors of a step that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.losses import build_loss
from torch import Tensor, nn

from srkd_plugin.errors import OptionsError
from srkd_plugin.options import TermSection

DEFAULT_READS = ("student", "teacher")
"""What a loss that does not say what it reads is called with: BasicSR's own losses take (pred, target)."""


class DistillTerm:
    """One entry of ``train.distill_opt``.

    Args:
        name: Its name there; it is logged as ``l_<name>``.
        loss: The loss; an attribute ``reads`` may name the tensors that its ``forward`` takes, in their order, out of
            ``student``, ``teacher``, ``lq``, ``gt``.
    """

    def __init__(self, name: str, loss: nn.Module) -> None:
        self.name = name
        self.loss = loss
        self.reads: tuple[str, ...] = tuple(getattr(loss, "reads", DEFAULT_READS))

    @property
    def log_name(self) -> str:
        """The name under which BasicSR's loggers show the term."""
        return f"l_{self.name}"

    def __call__(self, step: Mapping[str, Tensor]) -> Tensor:
        """The weighted loss of a step, a 0-dim tensor.

        Raises:
            OptionsError: The loss reads something that this run does not have.
        """
        missing = [name for name in self.reads if name not in step]
        if missing:
            key, found = f"train.distill_opt.{self.name}", ", ".join(step)
            problem = f"it reads {missing[0]}, and a step of this run has {found}"
            raise OptionsError(key, type(self.loss).__name__, problem, "Use a data set that gives it.")
        return self.loss(*(step[name] for name in self.reads))


def build_terms(sections: Mapping[str, TermSection], device: Any) -> list[DistillTerm]:
    """The terms of the options, in their order."""
    return [DistillTerm(name, build_loss(section.loss_options()).to(device)) for name, section in sections.items()]
