"""Checks of ``train.accumulate``: whether steps fit the run, and what the negatives of its terms would be."""

from __future__ import annotations

from collections.abc import Iterator

from basicsr.utils import registry

from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.options.term_sections import TermSection

NEGATIVES = "train.accumulate_negatives"


def check_accumulation(options: RunOptions) -> None:
    """Check what can be seen without building anything.

    Args:
        options: The run's options.

    Raises:
        OptionsError: The last batches would make no step, or it is not said what the negatives are.
    """
    section, last = options.ours.accumulation, int(options.stock.train.total_iter)
    batches, negatives = section.accumulate, section.accumulate_negatives
    if batches == 1:
        if negatives is not None:
            options.warn([f"{NEGATIVES} is read with train.accumulate: 2 or more, and not here."])
        return
    if last % batches:
        problem = f"the run has {last} iterations, and the last {last % batches} would make no step"
        remedy = f"Write total_iter: {max(last // batches, 1) * batches}, or another number of batches."
        raise OptionsError("train.accumulate", batches, problem, remedy)
    if negatives == "joint":
        images = options.stock.train_set.batch_size_per_gpu
        problem = "the images of a step's earlier batches are not kept, so that they cannot be negatives"
        remedy = f"Write per_batch, or instead of accumulate batch_size_per_gpu: {batches * images}."
        raise OptionsError(NEGATIVES, negatives, problem, remedy)
    coupled = next(_with_negatives_of_the_batch(options), None)
    if coupled is not None and negatives is None:
        problem = f"{batches} batches make a step, and train.distill_opt.{coupled} takes negatives from its batch"
        raise OptionsError(NEGATIVES, MISSING, problem, "Write per_batch: each batch has its own negatives.")


def images_needed(term: TermSection) -> int:
    """How many images a batch must have, so that a term's loss can be computed."""
    if term.loss_options().get("negatives") == "history":  # an earlier student's images, and not the batch's
        return 1
    return getattr(dict(iter(registry.LOSS_REGISTRY)).get(term.type), "min_batch", 1)


def _with_negatives_of_the_batch(options: RunOptions) -> Iterator[str]:
    return (name for name, term in options.ours.terms.items() if images_needed(term) > 1)
