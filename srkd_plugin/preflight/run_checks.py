"""Checks a training run's options before BasicSR touches the disk."""

from __future__ import annotations

import inspect
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import registry
from basicsr.utils.logger import initialized_logger
from torch import nn

from srkd_plugin.distill.step_losses import StepLosses
from srkd_plugin.distill.targets.find import find_source
from srkd_plugin.distill.terms import build_terms
from srkd_plugin.errors import MISSING, OptionsError, nearest
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.precision import check_compiles, check_precision
from srkd_plugin.networks.student_init import cut_from_teacher
from srkd_plugin.networks.teacher import check_outputs
from srkd_plugin.networks.weights_file import student_weights
from srkd_plugin.options import reader, sections
from srkd_plugin.options.validate import check_arguments, check_section
from srkd_plugin.parallel.cuda import has_cuda
from srkd_plugin.preflight import basicsr_sections
from srkd_plugin.preflight.output_names import check_output_names

PROBE_SIZE = 16
"""Side of the LQ images that the networks are tried on, in pixels: a 40 M parameter teacher takes a second."""


def check(opt: Mapping[str, Any]) -> sections.PluginOptions:
    """Check everything of a training run that the plugin will read; build nothing that stays, write nothing.

    Args:
        opt: The options as BasicSR's ``parse_options`` returns them.

    Returns:
        The plugin's sections.

    Raises:
        OptionsError: The first thing that is wrong.
    """
    ours = reader.read(opt)
    source = find_source(opt, ours)
    basicsr_sections.check_values(opt)
    _check_processes(opt)
    device = _device(opt)
    _check_speed(ours, device)
    _check_folder(opt)
    for key in ("network_g", *source.network_keys):
        _check_registered(registry.ARCH_REGISTRY, key, opt.get(key))
    for key, section in _losses(opt):
        _check_registered(registry.LOSS_REGISTRY, key, section)
    basicsr_sections.check_datasets(opt)
    check_output_names(opt)
    _check_batch(opt, ours)
    _check_student_start(opt, ours)
    _check_terms_start(opt, ours)
    _check_every_iteration_has_a_loss(opt, ours)
    _check_balances(opt, ours)
    _check_keep_best(opt, ours.checkpoints)
    _check_taps_and_gpus(opt, ours)
    source.check(device)
    _check_networks(opt, ours)
    return ours


def _losses(opt: Mapping[str, Any]) -> list[tuple[str, Any]]:
    train = opt["train"]
    stock = [(f"train.{key}", train[key]) for key in ("pixel_opt", "perceptual_opt") if train.get(key)]
    terms = train.get("distill_opt") or {}
    return stock + [(f"train.distill_opt.{name}", section) for name, section in terms.items()]


def _check_registered(names: Any, key: str, section: Any) -> None:
    """Check that the class is there and takes the arguments that the options give it."""
    cls = basicsr_sections.find_class(names, key, section)
    arguments = {k: v for k, v in section.items() if k != "type"}
    if "distill_opt" in key:
        arguments = {k: v for k, v in arguments.items() if k not in sections.TermSection.model_fields}
    if names is registry.LOSS_REGISTRY:
        check_section(sections.LossArguments, key, arguments)
    check_arguments(cls, arguments, key)
    if inspect.isclass(cls) and cls.__module__.startswith("srkd_plugin.losses."):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns when it is built for the run
                cls(**arguments)
        except OptionsError as error:  # it names the argument itself
            raise OptionsError(f"{key}.{error.key}", error.value, error.problem, error.remedy) from error
        except ValueError as error:
            raise OptionsError(key, arguments, str(error), "Correct the term.") from error


def _device(opt: Mapping[str, Any]) -> torch.device:
    """Where BasicSR will put the networks."""
    if opt["num_gpu"] == 0:
        return torch.device("cpu")
    if not has_cuda():
        raise OptionsError(
            "num_gpu", opt["num_gpu"], "there is no CUDA device", "Write num_gpu: 0 for the CPU, or auto."
        )
    return torch.device("cuda")


