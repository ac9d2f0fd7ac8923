"""The processes that torchrun has started on this machine, of which this is one; or this one alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

from srkd_plugin.errors import InputError
from srkd_plugin.parallel import gloo

LONGEST_WAIT = timedelta(days=7)
"""Time to wait for the others, which may have more to do; torch's default would end the run after half an hour."""


@dataclass(frozen=True)
class Processes:
    """This process among the others."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that prepares, prints and finishes."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all are here."""
        if self.count > 1:
            import torch.distributed as dist

            dist.barrier()


def join() -> Processes:
    """Meet the other processes, as torchrun's environment names them; without torchrun, there are none.

    Raises:
        InputError: They are on several machines.
    """
    count, here = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if count == 1:
        return Processes()
    if here != count:
        problem = "the processes write one LMDB together, which works on one machine only"
        raise InputError("torchrun --nnodes", count // max(here, 1), problem, "Use the GPUs of one machine.")
    import torch.distributed as dist

    gloo.begin(timeout=LONGEST_WAIT)
    return Processes(dist.get_rank(), count)
