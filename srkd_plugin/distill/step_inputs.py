"""All inputs of a training step, made of its batch: more samples, the ramp of ECO, and the history student's images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable, Optional

from torch import Tensor

from srkd_plugin.distill.eco import ramped, share_of_data
from srkd_plugin.distill.samples import Part, parts
from srkd_plugin.distill.targets.source import TargetSource
from srkd_plugin.errors import OptionsError
from srkd_plugin.options.sections import PluginOptions


class StepInputs:
    """Makes the inputs of each step.

    Args:
        ours: The options; ``train.samples`` and ``train.eco`` are read.
        scale: SR factor.
        source: Where the teacher's images come from; asked while the ramp lasts.
    """

    def __init__(self, ours: PluginOptions, scale: int, source: TargetSource) -> None:
        self._samples, self._eco = ours.samples, ours.eco
        self._scale, self._source = scale, source

    def parts(
        self, batch: Mapping[str, Any], iteration: int, history: Optional[Callable[[Tensor], Tensor]]
    ) -> list[Part]:
        """The batch first, then the inputs beside it.

        Args:
            batch: ``lq``; ``gt`` where there is one; and what the source reads.
            iteration: The first is 1.
            history: Gives ``(K, N, C, H, W)`` images of ``(N, C, h, w)`` inputs; None where no term reads them.

        Raises:
            OptionsError: The batch lacks what the options ask for.
        """
        if self._samples.zoom_in and "gt" not in batch:
            problem = "zoomed-in inputs are blocks of GT, and the data set gives none"
            raise OptionsError("train.samples.zoom_in", self._samples.zoom_in, problem, "Write 0.")
        found = list(parts(self._samples, batch, self._scale))
        share = share_of_data(self._eco, iteration)
        if share < 1:
            found[0] = ramped(found[0], self._source.targets(batch, with_maps=False), share, self._scale)
        if history is None:
            return found
        return [replace(part, batch={**part.batch, "history": history(part.batch["lq"])}) for part in found]