def _check_folder(opt: Mapping[str, Any]) -> None:
    """Rank 0 will write the experiment; on a read-only disk that is to be said in one line, and not by mkdir."""
    folder = Path(opt["path"]["experiments_root"]).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if opt["rank"] == 0 and not os.access(there, os.W_OK):
        problem = f"its folder {folder} cannot be written: {there} is read-only, or not yours"
        raise OptionsError("name", opt["name"], problem, "Start the run where BasicSR can write experiments/.")


def _check_speed(ours: sections.PluginOptions, device: torch.device) -> None:
    check_precision("train.amp.precision", ours.amp.precision, device)
    if ours.student.compile:
        check_compiles("student.compile", device, ours.has_taps)


def _check_batch(opt: Mapping[str, Any], ours: sections.PluginOptions) -> None:
    images = opt["datasets"]["train"]["batch_size_per_gpu"]
    for name, term in ours.terms.items():
        least = getattr(dict(iter(registry.LOSS_REGISTRY)).get(term.type), "min_batch", 1)
        joint = images * opt["world_size"] if term.loss_options().get("gather_negatives") else images
        if joint < least:
            raise OptionsError(
                "datasets.train.batch_size_per_gpu",
                images,
                f"train.distill_opt.{name} needs {least} images: its negatives are the batch's others",
                f"Write {least} or more.",
            )


def _check_student_start(opt: Mapping[str, Any], ours: sections.PluginOptions) -> None:
    file = opt["path"].get("pretrain_network_g")
    if file and ours.student.init != "random":
        problem = f"path.pretrain_network_g gives the student its weights ({file})"
        raise OptionsError("student.init", ours.student.init, problem, "Remove one of the two.")


def _check_terms_start(opt: Mapping[str, Any], ours: sections.PluginOptions) -> None:
    last = int(opt["train"]["total_iter"])
    for name, term in ours.terms.items():
        if term.start > last:
            problem = f"the run ends before, with iteration {last}"
            raise OptionsError(f"train.distill_opt.{name}.start", term.start, problem, "Correct start or total_iter.")


def _check_processes(opt: Mapping[str, Any]) -> None:
    """BasicSR's processes take a GPU each, whatever num_gpu says: a number that differs is a batch that differs."""
    gpus, processes = opt["num_gpu"], opt["world_size"]
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    if opt["dist"] and gpus not in (0, here, processes, torch.cuda.device_count()):  # the last: auto
        problem = f"the launcher has started {processes} processes, one a GPU"
        raise OptionsError("num_gpu", gpus, problem, "Write auto, or start as many processes.")


def _check_every_iteration_has_a_loss(opt: Mapping[str, Any], ours: sections.PluginOptions) -> None:
    train, terms = opt["train"], ours.terms.values()
    if train.get("pixel_opt") or train.get("perceptual_opt"):
        return
    last = int(train["total_iter"])
    for iteration in (1, *(term.stop + 1 for term in terms if term.stop is not None)):  # where a gap would begin
        if iteration <= last and not any(term.is_active(iteration) for term in terms):
            problem = f"no loss counts in iteration {iteration}"
            terms_given = train.get("distill_opt", MISSING)
            raise OptionsError("train.distill_opt", terms_given, problem, "Mend start and stop, or add pixel_opt.")


def _check_balances(opt: Mapping[str, Any], ours: sections.PluginOptions) -> None:
    for name, term in ours.terms.items():
        if term.balance is not None and not opt["train"].get("pixel_opt"):
            problem = "it is measured against pixel_opt's gradient, and there is no train.pixel_opt"
            remedy = "Add pixel_opt, or give the term a loss_weight instead."
            raise OptionsError(f"train.distill_opt.{name}.balance", term.balance.model_dump(), problem, remedy)


