"""A distillation term: a named loss, the tensors of a step that it reads, and when it counts."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from basicsr.losses import build_loss
from basicsr.losses.gan_loss import GANLoss
from torch import Tensor, nn

from srkd_plugin.errors import OptionsError, nearest
from srkd_plugin.options.sections import TermSection

READABLE = ("student", "teacher", "lq", "gt", "student_taps", "teacher_taps")
"""What a loss may read of a step: images, and lists of feature maps."""
DEFAULT_READS = ("student", "teacher")
"""What a loss that does not say what it reads is called with: BasicSR's own losses take (pred, target)."""
TAPS = ("student_taps", "teacher_taps")
NO_IMAGES = ("weight", "weights", "mask", "target_is_real")
"""Names of arguments of a ``forward`` that take no image to compare with."""


class DistillTerm:
    """One entry of ``train.distill_opt``.

    Args:
        name: Its name there; it is logged as ``l_<name>``.
        loss: The loss; an attribute ``reads`` may name the tensors that its ``forward`` takes, in their order, out of
            :data:`READABLE`; feature maps of the student are those after the term's connectors. Without it the loss is
            called with :data:`DEFAULT_READS`.
        section: Its options.

    Raises:
        OptionsError: ``reads`` is not of that kind or not what ``forward`` takes; or the loss reads feature maps and
            the options name none, or the other way round.
    """

    def __init__(self, name: str, loss: nn.Module, section: TermSection) -> None:
        self.name = name
        self.loss = loss
        self.section = section
        self.key = f"train.distill_opt.{name}"
        self._kind = type(loss).__name__
        if isinstance(loss, GANLoss):
            raise self._error(
                "an adversarial loss needs a discriminator, and DistillModel has none", "Remove the term."
            )
        self.reads = self._checked_reads()
        self._check_signature()
        self._check_taps()

    @property
    def log_name(self) -> str:
        """The name under which BasicSR's loggers show the term."""
        return f"l_{self.name}"

    def __call__(self, step: Mapping[str, Any]) -> Tensor:
        """The weighted loss of a step, a 0-dim tensor.

        Args:
            step: By name, out of :data:`READABLE`, what this step has.

        Raises:
            OptionsError: The loss reads something that this run does not have, cannot use what it has, or gives
                something else than a 0-dim tensor.
        """
        missing = [name for name in self.reads if name not in step]
        if missing:
            problem = f"it reads {missing[0]}, and a step of this run has {', '.join(step)}"
            raise self._error(problem, "Use a data set that gives it.")
        try:
            loss = self.loss(*(step[name] for name in self.reads))
        except ValueError as error:
            raise self._error(str(error), "Correct the term.") from error
        if not isinstance(loss, Tensor):
            raise self._error(f"it gives a {type(loss).__name__}, and no tensor", "Use a loss that gives one number.")
        if loss.dim() != 0:
            problem = f"it gives a tensor of shape {tuple(loss.shape)}, and no single number"
            raise self._error(problem, "Write reduction: mean, or use a loss that gives one number.")
        return loss

    def try_out(self, step: Mapping[str, Any]) -> Tensor:
        """The loss of a small batch before the run, where whatever the loss raises is an error of the options.

        Raises:
            OptionsError: See :meth:`__call__`; and if the loss fails.
        """
        try:
            return self(step)
        except OptionsError:
            raise
        except Exception as error:
            lines = str(error).splitlines() or [type(error).__name__]
            raise self._error(f"it fails on a small batch ({lines[0]})", "Correct the term.") from error

    def _error(self, problem: str, remedy: str) -> OptionsError:
        return OptionsError(self.key, self._kind, problem, remedy)

    def _checked_reads(self) -> tuple[str, ...]:
        reads = getattr(self.loss, "reads", DEFAULT_READS)
        if not isinstance(reads, (tuple, list)) or not reads or not all(isinstance(name, str) for name in reads):
            problem = f"its reads is {reads!r}, where a tuple of names is expected"
            raise self._error(problem, f"Correct `reads`, e.g. {DEFAULT_READS}.")
        unknown = [name for name in reads if name not in READABLE]
        if unknown:
            problem = f"its reads names {unknown[0]!r}, which no step has"
            raise self._error(problem, f"Correct `reads`. {nearest(unknown[0], READABLE)}")
        return tuple(reads)

    def _check_signature(self) -> None:
        """Whether ``forward`` takes as many tensors, and takes them for images or feature maps."""
        try:
            signature = inspect.signature(self.loss.forward)
        except ValueError:  # of a compiled or scripted module; trying it out will show
            return
        try:
            bound = signature.bind(*self.reads)
        except TypeError as error:
            problem = f"its forward{signature} does not take {', '.join(self.reads)} ({error})"
            raise self._error(problem, "Correct `reads`.") from error
        for parameter, given in bound.arguments.items():
            if parameter in NO_IMAGES:
                problem = f"its forward{signature} would take {given} as its {parameter}"
                raise self._error(problem, "Correct `reads`, or use a loss that compares with the teacher's images.")

    def _check_taps(self) -> None:
        reads_taps = any(name in self.reads for name in TAPS)
        taps, kind = self.section.taps, self._kind
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
