"""BasicSR's ``datasets`` of an options file as pydantic models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Optional

from pydantic import AfterValidator, Field, model_validator

from srkd_plugin.options.stock_types import Positive, StockSection, added

PAIRS = "PairedImageDataset"
"""BasicSR's data set of GT and LQ images; of its data sets for images, it alone cannot do without a ``scale``."""

PerChannel = Annotated[list[float], Field(min_length=1, max_length=3)]


def _none_is_zero(values: list[float]) -> list[float]:
    if any(value <= 0 for value in values):
        raise ValueError("images are divided by it: every number must be greater than 0")
    return values


class DataSet(StockSection):
    """``datasets.val``, ``datasets.val_...``, or ``datasets.test...``: a set of images or pairs."""

    name: str
    """Name of the set in the log."""
    type: Any = None
    """Class of the data set."""
    phase: Any = added()
    scale: Any = added()
    dataroot_gt: Optional[str] = None
    """Folder or LMDB of the GT images."""
    dataroot_lq: Optional[str] = None
    """Folder or LMDB of the LQ images."""
    meta_info_file: Optional[str] = None
    """Text file that lists the GT images, one per line."""
    filename_tmpl: str = "{}"
    """Name of an LQ image; ``{}`` is the name of its GT image."""
    io_backend: Optional[dict[str, Any]] = None
    """How images are read: ``type: disk`` or ``type: lmdb``."""
    color: Optional[Literal["y", "rgb"]] = None
    """``y``: train on the Y channel."""
    mean: Optional[PerChannel] = None
    """Mean that is subtracted from the images, per channel."""
    std: Optional[Annotated[PerChannel, AfterValidator(_none_is_zero)]] = None
    """Standard deviation by which the images are divided, per channel."""

    @model_validator(mode="after")
    def _mean_and_std(self) -> DataSet:
        if (self.mean is None) != (self.std is None):
            raise ValueError("BasicSR needs mean and std, or neither")
        return self


class TrainSet(DataSet):
    """``datasets.train``: the training set."""

    gt_size: Positive
    """Side of the GT crops, in pixels."""
    batch_size_per_gpu: Annotated[int, Field(ge=1, le=65536)]
    """Images per batch and GPU."""
    num_worker_per_gpu: int = Field(ge=0, le=256)
    """Processes per GPU that read images."""
    dataset_enlarge_ratio: float = Field(default=1, gt=0, le=1e8)
    """How many times an epoch goes through the set."""
    use_hflip: bool = False
    """Flip half of the crops left to right."""
    use_rot: bool = False
    """Flip half of the crops top to bottom, and transpose half."""
    prefetch_mode: Optional[Literal["cpu", "cuda"]] = None
    """Where batches are fetched ahead; cuda wants ``pin_memory: true``."""
    num_prefetch_queue: Optional[Annotated[int, Field(ge=1, le=1024)]] = None
    """Batches that are fetched ahead with ``prefetch_mode: cpu``."""
    pin_memory: bool = False
    """Copy batches to pinned memory."""
    persistent_workers: Optional[bool] = None
    """Keep the reading processes from one epoch to the next."""

    @model_validator(mode="after")
    def _cuda_prefetcher_is_pinned(self) -> TrainSet:
        if self.prefetch_mode == "cuda" and not self.pin_memory:
            raise ValueError("prefetch_mode: cuda wants pin_memory: true")
        return self

    @model_validator(mode="after")
    def _there_are_workers_to_keep(self) -> TrainSet:
        if self.persistent_workers and self.num_worker_per_gpu == 0:
            raise ValueError("persistent_workers: true wants num_worker_per_gpu of 1 or more")
        return self


def with_sizes(opt: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options of a stock run, with a ``scale`` and ``gt_size`` of 1 where its model and data sets need neither.

    Generative models as StyleGAN2Model have none. SRModel and data sets of pairs do not get them: there a key that is
    missing is a mistake.
    """
    sets = opt.get("datasets")
    if not isinstance(sets, Mapping) or opt.get("model_type") == "SRModel":
        return opt
    sections = {phase: section for phase, section in sets.items() if isinstance(section, Mapping)}
    if any(section.get("type") == PAIRS for section in sections.values()):
        return opt
    train = {"train": {"gt_size": 1, **sections["train"]}} if "train" in sections else {}
    return {"scale": 1, **opt, "datasets": {**sets, **train}}
