"""Building a network that a section of the options describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from srkd_plugin.options.registered_names import find_name
from srkd_plugin.utils.building import build_section


def build_described(key: str, section: Mapping[str, Any]) -> nn.Module:
    """Build the network that a section describes, with the random weights that its class gives it.

    Args:
        key: Path of the section, for the error.
        section: ``type``, the name of a registered architecture, and its arguments; stays as it is.

    Raises:
        OptionsError: No such architecture is registered, or it cannot be built from these arguments.
    """
    name = find_name(ARCH_REGISTRY, key, section)
    return build_section(lambda own: build_network({**own, "type": name}), key, section)


def describe_network(key: str, section: Mapping[str, Any], weights: Any) -> dict[str, Any]:
    """Plain values about a network that a section describes: ``type``, ``parameters`` (their number), ``weights``.

    Args:
        key: Path of the section, for the error.
        section: See :func:`build_described`.
        weights: File of its weights, or None.

    Raises:
        OptionsError: It cannot be built from these arguments.
    """
    net = build_described(key, section)
    return {"type": section["type"], "parameters": sum(p.numel() for p in net.parameters()), "weights": weights}
