"""BasicSR's ``train`` of an options file as pydantic models: optimizer, schedule and losses."""

from __future__ import annotations

from typing import Annotated, Any, Optional

from pydantic import Field, model_validator

from srkd_plugin.options.stock_types import Count, StockSection


class Train(StockSection):
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
    use_grad_clip: Optional[bool] = None
    """Clip gradients, in BasicSR's video models."""
    gan_opt: Any = None
    net_d_iters: Any = None
    net_d_init_iters: Any = None


class Optimizer(StockSection):
    """``train.optim_g``: a class of torch's and its arguments."""

    type: str
    """Name of the optimizer, e.g. Adam."""
    lr: float = Field(gt=0, le=1000)
    """Learning rate."""
    weight_decay: float = Field(default=0, ge=0, le=1000)
    """L2 penalty."""
    betas: Optional[list[Annotated[float, Field(ge=0, lt=1)]]] = Field(default=None, min_length=2, max_length=2)
    """Adam's decay rates of both moments."""


class Scheduler(StockSection):
    """``train.scheduler``: a class of BasicSR's and its arguments."""

    type: str
    """MultiStepLR or CosineAnnealingRestartLR."""
    milestones: Optional[list[Count]] = None
    """Iterations at which the learning rate is multiplied by ``gamma``."""
    gamma: float = Field(default=0.1, gt=0, le=1)
    """Factor of the learning rate at each milestone."""
    periods: Optional[list[Count]] = Field(default=None, min_length=1)
    """Iterations of each period of the cosine; together they reach ``total_iter``."""
    restarts: Optional[list[Annotated[float, Field(ge=0)]]] = None
    """Iterations at which the optimizer starts anew."""
    restart_weights: Optional[list[Annotated[float, Field(gt=0)]]] = None
    """Factor of the learning rate at each restart."""
    eta_min: float = Field(default=0, ge=0)
    """Least learning rate."""

    @model_validator(mode="after")
    def _milestones_rise(self) -> Scheduler:
        if self.milestones and any(b < a for a, b in zip(self.milestones, self.milestones[1:])):
            raise ValueError(f"its milestones must rise, and they are {self.milestones}")
        return self

    @model_validator(mode="after")
    def _weights_of_restarts(self) -> Scheduler:
        weights, starts = self.restart_weights, self.periods or self.restarts
        if weights is not None and starts is not None and len(weights) != len(starts):
            name = "periods" if self.periods else "restarts"
            raise ValueError(f"there are {len(weights)} restart_weights for {len(starts)} {name}")
        return self
