"""Checks a training run's options before BasicSR touches the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import registry

from srkd_plugin.distill.targets.find import find_source
from srkd_plugin.errors import MISSING, OptionsError, nearest
from srkd_plugin.networks.precision import check_compiles, check_precision
from srkd_plugin.options import reader
from srkd_plugin.options.consistency import weightless
from srkd_plugin.options.registered_names import makes_lq
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.parallel.cuda import has_cuda
from srkd_plugin.preflight import basicsr_sections
from srkd_plugin.preflight.accumulation import check_accumulation, images_needed
from srkd_plugin.preflight.checked_run import CheckedRun
from srkd_plugin.preflight.checkpoint_size import checkpoint_size
from srkd_plugin.preflight.degradation import check_degradation_keys, try_degradation
from srkd_plugin.preflight.eco import check_eco
from srkd_plugin.preflight.networks import check_networks
from srkd_plugin.preflight.output_names import check_output_names
from srkd_plugin.preflight.quantize import check_quantize
from srkd_plugin.preflight.registered_classes import check_registered
from srkd_plugin.preflight.samples import check_samples
from srkd_plugin.training.image_samples import why_none

GAN_KEYS = (
    *("network_d", "gan_opt", "ldl_opt", "optim_d", "net_d_iters", "net_d_init_iters"),
    *("pretrain_network_d", "param_key_d", "strict_load_d"),
)


def check(opt: Mapping[str, Any], has_targets: bool = True, has_weights: bool = True) -> CheckedRun:
    """Read a training run's options, and check everything in them; build nothing that stays, write nothing.

    Args:
        opt: The options as BasicSR's ``parse_options`` returns them.
        has_targets: Whether what the teacher's images come from is there; a cache that is yet to be made is not.
        has_weights: Whether the weights are there that the student goes on from, where it has to; another run of the
            table is yet to make them otherwise.

    Returns:
        The options as they were read, with the warnings of all checks and the images that were found.

    Raises:
        OptionsError: The first thing that is wrong.
    """
    reader.refuse_other_models(opt)
    _refuse_adversarial_training(opt)
    options = reader.read(opt)
    source = find_source(options)
    basicsr_sections.check_values(options)
    if makes_lq(opt):
        check_degradation_keys(options)
    _check_processes(options)
    device = _device(options.stock.run.num_gpu)
    _check_speed(options, device)
    _check_folder(options)
    for key, section in {"network_g": opt.get("network_g"), **source.networks()}.items():
        options.warn(check_registered(registry.ARCH_REGISTRY, key, section))
    for key, section in _losses(opt):
        options.warn(check_registered(registry.LOSS_REGISTRY, key, section))
    data = basicsr_sections.check_datasets(options)
    _check_colors(options)
    check_output_names(opt)
    _check_batch(options)
    check_accumulation(options)
    _check_student_start(options)
    _check_terms_start(options)
    _check_every_iteration_has_a_loss(options)
    _check_balances(options)
    _check_keep_best(options)
    _check_taps_and_gpus(options)
    check_samples(options)
    _say_where_image_samples_go(options)
    check_eco(options)
    if makes_lq(opt):
        try_degradation(options)
    if has_targets:
        source.check(device, None if data["train"] is None else data["train"].images)
    student, step_losses = check_networks(options)
    check_quantize(options, has_weights)
    reads_history = step_losses.reads("history")
    size = checkpoint_size(options, student, step_losses.connectors, reads_history)
    return CheckedRun.of(options, data=data, size=size, reads_history=reads_history)


def _losses(opt: Mapping[str, Any]) -> list[tuple[str, Any]]:
    train = opt["train"]
    stock = [(f"train.{key}", train[key]) for key in ("pixel_opt", "perceptual_opt") if train.get(key)]
    terms = train.get("distill_opt") or {}
    return stock + [(f"train.distill_opt.{name}", section) for name, section in terms.items()]


def _refuse_adversarial_training(opt: Mapping[str, Any]) -> None:
    """Refuse keys of BasicSR's GAN models, which DistillModel would pass over."""
    sections: tuple[tuple[Any, str], ...] = ((opt, ""), (opt.get("train"), "train."), (opt.get("path"), "path."))
    for section, where in sections:
        for key in GAN_KEYS if isinstance(section, Mapping) else ():
            if section.get(key) is not None:
                problem = f"adversarial training is not supported by {opt['model_type']}: it has no discriminator"
                trainer = "BasicSR's RealESRGANModel" if makes_lq(opt) else "a GAN model of BasicSR's"
                remedy = f"Remove it; let {trainer} go on from the finished student (path.pretrain_network_g)."
                raise OptionsError(where + key, section[key], problem, remedy)


