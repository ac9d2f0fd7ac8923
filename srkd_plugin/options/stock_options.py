"""BasicSR's sections of a training run's options as one object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from srkd_plugin.options import stock_sections


@dataclass(frozen=True)
class StockOptions:
    """BasicSR's sections of a training run's options."""

    run: stock_sections.Run
    path: stock_sections.Paths
    train: stock_sections.Train
    optim_g: stock_sections.Optimizer
    scheduler: stock_sections.Scheduler
    logger: stock_sections.Logger
    val: Optional[stock_sections.Val]
    metrics: dict[str, stock_sections.Metric]
    train_set: stock_sections.TrainSet
