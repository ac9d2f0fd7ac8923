"""What BasicSR's trainer has and its models do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainerData:
    """What the trainer has and BasicSR's models do not: they get it as the attribute ``trainer_data``.

    Attributes:
        iters_per_epoch: Batches of the training loader; 0 where the trainer built that loader or the model by itself.
        val_loaders: The loaders of the validation sets.
    """

    iters_per_epoch: int = 0
    val_loaders: list[Any] = field(default_factory=list)

    def epoch_of(self, iteration: int) -> int:
        """The epoch that an iteration ends in; 0 where epochs are not known: a resumed run then begins one anew."""
        return iteration // self.iters_per_epoch if self.iters_per_epoch else 0
