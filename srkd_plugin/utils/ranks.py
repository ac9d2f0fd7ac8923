"""What the processes of a distributed run tell each other; with a single process, its own answer."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


def several() -> bool:
    """Whether this run has more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gathered(value: Any) -> list[Any]:
    """The picklable values of all ranks, in their order; all ranks come here."""
    if not several():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def all_are(value: bool, device: torch.device) -> bool:
    """Whether it is true on all ranks, which wait here for each other."""
    if not several():
        return value
    flag = torch.tensor([int(value)], device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MIN)
    return bool(flag.item())
