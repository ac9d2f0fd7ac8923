"""Checks of ``train.samples``: whether the run's data and terms can do with other inputs than the batch."""

from __future__ import annotations

from srkd_plugin.distill.step_losses import StepLosses
from srkd_plugin.errors import OptionsError
from srkd_plugin.options.run_options import RunOptions

KEY = "train.samples"


def check_samples(options: RunOptions) -> None:
    """Check what can be seen of the options; whether the teacher's images can be had, their source knows.

    Raises:
        OptionsError: The samples cannot be made, or nothing would be learned from them.
    """
    section, terms, scale = options.ours.samples, options.ours.terms, options.stock.run.scale
    if not section.adds_inputs:
        return
    if section.zoom_in > scale * scale:
        problem = f"a GT crop has {scale * scale} blocks of the LQ crop's size at x{scale}"
        raise OptionsError(f"{KEY}.zoom_in", section.zoom_in, problem, f"Write {scale * scale} or less.")
    if section.zoom_in and not terms:
        problem = "zoomed-in inputs have the teacher's output as their only target, and train.distill_opt has no term"
        raise OptionsError(f"{KEY}.zoom_in", section.zoom_in, problem, "Add a term, or write 0.")
    with_taps = [name for name, term in terms.items() if term.taps is not None]
    if section.zoom_in and with_taps and any(section.augment.model_dump().values()):
        problem = f"train.distill_opt.{with_taps[0]} compares feature maps, which cannot be turned back"
        remedy = "Write augment: {invert: 0.0, hflip: 0.0, vflip: 0.0, transpose: 0.0}, or remove the term."
        raise OptionsError(f"{KEY}.augment", section.augment.model_dump(), problem, remedy)
    side = options.lq_shape[1]
    if section.zoom_out and side % scale:
        gt_size = options.stock.train_set.gt_size
        problem = f"crops have {side} LQ pixels per side, which cannot be shrunk by {scale}"
        remedy = f"Write a multiple of {scale * scale}, or {KEY}: {{zoom_out: false}}."
        raise OptionsError("datasets.train.gt_size", gt_size, problem, remedy)


def check_zoomed_in_inputs_count(options: RunOptions, step_losses: StepLosses) -> None:
    """Check that a term compares the student's images of zoomed-in inputs with something.

    Raises:
        OptionsError: All terms read ``gt``, which these inputs have none of.
    """
    zoom_in = options.ours.samples.zoom_in
    if zoom_in and all("gt" in term.reads for term in step_losses.terms):
        problem = (
            "all terms of train.distill_opt read gt, which zoomed-in inputs have none of: nothing is learned from them"
        )
        raise OptionsError(
            f"{KEY}.zoom_in", zoom_in, problem, "Write 0, or add a term that reads the teacher's image alone."
        )
