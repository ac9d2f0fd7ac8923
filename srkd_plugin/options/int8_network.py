"""The network that a run with ``train.quantize`` trains, as ``network_g`` describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from srkd_plugin.options.registered_names import registered_name
from srkd_plugin.options.sections import QuantizeSection
from srkd_plugin.options.validate import check_section

INT8_STUDENT = "Int8Student"
"""Name of :class:`srkd_plugin.quantization.int8_student_arch.Int8Student`."""


def as_trained(opt: Mapping[str, Any]) -> Mapping[str, Any]:
    """``network_g`` of options as a run trains it: in INT8 if they have a ``train.quantize``.

    Raises:
        OptionsError: That section is wrong.
    """
    given = (opt.get("train") or {}).get("quantize")
    if given is None:
        return opt["network_g"]
    return described(opt["network_g"], check_section(QuantizeSection, "train.quantize", given))


def described(network: Mapping[str, Any], section: QuantizeSection) -> dict[str, Any]:
    """``network_g`` of a student in INT8.

    Args:
        network: ``network_g`` of the student.
        section: ``train.quantize``.
    """
    return {
        "type": registered_name(INT8_STUDENT),
        "network": dict(network),
        "float_layers": list(section.float_layers),
        "weight_bits": section.weight_bits,
    }
