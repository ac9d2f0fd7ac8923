"""Post-training quantisation: an int8 network from a trained one and a few images, without training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import torch
from torch import Tensor, nn

from srkd_plugin.errors import InputError, nearest
from srkd_plugin.quantization import costs
from srkd_plugin.quantization.equalise import equalise
from srkd_plugin.quantization.fold import folded
from srkd_plugin.quantization.network import Int8Network
from srkd_plugin.quantization.ranges import (
    Observed,
    in_float,
    observe,
    output_error,
    run,
    search_ranges,
    set_ranges,
)

STRENGTHS = (0.0, 0.5, 1.0)
"""Strengths of :func:`~srkd_plugin.quantization.equalise.equalise` that are tried; the best output decides."""
SEARCHED = 1e10
"""Weights times pixels of the images on which a search looks at the output: with more, it takes minutes."""
HELD_BACK = 0.25
"""Part of the calibration images by which ranges are chosen; they are observed on the rest."""


@dataclass(frozen=True)
class Int8Settings:
    """What of a network is computed in int8, and how it is calibrated."""

    float_layers: Sequence[str] = ()
    """Convolutions and additions that stay float32."""
    float_bar: Optional[float] = None
    """Cost in dB (:func:`~srkd_plugin.quantization.costs.cost_in_db`) down to which more layers are kept float, the
    costliest first; None: none."""
    weight_bits: int = 8
    """8, or 7 for CPUs whose instructions saturate sums of two products of 8 bits."""


@dataclass(frozen=True)
class Calibrated:
    """An int8 network, and what is known of it from calibration images."""

    net: Int8Network
    fold_error: float
    """Largest difference of the folded network in float from the original; see
    :func:`~srkd_plugin.quantization.fold.folded`."""
    strength: float
    """That of the equalisation."""
    cost: float
    """Cost of the whole, on the images that were held back; see :func:`~srkd_plugin.quantization.costs.cost_in_db`."""
    layer_costs: dict[str, float]
    """Cost of each layer alone, the highest first; also of those that were kept float."""
    float_layers: list[str]
    """Layers that stay float32."""


def calibrate(net: nn.Module, crops: Tensor, settings: Int8Settings = Int8Settings()) -> Calibrated:
    """Make an int8 network of a trained one.

    Args:
        net: The network; it is left as it is.
        crops: Calibration images, ``(N, C, h, w)`` in 0..1, of at least 4 images; a quarter is held back.
        settings: What stays float.

    Raises:
        InputError: The network cannot be read or computes NaN; or a layer that is named is not there.
    """
    steps, fold_error = folded(net)
    plain = Int8Network(steps, steps_by_name(Int8Network(steps), settings.float_layers), settings.weight_bits).eval()
    plain.requires_grad_(False)
    held_back = crops[: max(1, round(len(crops) * HELD_BACK))]
    seen = crops[len(held_back) :]
    with in_float(plain):
        exact = run(plain, held_back)
    if not torch.isfinite(exact).all():
        problem = "its output has values that are NaN or infinite"
        raise InputError("INT8", type(net).__name__, problem, "Give weights from before the training broke.")
    found, strength = _equalised(plain, seen, held_back, exact)
    few = max(1, int(SEARCHED / (sum(p.numel() for p in plain.parameters()) * crops[0, 0].numel())))
    found = _searched(found, held_back, exact, few)
    by_layer = costs.layer_costs(found, held_back[:few], exact[:few])
    named = list(settings.float_layers)
    if settings.float_bar is not None:
        named += costs.keep_float(found, by_layer, settings.float_bar, held_back, exact)
    cost = costs.cost_in_db(output_error(found, held_back, exact))
    return Calibrated(found, fold_error, strength, cost, by_layer, named)


def steps_by_name(net: Int8Network, names: Sequence[str]) -> list[str]:
    """The steps of layers that are named.

    Raises:
        InputError: The network has no such layer.
    """
    known = costs.layers(net)
    for name in names:
        if name not in known:
            raise InputError("INT8", name, "the network has no such layer", nearest(name, known))
    return [step for name in names for step in costs.steps_of(net, name)]


def _equalised(plain: Int8Network, seen: Tensor, held_back: Tensor, exact: Tensor) -> tuple[Int8Network, float]:
    """The network equalised as much as makes its output best."""
    observed = observe(plain, seen)
    tried: list[tuple[float, Int8Network, float]] = []
    for strength in STRENGTHS:
        net = copy.deepcopy(plain)
        equalise(net, _largest(observed), strength)
        set_ranges(net, observe(net, seen))
        tried.append((output_error(net, held_back, exact), net, strength))
    _, net, strength = min(tried, key=lambda each: each[0])
    return net, strength


def _searched(net: Int8Network, held_back: Tensor, exact: Tensor, few: int) -> Int8Network:
    """The network with the ranges that are best on a few images, unless they are worse on all."""
    searched = copy.deepcopy(net)
    search_ranges(searched, held_back[:few], exact[:few])
    errors = [output_error(one, held_back, exact) for one in (net, searched)]
    return net if errors[0] < errors[1] else searched


def _largest(observed: dict[str, Observed]) -> dict[str, Tensor]:
    return {name: one.largest for name, one in observed.items()}
