"""Checks of BasicSR's sections against BasicSR itself: what would end a run of ours, or spoil it unnoticed.

Values have been checked when the options were read; here names and what depends on BasicSR's version are tried out.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Optional

import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.models.base_model import BaseModel as StockModel
from basicsr.utils import registry

from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.options.registered_names import find_class, makes_lq
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.options.stock_sections import Logger
from srkd_plugin.preflight.degradation import DATA_SET, find_gt
from srkd_plugin.preflight.image_pairs import FoundPairs, check_pairs
from srkd_plugin.preflight.validation import check_kinds, check_validation
from srkd_plugin.utils.files import require_file, require_folder

LONGEST_EPOCH = 100_000_000
"""Samples, whose numbers take some gigabytes as a list."""


def check_values(options: RunOptions) -> None:
    """Check what BasicSR would make of its own sections of a training run, but of the data sets.

    Raises:
        OptionsError: The first thing that is wrong.
    """
    if options.stock.path.resume_state is not None:
        require_file("path.resume_state", options.stock.path.resume_state)
    _check_logger(options.stock.logger)
    _try_optimizer_and_scheduler(options.raw["train"])


def _check_logger(logger: Logger) -> None:
    """Look for the packages that BasicSR imports when it has made the folder."""
    wanted = {"tensorboard": logger.use_tb_logger, "wandb": logger.use_tb_logger and logger.wandb_project is not None}
    for package, key in (("tensorboard", "use_tb_logger"), ("wandb", "wandb.project")):
        if wanted[package] and find_spec(package) is None:
            value = True if package == "tensorboard" else logger.wandb_project
            remedy = f"pip install {package}, or remove the key."
            raise OptionsError(f"logger.{key}", value, f"{package} is not installed", remedy)


def _try_optimizer_and_scheduler(train: Mapping[str, Any]) -> None:
    """Let BasicSR make both, for one parameter: which there are, and what they take, depends on the version."""
    model = StockModel.__new__(StockModel)
    model.opt = {"train": copy.deepcopy(dict(train))}
    model.optimizers, model.schedulers = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.optimizers.append(make_optimizer(train, [torch.zeros(1, requires_grad=True)]))
        except Exception as error:
            raise _explained("train.optim_g", train["optim_g"], error) from error
        try:
            model.setup_schedulers()
        except Exception as error:
            raise _explained("train.scheduler", train["scheduler"], error) from error


def make_optimizer(train: Mapping[str, Any], parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """Let BasicSR make the optimizer that ``train.optim_g`` describes.

    Args:
        train: ``train`` of the options; stays as it is.
        parameters: What it is made for.
    """
    arguments = copy.deepcopy(dict(train["optim_g"]))
    kind = arguments.pop("type")
    return StockModel.get_optimizer(StockModel.__new__(StockModel), kind, parameters, **arguments)


def _explained(key: str, section: Mapping[str, Any], error: Exception) -> OptionsError:
    problem = f"BasicSR refuses it ({error or type(error).__name__})"
    if isinstance(error, NotImplementedError):
        example = "Adam" if key.endswith("optim_g") else "MultiStepLR"
        return OptionsError(f"{key}.type", section["type"], problem, f"Write one that BasicSR has, e.g. {example}.")
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if unknown:
        return OptionsError(
            f"{key}.{unknown[1]}", section.get(unknown[1]), "unknown key", f"{section['type']} has none."
        )
    missing = re.search(r"missing .* argument.*?: '(\w+)'", str(error))
    if missing:
        return OptionsError(f"{key}.{missing[1]}", MISSING, "it is required", f"Add {missing[1]} to {key}.")
    return OptionsError(key, section, problem, "Correct the section.")


def check_datasets(options: RunOptions) -> dict[str, Optional[FoundPairs]]:
    """Check the data sets of a run, and look for their images.

    Returns:
        What was found, by name of the section; None for data sets of which only the folders are looked for.

    Raises:
        OptionsError: The first thing that is wrong.
    """
    found: dict[str, Optional[FoundPairs]] = {}
    if options.is_ours:
        check_kinds(options.raw["datasets"], makes_lq(options.raw))
    for phase, section in options.raw["datasets"].items():
        key = f"datasets.{phase}"
        cls = find_class(registry.DATASET_REGISTRY, key, section)
        if phase == "train" and makes_lq(options.raw) and section["type"] == DATA_SET:
            pairs: Optional[FoundPairs] = find_gt(section)
        else:
            pairs = find_images(key, cls, section, options.stock.run.scale, phase == "train")
        options.warn(() if pairs is None else pairs.images.notes())
        found[phase] = pairs
    if found["train"] is not None:
        _check_epoch(options, found["train"])
    metrics = {name: options.raw["val"]["metrics"][name] for name in options.stock.metrics}
    options.warn(check_validation(options.raw["datasets"], metrics, found))
    return found


def find_images(key: str, cls: type, section: Mapping[str, Any], scale: int, train: bool) -> Optional[FoundPairs]:
    """What a data set section finds; None where only its folders can be looked for.

    Raises:
        OptionsError: A folder is not there, or the images do not fit.
    """
    if issubclass(cls, PairedImageDataset):
        for name in ("use_hflip", "use_rot") if train else ():
            if name not in section:
                raise OptionsError(f"{key}.{name}", MISSING, "it is required", f"Add {name} to {key}.")
        return check_pairs(key, section, scale, train)
    for name in ("dataroot_gt", "dataroot_lq"):
        if isinstance(section.get(name), str):
            require_folder(f"{key}.{name}", Path(section[name]))
    return None


def _check_epoch(options: RunOptions, found: FoundPairs) -> None:
    """Refuse an epoch of another length than can be trained.

    BasicSR drops the last, short batch of an epoch; where it is the only one, it ends without having trained.
    It makes a list of the numbers of all samples of an epoch.
    """
    run, train_set = options.stock.run, options.stock.train_set
    ratio, images = train_set.dataset_enlarge_ratio, train_set.batch_size_per_gpu
    gpus = 1 if run.dist else max(run.num_gpu, 1)
    if found.pairs * ratio < images * gpus * run.world_size:
        problem = f"an epoch has {found.pairs} images x dataset_enlarge_ratio {ratio:g}, less than one batch"
        raise OptionsError("datasets.train.batch_size_per_gpu", images, problem, "Raise dataset_enlarge_ratio.")
    if found.pairs * ratio > LONGEST_EPOCH:
        length = f"an epoch has {found.pairs} images x dataset_enlarge_ratio {ratio:g}"
        problem = f"{length}, more than BasicSR can keep in memory"
        raise OptionsError("datasets.train.dataset_enlarge_ratio", ratio, problem, "Write less.")
