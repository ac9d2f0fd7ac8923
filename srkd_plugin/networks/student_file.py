"""Files of a network that can be opened without its options file: weights, architecture, scale and facts in one.

A state dict shows neither ``res_scale`` nor ``img_range`` nor ``rgb_mean``. Here they are beside it: in a
``.safetensors`` file as metadata, in a ``.pth`` file as a JSON text beside ``params``, where BasicSR and spandrel find
the weights as in any file of BasicSR's.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.networks.build import build_described
from srkd_plugin.utils.files import write_atomically
from srkd_plugin.utils.weights import first_nonfinite, is_state_dict, load_weights_file, without_wrappers

KEY = "srkd_plugin"
"""Where a file has what is not weights, as JSON."""
SUFFIXES = (".pth", ".safetensors")
CHANNELS = ("num_in_ch", "in_chans", "in_channels")
"""What architectures call the number of their input's channels."""


@dataclass(frozen=True)
class StudentFile:
    """A network as a file holds it."""

    network: Mapping[str, Any]
    """``network_g`` of an options file: ``type`` and the architecture's arguments."""
    scale: int
    weights: Mapping[str, Tensor]
    """Its state dict, without prefixes of wrappers."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Plain values about where it comes from, e.g. its run and its teacher; nothing depends on them."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The architecture's arguments; those of the network itself where the student is one in INT8."""
        inside = self.network.get("network")
        return inside if isinstance(inside, Mapping) else self.network

    @property
    def channels(self) -> int:
        """Channels of its input: 3, RGB in 0..1, where the architecture's arguments say nothing else."""
        return int(next((self.arguments[name] for name in CHANNELS if name in self.arguments), 3))

    def build(self) -> nn.Module:
        """Build the network with its weights, on the CPU, in eval mode.

        Raises:
            OptionsError: It cannot be built, or the weights do not fit it.
        """
        with torch.random.fork_rng(devices=[]):
            net = build_described("network_g", self.network)
        try:
            net.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            problem = f"the weights do not fit it ({' '.join(str(error).split())[:200]})"
            raise OptionsError("network_g", dict(self.network), problem, "Correct its arguments.") from error
        return net.eval().requires_grad_(False)


def write_student(path: Path, student: StudentFile) -> None:
    """Write a ``.pth`` or ``.safetensors`` file, whole or not at all. The same student gives the same bytes.

    Raises:
        InputError: ``path`` has another suffix.
        OSError: It cannot be written.
    """
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in student.weights.items()}
    described = json.dumps({"network": student.network, "scale": student.scale, "facts": student.facts}, sort_keys=True)
    if path.suffix == ".safetensors":
        from safetensors.torch import save

        # one entry only: safetensors writes several in an order that changes from process to process
        write_atomically(path, save(weights, metadata={KEY: described}))
    elif path.suffix == ".pth":
        buffer = io.BytesIO()
        torch.save({"params": weights, KEY: described}, buffer)
        write_atomically(path, buffer.getvalue())
    else:
        raise InputError("file", str(path), "it is none of .pth and .safetensors", "Give it one of these suffixes.")


def read_student(path: Path, option: str = "--model") -> StudentFile:
    """Read a file of :func:`write_student`. Only tensors and plain values are read from it.

    Args:
        path: The file.
        option: The flag or key that names it, for the error.

    Raises:
        InputError: It is not there, not readable, holds NaN or infinity, or does not say what network it is of.
    """
    content = load_weights_file(option, path)
    if path.suffix == ".safetensors":
        described, weights = _safetensors_metadata(path).get(KEY), content
    else:
        sections = content if isinstance(content, Mapping) else {}
        described, weights = sections.get(KEY), sections.get("params")
    if not isinstance(described, str) or not is_state_dict(weights):
        problem = "it does not say what network it is of"
        raise InputError(option, str(path), problem, "Make such a file: srkd export -opt OPTIONS --weights FILE.")
    try:
        read = json.loads(described)
        student = StudentFile(dict(read["network"]), int(read["scale"]), without_wrappers(weights), dict(read["facts"]))
    except (ValueError, KeyError, TypeError) as error:
        problem = f"what it says of its network cannot be read ({error})"
        raise InputError(option, str(path), problem, "Export it again.") from error
    bad = first_nonfinite(student.weights)
    if bad is not None:
        problem = f"{bad} has values that are NaN or infinite"
        raise InputError(option, str(path), problem, "Export a checkpoint from before the training broke.")
    return student


def _safetensors_metadata(path: Path) -> Mapping[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}
