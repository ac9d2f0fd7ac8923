"""Everything of a distillation step that is not the student: source of targets, taps, connectors and terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional

import torch
from torch import Tensor, nn

from srkd_plugin.distill.connectors import Connectors
from srkd_plugin.distill.loss_calls import LossCall
from srkd_plugin.distill.taps import Taps, channels_of
from srkd_plugin.distill.targets.source import TargetSource
from srkd_plugin.distill.terms import DistillTerm


class StepLosses:
    """Computes the losses of all terms for one batch.

    Args:
        source: Where the teacher's images come from; built. Taps are set in it.
        student: The bare student network; taps are set in it.
        terms: The terms, in their order.

    Attributes:
        connectors: Their parameters train with the student; whoever trains may have them run in a DDP wrapper.

    Raises:
        OptionsError: A tap names a module that is not there, or there are taps and the source has no feature maps.
    """

    def __init__(self, source: TargetSource, student: nn.Module, terms: list[DistillTerm]) -> None:
        self.source = source
        self.terms = terms
        with_taps = {term.name: term.section.taps for term in terms if term.section.taps is not None}
        key = f"train.distill_opt.{'/'.join(with_taps)}.taps"
        of_teacher = [path for taps in with_taps.values() for path in taps.teacher]
        self._student_taps = Taps(student, [p for taps in with_taps.values() for p in taps.student], f"{key}.student")
        if of_teacher:
            source.set_taps(of_teacher, f"{key}.teacher")
        self.connectors = Connectors()

    @torch.no_grad()
    def build_connectors(self, student: nn.Module, lq: Tensor) -> None:
        """Add the connectors that the terms ask for, with the channels that are seen on a batch of inputs."""
        wanted = [
            (term.name, term.section.connector, term.section.taps)
            for term in self.terms
            if term.section.connector is not None and term.section.taps is not None
        ]
        if not wanted:
            return
        with self._student_taps.recording() as maps:
            student(lq)
            of_student = channels_of(maps, "train.distill_opt.<name>.taps.student")
        of_teacher = self.source.tap_channels(lq)
        for name, section, taps in wanted:
            channels = [(of_student[s], of_teacher[t]) for s, t in zip(taps.student, taps.teacher)]
            self.connectors.add(name, section, channels)
        self.connectors.to(lq.device)

    def reads(self, name: str, iteration: Optional[int] = None) -> bool:
        """Whether a term reads this of a step, in an iteration or in any."""
        terms = (term for term in self.terms if iteration is None or term.section.is_active(iteration))
        return any(name in term.reads for term in terms)

    def teachers_image(self, lq: Tensor, gt: Optional[Tensor]) -> Optional[Tensor]:
        """The teacher's image ``(N, C, H, W)`` of inputs that are not of the training set; None where none can be had.

        Args:
            lq: ``(N, C, h, w)`` of sides that it takes.
            gt: ``(N, C, H, W)``, where there is one.
        """
        ours = self.source.ours
        lacks_gt = gt is None and ours.teacher.combine == "nearest_gt"
        if not self.source.labels_any_input or not ours.reads_targets or lacks_gt:
            return None
        return self.source.targets({"lq": lq, "gt": gt}, with_maps=False).images

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the student's taps; the student runs, and :meth:`losses` is called, in this block."""
        with self._student_taps.recording() as self._student_maps:
            yield

    def losses(
        self,
        output: Tensor,
        batch: Mapping[str, Any],
        iteration: int,
        compute: Callable[[LossCall, Mapping[str, Any]], Tensor] = LossCall.__call__,
        without_gt: bool = False,
    ) -> dict[str, Tensor]:
        """The weighted losses of the terms that count in this iteration, by log name.

        The source is asked only if there is such a term.

        Args:
            output: ``(N, C, H, W)``, the student's SR images, with autograd history.
            batch: ``lq``, ``(N, C, h, w)``; ``gt``, ``(N, C, H, W)``, where the run has one; ``history``,
                ``(K, N, C, H, W)``, where a term reads it; what the source reads; and ``targets``, where it has been
                asked already.
            iteration: The first is 1.
            compute: Gives a term's loss of a step.
            without_gt: Leave out the terms that read ``gt``: these inputs are not meant to have one.

        Raises:
            OptionsError: The batch lacks what the source reads of it, or a loss cannot use what it is given.
        """
        active = [term for term in self.terms if term.section.is_active(iteration)]
        if without_gt:
            active = [term for term in active if "gt" not in term.reads]
        if not active:
            return {}
        with_maps = any(term.section.taps for term in active)
        images, teacher_maps = batch["targets"] if "targets" in batch else self.source.targets(batch, with_maps)
        of_batch = {name: batch[name] for name in ("lq", "gt", "history") if name in batch}
        step = {"student": output, "teacher": images, **of_batch}
        dtype = batch["lq"].dtype
        student_features = self._student_features(active, dtype)
        losses = {}
        for term in active:
            read, taps = dict(step), term.section.taps
            if taps is not None:
                read["student_taps"] = student_features[term.name]
                read["teacher_taps"] = [teacher_maps[path].to(dtype) for path in taps.teacher]
            losses[term.log_name] = compute(term, read)
        return losses

    def _student_features(self, active: list[DistillTerm], dtype: torch.dtype) -> dict[str, list[Tensor]]:
        """The student's maps of each term, connected; of the inputs' dtype, whatever precision the student runs in."""
        maps = {
            term.name: [self._student_maps[path].to(dtype) for path in term.section.taps.student]
            for term in active
            if term.section.taps is not None
        }
        return self.connectors(maps) if maps else {}

    def dry_run(self, student: nn.Module, lq: Tensor, gt: Tensor) -> None:
        """Run every term, each in the iteration in which it starts, with the source's example of what a batch brings.

        Raises:
            OptionsError: A term cannot use what it is given.
        """
        self.build_connectors(student, lq)
        batch = {"lq": lq, "gt": gt, "history": torch.rand(2, *gt.shape), **self.source.example(lq, gt)}
        for iteration in sorted({term.section.start for term in self.terms}):
            with self.recording():
                self.losses(student(lq), batch, iteration, compute=LossCall.try_out)
