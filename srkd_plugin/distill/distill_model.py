"""The BasicSR model that distils a teacher into a student."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial, reduce
from typing import Any, Optional

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from srkd_plugin.distill.history import HistoryStudent
from srkd_plugin.distill.int8_training import Int8Training
from srkd_plugin.distill.samples import Part
from srkd_plugin.distill.step_inputs import StepInputs
from srkd_plugin.distill.step_losses import StepLosses
from srkd_plugin.distill.student_start import cut_student
from srkd_plugin.distill.targets.find import find_source
from srkd_plugin.distill.term_weights import TermWeights
from srkd_plugin.distill.terms import build_terms
from srkd_plugin.distill.trained_student import TrainedStudent
from srkd_plugin.networks.precision import MixedPrecision, compiled, set_tf32
from srkd_plugin.networks.weights_file import student_weights
from srkd_plugin.options import reader
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.parallel import ranks
from srkd_plugin.training import stop_signals
from srkd_plugin.training.any_size_model import AnySizeModel
from srkd_plugin.training.checkpoints import describe_files
from srkd_plugin.training.finite_steps import terms_with_bad_gradient
from srkd_plugin.training.grad_norms import LOGGED, gradient_norms, report_norms
from srkd_plugin.training.gradient_accumulation import GradientAccumulation
from srkd_plugin.training.resume_optimizer import fit_second_group


@MODEL_REGISTRY.register()
class DistillModel(AnySizeModel):
    """SRModel whose student ``network_g`` also learns from a frozen teacher ``network_t``.

    The loss is SRModel's (``pixel_opt``, ``perceptual_opt``; either or both may be absent) plus every term of
    ``train.distill_opt``, each a registered loss with its own ``loss_weight``; nothing is rescaled. Checkpoints,
    resuming and validation on several ranks are :class:`~srkd_plugin.training.resumable.ResumableModel`'s; whatever
    else SRModel does (EMA, schedulers, metrics, loggers) is SRModel's. Where the teacher's images come from is chosen
    by the options (:mod:`srkd_plugin.distill.targets`), for training only. See :mod:`srkd_plugin.options.sections` for
    the keys.

    Raises:
        OptionsError: The options ask for something that cannot be; with BasicSR's trainer this has been found before.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.int8 = Int8Training(opt)  # before SRModel builds the student, and its average
        super().__init__(opt)

    def init_training_settings(self) -> None:
        """Build the teacher and the terms, then everything that SRModel trains with."""
        options = reader.read(self.int8.as_written(self.opt))
        ours = options.ours
        set_tf32(ours.run.tf32)
        self.amp = MixedPrecision(ours.amp, self.device)
        self.step_losses = self._build_step_losses(options)
        self._initialise_student(options)
        self.trained_student = TrainedStudent(ours.student)
        if self.trained_student.prepare(self.get_bare_model(self.net_g)):
            # once more: DDP makes the ranks' parameters equal, and looks for those that it averages, when it wraps
            self.net_g = self.model_to_device(self.get_bare_model(self.net_g))
        # beside net_g, not in its place: checkpoints and validation know nothing of it
        self._trained_net = compiled(self.net_g) if ours.student.compile else self.net_g
        self.term_weights = TermWeights({term.log_name: term.section for term in self.step_losses.terms})
        self.grad_norm_log = ours.grad_norm_log
        self.step_inputs = StepInputs(ours, self.opt["scale"], self.step_losses.source)
        self.accumulation = GradientAccumulation(ours.accumulation.accumulate)
        self._prepare_run(options, self.step_losses.source.files_sha256())

        train_opt = self.opt["train"]
        without_gt = not train_opt.get("pixel_opt") and not train_opt.get("perceptual_opt")
        if without_gt:  # pure distillation: SRModel insists on a loss, so it gets one until it is set up
            train_opt["pixel_opt"] = {"type": "L1Loss"}
        super().init_training_settings()
        if without_gt:
            self.cri_pix = None
        self.history = self._build_history(options)

    def _build_step_losses(self, options: RunOptions) -> StepLosses:
        student = self.get_bare_model(self.net_g)
        source = find_source(options)
        source.build(self.device)
        step_losses = StepLosses(source, student, build_terms(options.ours.terms, self.device))
        channels, side = options.lq_shape
        with torch.random.fork_rng(devices=[]):  # the run must start as it would without connectors
            step_losses.build_connectors(student, torch.rand(1, channels, side, side).to(self.device))
        if any(True for _ in step_losses.connectors.parameters()):
            self.print_network(step_losses.connectors)
            step_losses.connectors.wrap(self.model_to_device)
        return step_losses

    def _build_history(self, options: RunOptions) -> Optional[HistoryStudent]:
        if not self.step_losses.reads("history"):
            return None
        section, total_iter = options.ours.history, int(options.stock.train.total_iter)
        return HistoryStudent(section, self.opt["network_g"], self.averaged_student(), total_iter, self.device)

    def _initialise_student(self, options: RunOptions) -> None:
        """Cut the student, before SRModel copies it for EMA. Loaded weights are left alone."""
        path, student = self.opt["path"], self.get_bare_model(self.net_g)
        has_weights = path.get("resume_state") or path.get("pretrain_network_g")
        if options.ours.student.init == "teacher_slice" and not has_weights:
            get_root_logger().info(cut_student(student, options, self.step_losses.source))

    def _student_weights(self) -> Mapping[str, Tensor]:
        """Those of the plain network, whatever trains beside it."""
        return self.trained_student.weights(self.get_bare_model(self.net_g))

    def model_ema(self, decay: float = 0.999) -> None:
        """Move SRModel's running average on, which is a plain network, too."""
        self.trained_student.average_into(self.net_g_ema, self.get_bare_model(self.net_g), decay)

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: Optional[str] = "params"
    ) -> None:
        """Load the student's weights as SRModel does, but read nothing but tensors from the file.

        Raises:
            OptionsError: The file is not there, not readable or not trusted, or does not fit.
        """
        weights = student_weights(self.opt, load_path, param_key, strict)
        self.int8.load(weights, self.get_bare_model(net), self.opt)
        name = type(self.get_bare_model(net)).__name__
        get_root_logger().info(f"Loading {name} model from {load_path}, with param key: [{param_key}].")

    def teachers_image(self, lq: Tensor, gt: Optional[Tensor]) -> Optional[Tensor]:
        """See :meth:`StepLosses.teachers_image`."""
        return self.step_losses.teachers_image(lq, gt)

    def setup_optimizers(self) -> None:
        """SRModel's optimizer of the student, with the connectors as a second group of the same settings."""
        super().setup_optimizers()
        connectors = list(self.step_losses.connectors.parameters())
        if connectors:
            self.optimizer_g.add_param_group({"params": connectors})

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """SRModel's images; what the source of targets reads of the batch; and the file names, for errors."""
        self.__dict__.pop("gt", None)  # of the batch before: a set without GT would be compared with it
        super().feed_data(data)
        keys = self.step_losses.source.batch_keys if self.is_train else ()
        given = {key: data[key] for key in keys if key in data}
        self._for_source = {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in given.items()}
        self._files = {key: data[key] for key in ("lq_path", "gt_path") if key in data}

    def optimize_parameters(self, current_iter: int) -> None:
        """One training step.

        Raises:
            FloatingPointError: A loss or gradient is NaN or infinite (see ``nan_policy``); nothing has been updated.
        """
        self._restore_random_state()
        self._parts = self._inputs(current_iter)
        self.int8.begin(self.get_bare_model(self.net_g), current_iter)
        buffers = self._buffers_to_keep()
        self.optimizer_g.zero_grad()
        measured = self.grad_norm_log.is_due(current_iter) or self.term_weights.measures(current_iter)
        # a compiled network gives up its graph's buffers in the first backward pass, and measuring takes several
        unweighted = self._losses(self.net_g if measured else self._trained_net, current_iter)
        losses, factors = self.term_weights.apply(unweighted, current_iter, self._student_parameters(), self.amp.scale)
        log = OrderedDict(**losses, **factors)
        if self.grad_norm_log.is_due(current_iter):
            log.update(self._measure_grad_norms(losses))

        self.amp.backward(self._total(losses), self.optimizer_g)
        counts = self._is_finite(unweighted, current_iter)
        for buffer, before in () if counts else buffers:
            buffer.copy_(before)
        if self.accumulation.take(self._trained_parameters(), counts, current_iter):
            self.optimizer_g.step()  # not by the loss scale's own: the gradients are finite, and scaled back
            if self.ema_decay > 0:
                self.model_ema(decay=self.ema_decay)
        self.amp.end_iteration()
        if self.history is not None:
            self.history.follow(self.averaged_student(), current_iter)

        self.log_dict = self.reduce_loss_dict(log)
        report_norms(self.log_dict, current_iter, reference="l_pix")

    def _total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The sum; DDP waits for a gradient of every parameter, also where only feature maps are compared."""
        summands = list(losses.values())
        if self.opt["dist"] and not self.cri_pix and not self.cri_perceptual:
            summands.append(0.0 * self.output.sum())
        return reduce(torch.add, summands)

    def _own_state(self) -> dict[str, Any]:
        return {
            **self.trained_student.state(self.get_bare_model(self.net_g)),
            **({} if self.history is None else {"history": self.history.net.state_dict()}),
            **self.accumulation.state_dict(),
            "connectors": self.step_losses.connectors.state_dict(),
            "term_weights": self.term_weights.state_dict(),
            "amp": self.amp.state_dict(),
        }

    def _load_own_state(self, state: Mapping[str, Any]) -> None:
        self.trained_student.load_state(self.get_bare_model(self.net_g), state)
        if self.history is not None and "history" in state:  # that of a term which is new starts as the student is
            self.history.net.load_state_dict(state["history"])
        kept = self._kept_connectors(state)
        self.step_losses.connectors.load_state_dict(kept, strict=False)
        self.term_weights.load_state_dict(state.get("term_weights") or {})
        self.amp.load_state_dict(state.get("amp") or {})
        self.accumulation.load_state_dict(state, self._trained_parameters())

    def _kept_connectors(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        """Weights of the saved connectors that fit those of the options; say which start afresh."""
        kept, fresh = self.step_losses.connectors.fitting(state.get("connectors") or {})
        if fresh:
            get_root_logger().warning(f"Connectors that start afresh, with no moments: those of {', '.join(fresh)}.")
        return kept

    def _fit_optimizers(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The connectors of now in the second group, also where other terms had some."""
        saved = state.get("connectors") or {}
        connectors = self.step_losses.connectors
        kept, _ = connectors.fitting(saved)
        names = [name for name, _ in connectors.named_parameters()]
        fitted = [fit_second_group(optimizer, list(saved), kept, names) for optimizer in state["optimizers"]]
        return {**state, "optimizers": fitted}

    def _inputs(self, current_iter: int) -> list[Part]:
        """All inputs of the step; drawn once, also where the losses are computed several times."""
        gt = {"gt": self.gt} if hasattr(self, "gt") else {}
        history = None
        if self.history is not None and self.step_losses.reads("history", current_iter):
            history = partial(self.history.images, amp=self.amp)
        return self.step_inputs.parts({"lq": self.lq, **gt, **self._for_source}, current_iter, history)

    def _losses(self, net: nn.Module, current_iter: int) -> dict[str, Tensor]:
        """The losses of all inputs, each summed over the parts; BasicSR's own come first."""
        losses: dict[str, Tensor] = {}
        for part in self._parts:
            with self.step_losses.recording():
                augmented = self.amp.forward(net, part.augmentation(part.batch["lq"]))
                self.output = part.augmentation.undo(augmented)
                found = self._losses_to_gt(self.output, part.batch["gt"]) if "gt" in part.batch else {}
                without_gt = part.kind == "zoom_in"
                found.update(self.step_losses.losses(self.output, part.batch, current_iter, without_gt=without_gt))
            for name, loss in found.items():
                weighted = loss if part.weight == 1 else part.weight * loss
                losses[name] = losses[name] + weighted if name in losses else weighted
        return losses

    def _losses_to_gt(self, output: Tensor, gt: Tensor) -> dict[str, Tensor]:
        losses = {}
        if self.cri_pix:
            losses["l_pix"] = self.cri_pix(output, gt)
        if self.cri_perceptual:
            percep, style = self.cri_perceptual(output, gt)
            losses.update({k: v for k, v in (("l_percep", percep), ("l_style", style)) if v is not None})
        return losses

    def _is_finite(self, losses: Mapping[str, Tensor], current_iter: int) -> bool:
        """Whether all losses and gradients are, on all ranks; raises or says so in the log if not."""

        def describe(bad: list[str], look_for_gradients: bool) -> str:
            what = [f"{name} = {losses[name].item()}" for name in bad]
            if look_for_gradients:
                terms = self._terms_with_bad_gradient(current_iter)
                what = [f"the gradient of {' and '.join(terms) or 'the sum of the losses'} is not finite"]
            return f"{', '.join(what) or 'all losses finite'} (files: {describe_files(self._files)})"

        return self.finite_steps.passes(
            losses, self._trained_parameters(), stop_signals.requested(), current_iter, describe, self.amp.is_overflow
        )

    def _terms_with_bad_gradient(self, current_iter: int) -> list[str]:
        """Run the step again, for its terms one by one; on the bare modules, as DDP expects a backward pass."""
        with self.step_losses.connectors.bare():
            losses = self._losses(self.get_bare_model(self.net_g), current_iter)
            with ranks.alone():  # whose gradient is it
                return terms_with_bad_gradient(losses, self._student_parameters())

    def _buffers_to_keep(self) -> list[tuple[Tensor, Tensor]]:
        """Running statistics, which a forward pass changes: they are put back if the iteration is left out."""
        if self.finite_steps.section.nan_policy != "skip":
            return []
        return [(buffer, buffer.clone()) for buffer in self.get_bare_model(self.net_g).buffers()]

    def _trained_parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer_g.param_groups for p in group["params"]]

    def _student_parameters(self) -> list[nn.Parameter]:
        return [p for p in self.get_bare_model(self.net_g).parameters() if p.requires_grad]

    def _measure_grad_norms(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        norms = gradient_norms(losses, self._student_parameters(), self.amp.scale())
        return {f"{LOGGED}{name}": norm for name, norm in norms.items()}
