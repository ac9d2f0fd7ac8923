"""Checks of the sections that BasicSR owns, in runs of ours: what would end such a run, or spoil it unnoticed.

Values are checked against the models below; names and what depends on BasicSR's version are tried out on BasicSR.
Keys that are not in a model are BasicSR's business, unless they look like a misspelt one.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.models.base_model import BaseModel as StockModel
from basicsr.utils import registry
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from srkd_plugin.errors import MISSING, OptionsError, nearest
from srkd_plugin.options import reader
from srkd_plugin.options.validate import check_arguments, check_section, refuse_misspelt, refuse_nonfinite
from srkd_plugin.preflight.image_pairs import FoundPairs, check_pairs
from srkd_plugin.utils.files import require_file, require_folder

RUN_KEYS = ("model_type", "network_d", "dist_params", "find_unused_parameters", "auto_resume", "is_train", "root_path")
"""Keys of BasicSR's at the top level that no model here has."""


def _whole(value: float) -> float:
    if value != int(value):
        raise ValueError("a whole number is expected")
    return value


Count = Annotated[float, Field(ge=1), AfterValidator(_whole)]
"""BasicSR's files write ``!!float 5e3`` for whole numbers."""


class _Stock(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)


class _Run(_Stock):
    name: str
    scale: int = Field(ge=1)
    num_gpu: int = Field(ge=0)
    manual_seed: Optional[int] = Field(default=None, ge=0)
    datasets: dict[str, Any]
    network_g: dict[str, Any]
    path: dict[str, Any]
    train: dict[str, Any]
    logger: dict[str, Any]
    val: Optional[dict[str, Any]] = None


class _TrainSet(_Stock):
    name: str
    gt_size: int = Field(ge=1)
    batch_size_per_gpu: int = Field(ge=1)
    num_worker_per_gpu: int = Field(ge=0)
    dataset_enlarge_ratio: float = Field(default=1, gt=0)
    use_hflip: bool = False
    use_rot: bool = False
    prefetch_mode: Optional[Literal["cpu", "cuda"]] = None
    pin_memory: bool = False
    dataroot_gt: Optional[str] = None
    dataroot_lq: Optional[str] = None
    io_backend: Optional[dict[str, Any]] = None
    meta_info_file: Optional[str] = None
    filename_tmpl: str = "{}"

    @model_validator(mode="after")
    def _cuda_prefetcher_is_pinned(self) -> _TrainSet:
        if self.prefetch_mode == "cuda" and not self.pin_memory:
            raise ValueError("prefetch_mode: cuda wants pin_memory: true")
        return self


class _ValSet(_Stock):
    name: str
    dataroot_gt: Optional[str] = None
    dataroot_lq: Optional[str] = None
    io_backend: Optional[dict[str, Any]] = None


class _Optimizer(_Stock):
    type: str
    lr: float = Field(gt=0)
    weight_decay: float = Field(default=0, ge=0)
    betas: Optional[list[float]] = Field(default=None, min_length=2, max_length=2)


class _Scheduler(_Stock):
    type: str
    milestones: Optional[list[Count]] = None
    gamma: float = Field(default=0.1, gt=0)
    periods: Optional[list[Count]] = Field(default=None, min_length=1)
    restarts: Optional[list[float]] = None
    restart_weights: Optional[list[float]] = None
    eta_min: float = Field(default=0, ge=0)


class _Train(_Stock):
    total_iter: Count
    warmup_iter: int = Field(default=-1, ge=-1)
    ema_decay: float = Field(default=0, ge=0, lt=1)
    optim_g: dict[str, Any]
    scheduler: dict[str, Any]
    pixel_opt: Optional[dict[str, Any]] = None
    perceptual_opt: Optional[dict[str, Any]] = None


class _Metric(_Stock):
    type: str
    crop_border: int = Field(default=0, ge=0)
    test_y_channel: bool = False
    better: Literal["higher", "lower"] = "higher"


class _Val(_Stock):
    val_freq: Count
    save_img: bool
    metrics: Optional[dict[str, dict[str, Any]]] = None
    pbar: bool = True


class _Logger(_Stock):
    print_freq: Count
    save_checkpoint_freq: Count
    use_tb_logger: bool = False
    wandb: Optional[dict[str, Any]] = None

    @model_validator(mode="after")
    def _wandb_has_tensorboard(self) -> _Logger:
        if self.wandb and self.wandb.get("project") is not None and not self.use_tb_logger:
            raise ValueError("wandb.project wants use_tb_logger: true")
        return self


def check_values(opt: Mapping[str, Any]) -> None:
    """Check the values of BasicSR's own sections of a training run.

    Raises:
        OptionsError: The first thing that is wrong.
    """
    refuse_nonfinite("", opt)
    run = _section(_Run, "", opt, others=(*reader.TOP_KEYS, *RUN_KEYS))
    if run.path.get("resume_state") is not None:
        require_file("path.resume_state", run.path["resume_state"])
    train = _section(_Train, "train", run.train, others=(*reader.TRAIN_KEYS, *reader.STOCK_TRAIN_KEYS))
    _section(_Optimizer, "train.optim_g", train.optim_g)
    scheduler = _section(_Scheduler, "train.scheduler", train.scheduler)
    if scheduler.periods is not None and sum(scheduler.periods) < train.total_iter:
        problem = f"they end after {sum(scheduler.periods):.0f} iterations, and total_iter is {train.total_iter:.0f}"
        raise OptionsError("train.scheduler.periods", train.scheduler["periods"], problem, "Let them reach total_iter.")
    _section(_Logger, "logger", run.logger)
    if run.val is not None:
        val = _section(_Val, "val", run.val)
        for name, metric in (val.metrics or {}).items():
            _check_metric(f"val.metrics.{name}", metric)
    _try_optimizer_and_scheduler(run.train)


