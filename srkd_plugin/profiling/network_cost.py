"""What one forward pass of a network takes, by arithmetic: multiply-adds and memory. Nothing is run but shapes."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

SMALL = 48
"""Least side of the LQ image whose cost is scaled up, for networks that cannot run without values."""


class Cost(NamedTuple):
    """Cost of upscaling one image."""

    lq_height: int
    lq_width: int
    macs: int
    """Multiply-adds of convolutions and matrix products, biases not counted, nor what works value by value."""
    peak_bytes: int
    """Most bytes of float32 tensors that are alive at once: input, feature maps and output, without the weights."""
    scaled: bool = False
    """Computed for a small image and multiplied by the pixels."""

    @property
    def flops(self) -> int:
        """Floating-point operations: 2 per multiply-add."""
        return 2 * self.macs


def parameter_count(net: nn.Module) -> int:
    """Number of a network's parameters."""
    return sum(parameter.numel() for parameter in net.parameters())


def cost_of(net: nn.Module, channels: int, lq: tuple[int, int], multiple: int = 1) -> Cost:
    """Compute the cost of one forward pass over one image.

    It is counted by torch's FlopCounterMode on tensors that have shapes and no values (device ``meta``), so that the
    largest image takes no time and no memory. The peak is that of torch run operation by operation: a tensor counts
    until the network lets go of it; what kernels take inside and what an allocator keeps does not count.

    Args:
        net: The network, on the CPU; stays as it is.
        channels: Channels of its input.
        lq: Height and width of its input; made larger to the next multiple.
        multiple: Of which its input's sides must be.
    """
    height, width = (rounded_up(side, multiple) for side in lq)
    try:
        return _on(net, "meta", channels, (height, width))
    except Exception:  # values are asked for (item, NumPy), or an operation that meta tensors have not
        side = rounded_up(SMALL, multiple)
        found, factor = _on(net, "cpu", channels, (side, side)), height * width / side**2
        return Cost(height, width, round(found.macs * factor), round(found.peak_bytes * factor), True)


def rounded_up(side: int, multiple: int) -> int:
    """The next multiple from a side on."""
    return -(-side // multiple) * multiple


@torch.no_grad()
def _on(net: nn.Module, device: str, channels: int, lq: tuple[int, int]) -> Cost:
    copied = copy.deepcopy(net).eval().to(device)  # EDSR keeps its mean on the device of its last input
    image = torch.zeros(1, channels, *lq, device=device)
    with FlopCounterMode(display=False) as counter:
        copied(image)
    memory = _LiveBytes(image)
    with memory:
        copied(image)
    return Cost(*lq, counter.get_total_flops() // 2, memory.peak)


class _LiveBytes(TorchDispatchMode):
    """Counts the memory of the tensors that operations give, as long as something holds them."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.peak = 0
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self._add(image)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Optional[dict[str, Any]] = None
    ) -> Any:
        """Run an operation; its inputs are alive until it has ended."""
        out = func(*args, **(kwargs or {}))
        self._live = {key: (ref, size) for key, (ref, size) in self._live.items() if not ref.expired()}
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, Tensor):
                self._add(value)
        return out

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()  # views and in-place operations share one
        self._live.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))
