"""The student's first weights, cut out of the teacher's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Callable, Optional

import torch
from basicsr.archs.arch_util import ResidualBlockNoBN
from torch import Tensor, nn

from srkd_plugin.errors import OptionsError
from srkd_plugin.networks.channel_groups import ChannelGroups

Tree = dict[str, Optional["Tree"]]
"""Names of a state dict, split at the dots; None is a tensor."""

Kept = Callable[[str, int, int], Optional[Tensor]]
"""Gives which channels of a weight's dimension stay, by name, dimension and number; None: the first."""

VALUE_RANGE = ("img_range", "mean")
"""Attributes of BasicSR's EDSR and RCAN that are no part of their weights and change what these mean."""


@torch.no_grad()
def cut_from_teacher(student: nn.Module, teacher: nn.Module, strongest_on: Optional[Tensor] = None) -> None:
    """Give the student a part of the channels of each layer of the teacher, and evenly spread blocks of its lists.

    Entries correspond by name. Where a name counts modules of a list (``body.3``), block i of n takes that of index
    floor(i * m / n) of the teacher's m: every other one if m = 2n. The first outputs of a convolution before a pixel
    shuffle are those of the first channels, since r*r outputs in a row make one channel. A student of the teacher's own
    sizes becomes the teacher.

    The channels are the first ones; or those of largest L1 norm in the blocks that stay, the same wherever they are
    added (:class:`~srkd_plugin.networks.channel_groups.ChannelGroups`).

    Known as a strong baseline: CSD's issue tracker reports that a student which starts so and learns from L1 alone
    gets almost all of CSD's gain.

    BasicSR's residual blocks multiply with ``res_scale``, which is in no weights: where the networks' differ, the
    block's last convolution is multiplied with their ratio, so that the block computes what it did in the teacher.

    Only convolutions, and what has one number per channel, are cut: the outputs of a linear layer of another size may
    be groups (query, key, value), whose first part is not the first channels.

    Args:
        student: The bare student; its weights are overwritten.
        teacher: The bare teacher, on any device.
        strongest_on: Inputs, ``(N, C, h, w)``, on which the teacher runs once so that its channels of largest norm can
            be found; None: the first channels are taken.

    Raises:
        OptionsError: The student is no part of the teacher; its weights are as they were.
    """
    if type(student) is not type(teacher):
        raise _misfit(f"the student is {type(student).__name__} and the teacher {type(teacher).__name__}")
    _check_value_range(student, teacher)
    expected, found = student.state_dict(), teacher.state_dict()
    names = match_names(expected, found)
    kept = _first if strongest_on is None else _strongest(teacher, strongest_on, {n: found[n] for n in names.values()})
    weights = {name: _cut(name, names[name], found[names[name]], expected[name].shape, kept) for name in expected}
    for name, factor in _residual_factors(student, teacher, names).items():
        for kind in ("weight", "bias"):
            weights[f"{name}.conv2.{kind}"] = factor * weights[f"{name}.conv2.{kind}"]
    student.load_state_dict(weights)


def match_names(student: Iterable[str], teacher: Iterable[str]) -> dict[str, str]:
    """The teacher's name for each name of the student's state dict.

    Raises:
        OptionsError: One of them has an entry or more blocks that the other has not.
    """
    matched: dict[str, str] = {}
    _match(_tree(student), _tree(teacher), (), (), matched)
    return matched


def _tree(names: Iterable[str]) -> Tree:
    root: Tree = {}
    for name in names:
        *parents, leaf = name.split(".")
        node = root
        for parent in parents:
            child = node.get(parent)
            if child is None:
                child = node[parent] = {}
            node = child
        node[leaf] = None
    return root


def _match(
    student: Tree, teacher: Tree, own: tuple[str, ...], others: tuple[str, ...], matched: dict[str, str]
) -> None:
    for name, other in _pair_children(student, teacher, ".".join(own)):
        inside, there = student[name], teacher[other]
        if inside is None and there is None:
            matched[".".join((*own, name))] = ".".join((*others, other))
        elif inside is None or there is None:
            raise _misfit(f"{'.'.join((*own, name))} is a module in one network and a tensor in the other")
        else:
            _match(inside, there, (*own, name), (*others, other), matched)


