"""Checks of ``train.eco``: whether the ramp ends in the run, and whether its terms can do with it."""

from __future__ import annotations

from srkd_plugin.errors import OptionsError
from srkd_plugin.options.run_options import RunOptions

KEY = "train.eco.end_iter"


def check_eco(options: RunOptions) -> None:
    """Check what can be seen without building anything.

    Args:
        options: The run's options.

    Raises:
        OptionsError: The run would end on the ramp, or a term compares feature maps, which would be of other inputs.
    """
    end, last = options.ours.eco.end_iter, int(options.stock.train.total_iter)
    if not end:
        return
    if end > last:
        problem = f"the run ends before, with iteration {last}, on inputs that no data set has"
        raise OptionsError(KEY, end, problem, f"Write {last} or less.")
    with_taps = [name for name, term in options.ours.terms.items() if term.taps is not None]
    if with_taps:
        problem = f"train.distill_opt.{with_taps[0]} compares feature maps, and teacher and student get other inputs"
        raise OptionsError(KEY, end, problem, "Remove the term, or train.eco.")
