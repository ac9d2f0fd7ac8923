"""Checks of a run that makes its LQ images itself: the keys of the degradation, its GT images, and one small batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from basicsr.data import build_dataset
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils import registry
from torch.utils.data import default_collate

from srkd_plugin.distill.pair_pool import degrade
from srkd_plugin.errors import MISSING, InputError, OptionsError
from srkd_plugin.images.find_pairs import pairs_of_section
from srkd_plugin.images.pairs import GT
from srkd_plugin.options.degradation_sections import SIDE, Degradation, Kernels, OfRealESRGAN, missing_key
from srkd_plugin.options.registered_names import find_class, find_name
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.options.validate import check_section
from srkd_plugin.preflight.image_pairs import FoundPairs
from srkd_plugin.preflight.networks import trial
from srkd_plugin.preflight.validation import VIDEO, WITHOUT_GT
from srkd_plugin.training.random_state import seeded
from srkd_plugin.utils.building import first_line

MODEL, DATA_SET, KEY = "RealESRDistillModel", "RealESRGANDataset", "datasets.train"
EXAMPLE = "options/distill_realesrgan_compact.yml has them all."
BLUR = 21
"""Side of blur kernels in pixels, with what is added to small ones; half of it is reflected at an image's border."""
PROBE = 128
"""Side of the GT images that are degraded on trial: the blur of 21 pixels fits into what they are shrunk to."""
UNREAD = ("dataroot_lq", "filename_tmpl", "meta_info_file", "color", "mean", "std")
"""Keys of PairedImageDataset that RealESRGANDataset passes over."""


def check_degradation_keys(options: RunOptions) -> None:
    """Check the keys of model and data set.

    Raises:
        OptionsError: The first thing that is wrong.
    """
    opt, train_set = options.raw, options.raw["datasets"]["train"]
    if opt.get("high_order_degradation", True) is False:
        problem, remedy = f"{MODEL} makes LQ images itself", "For pairs of a data set write model_type: DistillModel."
        raise OptionsError("high_order_degradation", False, problem, remedy)
    for name in OfRealESRGAN.model_fields:
        if name in opt:
            problem = f"RealESRGANModel reads it, and {MODEL} is a RealESRNetModel, which reads gt_usm"
            raise OptionsError(name, opt[name], problem, "Remove it.")
    _check_section(Degradation, "", opt)
    _check_kind(train_set)
    if train_set["type"] == DATA_SET:
        _check_section(Kernels, KEY, train_set)
        _check_kernels(train_set)
    _check_sizes(options)
    if options.ours.quantize is not None:
        problem = f"it is calibrated on the training set's LQ images, and {MODEL} makes them anew in every iteration"
        remedy = "Remove it; srkd export --int8 --calibrate takes a folder of LQ images."
        raise OptionsError("train.quantize", options.raw["train"]["quantize"], problem, remedy)


def _check_section(model: Any, key: str, section: Mapping[str, Any]) -> None:
    check_section(model, key, {name: section[name] for name in model.model_fields if name in section})
    missing = missing_key(model, section)
    if missing is not None:
        where = f"{key}.{missing}" if key else missing
        raise OptionsError(where, section.get(missing, MISSING), f"{MODEL} needs it", EXAMPLE)


def _check_kind(train_set: Mapping[str, Any]) -> None:
    cls, kind = find_class(registry.DATASET_REGISTRY, KEY, train_set), train_set["type"]
    if issubclass(cls, PairedImageDataset) or kind in (*VIDEO, *WITHOUT_GT):
        problem, without = f"{MODEL} makes LQ images of GT and blur kernels, anew in every iteration", ""
        if "dataroot_teacher" in train_set:
            problem += ", so that no cache has the teacher's images of them"
            without = " without a cache (dataroot_teacher; cache of a table's row)"
        remedy = f"Write {DATA_SET}{without}; or, for the images of a set of pairs, model_type: DistillModel."
        raise OptionsError(f"{KEY}.type", kind, problem, remedy)


def _check_kernels(train_set: Mapping[str, Any]) -> None:
    for name in UNREAD:
        if train_set.get(name) is not None:
            remedy = "Write meta_info." if name == "meta_info_file" else "Remove it."
            raise OptionsError(f"{KEY}.{name}", train_set[name], f"{DATA_SET} does not read it", remedy)
    for name in ("use_hflip", "use_rot"):
        if name not in train_set:
            raise OptionsError(f"{KEY}.{name}", MISSING, "it is required", f"Add {name} to {KEY}.")
    for end in ("", "2"):
        kinds, chances = train_set[f"kernel_list{end}"], train_set[f"kernel_prob{end}"]
        if len(kinds) != len(chances):
            problem = f"there are {len(chances)} chances for {len(kinds)} kinds of kernel_list{end}"
            raise OptionsError(f"{KEY}.kernel_prob{end}", chances, problem, "Write one for each.")


