"""A BasicSR model whose run can be ended, killed and resumed at any time and goes on as if nothing had been."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import Tensor
from torch.utils.data import DataLoader

from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.parallel import ranks
from srkd_plugin.training import random_state, resume_optimizer, resume_record, stop_signals
from srkd_plugin.training.checkpoints import Checkpoints, on_cpu, plain
from srkd_plugin.training.finite_steps import FiniteSteps
from srkd_plugin.training.image_samples import ImageSamples
from srkd_plugin.training.split_validation import validate_split
from srkd_plugin.training.trainer_data import TrainerData


class ResumableModel(SRModel):
    """SRModel with checkpoints that are whole, a training state that is complete, and validation on all ranks.

    Whoever derives from it calls :meth:`_prepare_run` before SRModel's settings are made, adds what else decides how
    the run goes on in :meth:`_own_state`, and begins each step with :meth:`_restore_random_state`.
    """

    trainer_data: TrainerData
    """What BasicSR's trainer made of the data sets; ``build_model`` sets it."""

    def _prepare_run(self, options: RunOptions, files: Mapping[str, str]) -> None:
        """Set up all that a run of these options saves.

        Args:
            options: The run's options.
            files: The sha256 of what the teacher's images come from, by the key that names it.
        """
        ours = options.ours
        self._lr_on_resume, self._record = ours.resume.lr_on_resume, resume_record.make_record(options, files)
        self.trainer_data = TrainerData()
        self.finite_steps = FiniteSteps(ours.nonfinite)
        self.checkpoints = Checkpoints(self.opt, ours.checkpoints)
        self.samples = ImageSamples(ours.logger.image_samples, options.lq_shape[1], self.opt["scale"])
        self._random_state: Optional[Mapping[str, Any]] = None  # of a resumed run, until its first step
        self._resumed_at: Optional[int] = None  # until then

    def _student_weights(self) -> Mapping[str, Tensor]:
        """State dict of the student as it is saved; a derived model may train more than that."""
        return self.get_bare_model(self.net_g).state_dict()

    def _own_state(self) -> dict[str, Any]:
        """What a derived model adds to the training state."""
        return {}

    def _load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take on what :meth:`_own_state` added."""

    def _fit_optimizers(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The state with optimizers that have the parameters of this model's."""
        return dict(state)

    def _restore_random_state(self) -> None:
        """Restore it before the first step of a resumed run: until then, building and loading have drawn from it."""
        if self._random_state is not None:
            random_state.restore(self._random_state)
            self._random_state = None

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Update as SRModel does; before that, end the run if it was asked to: an iteration is complete here."""
        self._validate_what_was_missed()
        if self.finite_steps.ending:
            self._save_and_end(current_iter - 1)
        super().update_learning_rate(current_iter, warmup_iter)

    def teachers_image(self, lq: Tensor, gt: Optional[Tensor]) -> Optional[Tensor]:
        """The teacher's image of an LQ image ``(1, C, h, w)`` with this GT; None where none runs, as here."""
        return None

    def validation(self, dataloader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        """Validate as SRModel does; then give TensorBoard the samples that the options ask for."""
        super().validation(dataloader, current_iter, tb_logger, save_img)
        if self.is_train and tb_logger is not None:  # only rank 0 has one
            self.samples.show(self, dataloader, current_iter, tb_logger)

    def dist_validation(self, dataloader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool) -> None:
        """SRModel's validation, split over the ranks; stock has rank 0 do all of it while the others wait."""
        validate_split(self, self.nondist_validation, dataloader, current_iter, tb_logger, save_img)

    def save(self, epoch: int, current_iter: int) -> None:
        """Save a checkpoint: the student's file and the training state, whole or not at all; see ``Checkpoints``.

        All ranks come here. If it cannot be saved, that is logged, and the run goes on; the next time may do better.

        Raises:
            FloatingPointError: The student's weights are not finite; nothing was saved.
            OSError: The weights at the end of training (``current_iter`` -1) cannot be saved.
        """
        self._validate_what_was_missed()
        if not self._save(epoch, current_iter) and current_iter == -1:
            raise OSError("the weights at the end of training were not saved; free the disk, and use --auto_resume")

    def _save(self, epoch: int, current_iter: int) -> bool:
        """Save on rank 0, with what all ranks contribute; whether it was saved, True on the others."""
        state = self._training_state(epoch, current_iter)
        if self.opt["rank"] != 0:
            return True
        student = {"params": on_cpu(self._student_weights())}
        if hasattr(self, "net_g_ema"):
            student["params_ema"] = on_cpu(self.net_g_ema.state_dict())
        return self.checkpoints.save(current_iter, student, state)

    def _training_state(self, epoch: int, current_iter: int) -> dict[str, Any]:
        """SRModel's training state, and everything else that decides how the run goes on."""
        return {
            "epoch": epoch,
            "iter": current_iter,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [plain(scheduler.state_dict()) for scheduler in self.schedulers],
            **self._own_state(),
            resume_record.RECORD: self._record,
            "skipped": self.finite_steps.skipped,
            "ranks": ranks.gather_objects({"seed": self.opt.get("manual_seed"), "random": random_state.capture()}),
        }

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Go on from a training state; say in the log what the options have that its run had not.

        Raises:
            OptionsError: The options have what cannot be; with BasicSR's trainer this has been found before.
        """
        resume_optimizer.check_kind(resume_state)
        student = self.get_bare_model(self.net_g).parameters()
        resume_optimizer.check_parameters(resume_state, sum(p.requires_grad for p in student))
        self._compare_options(resume_state)
        fitted = self._fit_optimizers(resume_state)
        if self._lr_on_resume == "options":
            resume_optimizer.load_moments(self, fitted, self.opt["train"].get("warmup_iter", -1))
        else:
            resume_optimizer.load_optimizers(self, fitted)
        self._load_own_state(resume_state)
        self.finite_steps.skipped = resume_state.get("skipped", 0)
        self.checkpoints.resumed(resume_state, Path(self.opt["path"].get("resume_state") or ""))
        self._replay_validations(self.checkpoints.validations)
        self._resumed_at = resume_state["iter"]
        saved = resume_state.get("ranks") or []
        if len(saved) == self.opt["world_size"]:
            self._random_state = saved[self.opt["rank"]]["random"]
        else:
            text = f"The state has random states of {len(saved)} ranks, and there are {self.opt['world_size']} now"
            get_root_logger().warning(f"{text}: the resumed run is not the one it would have been.")

    def _compare_options(self, state: Mapping[str, Any]) -> None:
        resets_lr = self._lr_on_resume == "options"
        found = resume_record.differences(state, self._record, resets_lr)
        for difference in found:
            difference.refuse()
        logger = get_root_logger()
        for line in resume_record.lines(state, found, resets_lr):
            logger.warning(line)
        self._record = resume_record.after_resume(self._record, found)

    def _replay_validations(self, validations: Mapping[int, dict[str, dict[str, float]]]) -> None:
        """Restore the record of the best results, which SRModel forgets."""
        metrics = (self.opt.get("val") or {}).get("metrics") or {}
        for iteration in sorted(validations):
            for dataset, results in validations[iteration].items():
                self._initialize_best_metric_results(dataset)
                for metric in metrics.keys() & results.keys():
                    self._update_best_metric_result(dataset, metric, results[metric], iteration)

    def _validate_what_was_missed(self) -> None:
        """Validate what a kill between a checkpoint and its validation has cost: BasicSR saves before it validates.

        Called before the first step after a resume, or at the end of a run that has none left.
        """
        section, iteration, self._resumed_at = self.opt.get("val"), self._resumed_at, None
        if iteration is None or not section or not section.get("metrics") or iteration % section["val_freq"]:
            return
        for loader in self.trainer_data.val_loaders:
            if loader.dataset.opt["name"] not in self.checkpoints.validations.get(iteration, {}):
                self.validation(loader, iteration, None, section["save_img"])

    def _log_validation_metric_values(self, current_iter: int, dataset_name: str, tb_logger: Any) -> None:
        super()._log_validation_metric_values(current_iter, dataset_name, tb_logger)
        if self.opt["is_train"] and self.opt["rank"] == 0:  # a model's own is_train may be False while it validates
            self.checkpoints.validated(current_iter, dataset_name, self.metric_results)

    def _save_and_end(self, iteration: int) -> None:
        """Save what was reached and end the process, on all ranks: ``stop_signals.STOPPED``, or 1 if it failed."""
        done = any(ranks.gather_objects(self.checkpoints.is_saved(iteration)))  # only rank 0 knows; saving takes all
        saved = done or self._save(self.trainer_data.epoch_of(iteration), iteration)
        saved = ranks.all_are(saved, self.device)  # also lets the others wait: torchrun ends all when one is gone
        if saved:
            get_root_logger().info(f"Ended on request after iteration {iteration:,d}; --auto_resume goes on from here.")
        raise SystemExit(stop_signals.STOPPED if saved else 1)
