"""A student that starts as a slice: of the teacher, or of another network that the options name."""

from __future__ import annotations

import torch
from torch import nn

from srkd_plugin.distill.targets.source import TargetSource
from srkd_plugin.errors import OptionsError
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.student_init import cut_from_teacher
from srkd_plugin.networks.weights_file import WeightsFile
from srkd_plugin.options.network_sections import CutFromSection
from srkd_plugin.options.run_options import RunOptions

KEY = "student.cut_from"
PROBE_SIDE = 16
"""Side of the LQ image on which the channels of a network are followed, in pixels, where crops are no smaller."""


def cut_student(student: nn.Module, options: RunOptions, source: TargetSource) -> str:
    """Give the student the weights of a slice, as the options' ``student`` says; the random state is left as it was.

    Args:
        student: The bare student; its weights are overwritten.
        options: The run's options.
        source: Where its teacher's images come from; built.

    Returns:
        A line for the log.

    Raises:
        OptionsError: There is nothing to cut it from, or the student is no part of that.
    """
    section, (channels, side) = options.ours.student, options.lq_shape
    side = min(side, PROBE_SIDE)
    lq = torch.zeros(1, channels, side, side) if section.by == "magnitude" else None
    how = f"student.init: teacher_slice, by: {section.by}" if lq is not None else "student.init: teacher_slice"
    if section.cut_from is None:
        cut_from_teacher(student, source.teacher_network(), lq)
        return f"The student starts as a slice of the teacher ({how})."
    try:
        cut_from_teacher(student, _other_network(section.cut_from, options.ours.run.trust_weights), lq)
    except OptionsError as error:
        if error.key != "student.init":
            raise
        problem = f"{error.problem} (the teacher is here the network that the student is cut from)"
        raise OptionsError(KEY, section.cut_from.network_g["type"], problem, error.remedy) from error
    file = section.cut_from.pretrain_network_g or "a network with random weights"
    return f"The student starts as a slice of {file} ({how})."


def _other_network(section: CutFromSection, trust: bool) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        net = build_described(f"{KEY}.network_g", section.network_g)
    if section.pretrain_network_g is None:
        return net.eval()
    flags = {"file": f"{KEY}.pretrain_network_g", "param_key": f"{KEY}.param_key_g"}
    file, key = section.pretrain_network_g, section.param_key_g
    WeightsFile("g", file, key, trust=trust, flags=flags).load_into(net)
    return net.eval()
