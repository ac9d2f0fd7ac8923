"""What the processes (ranks) of a distributed run tell each other. In a run of one process nothing here does anything.

Every function but :func:`exchange` is a collective of the default process group: all ranks call it, in the same order.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from srkd_plugin.errors import OptionsError

TIMEOUT_SWITCH = "SRKD_DIST_TIMEOUT"
"""Seconds after which a rank that waits for the others gives up, as a variable of the environment."""
DEFAULT_TIMEOUT = 600.0

_alone = False
_exchanges = itertools.count()


def count() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if _together() else 1


def own() -> int:
    """This process's rank, from 0."""
    return dist.get_rank() if _together() else 0


@contextmanager
def alone() -> Iterator[None]:
    """Let this process be on its own in the block: for trials that another rank may not come to make."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def _together() -> bool:
    return not _alone and dist.is_available() and dist.is_initialized()


def timeout() -> timedelta:
    """How long a rank waits for the others: :data:`TIMEOUT_SWITCH`, or :data:`DEFAULT_TIMEOUT`.

    Raises:
        OptionsError: The variable is not a number above 0.
    """
    text = os.environ.get(TIMEOUT_SWITCH, str(DEFAULT_TIMEOUT))
    try:
        return timedelta(seconds=_positive(text))
    except (ValueError, OverflowError) as error:
        raise OptionsError(TIMEOUT_SWITCH, text, "a number of seconds above 0 is expected", "Correct it.") from error


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise ValueError(text)
    return value


def mean(values: Tensor) -> Tensor:
    """The mean of a tensor over the ranks: the same bits on every rank, of the shape and dtype of ``values``."""
    if count() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / count()


def make_equal(tensors: Iterable[Tensor], device: torch.device) -> None:
    """Give every rank rank 0's values, in place.

    Args:
        tensors: The same shapes on every rank.
        device: Where the process group works: the rank's GPU for NCCL.
    """
    if count() == 1:
        return
    for tensor in tensors:
        values = tensor.detach().to(device, copy=True)
        dist.broadcast(values, 0)
        tensor.detach().copy_(values)


def gather_objects(value: Any) -> list[Any]:
    """What every rank hands in (anything that pickles), by rank."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    dist.all_gather_object(values, value)
    return values


def all_are(value: bool, device: torch.device) -> bool:
    """Whether a value is true on all ranks, which wait here for each other.

    Args:
        value: Value of this rank.
        device: Where the process group works.
    """
    if count() == 1:
        return value
    flag = torch.tensor([int(value)], device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MIN)
    return bool(flag.item())


def gather_batches(*batches: Tensor) -> list[Tensor]:
    r"""Join each batch with those of the other ranks, along the first dimension and in the order of the ranks.

    Ranks may have different numbers of samples. The backward pass does not communicate. It is right for a loss that
    every rank computes from the whole joint batch, and whose gradients are averaged over the ranks afterwards, as DDP
    does: each rank gets the gradient of its own samples times the number W of ranks, and with :math:`\theta` in all
    samples

    .. math:: \frac{1}{W} \sum_r W \frac{\partial L}{\partial S_r} \frac{\partial S_r}{\partial\theta}
        = \frac{\partial L}{\partial\theta} .

    Args:
        batches: ``(N_r, ...)`` each, floating point; N_r the same for all of them.

    Returns:
        ``(sum of N_r, ...)`` each.

    Raises:
        ValueError: The samples of the ranks differ in shape; on every rank. Or the batches differ in N_r.
    """
    if count() == 1:
        return list(batches)
    if any(len(batch) != len(batches[0]) for batch in batches):
        raise ValueError(f"batches of one N expected; got {[tuple(batch.shape) for batch in batches]}")
    sizes = _sizes(batches)
    return [_Gather.apply(batch, sizes) for batch in batches]


def _sizes(batches: tuple[Tensor, ...]) -> list[int]:
    """How many samples each rank has."""
    of_one = [n for batch in batches for n in batch.shape[1:]]
    told = torch.tensor([len(batches[0]), *of_one], device=batches[0].device)
    by_rank = [torch.empty_like(told) for _ in range(count())]
    dist.all_gather(by_rank, told)
    sizes, *shapes = torch.stack(by_rank).T.tolist()
    if any(len(set(lengths)) > 1 for lengths in shapes):
        raise ValueError(f"the ranks' samples differ in shape: C, H, W by rank are {list(zip(*shapes))}")
    return sizes


class _Gather(torch.autograd.Function):
    """:func:`gather_batches` of one batch; padded on the way, as the collective wants equal ones."""

    @staticmethod
    def forward(ctx: Any, batch: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = batch.new_zeros(max(sizes), *batch.shape[1:])
        padded[: len(batch)] = batch
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes)])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        rank = dist.get_rank()
        start = sum(ctx.sizes[:rank])
        return len(ctx.sizes) * grad[start : start + ctx.sizes[rank]], None


def exchange(text: str, label: str) -> list[str]:
    """What every rank says, by rank; not a collective, so that it cannot meet another rank in one of another kind.

    It goes through the store by which the ranks found each other, with :func:`timeout`, and needs no GPU.

    Args:
        text: What this rank says.
        label: What it is about, for the error.

    Raises:
        TimeoutError: A rank said nothing.
    """
    if count() == 1:
        return [text]
    store = dist.distributed_c10d._get_default_store()
    which = f"srkd_plugin/{next(_exchanges)}"
    store.set(f"{which}/said/{own()}", text)
    _wait(store, f"{which}/said", label)
    texts = [store.get(f"{which}/said/{rank}").decode() for rank in range(count())]
    store.set(f"{which}/read/{own()}", "")
    if own() == 0:  # it may hold the store, and must not end before the others have read
        _wait(store, f"{which}/read", label)
    return texts


def _wait(store: Any, key: str, label: str) -> None:
    """Wait for what every rank writes under ``key``."""
    seconds = timeout().total_seconds()
    end = time.monotonic() + seconds
    for rank in range(count()):
        left = max(end - time.monotonic(), 0.1)
        try:
            store.wait([f"{key}/{rank}"], timedelta(seconds=left))
        except RuntimeError as error:  # DistStoreError is one
            raise TimeoutError(
                f"rank {rank} said nothing about its {label} within {seconds:g} s: it has ended, hangs, or was started "
                f"with options that name nothing of srkd_plugin ({TIMEOUT_SWITCH} sets the seconds)"
            ) from error
