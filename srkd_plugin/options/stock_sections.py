"""BasicSR's sections of an options file as pydantic models: keys that are known here, and values that are checked.

A field of type ``Any`` is known by name only. Keys that no model has are BasicSR's or a fork's business.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Optional

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)


def _whole(value: float) -> int:
    if value != int(value):
        raise ValueError("a whole number is expected")
    return int(value)


Positive = Annotated[int, Field(ge=1)]
Count = Annotated[float, Field(ge=1), AfterValidator(_whole)]
"""BasicSR's files write ``!!float 5e3`` for whole numbers."""
GpuCount = Annotated[
    int, Field(ge=0), WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"const": "auto"}]})
]
"""BasicSR has replaced ``auto`` by a number when the options are read."""


def _added(default: Any = None) -> Any:
    """A key that BasicSR adds to the options and that no file has."""
    return Field(default=default, exclude=True)


class _Stock(BaseModel):
    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Run(_Stock):
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
    auto_resume: bool = _added(False)
    is_train: bool = _added(True)
    dist: bool = _added(False)
    rank: int = _added(0)
    world_size: int = _added(1)
    root_path: Any = _added()


class Paths(_Stock):
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
    models: Any = _added()
    training_states: Any = _added()
    log: Any = _added()
    visualization: Any = _added()


class DataSet(_Stock):
    """``datasets.val``, ``datasets.val_...``, or ``datasets.test...``: a set of images or pairs."""

    name: str
    """Name of the set in the log."""
    type: Any = None
    """Class of the data set."""
    phase: Any = _added()
    scale: Any = _added()
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
    color: Any = None
    """``y``: train on the Y channel."""
    mean: Any = None
    """Mean that is subtracted from the images, per channel."""
    std: Any = None
    """Standard deviation by which the images are divided, per channel."""


class TrainSet(DataSet):
    """``datasets.train``: the training set."""

    gt_size: Positive
    """Side of the GT crops, in pixels."""
    batch_size_per_gpu: Positive
    """Images per batch and GPU."""
    num_worker_per_gpu: int = Field(ge=0)
    """Processes per GPU that read images."""
    dataset_enlarge_ratio: float = Field(default=1, gt=0)
    """How many times an epoch goes through the set."""
    use_hflip: bool = False
    """Flip half of the crops left to right."""
    use_rot: bool = False
    """Flip half of the crops top to bottom, and transpose half."""
    prefetch_mode: Optional[Literal["cpu", "cuda"]] = None
    """Where batches are fetched ahead; cuda wants ``pin_memory: true``."""
    num_prefetch_queue: Any = None
    """Batches that are fetched ahead with ``prefetch_mode: cpu``."""
    pin_memory: bool = False
    """Copy batches to pinned memory."""
    persistent_workers: Any = None
    """Keep the reading processes from one epoch to the next."""

    @model_validator(mode="after")
    def _cuda_prefetcher_is_pinned(self) -> TrainSet:
        if self.prefetch_mode == "cuda" and not self.pin_memory:
            raise ValueError("prefetch_mode: cuda wants pin_memory: true")
        return self


class Train(_Stock):
    """``train``: optimizer, schedule and losses."""

    total_iter: Count
    """Number of iterations."""
    warmup_iter: int = Field(default=-1, ge=-1)
    """Iterations in which the learning rate rises linearly; -1: none."""
    ema_decay: float = Field(default=0, ge=0, lt=1)
    """Decay of the exponential moving average of the student's weights; 0: no average."""
    optim_g: dict[str, Any]
    """The student's optimizer."""
    optim_d: Any = None
    scheduler: dict[str, Any]
    """Schedule of the learning rate."""
    pixel_opt: Optional[dict[str, Any]] = None
    """Loss between the student's images and GT: a registered loss (``type``) and its arguments."""
    perceptual_opt: Optional[dict[str, Any]] = None
    """BasicSR's perceptual loss between the student's images and GT."""
    use_grad_clip: Any = None
    """Clip gradients, in BasicSR's video models."""
    gan_opt: Any = None
    net_d_iters: Any = None
    net_d_init_iters: Any = None


class Optimizer(_Stock):
    """``train.optim_g``: a class of torch's and its arguments."""

    type: str
    """Name of the optimizer, e.g. Adam."""
    lr: float = Field(gt=0)
    """Learning rate."""
    weight_decay: float = Field(default=0, ge=0)
    """L2 penalty."""
    betas: Optional[list[float]] = Field(default=None, min_length=2, max_length=2)
    """Adam's decay rates of both moments."""


class Scheduler(_Stock):
    """``train.scheduler``: a class of BasicSR's and its arguments."""

    type: str
    """MultiStepLR or CosineAnnealingRestartLR."""
    milestones: Optional[list[Count]] = None
    """Iterations at which the learning rate is multiplied by ``gamma``."""
    gamma: float = Field(default=0.1, gt=0)
    """Factor of the learning rate at each milestone."""
    periods: Optional[list[Count]] = Field(default=None, min_length=1)
    """Iterations of each period of the cosine; together they reach ``total_iter``."""
    restarts: Optional[list[float]] = None
    """Iterations at which the optimizer starts anew."""
    restart_weights: Optional[list[float]] = None
    """Factor of the learning rate at each restart."""
    eta_min: float = Field(default=0, ge=0)
    """Least learning rate."""


class Val(_Stock):
    """``val``: validation during training, or the test."""

    val_freq: Count
    """Validate every this many iterations."""
    save_img: bool
    """Save the student's images."""
    suffix: Any = None
    """Ending of the names of saved images."""
    metrics: Optional[dict[str, dict[str, Any]]] = None
    """Metrics by the name under which they are logged."""
    pbar: bool = True
    """Show a progress bar."""


class Metric(_Stock):
    """``val.metrics.<name>``: a registered metric and its arguments."""

    type: str
    """Name of the metric, e.g. calculate_psnr."""
    crop_border: int = Field(default=0, ge=0)
    """Pixels that are cut off at each side."""
    test_y_channel: bool = False
    """Compare the Y channel instead of RGB."""
    better: Literal["higher", "lower"] = "higher"
    """Which of two values is better."""


class Logger(_Stock):
    """``logger``: what is logged and saved, and how often."""

    print_freq: Count
    """Log every this many iterations."""
    save_checkpoint_freq: Count
    """Save a checkpoint every this many iterations."""
    use_tb_logger: bool = False
    """Log to TensorBoard."""
    wandb: Optional[dict[str, Any]] = None
    """Log to Weights & Biases, if it has a ``project``."""

    @model_validator(mode="after")
    def _wandb_has_tensorboard(self) -> Logger:
        if self.wandb and self.wandb.get("project") is not None and not self.use_tb_logger:
            raise ValueError("wandb.project wants use_tb_logger: true")
        return self


STOCK_SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("", Run),
    ("path", Paths),
    ("datasets.train", TrainSet),
    ("datasets.val", DataSet),
    ("train", Train),
    ("train.optim_g", Optimizer),
    ("train.scheduler", Scheduler),
    ("val", Val),
    ("val.metrics.<name>", Metric),
    ("logger", Logger),
)
"""Every model here with the section that it describes."""
