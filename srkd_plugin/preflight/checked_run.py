"""What the checks of a training run have read and found, for all that comes after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Optional

from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.preflight.checkpoint_size import CheckpointSize
from srkd_plugin.preflight.image_pairs import FoundPairs


@dataclass(frozen=True)
class CheckedRun(RunOptions):
    """Options of a training run that have been checked, and the images that its data sets list."""

    data: Mapping[str, Optional[FoundPairs]] = field(default_factory=dict)
    """Pairs by name of the section; None for data sets of which only the folders are looked for."""

    size: CheckpointSize = field(default_factory=lambda: CheckpointSize(0, 0))
    """What a checkpoint takes on the disk."""
    reads_history: bool = False
    """Whether a term reads the images of an earlier student."""

    @classmethod
    def of(cls, options: RunOptions, **found: Any) -> CheckedRun:
        """Join what was read with what was found, by the names of the fields here."""
        return cls(**{part.name: getattr(options, part.name) for part in fields(RunOptions)}, **found)
