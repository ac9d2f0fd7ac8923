"""The average of several checkpoints of one network, kept only if it is better than each of them.

Checkpoints of one run, or of runs that went on from the same weights, are so near each other that their mean is a
network of the same kind, often a better one, at the cost of one. That of networks that started apart is of no use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from srkd_plugin.errors import MISSING, InputError
from srkd_plugin.evaluate.benchmark import Benchmark, PairSet, measure
from srkd_plugin.evaluate.verify_teacher import validation_set
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.weights_file import WeightsFile
from srkd_plugin.runtimes.torch_upscaler import TorchUpscaler
from srkd_plugin.training.checkpoint_files import save_verified
from srkd_plugin.utils.weights import first_nonfinite, is_state_dict, load_weights_file, without_wrappers

KEYS = ("params_ema", "params")
"""Keys of BasicSR's checkpoints, the one that is measured first."""
FLAGS = {"file": "FILE", "param_key": "--param-key"}

StateDict = dict[str, Tensor]


@dataclass(frozen=True)
class AverageReport:
    """What became of an average; PSNR in dB: Y channel, ``scale`` border pixels cropped, mean over the images."""

    out: Path
    keys: tuple[str, ...]
    """Keys of the state dicts that were averaged; the first was measured."""
    psnr: Mapping[str, float]
    """Figure of each file; empty where nothing was measured."""
    psnr_average: Optional[float]
    kept: bool
    """Whether it was written."""

    def describe(self) -> str:
        """What was found and done, for people."""
        lines = [f"{name}: {value:.4f} dB" for name, value in self.psnr.items()]
        written = f"{self.out}: written, the average of {' and '.join(self.keys)}"
        if self.psnr_average is None:
            return f"{written}; nothing was measured: -opt FILE keeps it only if it is better than each of them"
        best = max(self.psnr, key=lambda name: self.psnr[name])
        gain = f"{self.psnr_average - self.psnr[best]:+.4f} dB over the best of them, {best}"
        lines.append(f"average: {self.psnr_average:.4f} dB, {gain} ({self.keys[0]}, PSNR of Y)")
        return "\n".join([*lines, written if self.kept else f"{self.out}: NOT written, as the average is not better"])


def average_files(
    files: Sequence[Path],
    out: Path,
    opt: Optional[Mapping[str, Any]] = None,
    param_key: Optional[str] = None,
    force: bool = False,
    device: str = "cpu",
) -> AverageReport:
    """Average checkpoints, and write the average; with options, only if it has a higher PSNR than each of them.

    Args:
        files: Two or more of one network, with its weights under ``params_ema`` and ``params``, or under no key.
        out: File to write, under the same keys.
        opt: Options with ``network_g``, ``scale`` and a validation set of RGB images, the first of which is measured.
        param_key: The one key to average; None: both, as far as all files have them.
        force: Whether to replace a file that is there.
        device: Where the networks are measured.

    Raises:
        InputError: A file cannot be read or is of another network, or ``out`` cannot be.
        OptionsError: The options do not describe the network.
        OSError: The average cannot be written.
    """
    _check_names(files, out, force)
    sections = [_sections(file, param_key) for file in files]
    wanted = KEYS if param_key is None else (param_key,)
    keys = tuple(key for key in wanted if all(key in section for section in sections))
    if not keys:
        found = "; ".join(f"{file} has {', '.join(s)}" for file, s in zip(files, sections))
        raise InputError("FILE", str(files[0]), f"the files have no key in common: {found}", "Give --param-key.")
    for key in keys:
        _check_one_network(files, [section[key] for section in sections])
    content = {key: average([section[key] for section in sections]) for key in keys}
    psnr, of_average = {}, None
    if opt is not None:
        measured = [section[keys[0]] for section in sections] + [content[keys[0]]]
        *singles, of_average = _psnr(opt, files[0], keys[0], measured, device)
        psnr = dict(zip(map(str, files), singles))
    kept = of_average is None or of_average > max(psnr.values())
    if kept:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_verified(content, out)
    return AverageReport(out, keys, psnr, of_average, kept)


