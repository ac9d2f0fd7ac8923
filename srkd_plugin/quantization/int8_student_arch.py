"""A student in the numbers of int8 as an architecture of BasicSR's registry: its file is tested as any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from srkd_plugin.errors import OptionsError
from srkd_plugin.networks.build import build_described
from srkd_plugin.quantization.fold import folded
from srkd_plugin.quantization.network import Int8Network
from srkd_plugin.quantization.ptq import Calibrated, Int8Settings, calibrate, steps_by_name

MARK = ".weight_scale"
"""What the name of an entry ends with that only an int8 student's file has."""


@ARCH_REGISTRY.register()
class Int8Student(Int8Network):
    """A network as int8 computes it, for ``network_g: {type: Int8Student, network: {type: EDSR, ...}}``.

    Its weights file has the entries of the network, and beside them ranges, scales and what is folded into the weights.

    Args:
        network: ``network_g`` of the network itself.
        float_layers: Convolutions and additions that stay float32.
        weight_bits: 8, or 7.
    """

    def __init__(self, network: Mapping[str, Any], float_layers: Sequence[str] = (), weight_bits: int = 8) -> None:
        if not isinstance(network, Mapping) or "type" not in network:
            problem = "a section with a type is expected"
            raise OptionsError("network_g.network", network, problem, "Describe the network that is in INT8 there.")
        steps, _ = folded(build_described("network_g.network", network))
        super().__init__(steps, steps_by_name(Int8Network(steps), float_layers), weight_bits)
        self.float_layers = list(float_layers)

    @torch.no_grad()
    def start_from(self, net: nn.Module, crops: Tensor) -> Calibrated:
        """Take on a trained network's weights, calibrated.

        Args:
            net: The network that this one is of.
            crops: See :func:`~srkd_plugin.quantization.ptq.calibrate`.
        """
        found = calibrate(net, crops, Int8Settings(self.float_layers, weight_bits=self.weight_bits))
        self.load_state_dict(found.net.state_dict())
        return found


def is_int8(weights: Mapping[str, Any]) -> bool:
    """Whether a state dict is an int8 student's."""
    return any(str(name).endswith(MARK) for name in weights)
