"""Distances between every image of one batch and every image of another, without an N x K x C x H x W tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def pairwise_l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of every row of ``a`` and every row of ``b``.

    This is :func:`torch.cdist`, but for its backward pass on devices other than the CPU: there ``cdist`` allocates
    N*K*D elements (``cdist_backward_kernel_impl`` in ATen's DistanceKernel.cu: ``at::empty({batch, r2, r1, m})``), so
    that pass is our own, one row of ``b`` at a time. On the CPU ``cdist`` needs no such buffer and is faster.

    Args:
        a: ``(N, D)``, float32 or float64.
        b: ``(K, D)``, of the same dtype.

    Returns:
        ``(N, K)``. At equal elements the gradient is 0, as for ``torch.abs``.
    """
    if a.device.type == "cpu":
        return torch.cdist(a, b, p=1.0) / a.shape[1]
    return _PairwiseL1.apply(a, b)


def pairwise_cosine(a: Tensor, b: Tensor, eps: float) -> Tensor:
    """Cosine similarity of every row of ``a`` and every row of ``b``: one matrix product of the unit vectors.

    Args:
        a: ``(N, D)``, float32 or float64.
        b: ``(K, D)``, of the same dtype.
        eps: See :func:`unit`.

    Returns:
        ``(N, K)`` in -1..1.
    """
    return unit(a, eps) @ unit(b, eps).T


def unit(x: Tensor, eps: float) -> Tensor:
    """Rows scaled to Euclidean length 1.

    A row whose root mean square is at most ``eps`` has no direction: it becomes 0 and gets no gradient, where a
    division by a clamped norm would give it a gradient of 1/eps. NaN stays NaN.

    Args:
        x: ``(N, D)``.
        eps: In units of the elements of ``x``.
    """
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    directionless = norm <= eps * x.shape[1] ** 0.5
    return torch.where(directionless, 0.0, x / torch.where(directionless, 1.0, norm))


class _PairwiseL1(torch.autograd.Function):
    """:func:`pairwise_l1` with a backward pass that needs N*D elements at a time."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return torch.cdist(a, b, p=1.0) / a.shape[1]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, Any]:
        a, b = ctx.saved_tensors
        grad = grad / a.shape[1]
        grad_a = torch.zeros_like(a) if ctx.needs_input_grad[0] else None
        grad_b = torch.empty_like(b) if ctx.needs_input_grad[1] else None
        for k in range(b.shape[0]):
            signed = (a - b[k]).sign_().mul_(grad[:, k : k + 1])
            if grad_a is not None:
                grad_a += signed
            if grad_b is not None:
                grad_b[k] = -signed.sum(0)
        return grad_a, grad_b