def _say_where_image_samples_go(options: RunOptions) -> None:
    stock, count = options.stock, options.ours.logger.image_samples
    line = why_none(count, stock.run.name, stock.logger.use_tb_logger, stock.val is not None)
    options.warn([line] if line else [])


def _check_colors(options: RunOptions) -> None:
    """A network has one number of channels, in training and in validation."""
    gray = options.stock.train_set.color == "y"
    for phase, section in options.raw["datasets"].items():
        if section.get("type") != "SingleImageDataset" and (section.get("color") == "y") != gray:
            problem = f"the training set has color: {options.stock.train_set.color or 'rgb'}"
            remedy = f"Write color: {'y' if gray else 'rgb'}."
            raise OptionsError(f"datasets.{phase}.color", section.get("color", MISSING), problem, remedy)


def _device(num_gpu: int) -> torch.device:
    """Where BasicSR will put the networks."""
    if num_gpu == 0:
        return torch.device("cpu")
    if not has_cuda():
        raise OptionsError("num_gpu", num_gpu, "there is no CUDA device", "Write num_gpu: 0 for the CPU, or auto.")
    return torch.device("cuda")


def _check_folder(options: RunOptions) -> None:
    """Rank 0 will write the experiment; on a read-only disk that must be said in one line, and not by mkdir."""
    run, folder = options.stock.run, Path(options.stock.path.experiments_root).absolute()
    folders = [folder]
    if options.stock.logger.use_tb_logger and folder.parent.name == "experiments":
        folders.append(folder.parent.parent / "tb_logger" / folder.name)
    for one in folders if run.rank == 0 else ():
        _refuse_files_on_the_way(run.name, one)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if run.rank == 0 and not os.access(there, os.W_OK):
        problem = f"its folder {folder} cannot be written: {there} is read-only, or not yours"
        raise OptionsError("name", run.name, problem, "Start the run where BasicSR can write experiments/.")


def _refuse_files_on_the_way(name: str, folder: Path) -> None:
    """A file of the folder's own name is archived; one where a folder above it must be, or a dangling link, is not."""
    dangling = folder.is_symlink() and not folder.exists()
    above = next(path for path in folder.parents if os.path.lexists(path))
    if dangling or not above.is_dir():
        problem = f"its folder {folder} cannot be made: {folder if dangling else above} is a file, or a link to nothing"
        raise OptionsError("name", name, problem, "Move that away.")


def _check_speed(options: RunOptions, device: torch.device) -> None:
    ours = options.ours
    check_precision("train.amp.precision", ours.amp.precision, device)
    if ours.student.compile:
        check_compiles("student.compile", device, ours.has_taps)


def _check_batch(options: RunOptions) -> None:
    images = options.stock.train_set.batch_size_per_gpu
    for name, term in options.ours.terms.items():
        least = images_needed(term)
        joint = images * options.stock.run.world_size if term.loss_options().get("gather_negatives") else images
        if joint < least:
            raise OptionsError(
                "datasets.train.batch_size_per_gpu",
                images,
                f"train.distill_opt.{name} needs {least} images: its negatives are the batch's others",
                f"Write {least} or more.",
            )


def _check_student_start(options: RunOptions) -> None:
    file, init = options.stock.path.pretrain_network_g, options.ours.student.init
    if file and init != "random":
        problem = f"path.pretrain_network_g gives the student its weights ({file})"
        raise OptionsError("student.init", init, problem, "Remove one of the two.")


