"""Everything of a distillation step that is not the student: teacher, taps, connectors and terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

import torch
from torch import Tensor, nn

from srkd_plugin.distill.connectors import Connectors
from srkd_plugin.distill.taps import Taps
from srkd_plugin.distill.terms import DistillTerm
from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.networks.teacher import Teacher


class StepLosses:
    """Computes the losses of all terms for one batch.

    Args:
        teacher: The frozen teacher; None if every batch brings its images.
        student: The bare student network; taps are set in it.
        terms: The terms, in their order.

    Attributes:
        connectors: Their parameters train with the student; whoever trains may have them run in a DDP wrapper.

    Raises:
        OptionsError: A tap names a module that is not there, or there are taps and no teacher.
    """

    def __init__(self, teacher: Optional[Teacher], student: nn.Module, terms: list[DistillTerm]) -> None:
        self.teacher = teacher
        self.terms = terms
        self._with_taps = {term.name: term.section.taps for term in terms if term.section.taps is not None}
        self._student_taps = self._set_taps(student, "student")
        self._teacher_taps = self._set_taps(teacher.net if teacher else None, "teacher")
        self.connectors = Connectors()

    def _set_taps(self, net: Optional[nn.Module], whose: str) -> Taps:
        paths = [path for taps in self._with_taps.values() for path in getattr(taps, whose)]
        key = f"train.distill_opt.{'/'.join(self._with_taps)}.taps"
        if net is None and paths:
            problem = "a teacher cache holds the teacher's images, and not its feature maps"
            remedy = "Write datasets.train.type: PairedImageDataset, so that the teacher runs; or remove the term."
            raise OptionsError(key, paths, problem, remedy)
        return Taps(nn.Identity() if net is None else net, paths, key=f"{key}.{whose}")

    @torch.no_grad()
    def build_connectors(self, student: nn.Module, lq: Tensor) -> None:
        """Add the connectors that the terms ask for, with the channels that are seen on a batch of inputs."""
        wanted = [term for term in self.terms if term.section.connector is not None]
        if not wanted:
            return
        with self._student_taps.recording() as of_student, self._teacher_taps.recording() as of_teacher:
            student(lq)
            self.teacher.net(lq)  # not compiled for a shape that does not come again
            for term in wanted:
                taps = term.section.taps
                pairs = zip(taps.student, taps.teacher)
                channels = [(of_student[s].shape[1], of_teacher[t].shape[1]) for s, t in pairs]
                self.connectors.add(term.name, term.section.connector, channels)
        self.connectors.to(lq.device)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the student's taps; the student runs, and :meth:`losses` is called, in this block."""
        with self._student_taps.recording() as self._student_maps:
            yield

    def losses(
        self,
        output: Tensor,
        lq: Tensor,
        gt: Optional[Tensor],
        iteration: int,
        target: Optional[Tensor] = None,
    ) -> dict[str, Tensor]:
        """The weighted losses of the terms that count in this iteration, by log name.

        The teacher runs only if there is such a term, and if the batch did not bring its images or feature maps are
        compared.

        Args:
            output: ``(N, C, H, W)``, the student's SR images, with autograd history.
            lq: ``(N, C, h, w)``, the inputs.
            gt: ``(N, C, H, W)``, or None where the run has none.
            iteration: The first is 1.
            target: ``(N, C, H, W)``, the teacher's images, if the batch brought them.

        Raises:
            OptionsError: There are neither the teacher's images nor a teacher, or a loss cannot use what it is given.
        """
        active = [term for term in self.terms if term.section.is_active(iteration)]
        if not active:
            return {}
        with self._teacher_taps.recording() as teacher_maps:
            if target is None or any(term.section.taps for term in active):
                target = self._run_teacher(lq)
            images = {"student": output, "teacher": target, "lq": lq}
            if gt is not None:
                images["gt"] = gt
            student_features = self._student_features(active, lq.dtype)
            losses = {}
            for term in active:
                step = dict(images)
                if term.name in student_features:
                    step["student_taps"] = student_features[term.name]
                    step["teacher_taps"] = [teacher_maps[path].to(lq.dtype) for path in term.section.taps.teacher]
                losses[term.log_name] = term(step)
            return losses

    def _run_teacher(self, lq: Tensor) -> Tensor:
        if self.teacher is None:
            problem = "the batch has no teacher image, and there is no teacher"
            raise OptionsError("datasets.train.type", MISSING, problem, "Use a data set that gives it.")
        return self.teacher(lq)

    def _student_features(self, active: list[DistillTerm], dtype: torch.dtype) -> dict[str, list[Tensor]]:
        """The student's maps of each term, connected; of the inputs' dtype, whatever precision the student runs in."""
        maps = {
            term.name: [self._student_maps[path].to(dtype) for path in term.section.taps.student]
            for term in active
            if term.section.taps is not None
        }
        return self.connectors(maps) if maps else {}

    def dry_run(self, student: nn.Module, lq: Tensor, gt: Tensor) -> None:
        """Run every term, each in the iteration in which it starts; without a teacher, with ``gt`` for its images.

        Raises:
            OptionsError: A term cannot use what it is given.
        """
        self.build_connectors(student, lq)
        for iteration in sorted({term.section.start for term in self.terms}):
            with self.recording():
                self.losses(student(lq), lq, gt, iteration, target=None if self.teacher else gt)
