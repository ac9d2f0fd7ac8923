"""What every rank must know of a step before the weights are updated: is all finite, and does the run end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Callable

import torch
import torch.distributed as dist
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from srkd_plugin.options.sections import NonfiniteSection
from srkd_plugin.parallel import ranks
from srkd_plugin.training.grad_norms import gradient_norms


class FiniteSteps:
    """Looks at the losses and gradients of each step, with one transfer from the GPU and, with several ranks, one
    all-reduce of a few numbers. All ranks come to the same result.

    Args:
        section: What is done about values that are not finite.

    Attributes:
        skipped: Iterations left out so far.
        ending: A rank was asked to end before its last look.
    """

    def __init__(self, section: NonfiniteSection) -> None:
        self.section = section
        self.skipped = 0
        self.ending = False

    def passes(
        self,
        losses: Mapping[str, Tensor],
        parameters: Iterable[nn.Parameter],
        asked_to_end: bool,
        iteration: int,
        describe: Callable[[list[str], bool], str],
        is_overflow: Callable[[int], bool] = lambda iteration: False,
    ) -> bool:
        """Whether the step may be taken; called after the backward pass.

        Args:
            losses: Losses by name, 0-dim tensors.
            parameters: Parameters that train; their gradients are looked at.
            asked_to_end: Whether this rank was asked to end.
            iteration: Number of the step, for the error.
            describe: Says where the fault is, from the names of this rank's losses that are not finite, and whether
                all losses of all ranks are finite; it is called on all ranks.
            is_overflow: Whether a gradient that is not finite, beside losses that are, is no fault; called with the
                iteration; it must say the same on all ranks.

        Raises:
            FloatingPointError: Something is not finite on some rank, and ``nan_policy`` is ``raise``, or as many
                iterations as may be skipped were; on all ranks. Nothing was updated.
        """
        flags = torch.stack([~loss.detach().isfinite() for loss in losses.values()])
        bad_gradient = ~_largest_norm(parameters, like=flags).isfinite()
        ending = torch.full((1,), asked_to_end, device=flags.device)
        seen = torch.cat([flags, bad_gradient.reshape(1), ending]).to(torch.uint8)
        here = seen.clone()
        if ranks.count() > 1:
            dist.all_reduce(seen, op=dist.ReduceOp.MAX)
        *anywhere, self.ending = (bool(value) for value in seen.tolist())
        if not any(anywhere):
            return True
        if not any(anywhere[:-1]) and is_overflow(iteration):
            return False
        names = [name for name, bad in zip(losses, here.tolist()) if bad]
        texts = ranks.gather_objects(describe(names, not any(anywhere[:-1])))
        numbered = [f"rank {rank}: {text}" for rank, text in enumerate(texts)] if len(texts) > 1 else texts
        self._refuse(iteration, numbered)
        return False

    def _refuse(self, iteration: int, faults: list[str]) -> None:
        text = f"iteration {iteration}: {'; '.join(faults)}. The weights are those of iteration {iteration - 1}"
        if self.section.nan_policy == "raise":
            raise FloatingPointError(
                f"{text}; nothing was saved. Lower the term's loss_weight or the learning rate, look for NaN in the "
                "data, or write train.nan_policy: skip."
            )
        if self.skipped >= self.section.max_skipped:
            limit = f"{self.skipped} iterations have been left out, as many as train.max_skipped allows"
            raise FloatingPointError(f"{text}; nothing was saved. {limit}.")
        self.skipped += 1
        get_root_logger().warning(f"{text}: left out, {self.skipped} of {self.section.max_skipped} allowed.")


def terms_with_bad_gradient(losses: Mapping[str, Tensor], parameters: list[nn.Parameter]) -> list[str]:
    """Names of the losses whose gradient over the parameters is not finite; one backward pass each."""
    norms = gradient_norms(losses, parameters)
    return [name for name, norm in norms.items() if not norm.isfinite()]


def _largest_norm(parameters: Iterable[nn.Parameter], like: Tensor) -> Tensor:
    """A number that is finite if and only if all gradients are (and none has a norm beyond float32)."""
    grads = [p.grad.detach() for p in parameters if p.grad is not None]
    if not grads:
        return torch.zeros((), device=like.device)
    return torch.stack([norm.float() for norm in torch._foreach_norm(grads)]).sum()
