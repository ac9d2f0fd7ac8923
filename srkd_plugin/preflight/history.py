"""Checks of ``train.history``: whether a term reads the history student's images, and whether it is ever updated."""

from __future__ import annotations

from srkd_plugin.distill.history import updates
from srkd_plugin.distill.step_losses import StepLosses
from srkd_plugin.errors import OptionsError
from srkd_plugin.options.run_options import RunOptions

KEY = "train.history"


def check_history(options: RunOptions, step_losses: StepLosses) -> None:
    """Check the section against the terms; warn where it is for nothing.

    Args:
        options: The run's options.
        step_losses: Their terms, as the run would build them.

    Raises:
        OptionsError: The student would be pushed off what it started as, to the end of the run.
    """
    section, last = options.ours.history, int(options.stock.train.total_iter)
    if not step_losses.reads("history"):
        if options.raw["train"].get("history"):
            options.warn([f"{KEY} is read by no term: it is for losses with negatives: history."])
    elif not updates(section, last):
        problem = f"the history student would never be updated: the run has {last} iterations"
        shortest = max(last // (10 * len(section.every)), 1)
        raise OptionsError(f"{KEY}.every", section.every, problem, f"Write smaller numbers, e.g. [{shortest}].")
