"""A distillation term: a named loss, the tensors of a step that it reads, and when it counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.losses import build_loss
from torch import Tensor, nn

from srkd_plugin.errors import OptionsError
from srkd_plugin.options.sections import TermSection

DEFAULT_READS = ("student", "teacher")
"""What a loss that does not say what it reads is called with: BasicSR's own losses take (pred, target)."""


class DistillTerm:
    """One entry of ``train.distill_opt``.

    Args:
        name: Its name there; it is logged as ``l_<name>``.
        loss: The loss; an attribute ``reads`` may name the tensors that its ``forward`` takes, in their order, out of
            ``student``, ``teacher``, ``lq``, ``gt`` (images) and ``student_taps``, ``teacher_taps`` (lists of feature
            maps, the student's through the connectors if the term has some).
        section: Its options.

    Raises:
        OptionsError: The loss reads feature maps and the options name none, or the other way round.
    """

    def __init__(self, name: str, loss: nn.Module, section: TermSection) -> None:
        self.name = name
        self.loss = loss
        self.section = section
        self.key = f"train.distill_opt.{name}"
        self.reads: tuple[str, ...] = tuple(getattr(loss, "reads", DEFAULT_READS))
        self._check_taps()

    @property
    def log_name(self) -> str:
        """The name under which BasicSR's loggers show the term."""
        return f"l_{self.name}"

    def __call__(self, step: Mapping[str, Any]) -> Tensor:
        """The weighted loss of a step, a 0-dim tensor.

        Raises:
            OptionsError: The loss reads something that this run does not have, or cannot use what it has.
        """
        missing = [name for name in self.reads if name not in step]
        if missing:
            problem = f"it reads {missing[0]}, and a step of this run has {', '.join(step)}"
            raise OptionsError(self.key, type(self.loss).__name__, problem, "Use a data set that gives it.")
        try:
            return self.loss(*(step[name] for name in self.reads))
        except ValueError as error:
            raise OptionsError(self.key, type(self.loss).__name__, str(error), "Correct the term.") from error

    def _check_taps(self) -> None:
        reads_taps = "student_taps" in self.reads
        taps, kind = self.section.taps, type(self.loss).__name__
        if reads_taps and taps is None:
            remedy = "Add taps: {student: [...], teacher: [...]}, module paths such as conv_after_body."
            raise OptionsError(f"{self.key}.taps", None, f"{kind} compares feature maps, and none are named", remedy)
        for name in ("taps", "connector"):
            if not reads_taps and getattr(self.section, name) is not None:
                raise OptionsError(f"{self.key}.{name}", "...", f"{kind} reads no feature maps", f"Remove {name}.")
        if taps is not None and len(taps.student) != len(taps.teacher):
            problem = f"there are {len(taps.student)} taps of the student and {len(taps.teacher)} of the teacher"
            raise OptionsError(f"{self.key}.taps", taps.model_dump(), problem, "Name them pair by pair.")


def build_terms(sections: Mapping[str, TermSection], device: Any) -> list[DistillTerm]:
    """The terms of the options, in their order."""
    return [
        DistillTerm(name, build_loss(section.loss_options()).to(device), section) for name, section in sections.items()
    ]
