"""Builds networks and losses of a training run as the run would, and tries them on one small batch."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

import torch
from basicsr.utils.logger import initialized_logger
from torch import nn

from srkd_plugin.distill.step_losses import StepLosses
from srkd_plugin.distill.student_start import cut_student
from srkd_plugin.distill.targets.find import find_source
from srkd_plugin.distill.terms import build_terms
from srkd_plugin.distill.trained_student import TrainedStudent
from srkd_plugin.errors import OptionsError
from srkd_plugin.losses.vgg_weights import nothing_downloaded
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.padding import size_multiple
from srkd_plugin.networks.teacher import check_outputs
from srkd_plugin.networks.weights_file import student_weights
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.preflight.history import check_history
from srkd_plugin.preflight.losses import check_losses
from srkd_plugin.preflight.samples import check_zoomed_in_inputs_count

PROBE_SIZE = 16
"""Side of the LQ images that the networks are tried on, in pixels: a 40 M parameter teacher takes a second."""


def check_networks(options: RunOptions) -> tuple[nn.Module, StepLosses]:
    """Build everything, and run one small batch through it; the random state is left as it was.

    Returns:
        The student as it trains, and its terms with their connectors, to be looked at.

    Raises:
        OptionsError: A network or a term cannot be built, or does not fit the others.
    """
    opt, ours = options.raw, options.ours
    # tried as it is: compiling takes a minute, and the CPU may not have the GPU's precision
    plain = ours.teacher.model_copy(update={"compile": False, "precision": "fp32"})
    ours = ours.model_copy(update={"teacher": plain})
    with trial() as downloads:
        channels, trained_at = options.lq_shape
        smallest = trained_at if ours.samples.zoom_out else options.stock.train_set.gt_size
        check_losses(options.stock.train, ours.terms, channels, smallest)
        plain_options = dataclasses.replace(options, ours=ours)
        source = find_source(plain_options)
        source.build(torch.device("cpu"))
        student = build_described("network_g", opt["network_g"])
        check_student_weights(opt, student)
        if ours.student.init == "teacher_slice" and not (ours.student.cut_from and _goes_on(opt)):
            cut_student(student, plain_options, source)
        TrainedStudent(ours.student).prepare(student)
        step_losses = StepLosses(source, student, build_terms(ours.terms, "cpu"))
        check_history(options, step_losses)
        check_zoomed_in_inputs_count(options, step_losses)
        scale = options.stock.run.scale
        _check_crops("network_g", size_multiple(student.eval(), channels, scale), options)
        _check_crops(source.key, source.size_multiple(channels, scale), options)
        student.train()
        _run_small_batches(options, step_losses, student, trained_at)
    options.warn(downloads)
    return student, step_losses


def _goes_on(opt: Mapping[str, Any]) -> bool:
    """Whether a run takes on a training state, and with it a student that has been cut."""
    path = opt["path"]
    states = Path(path["training_states"]).glob("*.state") if opt["auto_resume"] else ()
    return path.get("resume_state") is not None or any(True for _ in states)


@contextmanager
def trial() -> Iterator[list[str]]:
    """Leave random state, root logger and files as they are while something is built and run that is thrown away.

    Yields:
        A line for each file that a run would download, filled in meanwhile.
    """
    with torch.random.fork_rng(devices=[]), root_logger_untouched(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever builds it for the run warns
        with nothing_downloaded() as downloads:
            yield downloads


def _check_crops(key: str, multiple: Optional[int], options: RunOptions) -> None:
    """Refuse crops that a network cannot take. None, a network that takes nothing, says itself what fails."""
    _, side = options.lq_shape
    if multiple is not None and side % multiple:
        gt_size, step = options.stock.train_set.gt_size, multiple * options.stock.run.scale
        problem = f"crops have {side} LQ pixels per side, and {key} takes multiples of {multiple}"
        remedy = f"Write a multiple of {step}, e.g. {max(gt_size // step, 1) * step}."
        raise OptionsError("datasets.train.gt_size", gt_size, problem, remedy)
    scale = options.stock.run.scale
    if options.ours.samples.zoom_out and multiple is not None and side // scale % multiple:
        problem = f"shrunk crops have {side // scale} pixels per side, and {key} takes multiples of {multiple}"
        remedy = f"Write false, or datasets.train.gt_size: {multiple * scale * scale}, or a multiple of that."
        raise OptionsError("train.samples.zoom_out", True, problem, remedy)


def check_student_weights(opt: Mapping[str, Any], student: nn.Module) -> None:
    """Load the weights that the options name into a student that is thrown away; a resumed run takes its own.

    Raises:
        OptionsError: They are not there, or do not fit.
    """
    path = opt["path"]
    file = path.get("pretrain_network_g")
    if file is not None and not opt["auto_resume"] and path.get("resume_state") is None:
        key, strict = path.get("param_key_g", "params"), path.get("strict_load_g", True)
        student_weights(opt, file, key, strict).load_into(student)


def _run_small_batches(options: RunOptions, step_losses: StepLosses, student: nn.Module, trained_at: int) -> None:
    side, shrunk = min(trained_at, PROBE_SIZE), trained_at // options.stock.run.scale
    try:
        _run_small_batch(options, step_losses, student, side)
    except OptionsError:
        if trained_at == side:
            raise
        side = trained_at  # a network that needs more to look at
        _run_small_batch(options, step_losses, student, side)
    if options.ours.samples.zoom_out and shrunk < side:
        try:
            _run_small_batch(options, step_losses, student, shrunk)
        except OptionsError as error:
            problem = f"crops of {trained_at} LQ pixels a side are shrunk to {shrunk}, where {error.key} fails"
            remedy = f"Write false, or raise datasets.train.gt_size from {options.stock.train_set.gt_size}."
            raise OptionsError("train.samples.zoom_out", True, f"{problem} ({error.problem})", remedy) from error


def _run_small_batch(options: RunOptions, step_losses: StepLosses, student: nn.Module, side: int) -> None:
    scale, (channels, _) = options.stock.run.scale, options.lq_shape
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
