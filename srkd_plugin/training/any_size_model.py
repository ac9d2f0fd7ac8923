"""Validation of a student that takes sizes of a multiple only, on images of any size."""

from __future__ import annotations

from typing import Optional

from torch import Tensor, nn

from srkd_plugin.networks.padding import run_padded, size_multiple
from srkd_plugin.training.resumable import ResumableModel


class AnySizeModel(ResumableModel):
    """A :class:`ResumableModel` whose images are padded where its student needs it, as SwinIRModel's are."""

    lq: Tensor
    output: Tensor
    net_g: nn.Module
    _multiple: Optional[int] = None
    """Number that divides the student's input sides; found at the first validation."""

    def averaged_student(self) -> nn.Module:
        """SRModel's running average of the student, or the bare student where there is none."""
        return self.get_bare_model(getattr(self, "net_g_ema", self.net_g))

    def test(self) -> None:
        """Run the student, or its average, on an image of any size."""
        net, whole, scale = self.averaged_student(), self.lq, self.opt["scale"]
        if self._multiple is None:
            was_training = net.training
            self._multiple = size_multiple(net.eval(), whole.shape[1], scale) or 1
            net.train(was_training)

        def run(lq: Tensor) -> Tensor:
            self.lq = lq
            super(AnySizeModel, self).test()
            return self.output

        self.output = run_padded(run, whole, self._multiple, scale)
        self.lq = whole