def _check_keep_best(opt: Mapping[str, Any], section: sections.CheckpointsSection) -> None:
    """The best checkpoint can only be told if what is validated is saved."""
    if section.keep_best is None:
        return
    validation, every = opt.get("val") or {}, opt["logger"]["save_checkpoint_freq"]
    metrics = validation.get("metrics") or {}
    if section.keep_best not in metrics:
        problem = "it is no metric of val.metrics"
        raise OptionsError("checkpoints.keep_best", section.keep_best, problem, nearest(section.keep_best, metrics))
    if section.keep_last is None:
        problem = "all checkpoints stay unless keep_last is given"
        raise OptionsError("checkpoints.keep_best", section.keep_best, problem, "Add keep_last, or remove keep_best.")
    if validation["val_freq"] % every:
        problem = f"with checkpoints.keep_best it must be a multiple of logger.save_checkpoint_freq, {every}"
        raise OptionsError("val.val_freq", validation["val_freq"], problem, f"Write {every}, or 2 x, 3 x ... as much.")


def _check_taps_and_gpus(opt: Mapping[str, Any], ours: sections.PluginOptions) -> None:
    """DataParallel runs copies of the student in threads; their feature maps would overwrite each other."""
    if ours.has_taps and not opt["dist"] and opt["num_gpu"] > 1:
        problem = "terms with taps need one process a GPU"
        raise OptionsError(
            "num_gpu", opt["num_gpu"], problem, "Start with torchrun and --launcher pytorch, or write 1."
        )


def _check_networks(opt: Mapping[str, Any], ours: sections.PluginOptions) -> None:
    """Build everything, and run one small batch through it; the random state is left as it was."""
    # tried as it is: compiling takes a minute, and the CPU may not have the GPU's precision
    plain = ours.teacher.model_copy(update={"compile": False, "precision": "fp32"})
    ours = ours.model_copy(update={"teacher": plain})
    with torch.random.fork_rng(devices=[]), root_logger_untouched(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever builds them for the run warns
        source = find_source(opt, ours)
        source.build(torch.device("cpu"))
        student = build_described("network_g", opt["network_g"])
        _check_student_weights(opt, student)
        if ours.student.init == "teacher_slice":
            cut_from_teacher(student, source.teacher_network())
        step_losses = StepLosses(source, student, build_terms(ours.terms, "cpu"))
        _, trained_at = reader.lq_shape(opt)
        try:
            _run_small_batch(opt, step_losses, student, min(trained_at, PROBE_SIZE))
        except OptionsError:
            if trained_at <= PROBE_SIZE:
                raise
            _run_small_batch(opt, step_losses, student, trained_at)  # a network that needs more to look at


def _check_student_weights(opt: Mapping[str, Any], student: nn.Module) -> None:
    """Load them into a student that is thrown away; a resumed run takes its own."""
    path = opt["path"]
    file = path.get("pretrain_network_g")
    if file is not None and not opt["auto_resume"] and path.get("resume_state") is None:
        key, strict = path.get("param_key_g", "params"), path.get("strict_load_g", True)
        student_weights(opt, file, key, strict).load_into(student)


def _run_small_batch(opt: Mapping[str, Any], step_losses: StepLosses, student: nn.Module, side: int) -> None:
    scale, (channels, _) = opt["scale"], reader.lq_shape(opt)
    lq, gt = torch.rand(2, channels, side, side), torch.rand(2, channels, side * scale, side * scale)
    check_outputs({"network_g": student}, lq, gt.shape)
    step_losses.source.try_out(lq, gt.shape)
    step_losses.dry_run(student, lq, gt)


@contextmanager
def root_logger_untouched() -> Iterator[None]:
    """Keep BasicSR's root logger silent and uninitialised.

    Whoever asks for it first decides whether it has a log file; that must be the trainer, after it made the folder.
    """
    name = "basicsr"
    logger, was_there = logging.getLogger(name), name in initialized_logger
    initialized_logger[name] = True
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False
        if not was_there:
            del initialized_logger[name]
