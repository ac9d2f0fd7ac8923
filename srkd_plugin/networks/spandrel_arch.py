"""A teacher that a file's weights describe: spandrel recognises its architecture, and no argument need be known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from srkd_plugin.errors import OptionsError
from srkd_plugin.networks.padding import run_padded
from srkd_plugin.utils.building import first_line
from srkd_plugin.utils.extras import require

FILE_KEY = "path.pretrain_network_t"


@ARCH_REGISTRY.register()
class SpandrelModel(nn.Module):
    """A network in the way that spandrel runs it, for ``network_t: {type: SpandrelModel}``.

    Modules and weights have the names that they have in spandrel's network, so that taps are paths in that. Images are
    RGB in 0..1, what comes out is not clipped; sides that the network does not take are padded and cropped again.

    Attributes:
        architecture: spandrel's name of the architecture, e.g. ``DAT``.
        scale: SR factor.
        sides_multiple_of: Multiple that the sides of an unpadded input are.
        smallest_side: LQ pixels per side from which an input is not padded.
    """

    architecture: str
    scale: int
    sides_multiple_of: int
    smallest_side: int
    _file: str
    _found: Any

    def __init__(self) -> None:
        problem = "it is built from a weights file, and that is the teacher's"
        raise OptionsError("type", "SpandrelModel", problem, f"Write it in network_t, and give {FILE_KEY}.")

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], file: str) -> SpandrelModel:
        """The network of a state dict; the random state is left as it was.

        Args:
            weights: The state dict. spandrel opens no file: what is read, and how, is this package's business.
            file: Where it comes from, for the error.

        Raises:
            InputError: spandrel is not installed.
            OptionsError: It does not recognise the weights, or they are of no network from one image to one image.
        """
        spandrel = require("spandrel", "teachers", "network_t.type SpandrelModel")
        version = getattr(spandrel, "__version__", "")
        remedy = "If BasicSR has the architecture, describe it in network_t, e.g. {type: EDSR, num_feat: 64, ...}."
        try:
            with torch.random.fork_rng(devices=[]):
                found = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(weights))
        except spandrel.UnsupportedModelError as error:
            problem = f"spandrel {version} does not recognise the network of these weights"
            raise OptionsError(FILE_KEY, file, problem, remedy) from error
        except Exception as error:  # whatever an architecture makes of weights that only look like its own
            problem = f"spandrel {version} cannot build the network of these weights ({first_line(error)})"
            raise OptionsError(FILE_KEY, file, problem, remedy) from error
        if not isinstance(found, spandrel.ImageModelDescriptor):
            problem = f"it is of {found.architecture.name}, which does not make one image of one image"
            raise OptionsError(FILE_KEY, file, problem, "Name a super-resolution network.")
        return cls._of_descriptor(found, file)

    @classmethod
    def _of_descriptor(cls, found: Any, file: str) -> SpandrelModel:
        net = cls.__new__(cls)
        nn.Module.__init__(net)
        # the same dictionaries: names in the state dict and paths of taps are those of spandrel's network
        net._modules, net._parameters, net._buffers = (
            found.model._modules,
            found.model._parameters,
            found.model._buffers,
        )
        net._file, net._found = file, found  # no module, so that no name is there twice
        net.architecture, net.scale = found.architecture.name, found.scale
        net.sides_multiple_of = found.size_requirements.multiple_of
        net.smallest_side = found.size_requirements.minimum
        return net.eval()

    @property
    def recognised_as(self) -> str:
        """What people are told of its architecture."""
        return f"{self.architecture}, as spandrel recognises it"

    def train(self, mode: bool = True) -> SpandrelModel:
        """Set the mode of spandrel's network, too, whose modules are this one's."""
        self._found.model.train(mode)
        return super().train(mode)

    def forward(self, lq: Tensor) -> Tensor:
        """Upscale images.

        Args:
            lq: ``(N, C, h, w)`` in 0..1.

        Returns:
            ``(N, C, scale * h, scale * w)``, not clipped.
        """
        return run_padded(self._run, lq, self.sides_multiple_of, self.scale, self.smallest_side)

    def _run(self, lq: Tensor) -> Tensor:
        return self._found._call_fn(self._found.model, lq)  # spandrel's own call clips, and runs without autograd

    def check_scale(self, scale: int) -> None:
        """Refuse a file of another SR factor than the options'.

        Raises:
            OptionsError: It is one.
        """
        if scale != self.scale:
            problem = f"{self._file}, the teacher's file, is of {self.architecture} for x{self.scale}"
            raise OptionsError("scale", scale, problem, f"Write {self.scale}, or name a file for x{scale}.")

    def check_crops(self, gt_size: int) -> None:
        """Refuse training crops that would be padded in every step; :data:`sides_multiple_of` is checked elsewhere.

        Args:
            gt_size: Side of the HR crops.

        Raises:
            OptionsError: They are smaller than what the network takes.
        """
        least = self.smallest_side * self.scale
        if gt_size < least:
            problem = f"{self.architecture} takes {self.smallest_side} LQ pixels per side or more"
            raise OptionsError("datasets.train.gt_size", gt_size, problem, f"Write {least} or more.")