def _pair_children(student: Tree, teacher: Tree, where: str) -> list[tuple[str, str]]:
    if all(name.isdigit() for name in (*student, *teacher)):
        blocks, of_teacher = (sorted(tree, key=int) for tree in (student, teacher))
        n, m = len(blocks), len(of_teacher)
        if n > m:
            raise _misfit(f"{where} has {n} blocks in the student and {m} in the teacher")
        return [(name, of_teacher[i * m // n]) for i, name in enumerate(blocks)]
    for here, there, whose in ((student, teacher, "teacher"), (teacher, student, "student")):
        missing = [name for name in here if name not in there]
        if missing:
            raise _misfit(f"{where + '.' if where else ''}{missing[0]} is not in the {whose}")
    return [(name, name) for name in student]


def _first(name: str, dim: int, count: int) -> None:
    return None


def _strongest(teacher: nn.Module, lq: Tensor, weights: Mapping[str, Tensor]) -> Kept:
    device = next(iter(weights.values())).device
    groups = ChannelGroups(teacher, lq.to(device))
    return lambda name, dim, count: groups.strongest(name, dim, count, weights)


def _cut(name: str, others: str, tensor: Tensor, shape: torch.Size, kept: Kept) -> Tensor:
    """The part of a teacher's tensor that the student has under ``name`` and the teacher under ``others``."""
    if tensor.shape == shape:
        return tensor
    fits = tensor.dim() == len(shape) and all(n <= m for n, m in zip(shape, tensor.shape))
    if not fits or tensor.shape[2:] != shape[2:]:
        raise _misfit(f"{name} is {tuple(shape)} in the student, which is no part of {tuple(tensor.shape)}")
    if len(shape) == 2:
        raise _misfit(f"{name} is {tuple(shape)} in the student and {tuple(tensor.shape)}; linear layers are not cut")
    for dim, (count, size) in enumerate(zip(shape, tensor.shape)):
        if count < size:
            index = kept(others, dim, count)
            tensor = (
                tensor.narrow(dim, 0, count) if index is None else tensor.index_select(dim, index.to(tensor.device))
            )
    return tensor


def _residual_factors(student: nn.Module, teacher: nn.Module, names: Mapping[str, str]) -> dict[str, float]:
    """What the last convolution of each residual block is multiplied with, by the block's name; where it is not 1."""
    factors = {}
    for name, block in student.named_modules():
        if not hasattr(block, "res_scale"):
            continue
        inside = next(key for key in names if key.startswith(f"{name}."))[len(name) :]
        other = teacher.get_submodule(names[name + inside][: -len(inside)])
        if other.res_scale == block.res_scale:
            continue
        if not isinstance(block, ResidualBlockNoBN) or block.res_scale == 0:
            problem = f"{name} ({type(block).__name__}) has res_scale {block.res_scale}, and {other.res_scale}"
            raise _misfit(f"{problem} in the teacher", "Give network_g the res_scale of network_t.")
        factors[name] = other.res_scale / block.res_scale
    return factors


def _check_value_range(student: nn.Module, teacher: nn.Module) -> None:
    for name in VALUE_RANGE:
        own, others = (torch.as_tensor(getattr(net, name, 0.0)).cpu() for net in (student, teacher))
        if own.shape != others.shape or not torch.equal(own, others):
            shown = " and ".join(str(value.flatten().tolist()) for value in (own, others))
            raise _misfit(f"{name} of student and teacher differ: {shown}", "Make img_range and rgb_mean equal.")


def _misfit(
    problem: str, remedy: str = "Describe a smaller network of the teacher's kind, or remove init."
) -> Exception:
    return OptionsError("student.init", "teacher_slice", problem, remedy)
