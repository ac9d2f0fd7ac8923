"""Everything of a distillation step that is not the student: teacher, taps, connectors and terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

import torch
from torch import Tensor, nn

from srkd_plugin.models.features import Connectors, Taps
from srkd_plugin.models.teacher import Teacher
from srkd_plugin.models.terms import DistillTerm


class Distiller:
    """Computes the losses of all terms for one batch.

    Args:
        teacher: The frozen teacher.
        student: The bare student network; taps are set in it.
        terms: The terms, in their order.

    Attributes:
        connectors: Their parameters train with the student; whoever trains may have them run in a DDP wrapper.

    Raises:
        OptionsError: A tap names a module that is not there.
    """

    def __init__(self, teacher: Teacher, student: nn.Module, terms: list[DistillTerm]) -> None:
        self.teacher = teacher
        self.terms = terms
        self._with_taps = {term.name: term.section.taps for term in terms if term.section.taps is not None}
        self._student_taps = self._set_taps(student, "student")
        self._teacher_taps = self._set_taps(teacher.net, "teacher")
        self.connectors = Connectors()

    def _set_taps(self, net: nn.Module, whose: str) -> Taps:
        paths = [path for taps in self._with_taps.values() for path in getattr(taps, whose)]
        terms = "/".join(self._with_taps)
        return Taps(net, paths, key=f"train.distill_opt.{terms}.taps.{whose}")

    @torch.no_grad()
    def build_connectors(self, student: nn.Module, lq: Tensor) -> None:
        """Add the connectors that the terms ask for, with the channels that are seen on a batch of inputs."""
        wanted = [term for term in self.terms if term.section.connector is not None]
        if not wanted:
            return
        with self._student_taps.recording() as of_student, self._teacher_taps.recording() as of_teacher:
            student(lq)
            self.teacher(lq)
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

    def losses(self, output: Tensor, lq: Tensor, gt: Optional[Tensor], iteration: int) -> dict[str, Tensor]:
        """The weighted losses of the terms that count in this iteration, by log name.

        The teacher runs only if there is such a term.

        Args:
            output: ``(N, C, H, W)``, the student's SR images, with autograd history.
            lq: ``(N, C, h, w)``, the inputs.
            gt: ``(N, C, H, W)``, or None where the run has none.
            iteration: The first is 1.
        """
        active = [term for term in self.terms if term.section.is_active(iteration)]
        if not active:
            return {}
        with self._teacher_taps.recording() as teacher_maps:
            images = {"student": output, "teacher": self.teacher(lq), "lq": lq}
            if gt is not None:
                images["gt"] = gt
            student_features = self._student_features(active)
            losses = {}
            for term in active:
                step = dict(images)
                if term.name in student_features:
                    step["student_taps"] = student_features[term.name]
                    step["teacher_taps"] = [teacher_maps[path] for path in term.section.taps.teacher]
                losses[term.log_name] = term(step)
            return losses

    def _student_features(self, active: list[DistillTerm]) -> dict[str, list[Tensor]]:
        maps = {
            term.name: [self._student_maps[path] for path in term.section.taps.student]
            for term in active
            if term.section.taps is not None
        }
        return self.connectors(maps) if maps else {}

    def dry_run(self, student: nn.Module, lq: Tensor, gt: Tensor) -> None:
        """Run every term, each in the iteration in which it starts.

        Raises:
            OptionsError: A term cannot use what it is given.
        """
        self.build_connectors(student, lq)
        for iteration in sorted({term.section.start for term in self.terms}):
            with self.recording():
                self.losses(student(lq), lq, gt, iteration)
