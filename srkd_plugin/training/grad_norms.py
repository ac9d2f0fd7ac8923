"""Gradient norms of each loss of a step over the student: what a loss weight really does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from srkd_plugin.parallel import ranks

LOGGED = "grad_norm/"
"""What the names of norms begin with in the log."""


def gradient_norms(
    losses: Mapping[str, Tensor], parameters: Sequence[nn.Parameter], scale: float = 1.0
) -> dict[str, Tensor]:
    """The Euclidean norm of each loss's gradient over all parameters together.

    One backward pass per loss; the graph is kept, and ``.grad`` is not touched. In distributed runs the gradients are
    averaged over the ranks first, as DDP does with the sum of them: the norms are the same on every rank.

    Args:
        losses: 0-dim tensors of one graph.
        parameters: Leaf tensors that require a gradient.
        scale: Multiplies the losses during the backward pass, so that float16's gradients do not vanish.

    Returns:
        0-dim tensors; 0 for a loss that does not depend on the parameters.
    """
    norms = {}
    for name, loss in losses.items():
        if not loss.requires_grad:
            norms[name] = torch.zeros_like(loss)
            continue
        grads = torch.autograd.grad(loss * scale, parameters, retain_graph=True, allow_unused=True)
        found = [g.detach().float().flatten() for g in grads if g is not None]
        norms[name] = ranks.mean(torch.cat(found)).norm() / scale if found else torch.zeros_like(loss)
    return norms


def report_norms(log: Mapping[str, float], iteration: int, reference: str) -> None:
    """Say in BasicSR's log how the norms of a step relate, if some were measured.

    Args:
        log: What the step logs; norms begin with :data:`LOGGED`.
        iteration: Its number.
        reference: See :func:`describe_balance`.
    """
    norms = {name[len(LOGGED) :]: value for name, value in log.items() if name.startswith(LOGGED)}
    if norms:
        balance = describe_balance(norms, reference)
        get_root_logger().info(f"Gradient norms over the student, iter {iteration:,d}: {balance}")


def describe_balance(norms: Mapping[str, float], reference: str) -> str:
    """A line for the log: every norm, and its ratio to that of the reference loss.

    Args:
        norms: Norms by log name.
        reference: Log name of L_rec; if it is not there, no ratios are given.
    """
    base = norms.get(reference, 0.0)
    parts = []
    for name, norm in norms.items():
        ratio = f" ({norm / base:.3g} x {reference})" if base > 0 and name != reference else ""
        parts.append(f"{name}: {norm:.3e}{ratio}")
    return ", ".join(parts)
