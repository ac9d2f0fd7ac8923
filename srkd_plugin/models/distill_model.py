"""The BasicSR model that distils a teacher into a student."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.utils.data import DataLoader

from srkd_plugin import options
from srkd_plugin.models.checkpoint import save_atomically
from srkd_plugin.models.distiller import Distiller
from srkd_plugin.models.grad_norms import describe_balance, gradient_norms
from srkd_plugin.models.split_validation import validate_split
from srkd_plugin.models.student_init import cut_from_teacher
from srkd_plugin.models.teacher import build_teacher
from srkd_plugin.models.term_weights import TermWeights
from srkd_plugin.models.terms import build_terms
from srkd_plugin.utils import ranks


@MODEL_REGISTRY.register()
class DistillModel(SRModel):
    """SRModel whose student ``network_g`` also learns from a frozen teacher ``network_t``.

    The loss is SRModel's (``pixel_opt``, ``perceptual_opt``; either or both may be absent) plus every term of
    ``train.distill_opt``, each a registered loss with its own ``loss_weight``; nothing is rescaled. Whatever else
    SRModel does (EMA, schedulers, validation, loggers, checkpoints) is SRModel's. The teacher is built for training
    only. See :mod:`srkd_plugin.options` for the keys.

    Raises:
        OptionsError: The options ask for something that cannot be; with BasicSR's trainer this has been found before.
    """

    def init_training_settings(self) -> None:
        """Build the teacher and the terms, then everything that SRModel trains with."""
        distillation = options.read(self.opt)
        self.distiller = self._build_distiller(distillation)
        self._initialise_student(distillation.student)
        self.term_weights = TermWeights({term.log_name: term.section for term in self.distiller.terms})
        self.grad_norm_log = distillation.grad_norm_log
        self._grad_norms_logged = 0

        train_opt = self.opt["train"]
        without_gt = not train_opt.get("pixel_opt") and not train_opt.get("perceptual_opt")
        if without_gt:  # pure distillation: SRModel insists on a loss, so it gets one until it is set up
            train_opt["pixel_opt"] = {"type": "L1Loss"}
        super().init_training_settings()
        if without_gt:
            self.cri_pix = None

    def _build_distiller(self, distillation: options.Distillation) -> Distiller:
        student = self.get_bare_model(self.net_g)
        # a teacher that the student is cut from, and nothing else, need not take the GPU's memory
        teacher = build_teacher(distillation, self.device if distillation.terms else torch.device("cpu"))
        if distillation.teacher.random_init:  # BasicSR seeds every rank differently
            ranks.make_equal(teacher.net.parameters(), self.device)
        distiller = Distiller(teacher, student, build_terms(distillation.terms, self.device))
        channels, side = options.lq_shape(self.opt)
        with torch.random.fork_rng(devices=[]):  # the run is to start as it would without connectors
            distiller.build_connectors(student, torch.rand(1, channels, side, side).to(self.device))
        if any(True for _ in distiller.connectors.parameters()):
            self.print_network(distiller.connectors)
            distiller.connectors.wrap(self.model_to_device)
        return distiller

    def _initialise_student(self, section: options.StudentSection) -> None:
        """Before SRModel copies the student for EMA. Weights that were loaded, above all on resume, are left alone."""
        path = self.opt["path"]
        if section.init != "teacher_slice" or path.get("resume_state") or path.get("pretrain_network_g"):
            return
        cut_from_teacher(self.get_bare_model(self.net_g), self.distiller.teacher.net)
        get_root_logger().info("The student starts as a slice of the teacher (student.init: teacher_slice).")

    def setup_optimizers(self) -> None:
        """SRModel's optimizer of the student, with the connectors as a second group of the same settings."""
        super().setup_optimizers()
        connectors = list(self.distiller.connectors.parameters())
        if connectors:
            self.optimizer_g.add_param_group({"params": connectors})

    def optimize_parameters(self, current_iter: int) -> None:
        """One training step.

        Raises:
            FloatingPointError: A loss is NaN or infinite; nothing has been updated.
        """
        self.optimizer_g.zero_grad()
        with self.distiller.recording():
            self.output = self.net_g(self.lq)
            to_teacher = self.distiller.losses(self.output, self.lq, getattr(self, "gt", None), current_iter)
        losses = OrderedDict(**self._losses_to_gt(), **to_teacher)
        self._refuse_nonfinite(losses, current_iter)
        losses, factors = self.term_weights.apply(losses, current_iter, self._student_parameters())
        log = OrderedDict(**losses, **factors)
        if self._grad_norms_due(current_iter):
            log.update(self._measure_grad_norms(losses))

        self._total(losses).backward()
        self.optimizer_g.step()

        self.log_dict = self.reduce_loss_dict(log)
        self._report_grad_norms(current_iter)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def dist_validation(self, dataloader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool) -> None:
        """SRModel's validation, split over the ranks; stock has rank 0 do all of it while the others wait."""
        validate_split(self, self.nondist_validation, dataloader, current_iter, tb_logger, save_img)

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """SRModel's training state, and that of the connectors and the terms' balances; rank 0 only."""
        if current_iter == -1 or self.opt["rank"] != 0:
            return
        state = {
            "epoch": epoch,
            "iter": current_iter,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "connectors": self.get_bare_model(self.distiller.connectors).state_dict(),
            "term_weights": self.term_weights.state_dict(),
        }
        save_atomically(state, os.path.join(self.opt["path"]["training_states"], f"{current_iter}.state"))

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Go on from a training state."""
        super().resume_training(resume_state)
        self.get_bare_model(self.distiller.connectors).load_state_dict(resume_state["connectors"])
        self.term_weights.load_state_dict(resume_state["term_weights"])

    def _losses_to_gt(self) -> dict[str, Tensor]:
        losses = {}
        if self.cri_pix:
            losses["l_pix"] = self.cri_pix(self.output, self.gt)
        if self.cri_perceptual:
            percep, style = self.cri_perceptual(self.output, self.gt)
            losses.update({k: v for k, v in (("l_percep", percep), ("l_style", style)) if v is not None})
        return losses

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        """The sum; DDP waits for a gradient of every parameter, also where only feature maps are compared."""
        total = sum(losses.values())
        pure = not self.cri_pix and not self.cri_perceptual
        return total + 0.0 * self.output.sum() if self.opt["dist"] and pure else total

    @staticmethod
    def _refuse_nonfinite(losses: dict[str, Tensor], current_iter: int) -> None:
        values = torch.stack([loss.detach().float() for loss in losses.values()])
        finite = values.isfinite().tolist()
        if not all(finite):
            bad = [f"{name} = {value}" for name, value, ok in zip(losses, values.tolist(), finite) if not ok]
            raise FloatingPointError(
                f"iteration {current_iter}: {', '.join(bad)}. The weights are those of iteration {current_iter - 1}; "
                "nothing was saved. Lower the term's loss_weight or the learning rate, or look for NaN in the data."
            )

    def _grad_norms_due(self, current_iter: int) -> bool:
        if self._grad_norms_logged < self.grad_norm_log.first:
            return True
        return self.grad_norm_log.every > 0 and current_iter % self.grad_norm_log.every == 0

    def _student_parameters(self) -> list[nn.Parameter]:
        return [p for p in self.get_bare_model(self.net_g).parameters() if p.requires_grad]

    def _measure_grad_norms(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        norms = gradient_norms(losses, self._student_parameters())
        self._grad_norms_logged += 1
        return {f"grad_norm/{name}": norm for name, norm in norms.items()}

    def _report_grad_norms(self, current_iter: int) -> None:
        prefix = "grad_norm/"
        norms = {k[len(prefix) :]: v for k, v in self.log_dict.items() if k.startswith(prefix)}
        if norms:
            balance = describe_balance(norms, reference="l_pix")
            get_root_logger().info(f"Gradient norms over the student, iter {current_iter:,d}: {balance}")
