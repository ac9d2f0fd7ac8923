"""Whether a run can go on from a training state with the options of now; before anything is moved or written."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from srkd_plugin.distill.targets.find import find_source
from srkd_plugin.distill.trained_student import TrainedStudent
from srkd_plugin.errors import OptionsError
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.weights_file import WeightsFile
from srkd_plugin.options.int8_network import as_trained
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.preflight.networks import root_logger_untouched
from srkd_plugin.training.resume_optimizer import check_kind, check_parameters
from srkd_plugin.training.resume_record import differences, lines, make_record
from srkd_plugin.training.resume_rules import ANEW


def compare_with_state(options: RunOptions, state: Mapping[str, Any]) -> list[str]:
    """Compare the options of a run of ours with the training state that it goes on from.

    Args:
        options: The options, as the run is started with.
        state: The training state.

    Returns:
        What the run will say in its log; see :func:`srkd_plugin.training.resume_record.lines`.

    Raises:
        OptionsError: The first thing that cannot be.
    """
    check_kind(state)
    resets_lr = options.ours.resume.lr_on_resume == "options"
    found = differences(state, make_record(options, find_source(options).files_sha256()), resets_lr)
    for difference in found:
        difference.refuse()
    _check_student(options, state)
    return lines(state, found, resets_lr)


def _check_student(options: RunOptions, state: Mapping[str, Any]) -> None:
    """Load the checkpoint's weights into a student that is thrown away; the random state is left as it was."""
    section = as_trained(options.raw)
    with torch.random.fork_rng(devices=[]), root_logger_untouched(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever builds it for the run warns
        student = build_described("network_g", section)
        file = str(Path(options.raw["path"]["models"]) / f"net_g_{state['iter']}.pth")
        try:
            WeightsFile("g", file, "params", trust=options.ours.run.trust_weights).load_into(student)
        except OptionsError as error:
            problem = f"it is not that of the run that is resumed: {file}: {error.problem}"
            raise OptionsError("network_g", dict(section), problem, f"Write the run's network_g, {ANEW}") from error
        TrainedStudent(options.ours.student).prepare(student)
    check_parameters(state, sum(p.requires_grad for p in student.parameters()))
