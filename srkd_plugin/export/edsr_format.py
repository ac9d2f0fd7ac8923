"""EDSR's weights in the official format (EDSR-PyTorch's ``.pt``) and in BasicSR's, and what a file says of its network.

====================  =========================  =========================================
official              BasicSR                    what
====================  =========================  =========================================
head.0                conv_first
body.<i>.body.0 / 2   body.<i>.conv1 / conv2     block i of n
body.<n>              conv_after_body
tail.0.<k>            upsample.<k>               k = 0 for x2 and x3; 0 and 2 for x4
tail.1                conv_last
sub_mean, add_mean    (its argument rgb_mean)    DIV2K's mean, the same in every official file
====================  =========================  =========================================
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from srkd_plugin.errors import InputError
from srkd_plugin.utils.weights import first_nonfinite, load_weights_file, without_prefix, without_wrappers

StateDict = dict[str, Tensor]

RGB_MEAN = (0.4488, 0.4371, 0.4040)
RGB_RANGE = 255
MEAN_TOLERANCE = 1e-3
"""Fraction of 255 by which a file's means may differ from DIV2K's, by other rounding."""
NAMES = (
    ("head.0", "conv_first"),
    ("body.{n}.body.0", "body.{n}.conv1"),
    ("body.{n}.body.2", "body.{n}.conv2"),
    ("tail.0.{n}", "upsample.{n}"),
    ("tail.1", "conv_last"),
)
"""Official and BasicSR's names of layers; ``{n}`` is a number. The body's last layer is apart: its name has a count."""


@dataclass(frozen=True)
class Architecture:
    """What the shapes of a state dict say."""

    blocks: int
    channels: int
    scale: int
    in_channels: int
    out_channels: int
    parameters: int
    """Number of parameters of the network in BasicSR, which counts no means."""

    @property
    def usual_res_scale(self) -> float:
        """``res_scale`` of the official models of this width. It is in no file: a wrong one ruins the network."""
        return 0.1 if self.channels >= 256 else 1.0

    def as_options(self) -> dict[str, Any]:
        """``network_g`` or ``network_t`` of a BasicSR options file; ``res_scale`` is the usual one."""
        return {
            "type": "EDSR",
            "num_in_ch": self.in_channels,
            "num_out_ch": self.out_channels,
            "num_feat": self.channels,
            "num_block": self.blocks,
            "upscale": self.scale,
            "res_scale": self.usual_res_scale,
            "img_range": float(RGB_RANGE),
            "rgb_mean": list(RGB_MEAN),
        }


def read_file(path: Path, param_key: Optional[str] = None, prefix: str = "") -> tuple[StateDict, bool]:
    """Read a weights file of either format; only tensors are read from it (``weights_only``).

    Args:
        path: The file.
        param_key: Key of one of several state dicts in a BasicSR file; by default the only one.
        prefix: What the names of EDSR's entries begin with, e.g. ``net.``; those of DDP and torch.compile are known.

    Returns:
        The state dict, and whether it is in the official format.

    Raises:
        InputError: The file is not there, not readable or not EDSR's, holds NaN or infinity; or ``param_key`` or
            ``prefix`` is wrong or needed.
    """
    content = load_weights_file("weights", path)
    weights = without_prefix(without_wrappers(_select(path, content, param_key)), prefix)
    bad = first_nonfinite(weights)
    if bad is not None:
        problem = f"{bad} has values that are NaN or infinite"
        raise InputError("weights", str(path), problem, "Give a checkpoint from before the training broke.")
    official = "head.0.weight" in weights
    if not official and "conv_first.weight" not in weights:
        if prefix and not weights:
            raise InputError("--prefix", prefix, f"no name in {path.name} begins with it", "Correct it.")
        found = [name for name in weights if name.endswith((".head.0.weight", ".conv_first.weight"))]
        problem = "it has neither head.0.weight nor conv_first.weight"
        remedy = "Only EDSR's weights can be converted."
        if found:
            remedy = f"Give --prefix {found[0].partition('head.0.weight')[0].partition('conv_first.weight')[0]}"
        raise InputError("weights", str(path), problem, remedy)
    return weights, official


def _select(path: Path, content: Any, param_key: Optional[str]) -> StateDict:
    if not isinstance(content, Mapping) or not content:
        raise InputError("weights", str(path), "it holds no dictionary", "Give a file with a state dict.")
    found = [key for key, value in content.items() if isinstance(value, Mapping)]
    if not found:
        if param_key is not None:
            raise InputError("--param-key", param_key, f"{path.name} is a bare state dict", "Leave --param-key out.")
        selected = content
    elif param_key in found or (param_key is None and len(found) == 1):
        selected = content[param_key or found[0]]
    else:
        problem = f"{path.name} has {', '.join(map(str, found))}"
        raise InputError("--param-key", param_key, problem, "Name one of them.")
    if not selected or not all(isinstance(value, Tensor) for value in selected.values()):
        raise InputError("weights", str(path), "it holds other things than tensors", "Give a file with a state dict.")
    return dict(selected)


def describe(weights: Mapping[str, Tensor]) -> Architecture:
    """Tell the architecture from a state dict of either format.

    Raises:
        InputError: It is not EDSR's.
    """
    if "head.0.weight" in weights:
        weights = to_basicsr(weights)
    for name in ("conv_first.weight", "conv_last.weight", "upsample.0.weight", "conv_after_body.weight"):
        if name not in weights:
            raise InputError("weights", name, "EDSR has it, and the file has not", "Is it EDSR's?")
    channels, in_channels = weights["conv_first.weight"].shape[:2]
    steps = [value.shape[0] for name, value in weights.items() if re.fullmatch(r"upsample\.\d+\.weight", name)]
    scale = math.prod(math.isqrt(out // channels) for out in steps)  # each is followed by a pixel shuffle
    out_channels = weights["conv_last.weight"].shape[0]
    blocks = _count_blocks(weights)
    parameters = sum(value.numel() for value in weights.values())
    return Architecture(blocks, channels, scale, in_channels, out_channels, parameters)


def to_basicsr(weights: Mapping[str, Tensor]) -> StateDict:
    """Rename an official state dict's entries to BasicSR's; the tensors are the same objects.

    Raises:
        InputError: An entry is not EDSR's, or the means are not DIV2K's, so that they would be lost.
    """
    means = mean_shifts()
    for name, mean in means.items():
        if not torch.allclose(weights.get(name, mean), mean, rtol=0, atol=MEAN_TOLERANCE):
            problem = "it is not that of the official files, and BasicSR's format has no place for it"
            raise InputError("weights", name, problem, "Such a network needs another rgb_mean or img_range.")
    names = ((f"body.{_count_blocks(weights)}", "conv_after_body"), *NAMES)
    return {_rename(name, names): value for name, value in weights.items() if name not in means}


def to_official(weights: Mapping[str, Tensor]) -> StateDict:
    """Rename BasicSR's entries to the official ones, in the official order, and add the means.

    Raises:
        InputError: An entry is not EDSR's.
    """
    names = (("conv_after_body", f"body.{_count_blocks(weights)}"), *((new, old) for old, new in NAMES))
    named = {**mean_shifts(), **{_rename(name, names): value for name, value in weights.items()}}
    parts = ("sub_mean", "add_mean", "head", "body", "tail")
    return {name: value for part in parts for name, value in named.items() if name.startswith(f"{part}.")}


def _count_blocks(weights: Mapping[str, Tensor]) -> int:
    """Blocks of either format."""
    return sum(re.fullmatch(r"body\.\d+\.(body\.0|conv1)\.weight", name) is not None for name in weights)


def _rename(name: str, names: Iterable[tuple[str, str]]) -> str:
    layer, _, kind = name.rpartition(".")
    for old, new in names:
        match = re.fullmatch(re.escape(old).replace(r"\{n\}", r"(\d+)"), layer)
        if match is not None and kind in ("weight", "bias"):
            return f"{new.format(n=''.join(match.groups()))}.{kind}"
    raise InputError("weights", name, "EDSR has no such entry", "Only EDSR's weights can be converted.")


def mean_shifts() -> StateDict:
    """The official ``sub_mean`` and ``add_mean``: 1x1 convolutions that take DIV2K's mean off, and put it back."""
    shift = RGB_RANGE * torch.tensor(RGB_MEAN)
    identity = torch.eye(3).view(3, 3, 1, 1)
    return {
        "sub_mean.weight": identity,
        "sub_mean.bias": -shift,
        "add_mean.weight": identity.clone(),
        "add_mean.bias": shift,
    }


def to_bytes(weights: StateDict, official: bool) -> bytes:
    """A file's content: official files are bare state dicts, BasicSR's have it under ``params``.

    The same weights give the same bytes.
    """
    buffer = io.BytesIO()
    content: Any = weights
    if not official:
        content = {"params": weights}
    torch.save(content, buffer)
    return buffer.getvalue()
