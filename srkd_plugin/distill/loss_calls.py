"""A loss and what it is called with: whether its ``forward`` takes that, and whether one number comes out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from basicsr.losses import build_loss
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from srkd_plugin.errors import OptionsError
from srkd_plugin.options.registered_names import find_name
from srkd_plugin.utils.building import build_section, first_line

NO_IMAGES = ("weight", "weights", "mask", "target_is_real")
"""Names of arguments of a ``forward`` that take no image to compare with."""


class LossCall:
    """A loss that is called with named tensors of a step.

    Args:
        key: Where the options name the loss, for errors.
        loss: The loss.
        reads: Names of the tensors that its ``forward`` takes, in their order.

    Raises:
        OptionsError: The loss needs a discriminator, or its ``forward`` does not take these tensors.
    """

    remedy = "Use a loss that compares two images, e.g. L1Loss."
    """What to do where ``forward`` takes another number of tensors."""

    def __init__(self, key: str, loss: nn.Module, reads: Sequence[str]) -> None:
        self.key = key
        self.loss = loss
        self.reads = tuple(reads)
        if any(cls.__name__ == "GANLoss" for cls in type(loss).__mro__):  # in another module in BasicSR 1.3
            problem = "an adversarial loss needs a discriminator, and DistillModel has none"
            raise self.error(problem, "Use another loss, or remove it.")
        self._check_signature()

    def error(self, problem: str, remedy: str) -> OptionsError:
        """An error of the options about this loss."""
        return OptionsError(self.key, type(self.loss).__name__, problem, remedy)

    def __call__(self, step: Mapping[str, Any]) -> Tensor:
        """The weighted loss of a step, a 0-dim tensor.

        Args:
            step: What this step has, by name.

        Raises:
            OptionsError: The loss reads something that this run does not have, cannot use what it has, or gives
                something else than a 0-dim tensor.
        """
        missing = [name for name in self.reads if name not in step]
        if missing:
            problem = f"it reads {missing[0]}, and a step of this run has {', '.join(step)}"
            raise self.error(problem, "Use a data set that gives it.")
        try:
            loss = self.loss(*(step[name] for name in self.reads))
        except ValueError as error:
            raise self.error(str(error), "Correct the term.") from error
        if not isinstance(loss, Tensor):
            raise self.error(f"it gives a {type(loss).__name__}, and no tensor", "Use a loss that gives one number.")
        if loss.dim() != 0:
            problem = f"it gives a tensor of shape {tuple(loss.shape)}, and no single number"
            raise self.error(problem, "Write reduction: mean, or use a loss that gives one number.")
        return loss

    def try_out(self, step: Mapping[str, Any]) -> Tensor:
        """The loss of a small batch before the run, where whatever the loss raises is an error of the options.

        Raises:
            OptionsError: See :meth:`__call__`; and if the loss fails.
        """
        try:
            return self(step)
        except OptionsError:
            raise
        except Exception as error:
            raise self.error(f"it fails on a small batch ({first_line(error)})", "Correct its arguments.") from error

    def _check_signature(self) -> None:
        """Whether ``forward`` takes as many tensors, and takes them for images or feature maps."""
        try:
            signature = inspect.signature(self.loss.forward)
        except ValueError:  # of a compiled or scripted module; trying it out will show
            return
        try:
            bound = signature.bind(*self.reads)
        except TypeError as error:
            problem = f"its forward{signature} does not take {', '.join(self.reads)} ({error})"
            raise self.error(problem, self.remedy) from error
        for parameter, given in bound.arguments.items():
            if parameter in NO_IMAGES:
                problem = f"its forward{signature} would take {given} as its {parameter}"
                raise self.error(problem, LossCall.remedy)


def build_described_loss(key: str, section: Mapping[str, Any]) -> nn.Module:
    """Build the loss that a section of the options describes.

    Args:
        key: Path of the section, for the error.
        section: ``type``, the name of a registered loss, and its arguments; stays as it is.

    Raises:
        OptionsError: It cannot be built from these arguments.
    """
    name = find_name(LOSS_REGISTRY, key, section)
    return build_section(lambda own: build_loss({**own, "type": name}), key, section)