def _check_terms_start(options: RunOptions) -> None:
    last = int(options.stock.train.total_iter)
    for name, term in options.ours.terms.items():
        if term.start > last:
            problem = f"the run ends before, with iteration {last}"
            raise OptionsError(f"train.distill_opt.{name}.start", term.start, problem, "Correct start or total_iter.")


def _check_processes(options: RunOptions) -> None:
    """BasicSR's processes take one GPU each, whatever num_gpu says: a number that differs is a batch that differs."""
    run = options.stock.run
    gpus, processes = run.num_gpu, run.world_size
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    if run.dist and gpus not in (0, here, processes, torch.cuda.device_count()):  # the last: auto
        problem = f"the launcher has started {processes} processes, one per GPU"
        raise OptionsError("num_gpu", gpus, problem, "Write auto, or start as many processes.")


def _check_every_iteration_has_a_loss(options: RunOptions) -> None:
    train, terms = options.stock.train, list(options.ours.terms.values())
    if any(section and not weightless(section) for section in (train.pixel_opt, train.perceptual_opt)):
        return
    terms = [term for term in terms if term.balance is not None or not weightless(term.loss_options())]
    last = int(train.total_iter)
    for iteration in (1, *(term.stop + 1 for term in terms if term.stop is not None)):  # where a gap would begin
        if iteration <= last and not any(term.is_active(iteration) for term in terms):
            problem = f"no loss counts in iteration {iteration}"
            terms_given = options.raw["train"].get("distill_opt", MISSING)
            raise OptionsError("train.distill_opt", terms_given, problem, "Mend start and stop, or add pixel_opt.")


def _check_balances(options: RunOptions) -> None:
    for name, term in options.ours.terms.items():
        pixel_opt = options.stock.train.pixel_opt
        if term.balance is not None and (not pixel_opt or weightless(pixel_opt)):
            lacks = "train.pixel_opt has loss_weight 0" if pixel_opt else "there is no train.pixel_opt"
            problem = f"it is measured against pixel_opt's gradient, and {lacks}"
            remedy = "Add pixel_opt, or give the term a loss_weight instead."
            raise OptionsError(f"train.distill_opt.{name}.balance", term.balance.model_dump(), problem, remedy)


def _check_keep_best(options: RunOptions) -> None:
    """The best checkpoint can only be told if what is validated is saved."""
    section, stock = options.ours.checkpoints, options.stock
    if section.keep_best is None:
        return
    if stock.val is None or all(phase == "train" for phase in stock.run.datasets):
        problem, remedy = "nothing is validated", "Add val and a validation set, or remove keep_best."
        raise OptionsError("checkpoints.keep_best", section.keep_best, problem, remedy)
    if section.keep_best not in stock.metrics:
        problem, near = "it is no metric of val.metrics", nearest(section.keep_best, stock.metrics)
        raise OptionsError("checkpoints.keep_best", section.keep_best, problem, near)
    if section.keep_last is None:
        problem = "all checkpoints stay unless keep_last is given"
        raise OptionsError("checkpoints.keep_best", section.keep_best, problem, "Add keep_last, or remove keep_best.")
    every, given = stock.logger.save_checkpoint_freq, stock.val.val_freq
    if given % every:
        problem = f"with checkpoints.keep_best it must be a multiple of logger.save_checkpoint_freq, {every}"
        raise OptionsError("val.val_freq", given, problem, f"Write {every}, or 2 x, 3 x ... as much.")


def _check_taps_and_gpus(options: RunOptions) -> None:
    """DataParallel runs copies of the student in threads; their feature maps would overwrite each other."""
    run = options.stock.run
    if options.ours.has_taps and not run.dist and run.num_gpu > 1:
        problem = "terms with taps need one process per GPU"
        raise OptionsError("num_gpu", run.num_gpu, problem, "Start with torchrun and --launcher pytorch, or write 1.")
