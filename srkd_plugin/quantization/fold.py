"""Constants folded into convolutions, exactly: value ranges, means at the output, residual scales."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from srkd_plugin.errors import InputError
from srkd_plugin.quantization.steps import MOVES, Steps
from srkd_plugin.quantization.trace import REMEDY, read_steps


def folded(net: nn.Module) -> tuple[Steps, float]:
    """Read a network as steps in which constants are part of convolutions, and activations follow them at once.

    A factor of the input (EDSR's ``img_range``) goes into the convolutions that read it, and factors and shifts of a
    convolution's result (``res_scale``, ``1 / img_range``, the mean) into its weights and bias. A shift of the input
    stays a step: the zeros with which the first convolution pads stand for the mean, so that no bias gives the same at
    the border.

    Args:
        net: The network; it is left as it is.

    Returns:
        The steps, and the proof: the largest absolute difference from the network in float64, on random images of
        0..1 that are not square.

    Raises:
        InputError: It cannot be read (:func:`~srkd_plugin.quantization.trace.read_steps`), or a constant cannot be
            folded.
    """
    steps = read_steps(net)
    _activate_before_moves(steps)
    while _fold_one(steps):
        pass
    for step in steps.steps:
        if step.kind == "scale" or (step.kind == "shift" and steps[step.inputs[0]].kind != "input"):
            problem = f"the constant of {step.name} is not between a convolution and what reads it"
            raise InputError("INT8", type(net).__name__, problem, REMEDY)
    return steps, _largest_difference(net, steps)


def _fold_one(steps: Steps) -> bool:
    for step in steps.steps:
        if step.kind not in ("scale", "shift"):
            continue
        constant = steps.weights[step.name][step.kind].double()
        if step.kind == "scale" and bool((constant == 1).all()):
            steps.drop(step.name)
            return True
        source = steps[step.inputs[0]]
        if source.kind == "conv" and steps.sole_reader(source.name) is not None:
            _into_result(steps.weights[source.name], step.kind, constant.flatten())
            steps.drop(step.name)
            return True
        readers = steps.readers(step.name)
        before_convs = readers and step.name != steps.output and all(r.kind == "conv" for r in readers)
        if step.kind == "scale" and before_convs:
            for reader in readers:
                _into_input(steps, reader.name, constant)
            steps.drop(step.name)
            return True
    return False


def _into_result(own: dict[str, Tensor], kind: str, constant: Tensor) -> None:
    if kind == "scale":
        own["out_factor"] = (own["out_factor"].double() * constant).float()
        own["offset"] = (own["offset"].double() * constant).float()
    else:
        own["offset"] = (own["offset"].double() + constant).float()


def _into_input(steps: Steps, conv: str, factor: Tensor) -> None:
    if factor.numel() > 1 and steps.conv_arguments[conv]["groups"] > 1:
        raise InputError("INT8", conv, "a factor per channel before a grouped convolution is not folded", REMEDY)
    own = steps.weights[conv]
    own["in_factor"] = (own["in_factor"].double() * factor.flatten()).float()


def _activate_before_moves(steps: Steps) -> None:
    """Swap an activation of one slope with a PixelShuffle before it, so that it follows the convolution."""
    for act in list(steps.steps):
        move = steps[act.inputs[0]] if act.inputs else None
        if act.kind not in ("relu", "leaky") or move is None or move.kind not in MOVES:
            continue
        if steps.sole_reader(move.name) is None:
            continue
        first, second = replace(act, inputs=move.inputs), replace(move, inputs=(act.name,))
        swapped = {move.name: first, act.name: second}
        new = [swapped.get(step.name, step) for step in steps.steps]
        rename = {act.name: move.name}
        steps.steps = [
            step if step is second else replace(step, inputs=tuple(rename.get(i, i) for i in step.inputs))
            for step in new
        ]
        steps.output = rename.get(steps.output, steps.output)


@torch.no_grad()
def _largest_difference(net: nn.Module, steps: Steps) -> float:
    images = torch.rand(2, steps.channels, 19, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = copy.deepcopy(net).cpu().double().eval()
    try:
        expected = exact(images)
    except RuntimeError:  # ECBSR makes its kernels in float32
        images, exact = images.float(), exact.float()
        expected = exact(images)
    return float((expected - steps.run(images)).abs().max())