def _section(model: Any, key: str, values: Any, others: tuple[str, ...] = ()) -> Any:
    if isinstance(values, Mapping):
        refuse_misspelt((*model.model_fields, *others), key, values)
    return check_section(model, key, values)


def find_class(names: Any, key: str, section: Any) -> Any:
    """Find what ``section.type`` names in one of BasicSR's registries.

    Raises:
        OptionsError: There is no such section, or nothing of that name.
    """
    if not isinstance(section, Mapping) or not isinstance(section.get("type"), str):
        value = section.get("type", MISSING) if isinstance(section, Mapping) else section
        raise OptionsError(f"{key}.type", value, "a registered name is expected", f"Give {key} a type.")
    name = section["type"]
    for candidate in (name, f"{name}_basicsr"):  # BasicSR's Registry.get tries both
        if candidate in names:
            return names.get(candidate)
    raise OptionsError(f"{key}.type", name, "nothing is registered under this name", nearest(name, names.keys()))


def _check_metric(key: str, section: Mapping[str, Any]) -> None:
    function = find_class(registry.METRIC_REGISTRY, key, section)
    _section(_Metric, key, section)
    arguments = {name: value for name, value in section.items() if name not in ("type", "better")}
    check_arguments(function, {"img": None, "img2": None, **arguments}, key)


def _try_optimizer_and_scheduler(train: Mapping[str, Any]) -> None:
    """Let BasicSR make both, for one parameter: which there are, and what they take, depends on the version."""
    model = StockModel.__new__(StockModel)
    model.opt = {"train": copy.deepcopy(dict(train))}
    model.optimizers, model.schedulers = [], []
    arguments = dict(model.opt["train"]["optim_g"])
    kind = arguments.pop("type")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.optimizers.append(model.get_optimizer(kind, [torch.zeros(1, requires_grad=True)], **arguments))
        except Exception as error:
            raise _explained("train.optim_g", train["optim_g"], error) from error
        try:
            model.setup_schedulers()
        except Exception as error:
            raise _explained("train.scheduler", train["scheduler"], error) from error


def _explained(key: str, section: Mapping[str, Any], error: Exception) -> OptionsError:
    problem = f"BasicSR refuses it ({error or type(error).__name__})"
    if isinstance(error, NotImplementedError):
        return OptionsError(
            f"{key}.type", section["type"], problem, "Write one that BasicSR has, e.g. Adam, MultiStepLR."
        )
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if unknown:
        return OptionsError(
            f"{key}.{unknown[1]}", section.get(unknown[1]), "unknown key", f"{section['type']} has none."
        )
    missing = re.search(r"missing .* argument.*?: '(\w+)'", str(error))
    if missing:
        return OptionsError(f"{key}.{missing[1]}", MISSING, "it is required", f"Add {missing[1]} to {key}.")
    return OptionsError(key, section, problem, "Correct the section.")


def check_datasets(opt: Mapping[str, Any]) -> dict[str, Optional[FoundPairs]]:
    """Check the data sets of a run, and look for their images.

    Returns:
        What was found, by name of the section; None for data sets of which only the folders are looked for.

    Raises:
        OptionsError: The first thing that is wrong.
    """
    found = {}
    for phase, section in opt["datasets"].items():
        key = f"datasets.{phase}"
        kind = str(phase).split("_")[0]
        if kind not in ("train", "val") or (kind == "train" and phase != "train"):
            raise OptionsError(
                key, "...", "a training run has train, val and val_...", nearest(phase, ("train", "val"))
            )
        cls = find_class(registry.DATASET_REGISTRY, key, section)
        model: Union[type[_TrainSet], type[_ValSet]] = _TrainSet if kind == "train" else _ValSet
        checked = _section(model, key, section)
        if kind == "train":
            _check_crops(key, checked, opt["scale"])
        found[phase] = find_images(key, cls, section, opt["scale"], kind == "train")
    if "train" not in found:
        raise OptionsError("datasets.train", MISSING, "training needs it", "Add the training set.")
    if found["train"] is not None:
        _check_epoch(opt, found["train"])
    return found


def find_images(key: str, cls: type, section: Mapping[str, Any], scale: int, train: bool) -> Optional[FoundPairs]:
    """What a data set section finds; None where only its folders can be looked for.

    Raises:
        OptionsError: A folder is not there, or the images do not fit.
    """
    if issubclass(cls, PairedImageDataset):
        return check_pairs(key, section, scale, train)
    for name in ("dataroot_gt", "dataroot_lq"):
        if isinstance(section.get(name), str):
            require_folder(f"{key}.{name}", Path(section[name]))
    return None


def _check_crops(key: str, train_set: _TrainSet, scale: int) -> None:
    if train_set.gt_size % scale:
        problem = f"it is not a multiple of the scale, {scale}"
        remedy = f"Write e.g. {max(train_set.gt_size // scale, 1) * scale}."
        raise OptionsError(f"{key}.gt_size", train_set.gt_size, problem, remedy)


def _check_epoch(opt: Mapping[str, Any], found: FoundPairs) -> None:
    """BasicSR drops the last, short batch of an epoch; where it is the only one, it ends without having trained."""
    section = opt["datasets"]["train"]
    ratio, images = section.get("dataset_enlarge_ratio", 1), section["batch_size_per_gpu"]
    gpus = 1 if opt["dist"] else max(opt["num_gpu"], 1)
    if found.pairs * ratio < images * gpus * opt["world_size"]:
        problem = f"an epoch has {found.pairs} images x dataset_enlarge_ratio {ratio}, less than one batch"
        raise OptionsError("datasets.train.batch_size_per_gpu", images, problem, "Raise dataset_enlarge_ratio.")
