"""One line of progress at the bottom of the terminal during a training: iteration, speed, time left, PSNR and losses.

BasicSR's trainer has no place for one: it logs every ``print_freq`` iterations. The line follows the calls that every
trainer makes of its model. It acts in runs of ours and in those of ``srkd train``, on rank 0, if standard error is a
terminal; otherwise nothing is wrapped, and what is printed is what was printed before. BasicSR's log file is not
touched. Its console lines are written above the line, as ``tqdm.write`` does.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional

from basicsr.utils import get_root_logger
from tqdm import tqdm

from srkd_plugin.options import reader
from srkd_plugin.utils.terminal import Bar, shows_progress

_every_run = False
"""See :func:`in_every_run`."""


@contextlib.contextmanager
def in_every_run() -> Iterator[None]:
    """Let stock runs have the line, too; for ``srkd train``."""
    global _every_run
    before, _every_run = _every_run, True
    try:
        yield
    finally:
        _every_run = before


def attach(model: Any, opt: Mapping[str, Any]) -> None:
    """Let a model's training have the line, if it is to have one.

    Args:
        model: As BasicSR's ``build_model`` returns it; its methods are wrapped.
        opt: The run's options as the trainer has them.
    """
    if _is_wanted(opt) and all(hasattr(model, name) for name in ("optimize_parameters", "validation", "save")):
        TrainingLine(opt).follow(model)


def _is_wanted(opt: Mapping[str, Any]) -> bool:
    is_off = (opt.get("logger") or {}).get("progress") is False or opt.get("rank", 0) != 0
    return not is_off and shows_progress() and (_every_run or reader.is_ours(opt))


class TrainingLine:
    """The line of one training; it appears before its first step.

    Args:
        opt: The run's options.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self._name, self._total = str(opt["name"]), int(opt["train"]["total_iter"])
        sets = [key for key in opt["datasets"] if str(key).split("_")[0] == "val"]
        self._last_validations = len(sets) if opt.get("val") is not None else 0
        self._is_at_end = False
        self._bar: Optional[Bar] = None
        self._metrics: dict[str, dict[str, float]] = {}
        self._losses: dict[str, float] = {}
        self._handlers: list[logging.Handler] = []

    def follow(self, model: Any) -> None:
        """Wrap the methods of a model that every trainer calls; an error in one of them ends the line first."""
        after: dict[str, Callable[..., None]] = {
            "update_learning_rate": lambda *arguments, **more: None,
            "optimize_parameters": lambda current_iter, **more: self._stepped(model, current_iter),
            "validation": lambda loader, *arguments, **more: self._validated(model, loader),
            "save": lambda epoch, current_iter: self._saved(current_iter),
        }
        for name, act in after.items():
            setattr(model, name, self._wrapped(name, getattr(model, name), act))

    def _wrapped(self, name: str, method: Callable[..., Any], after: Callable[..., None]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            try:
                if self._bar is None and name == "optimize_parameters":
                    self._open(arguments[0] if arguments else more["current_iter"])
                result = method(*arguments, **more)
                after(*arguments, **more)
            except BaseException:  # what is printed about it begins on a line of its own
                self.close()
                raise
            return result

        return wrapped

    def _open(self, first: int) -> None:
        """Show the line before an iteration; a resumed run's begins there."""
        self._bar = Bar(
            desc=self._name,
            total=self._total,
            initial=first - 1,
            unit="it",
            dynamic_ncols=True,
            miniters=1,
            file=sys.stderr,
        )
        for handler in get_root_logger().handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                vars(handler)["emit"] = _above(handler)  # of this one, until close
                self._handlers.append(handler)
        atexit.register(self.close)

    def _stepped(self, model: Any, iteration: int) -> None:
        if self._bar is None:
            return
        log = getattr(model, "log_dict", None) or {}
        self._losses = {name: float(value) for name, value in log.items() if str(name).startswith("l_")}
        self._bar.set_postfix_str(self._figures(), refresh=False)
        self._bar.update(iteration - self._bar.n)

    def _validated(self, model: Any, loader: Any) -> None:
        found = getattr(model, "metric_results", None)
        if found:
            self._metrics[str(loader.dataset.opt["name"])] = {name: float(value) for name, value in found.items()}
        if self._bar is not None:
            self._bar.set_postfix_str(self._figures())
        self._last_validations -= self._is_at_end
        if self._is_at_end and self._last_validations <= 0:
            self.close()

    def _saved(self, iteration: int) -> None:
        self._is_at_end = iteration == -1  # how BasicSR's trainer saves the end; it validates once more after that
        if self._is_at_end and not self._last_validations:
            self.close()

    def _figures(self) -> str:
        """Metrics first: tqdm cuts off what the terminal has no room for."""
        several = len(self._metrics) > 1
        metrics = [
            f"{dataset + ' ' if several else ''}{name} {value:.4f}"
            for dataset, results in self._metrics.items()
            for name, value in results.items()
        ]
        return ", ".join([*metrics, *(f"{name} {value:.3e}" for name, value in self._losses.items())])

    def close(self) -> None:
        """Leave the line as it is, and let the log be written below it."""
        atexit.unregister(self.close)
        for handler in self._handlers:
            vars(handler).pop("emit", None)
        self._handlers.clear()
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            self._is_at_end = False


def _above(handler: logging.Handler) -> Callable[[logging.LogRecord], None]:
    """The handler's own ``emit``, with the line out of the way."""
    emit = handler.emit

    def written(record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=sys.stderr):
            emit(record)

    return written