def average(weights: Sequence[Mapping[str, Tensor]]) -> StateDict:
    """The mean of state dicts of one network.

    Args:
        weights: Two or more, with equal names, shapes and dtypes.

    Returns:
        The mean of each entry, summed up in float64, in the entry's dtype; whole numbers (indices, counters) are the
        last one's.
    """
    means = {}
    for name, last in weights[-1].items():
        if last.is_floating_point():
            total = torch.zeros_like(last, dtype=torch.float64)
            for one in weights:
                total += one[name]
            means[name] = (total / len(weights)).to(last.dtype)
        else:
            means[name] = last.clone()
    return means


def _check_names(files: Sequence[Path], out: Path, force: bool) -> None:
    if len(files) < 2:
        raise InputError("FILE", ", ".join(map(str, files)), "an average is of two or more", "Give more files.")
    resolved = [file.resolve() for file in files]
    twice = next((file for i, file in enumerate(files) if resolved[i] in resolved[:i]), None)
    if twice is not None:
        raise InputError("FILE", str(twice), "it is given twice", "Give each file once.")
    if out.suffix != ".pth":
        raise InputError("--out", str(out), "the average is a file of PyTorch's", "Give a name that ends with .pth.")
    if out.resolve() in resolved:
        raise InputError("--out", str(out), "it is one of the files to average", "Give another name.")
    if out.exists() and not force:
        raise InputError("--out", str(out), "it is there", "Give another name, or --force to replace it.")


def _sections(file: Path, param_key: Optional[str]) -> dict[str, StateDict]:
    """The state dicts of a file by key; one that is under no key is ``params``."""
    content = load_weights_file("FILE", file)
    given = {"params": content} if is_state_dict(content) else content if isinstance(content, Mapping) else {}
    wanted = KEYS if param_key is None else (param_key,)
    found = {key: without_wrappers(given[key]) for key in wanted if is_state_dict(given.get(key))}
    if not found:
        problem = f"it has no weights under {' or '.join(wanted)}"
        there = ", ".join(str(key) for key, value in given.items() if is_state_dict(value)) or "none"
        raise InputError("FILE", str(file), problem, f"Give --param-key: the keys of weights in it are: {there}.")
    for weights in found.values():
        bad = first_nonfinite(weights)
        if bad is not None:
            raise InputError("FILE", str(file), f"{bad} has values that are NaN or infinite", "Leave it out.")
    return found


def _check_one_network(files: Sequence[Path], weights: Sequence[StateDict]) -> None:
    first = weights[0]
    for file, other in zip(files[1:], weights[1:]):
        for name in [*first, *other]:
            ours, theirs = (_what(entries.get(name)) for entries in (first, other))
            if ours != theirs:
                problem = f"it is not of the network of {files[0]}: {name} is {theirs} here, and {ours} there"
                raise InputError("FILE", str(file), problem, "Give checkpoints of one network.")


def _what(value: Optional[Tensor]) -> str:
    return "missing" if value is None else f"{tuple(value.shape)} {str(value.dtype).replace('torch.', '')}"


def _psnr(opt: Mapping[str, Any], file: Path, key: str, weights: Sequence[StateDict], device: str) -> list[float]:
    """PSNR with each of several weights on the options' first validation set; the first are those of ``file``."""
    network, scale = opt.get("network_g", MISSING), opt["scale"]
    if not isinstance(network, Mapping) or "type" not in network:
        raise InputError("-opt", "network_g", "a section with a type is expected", "Describe the network in it.")
    channels = int(network.get("num_in_ch", 3))
    if channels != 3:
        problem = f"it takes images of {channels} channels, and here RGB is measured"
        raise InputError("network_g.num_in_ch", channels, problem, "Leave -opt out, and validate by srkd test.")
    found = validation_set(opt)
    benchmark = Benchmark("validation", PairSet(found.hr, found.lr, scale, found.filename_tmpl), found.hr)
    with torch.random.fork_rng(devices=[]):
        net = build_described("network_g", network)
    bare = is_state_dict(load_weights_file("FILE", file))
    WeightsFile("g", str(file), None if bare else key, flags=FLAGS).load_into(net)
    figures = []
    for one in weights:
        net.load_state_dict(one)
        figures.append(measure(TorchUpscaler(net, scale, channels, device), benchmark).mean_psnr)
    return figures
