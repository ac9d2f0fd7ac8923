"""What values of several sections of BasicSR's mean together: what can only be a mistake, and what is merely odd."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from srkd_plugin.errors import OptionsError
from srkd_plugin.options.stock_options import StockOptions

MANY_WORKERS = 16
"""Reading processes that are not many on any machine."""


def check_consistency(stock: StockOptions) -> None:
    """Refuse values that contradict each other.

    Raises:
        OptionsError: The first two that do.
    """
    _check_schedule(stock)
    _check_crops(stock)


def oddities(stock: StockOptions) -> Iterator[str]:
    """One line for each value that BasicSR takes, and that few people mean."""
    for key, section in (("pixel_opt", stock.train.pixel_opt), ("perceptual_opt", stock.train.perceptual_opt)):
        if section and weightless(section):
            yield f"train.{key}: its weight is 0: it is computed and adds nothing. Remove the section."
    optimizer = stock.optim_g
    if optimizer.lr > 1:
        yield _line("train.optim_g.lr", optimizer.lr, "a learning rate above 1 is rare")
    if optimizer.weight_decay > 1:
        yield _line("train.optim_g.weight_decay", optimizer.weight_decay, "a weight decay above 1 is rare")
    workers, cores = stock.train_set.num_worker_per_gpu, os.cpu_count() or 1
    if workers > max(MANY_WORKERS, 4 * cores):
        yield _line("datasets.train.num_worker_per_gpu", workers, f"this machine has {cores} processor cores")


def weightless(section: Mapping[str, Any]) -> bool:
    """Whether a loss's section multiplies it by zero."""
    if section.get("type") == "PerceptualLoss":
        return section.get("perceptual_weight", 1.0) == 0 and section.get("style_weight", 0.0) == 0
    return section.get("loss_weight", 1.0) == 0


def _line(key: str, value: Any, problem: str) -> str:
    return f"{key} = {value}: {problem}."


def _check_schedule(stock: StockOptions) -> None:
    last, schedule = stock.train.total_iter, stock.scheduler
    if schedule.periods is not None and sum(schedule.periods) < last:
        problem = f"they end after {sum(schedule.periods)} iterations, and total_iter is {last}"
        given = stock.train.scheduler["periods"]
        raise OptionsError("train.scheduler.periods", given, problem, "Let them reach total_iter.")
    if stock.train.warmup_iter > last:
        problem = f"the run ends with iteration {last}, before the learning rate has risen"
        raise OptionsError("train.warmup_iter", stock.train.warmup_iter, problem, "Write less than total_iter, or -1.")
    if schedule.eta_min > stock.optim_g.lr:
        problem = f"the least learning rate is above the first, lr: {stock.optim_g.lr}"
        raise OptionsError("train.scheduler.eta_min", schedule.eta_min, problem, "Write less than lr.")


def _check_crops(stock: StockOptions) -> None:
    size, scale = stock.train_set.gt_size, stock.run.scale
    if size % scale:
        problem = f"it is not a multiple of the scale, {scale}"
        raise OptionsError("datasets.train.gt_size", size, problem, f"Write e.g. {max(size // scale, 1) * scale}.")
