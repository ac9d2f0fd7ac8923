"""The student of an options file and a weights file, checked to be one, with what is known of where it comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Optional

import torch
from torch import nn

from srkd_plugin import __version__
from srkd_plugin.errors import MISSING, InputError, OptionsError
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.padding import size_multiple
from srkd_plugin.networks.student_file import StudentFile
from srkd_plugin.networks.teacher import check_outputs
from srkd_plugin.networks.weights_file import KNOWN_KEYS, WeightsFile
from srkd_plugin.options import reader
from srkd_plugin.options.int8_network import as_trained
from srkd_plugin.utils.files import sha256_of_file
from srkd_plugin.utils.weights import is_state_dict, load_weights_file

FLAGS = {"file": "--weights", "param_key": "--param-key"}
SIDE = 64
"""Side of the image by which an output is looked at where no multiple was found."""


def weights_of_run(opt: Mapping[str, Any], root: Path) -> Path:
    """The newest weights of an options file's own run.

    Args:
        opt: The options.
        root: Folder below which BasicSR writes.

    Raises:
        InputError: There are none.
    """
    file = root / "experiments" / str(opt.get("name")) / "models" / "net_g_latest.pth"
    if not file.is_file():
        problem = f"the run of the options has no weights either: there is no {file}"
        raise InputError("--weights", MISSING, problem, "Give the weights file.")
    return file


def load_student(opt: Mapping[str, Any], file: Path, param_key: Optional[str] = None) -> tuple[StudentFile, int, str]:
    """Load the network of an options file with its weights, and check that it upscales as the options say.

    Args:
        opt: The options; ``network_g``, ``scale`` and what is known of the run are read.
        file: Its weights: BasicSR's ``.pth``, or safetensors.
        param_key: Key of the state dict in the file; None: the first of ``KNOWN_KEYS`` that it has: EMA first.

    Returns:
        The student with no facts yet, the multiple of which its input's sides must be, and a line that says which
        weights were taken.

    Raises:
        OptionsError: The options have no network or scale; the weights do not fit it, or hold NaN or infinity; or it
            gives another scale or NaN.
    """
    network, scale = opt.get("network_g", MISSING), opt.get("scale")
    if not isinstance(network, Mapping) or "type" not in network:
        raise OptionsError("network_g", network, "a section with a type is expected", "Describe the student in it.")
    if not isinstance(scale, int) or scale < 1:
        raise OptionsError("scale", scale, "a whole number from 1 is expected", "Write the network's SR factor.")
    network = as_trained(opt)
    taken = _weights_taken(file, param_key)
    path = _section(opt, "path")
    prefix = path.get("param_key_prefix_g") or "" if str(file) == path.get("pretrain_network_g") else ""
    with torch.random.fork_rng(devices=[]):
        net = build_described("network_g", network)
    trust, search = reader.trusts_weights(opt), param_key is None
    WeightsFile("g", str(file), param_key, None, True, trust, prefix, search, FLAGS).load_into(net)
    student = StudentFile(dict(network), scale, net.state_dict())
    return student, check_student(net.eval(), student), taken


def check_student(net: nn.Module, student: StudentFile) -> int:
    """Run a student, and say of what its input's sides must be multiples.

    Args:
        net: The network with its weights, in eval mode.
        student: What it should be.

    Raises:
        OptionsError: It fails, has another scale, or gives NaN or infinity.
    """
    multiple = size_multiple(net, student.channels, student.scale)
    side = SIDE if multiple is None else -(-SIDE // multiple) * multiple
    lq = torch.rand(1, student.channels, side, side, generator=torch.Generator().manual_seed(0))
    channels = int(student.arguments.get("num_out_ch", student.channels))
    large = side * student.scale
    check_outputs({"network_g": net}, lq, torch.Size((1, channels, large, large)))
    with torch.no_grad():
        if not torch.isfinite(net(lq)).all():
            problem = "its output has values that are NaN or infinite, though its weights are finite"
            raise OptionsError("network_g", dict(student.network), problem, "Correct its arguments.")
    return multiple or side


def _weights_taken(file: Path, param_key: Optional[str]) -> str:
    """A line that says which of a file's weights :class:`WeightsFile` takes; its faults are for that to name."""
    if param_key is not None:
        return f"weights: {param_key} of {file}"
    content = load_weights_file(FLAGS["file"], file, False)
    sections = content if isinstance(content, Mapping) and not is_state_dict(content) else {}
    keys = [key for key in KNOWN_KEYS if is_state_dict(sections.get(key))]
    others = f" (it has {', '.join(keys[1:])}, too: --param-key)" if keys[1:] else ""
    return f"weights: {keys[0] if keys else 'all'} of {file}{others}"


def facts(opt: Mapping[str, Any], options: Path, weights: Path, param_key: str) -> dict[str, Any]:
    """Plain values about where a student comes from; files by their names, so that they are the same everywhere.

    Args:
        opt: The options.
        options: Their file.
        weights: The student's weights file.
        param_key: What :func:`load_student` says of the weights.
    """
    iteration = re.fullmatch(r"net_g_(\d+)", weights.stem)
    sections = _section(opt, "datasets")
    sets = {str(phase): _section(sections, phase, "datasets.").get("name") for phase in sections}
    return {
        "run": opt.get("name"),
        "weights": {"file": weights.name, "sha256": sha256_of_file(weights), "key": param_key},
        "iteration": int(iteration[1]) if iteration else None,
        "teacher": _teacher(opt),
        "data": sets,
        "options": {"file": options.name, "sha256": sha256_of_file(options)},
        "versions": {"srkd_plugin": __version__, "basicsr": _basicsr_version(), "torch": torch.__version__},
    }


def _section(opt: Mapping[str, Any], key: str, where: str = "") -> Mapping[str, Any]:
    """A section of options that may be missing or empty.

    Raises:
        OptionsError: It is something else.
    """
    section = opt.get(key) or {}
    if not isinstance(section, Mapping):
        raise OptionsError(f"{where}{key}", section, "a section is expected", "Correct it, or leave it out.")
    return section


def _teacher(opt: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    network = opt.get("network_t")
    if not isinstance(network, Mapping):
        return None
    named = _section(opt, "path").get("pretrain_network_t")
    file = Path(named) if isinstance(named, str) else None
    sha256 = sha256_of_file(file) if file is not None and file.is_file() else None
    return {"type": network.get("type"), "file": file and file.name, "sha256": sha256}


def _basicsr_version() -> Optional[str]:
    try:
        return version("basicsr")
    except PackageNotFoundError:  # a checkout on the path
        return None