def _check_sizes(options: RunOptions) -> None:
    opt, train_set, scale = options.raw, options.stock.train_set, options.stock.run.scale
    size, pool = opt["gt_size"], opt.get("queue_size", 180)
    if size != train_set.gt_size:
        problem = f"{KEY}.gt_size is {train_set.gt_size}, and both are the side of the GT crops"
        raise OptionsError("gt_size", size, problem, "Write one number in both places.")
    if opt["datasets"]["train"]["type"] == DATA_SET and (size > SIDE or SIDE % scale):
        problem = f"{DATA_SET} gives GT images of {SIDE}x{SIDE} pixels"
        if size > SIDE:
            raise OptionsError("gt_size", size, problem, f"Write {SIDE} or less.")
        raise OptionsError("scale", scale, f"{problem}, which it must divide", "Write e.g. 2 or 4.")
    for name, side, least in (("resize_range", SIDE, BLUR // 2 + 1), ("resize_range2", SIDE // scale, 1)):
        shrunk = int(side * opt[name][0])
        if shrunk < least:
            problem = f"images of {side} pixels per side are shrunk to {shrunk}, and BasicSR needs {least}"
            raise OptionsError(name, opt[name], problem, f"Write {least / side:.3g} or more for the least factor.")
    gpus = 1 if options.stock.run.dist else max(options.stock.run.num_gpu, 1)
    batch = train_set.batch_size_per_gpu * gpus
    if pool % batch:
        problem = f"the training pair pool must hold a whole number of batches, and a batch has {batch} images"
        raise OptionsError(
            "queue_size", pool, problem, f"Write a multiple of {batch}, e.g. {-(-pool // batch) * batch}."
        )


def find_gt(section: Mapping[str, Any]) -> FoundPairs:
    """The images of a RealESRGANDataset, each paired with itself.

    Raises:
        OptionsError: A folder or file is not there, or there are no images.
    """
    alike = {**section, "dataroot_lq": section.get("dataroot_gt"), "filename_tmpl": "{}"}
    backend = section.get("io_backend")
    if isinstance(backend, Mapping) and backend.get("type") != "lmdb":
        alike["meta_info_file"] = section.get("meta_info")
        if section.get("meta_info") is None:
            problem, remedy = f"{DATA_SET} lists the images of a folder by it", "Name a text file of their names."
            raise OptionsError(f"{KEY}.meta_info", MISSING, problem, remedy)
    try:
        images = pairs_of_section(KEY, alike)
        return FoundPairs(images, min(images.sizes(GT), key=min), gt_alone=True)
    except InputError as error:
        key = error.key.replace("meta_info_file", "meta_info").replace("dataroot_lq", "dataroot_gt")
        raise OptionsError(key, error.value, error.problem, error.remedy) from error


def try_degradation(options: RunOptions) -> None:
    """Make one small batch as the run would; the random state is left as it was.

    Raises:
        OptionsError: The data set or the degradation fails.
    """
    opt = options.raw
    key, kind = f"{KEY}.type", opt["datasets"]["train"]["type"]
    section = {**opt["datasets"]["train"], "type": find_name(registry.DATASET_REGISTRY, KEY, opt["datasets"]["train"])}
    with trial(), seeded((0,)):
        try:
            train_set = build_dataset(copy.deepcopy(section))
            batch = default_collate([train_set[index] for index in (0, len(train_set) - 1)])
        except Exception as error:  # whatever a data set raises
            problem = f"its images cannot be had ({first_line(error)})"
            raise OptionsError(key, kind, problem, "Correct its keys or its data.") from error
        lacks = [name for name in ("gt", "kernel1", "kernel2", "sinc_kernel") if name not in batch]
        if lacks:
            problem = f"its items have no {lacks[0]}, of which {MODEL} makes LQ images"
            raise OptionsError(key, kind, problem, f"Write {DATA_SET}.")
        small = {**batch, "gt": batch["gt"][..., :PROBE, :PROBE]}
        try:
            lq, gt = degrade({**opt, "gt_size": min(opt["gt_size"], PROBE // opt["scale"] * opt["scale"])}, small)
        except Exception:  # perhaps too small for what it is shrunk to
            lq, gt = _degrade_whole(options, batch)
    if not (torch.isfinite(lq).all() and torch.isfinite(gt).all()):
        problem = "with these and the other degradation keys a batch has values that are not finite"
        raise OptionsError("noise_range", opt["noise_range"], problem, EXAMPLE)


def _degrade_whole(options: RunOptions, batch: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    opt = options.raw
    try:
        return degrade(opt, batch)
    except Exception as error:  # whatever BasicSR makes of values that are of the right kind
        problem = f"{MODEL} cannot degrade a batch ({first_line(error)})"
        raise OptionsError("resize_range", opt["resize_range"], problem, EXAMPLE) from error
