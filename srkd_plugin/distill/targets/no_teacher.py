"""No teacher at all: runs that train the student in a way of the plugin's, on GT alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from srkd_plugin.distill.targets.source import Targets, TargetSource
from srkd_plugin.options.run_options import RunOptions


class NoTeacher(TargetSource):
    """Gives nothing. A run has it that names no ``network_t`` and has neither terms nor another use for a teacher."""

    key = "network_t"

    @classmethod
    def fits(cls, options: RunOptions) -> bool:
        """Whether a run's options have no use for a teacher."""
        ours = options.ours
        needs_teacher = ours.student.init == "teacher_slice" and ours.student.cut_from is None
        return not ours.network_t and not ours.reads_targets and not needs_teacher

    def describe(self) -> dict[str, Any]:
        """Say that there is none."""
        return {"type": "none"}

    def build(self, device: torch.device) -> None:
        """Build nothing."""

    def targets(self, batch: Mapping[str, Any], with_maps: bool) -> Targets:
        """Never asked for: no term reads it."""
        raise NotImplementedError("a run without terms has no targets")

    def try_out(self, lq: Tensor, expected: torch.Size) -> None:
        """Nothing to try."""
