"""What opens the file of a student as it is, by its architecture; and what there is for the others.

BasicSR's checkpoints hold weights alone. Programs that are built on spandrel (chaiNNer, ComfyUI) recognise some
architectures by them; where an argument changes the images and not the weights, they take the usual value without a
word.
Tried with spandrel 0.4.2; ``tests/preflight/test_opened_by.py`` tries it with the one that is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

COMPACT = "an SRVGGNetCompact with act_type: prelu is opened"
REFUSED = {"EDSR": COMPACT, "RCAN": COMPACT, "MSRResNet": COMPACT, "ECBSR": COMPACT, "RIDNet": COMPACT, "DUF": COMPACT}
"""Architectures of BasicSR that spandrel does not know, or only in files of other names, and what it opens instead."""
NEEDED: Mapping[str, Mapping[str, tuple[Any, Any]]] = {
    "SRVGGNetCompact": {"act_type": ("prelu", "prelu")},
    "RRDBNet": {"num_grow_ch": (32, 32)},
    "SwinIR": {"img_range": (1.0, 1.0), "ape": (False, False), "patch_norm": (True, True), "qk_scale": (None, None)},
}
"""Architectures that it opens: arguments of which it takes one value only, and BasicSR's default."""


def missing_argument(network: Mapping[str, Any]) -> Optional[str]:
    """``key: value`` that spandrel takes for granted and the network has not; None if there is none.

    Args:
        network: ``network_g`` of an options file, of a ``type`` in :data:`NEEDED`.
    """
    for name, (needed, default) in NEEDED[network["type"]].items():
        if network.get(name, default) != needed:
            return f"{name}: {_as_yaml(needed)}"
    return None


def opened_by(network: Mapping[str, Any]) -> str:
    """Say what opens the student's file, and what to do for the rest.

    Args:
        network: ``network_g`` of an options file.
    """
    name = network["type"]
    if name in REFUSED:
        return f"BasicSR; spandrel (chaiNNer, ComfyUI) does not know its {name}: {_export()}; {REFUSED[name]}"
    if name not in NEEDED:
        return f"BasicSR; whether spandrel (chaiNNer, ComfyUI) knows {name} is not known here: {_export()}"
    argument = missing_argument(network)
    if argument is not None:
        return f"BasicSR; spandrel (chaiNNer, ComfyUI) opens a {name} with {argument} only: write that, or {_export()}"
    return f"BasicSR, and as it is by spandrel (chaiNNer, ComfyUI); for others {_export()}"


def _export() -> str:
    return "srkd export writes ONNX, ncnn and a file that names its network"


def _as_yaml(value: Any) -> str:
    return "~" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
