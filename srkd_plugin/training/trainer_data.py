"""What BasicSR's trainer has and its models do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainerData:
    """What the trainer has and BasicSR's models do not: they get it as the attribute ``trainer_data``."""

    iters_per_epoch: int = 0
    val_loaders: list[Any] = field(default_factory=list)
