"""Options of a training run, read and typed: our sections, and those of BasicSR's that are checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from pydantic import BaseModel

from srkd_plugin.errors import MISSING, OptionsError, nearest
from srkd_plugin.options import stock_sections
from srkd_plugin.options.consistency import check_consistency, oddities
from srkd_plugin.options.key_names import near_misses
from srkd_plugin.options.network_arguments import check_network_arguments
from srkd_plugin.options.sections import PluginOptions
from srkd_plugin.options.stock_options import StockOptions
from srkd_plugin.options.validate import check_section, refuse_nonfinite


@dataclass(frozen=True)
class RunOptions:
    """Options of a training run, read once (:func:`srkd_plugin.options.reader.read`)."""

    raw: Mapping[str, Any]
    """The options as BasicSR's ``parse_options`` returns them, for BasicSR's own functions."""
    is_ours: bool
    """Whether they name anything of the plugin's."""
    ours: PluginOptions
    """The plugin's sections; the defaults in a stock run."""
    stock: StockOptions
    """BasicSR's sections, as far as they are known here."""
    warnings: list[str] = field(default_factory=list)
    """One line for each key that may be misspelt, or one of a fork's. Whoever checks a run shows them."""

    @property
    def lq_shape(self) -> tuple[int, int]:
        """Channels and side of the LQ crops that the run trains on."""
        train_set = self.stock.train_set
        return (1 if train_set.color == "y" else 3), train_set.gt_size // self.stock.run.scale

    def warn(self, texts: Iterable[str]) -> None:
        """Add warnings, each once."""
        self.warnings.extend(text for text in dict.fromkeys(texts) if text not in self.warnings)


def read_stock(opt: Mapping[str, Any]) -> tuple[StockOptions, list[str]]:
    """Check and read BasicSR's sections of a training run's options.

    Returns:
        The sections, and one line for each key that looks misspelt, or value that is odd.

    Raises:
        OptionsError: A key is missing, or a value of the wrong type or out of range.
    """
    refuse_nonfinite("", opt)
    warnings: list[str] = []

    def section(model: Any, where: str, values: Any, pattern: Optional[str] = None) -> Any:
        if isinstance(values, Mapping):
            warnings.extend(near_misses(where if pattern is None else pattern, where, values))
        return check_section(model, where, values)

    run = section(stock_sections.Run, "", opt)
    train = section(stock_sections.Train, "train", run.train)
    val = None if run.val is None else section(stock_sections.Val, "val", run.val)
    metrics = {} if val is None else val.metrics or {}
    read = StockOptions(
        run=run,
        path=section(stock_sections.Paths, "path", run.path),
        train=train,
        optim_g=section(stock_sections.Optimizer, "train.optim_g", train.optim_g),
        scheduler=section(stock_sections.Scheduler, "train.scheduler", train.scheduler),
        logger=section(stock_sections.Logger, "logger", run.logger),
        val=val,
        metrics={
            name: section(stock_sections.Metric, f"val.metrics.{name}", metric, "val.metrics.<name>")
            for name, metric in metrics.items()
        },
        train_set=_read_data_sets(run.datasets, section),
    )
    check_network_arguments("network_g", run.network_g)
    check_consistency(read)
    return read, [*warnings, *oddities(read)]


def _read_data_sets(datasets: Mapping[str, Any], section: Any) -> Any:
    """Check all sets; the training set."""
    read: dict[str, BaseModel] = {}
    for phase, values in datasets.items():
        key, kind = f"datasets.{phase}", str(phase).split("_")[0]
        if kind not in ("train", "val") or (kind == "train" and phase != "train"):
            near = nearest(phase, ("train", "val"))
            raise OptionsError(key, "...", "a training run has train, val and val_...", near)
        model = stock_sections.TrainSet if kind == "train" else stock_sections.DataSet
        read[phase] = section(model, key, values, f"datasets.{kind}")
    if "train" not in read:
        raise OptionsError("datasets.train", MISSING, "training needs it", "Add the training set.")
    return read["train"]
