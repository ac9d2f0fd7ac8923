"""A distillation term: a named loss, the tensors of a step that it reads, and when it counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from srkd_plugin.distill.loss_calls import LossCall, build_described_loss
from srkd_plugin.errors import OptionsError, nearest
from srkd_plugin.options.term_sections import TermSection

READABLE = ("student", "teacher", "lq", "gt", "history", "student_taps", "teacher_taps")
"""What a loss may read of a step: images, several images of each by an earlier student, and lists of feature maps."""
DEFAULT_READS = ("student", "teacher")
"""What a loss that does not say what it reads is called with: BasicSR's own losses take (pred, target)."""
TAPS = ("student_taps", "teacher_taps")


class DistillTerm(LossCall):
    """One entry of ``train.distill_opt``.

    Args:
        name: Its name there; it is logged as ``l_<name>``.
        loss: The loss; an attribute ``reads`` may name the tensors that its ``forward`` takes, in their order, out of
            :data:`READABLE`; feature maps of the student are those after the term's connectors. Without it the loss is
            called with :data:`DEFAULT_READS`.
        section: Its options.

    Raises:
        OptionsError: The loss needs a discriminator; ``reads`` is not of that kind or not what ``forward`` takes; or
            the loss reads feature maps and the options name none, or the other way round.
    """

    remedy = "Correct `reads`."

    def __init__(self, name: str, loss: nn.Module, section: TermSection) -> None:
        self.name = name
        self.section = section
        key = f"train.distill_opt.{name}"
        super().__init__(key, loss, checked_reads(key, loss))
        self._check_taps()

    @property
    def log_name(self) -> str:
        """The name under which BasicSR's loggers show the term."""
        return f"l_{self.name}"

    def _check_taps(self) -> None:
        reads_taps = any(name in self.reads for name in TAPS)
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


def checked_reads(key: str, loss: nn.Module) -> tuple[str, ...]:
    """What a loss says that it reads, or :data:`DEFAULT_READS`.

    Raises:
        OptionsError: Its ``reads`` is no tuple of names, or has one that no step has.
    """
    reads, kind = getattr(loss, "reads", DEFAULT_READS), type(loss).__name__
    if not isinstance(reads, (tuple, list)) or not reads or not all(isinstance(name, str) for name in reads):
        problem = f"its reads is {reads!r}, where a tuple of names is expected"
        raise OptionsError(key, kind, problem, f"Correct `reads`, e.g. {DEFAULT_READS}.")
    unknown = [name for name in reads if name not in READABLE]
    if unknown:
        problem = f"its reads names {unknown[0]!r}, which no step has"
        raise OptionsError(key, kind, problem, f"Correct `reads`. {nearest(unknown[0], READABLE)}")
    return tuple(reads)


def build_terms(sections: Mapping[str, TermSection], device: Any) -> list[DistillTerm]:
    """Build the terms of the options, in their order.

    Raises:
        OptionsError: A loss cannot be built, or is no term; see :class:`DistillTerm`.
    """
    terms = []
    for name, section in sections.items():
        loss = build_described_loss(f"train.distill_opt.{name}", section.loss_options())
        terms.append(DistillTerm(name, loss.to(device), section))
    return terms
