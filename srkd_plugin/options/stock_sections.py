"""BasicSR's sections of an options file as pydantic models: keys that are known here, and values that are checked.

A field of type ``Any`` is known by name only. Keys that no model has are BasicSR's or a fork's business.
"""

from __future__ import annotations

from typing import Any, Literal, Optional

from pydantic import BaseModel, Field, model_validator

from srkd_plugin.options.degradation_sections import Degradation, Kernels, OfRealESRGAN
from srkd_plugin.options.stock_datasets import DataSet, TrainSet
from srkd_plugin.options.stock_training import Optimizer, Scheduler, Train
from srkd_plugin.options.stock_types import Count, GpuCount, Positive, StockSection, added


class Run(StockSection):
    """Top level of the file."""

    name: str
    """Name of the run and of its folder below ``experiments/``."""
    model_type: Any = None
    """Class of the model: DistillModel to distil, SRModel for a run of BasicSR's own."""
    scale: Positive
    """GT pixels per LQ pixel, along each side."""
    num_gpu: GpuCount
    """Number of GPUs of a run of one process; 0: the CPU; auto: all."""
    manual_seed: Optional[int] = Field(default=None, ge=0)
    """Seed of all random generators; none: one is drawn."""
    datasets: dict[str, Any]
    """The data sets: ``train`` and any number of ``val...``, or ``test...``."""
    network_g: dict[str, Any]
    """The student: a registered architecture (``type``) and its arguments."""
    network_d: Any = None
    """The discriminator of BasicSR's GAN models."""
    path: dict[str, Any]
    """Weights files and folders."""
    train: dict[str, Any]
    """Optimizer, schedule and losses."""
    val: Optional[dict[str, Any]] = None
    """Validation; none: there is none."""
    logger: dict[str, Any]
    """What is logged and saved, and how often."""
    dist_params: Any = None
    """Backend and port of distributed training that slurm launches."""
    find_unused_parameters: Any = None
    """Passed on to DistributedDataParallel."""
    auto_resume: bool = added(False)
    is_train: bool = added(True)
    dist: bool = added(False)
    rank: int = added(0)
    world_size: int = added(1)
    root_path: Any = added()


class Paths(StockSection):
    """``path``: weights files and folders."""

    pretrain_network_g: Any = None
    """Weights file that the student starts from; none: random weights."""
    param_key_g: Any = None
    """Key of the student's weights in that file."""
    strict_load_g: Any = None
    """Refuse weights that do not fit the student exactly."""
    resume_state: Any = None
    """Training state (``.state``) to go on from."""
    ignore_resume_networks: Any = None
    """Networks that keep their own weights file on resume."""
    experiments_root: Any = None
    results_root: Any = None
    models: Any = added()
    training_states: Any = added()
    log: Any = added()
    visualization: Any = added()


class Val(StockSection):
    """``val``: validation during training, or the test."""

    val_freq: Count
    """Validate every this many iterations."""
    save_img: bool
    """Save the student's images."""
    suffix: Optional[str] = None
    """Ending of the names of saved images."""
    metrics: Optional[dict[str, Any]] = None
    """Metrics by the name under which they are logged."""
    pbar: bool = True
    """Show a progress bar."""


class Metric(StockSection):
    """``val.metrics.<name>``: a registered metric and its arguments."""

    type: str
    """Name of the metric, e.g. calculate_psnr."""
    crop_border: int = Field(default=0, ge=0)
    """Pixels that are cut off at each side."""
    test_y_channel: bool = False
    """Compare the Y channel instead of RGB."""
    better: Literal["higher", "lower"] = "higher"
    """Which of two values is better."""


class Logger(StockSection):
    """``logger``: what is logged and saved, and how often."""

    print_freq: Count
    """Log every this many iterations."""
    save_checkpoint_freq: Count
    """Save a checkpoint every this many iterations."""
    use_tb_logger: bool = False
    """Log to TensorBoard."""
    wandb: Optional[dict[str, Any]] = None
    """Log to Weights & Biases, if it has a ``project``."""

    @property
    def wandb_project(self) -> Optional[str]:
        """The project that BasicSR's log goes to; None: to none."""
        return (self.wandb or {}).get("project")

    @model_validator(mode="after")
    def _wandb_has_tensorboard(self) -> Logger:
        if self.wandb and self.wandb.get("project") is not None and not self.use_tb_logger:
            raise ValueError("wandb.project wants use_tb_logger: true")
        return self


STOCK_SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("", Run),
    ("", Degradation),
    ("", OfRealESRGAN),
    ("path", Paths),
    ("datasets.train", TrainSet),
    ("datasets.train", Kernels),
    ("datasets.val", DataSet),
    ("train", Train),
    ("train.optim_g", Optimizer),
    ("train.scheduler", Scheduler),
    ("val", Val),
    ("val.metrics.<name>", Metric),
    ("logger", Logger),
)
"""Every model here with the section that it describes."""
