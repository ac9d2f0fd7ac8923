"""Whether there is a CUDA device."""

from __future__ import annotations


def has_cuda() -> bool:
    """Whether there is a CUDA device to use; the condition of the repairs."""
    import torch

    return torch.cuda.is_available() and torch.cuda.device_count() > 0
