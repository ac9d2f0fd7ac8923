"""Which channels of a network belong together, seen while it runs; and which of them are the strongest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from srkd_plugin.errors import OptionsError

BY_CHANNEL = {
    *("add", "sub", "mul", "div", "truediv", "iadd", "isub", "imul", "itruediv", "radd", "rsub", "rmul", "neg"),
    *("relu", "leaky_relu", "gelu", "silu", "elu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "clamp", "dropout"),
    *("interpolate", "upsample", "pad", "avg_pool2d", "max_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"),
}
"""Functions whose output channels are made of the same channels of their inputs, by name without underscores."""
SAME_VALUES = {"type_as", "to", "clone", "contiguous", "float", "detach"}
"""Those that change the first of their inputs in type or memory alone."""


@dataclass(eq=False)
class _Channels:
    """Channels that are chosen together: of layers that follow each other, or whose outputs are added."""

    size: int
    unknown: str = ""
    """The function through which they could not be followed."""
    parent: Optional[_Channels] = None
    blocks_of: Optional[tuple[_Channels, int]] = None
    """Channels behind a pixel shuffle, each of which is made of so many of these in a row."""

    def root(self) -> _Channels:
        """What stands for all that have been joined."""
        return self if self.parent is None else self.parent.root()

    def join(self, other: _Channels) -> None:
        """Choose these together with others, of as many channels."""
        first, second = self.root(), other.root()
        if first is second:
            return
        second.parent = first
        first.unknown = first.unknown or second.unknown
        if first.blocks_of is None or second.blocks_of is None:
            first.blocks_of = first.blocks_of or second.blocks_of
        elif first.blocks_of[1] == second.blocks_of[1]:
            first.blocks_of[0].join(second.blocks_of[0])
        else:
            first.unknown = "pixel_shuffle"


class ChannelGroups:
    """Follows the channels of a network from layer to layer, and finds those of largest L1 norm.

    A channel's norm is the sum of the absolute values of all that makes it: the filters and biases of the convolutions
    that put it out, one after another along a residual trunk, and the ``r * r`` of them in a row that a pixel shuffle
    makes one channel of (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, for one convolution).

    Args:
        net: The network, in eval mode; it runs once.
        lq: Inputs that it runs on, ``(N, C, h, w)``.
    """

    def __init__(self, net: nn.Module, lq: Tensor) -> None:
        recorder = _Recorder(net, lq)
        with torch.no_grad(), recorder:
            net(lq)
        self._of, self._makers = recorder.of, recorder.makers
        self._chosen: dict[_Channels, Tensor] = {}

    def strongest(self, name: str, dim: int, count: int, weights: Mapping[str, Tensor]) -> Tensor:
        """Find which channels of a weight's dimension stay; those of equal norm in their order.

        Args:
            name: Of a parameter or buffer.
            dim: The dimension.
            count: How many stay.
            weights: State dict; only what is in it counts for the norms.

        Returns:
            Their indices, rising.

        Raises:
            OptionsError: They cannot be followed through the network, or another number was asked for where these
                channels are chosen together with others.
        """
        if (name, dim) not in self._of:
            raise _unfollowed(name, "they pass no convolution that is known")
        return self._strongest(self._of[name, dim].root(), name, count, weights)

    def _strongest(self, channels: _Channels, name: str, count: int, weights: Mapping[str, Tensor]) -> Tensor:
        if count == channels.size:
            return torch.arange(count)
        if channels.unknown:
            raise _unfollowed(name, f"{channels.unknown} joins or mixes them")
        if channels.blocks_of is not None:
            whole, block = channels.blocks_of
            first = self._strongest(whole.root(), name, count // block, weights) * block
            return (first[:, None] + torch.arange(block)).flatten()
        if channels not in self._chosen:
            norms = self._norms(channels, weights).tolist()
            self._chosen[channels] = torch.tensor(sorted(sorted(range(len(norms)), key=lambda i: -norms[i])[:count]))
        chosen = self._chosen[channels]
        if len(chosen) != count:
            raise _unfollowed(name, f"{count} stay here, and {len(chosen)} where they are added or come from")
        return chosen

    def _norms(self, channels: _Channels, weights: Mapping[str, Tensor]) -> Tensor:
        norms = torch.zeros(channels.size, dtype=torch.float64)
        for name in self._makers & weights.keys():
            found = self._of[name, 0].root()
            own = weights[name].detach().double().cpu().abs().flatten(1 if weights[name].dim() > 1 else 0)
            own = own.sum(dim=1) if own.dim() > 1 else own
            while found is not channels and found.blocks_of is not None:
                whole, block = found.blocks_of
                found, own = whole.root(), own.reshape(-1, block).sum(dim=1)
            if found is channels:
                norms += own
        return norms


class _Recorder(TorchFunctionMode):
    """Sees every function that a network calls, and keeps which channels its tensors and weights have."""

    def __init__(self, net: nn.Module, lq: Tensor) -> None:
        super().__init__()
        self.of: dict[tuple[str, int], _Channels] = {}
        """Channels of a dimension of a weight."""
        self.makers: set[str] = set()
        """Weights and biases whose first dimension makes channels."""
        weights = [*net.named_parameters(), *net.named_buffers()]
        self._names = {id(tensor): name for name, tensor in weights}
        self._tensors: dict[int, tuple[Tensor, _Channels]] = {}
        self._put(lq, _Channels(lq.shape[1]))
        self._known: dict[str, Callable[[Sequence[Any], Mapping[str, Any], Tensor], Optional[_Channels]]] = {
            "conv2d": self._convolution,
            "prelu": self._one_weight_per_channel,
            "batch_norm": self._one_weight_per_channel,
            "pixel_shuffle": self._pixel_shuffle,
        }

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Optional[Mapping[str, Any]] = None
    ) -> Any:
        """Call the function, and follow the channels into what comes out."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", str(func)).strip("_")
        lists = [part for part in args if isinstance(part, (list, tuple))]
        inputs = [v for part in ([*args, *kwargs.values()], *lists) for v in part if isinstance(v, Tensor)]
        if name in SAME_VALUES:
            inputs = inputs[:1]
        results = result if isinstance(result, (list, tuple)) else [result]
        if any(id(value) in self._tensors for value in inputs):
            for output in results:
                if isinstance(output, Tensor):
                    self._put(output, self._follow(name, inputs, args, kwargs, output))
        return result

    def _follow(
        self, name: str, inputs: Sequence[Tensor], args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor
    ) -> _Channels:
        size = output.shape[1] if output.dim() > 1 else 0
        found = None
        if name in self._known and self._of_tensor(args[0] if args else None) is not None:
            found = self._known[name](args, kwargs, output)
        elif (name in BY_CHANNEL or name in SAME_VALUES) and output.dim() == 4:
            found = self._joined(inputs, size)
        return _Channels(size, unknown=name) if found is None else found

    def _put(self, tensor: Tensor, channels: _Channels) -> None:
        self._tensors[id(tensor)] = tensor, channels  # the tensor, too: another one must not get its id

    def _of_tensor(self, tensor: Any) -> Optional[_Channels]:
        found = self._tensors.get(id(tensor))
        return None if found is None else found[1]

    def _of_weight(self, weight: Any, dim: int, channels: _Channels) -> None:
        """These are the channels of a weight's dimension; where it is used twice, of both."""
        name = self._names.get(id(weight))
        if name is not None:
            self.of.setdefault((name, dim), channels).join(channels)

    def _joined(self, inputs: Sequence[Tensor], size: int) -> Optional[_Channels]:
        joined = _Channels(size)
        for tensor in inputs:
            if tensor.dim() < 2 or tensor.shape[1] != size:
                if tensor.numel() > 1 and (tensor.dim() < 2 or tensor.shape[1] != 1):
                    return None
                continue
            channels = self._of_tensor(tensor)
            if channels is None:  # a weight for each channel, or numbers that the network has beside its weights
                channels = _Channels(size, unknown="" if id(tensor) in self._names else "a constant")
                self._of_weight(tensor, 1, channels)
            joined.join(channels)
        return joined

    def _convolution(self, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Optional[_Channels]:
        weight, bias = args[1], args[2] if len(args) > 2 else kwargs.get("bias")
        groups = args[6] if len(args) > 6 else kwargs.get("groups", 1)
        given, made = self._tensors[id(args[0])][1], _Channels(output.shape[1])
        if groups == given.size == made.size:  # one filter per channel
            made = given
        elif groups != 1:
            return None
        else:
            self._of_weight(weight, 1, given)
        for maker in (weight, bias):
            self._of_weight(maker, 0, made)
            self.makers |= {self._names[id(maker)]} if id(maker) in self._names else set()
        return made

    def _one_weight_per_channel(self, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> _Channels:
        channels = self._tensors[id(args[0])][1]
        for value in (*args[1:], *kwargs.values()):
            if isinstance(value, Tensor) and value.numel() == channels.size > 1:
                self._of_weight(value, 0, channels)
        return channels

    def _pixel_shuffle(self, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> _Channels:
        whole, parts = _Channels(output.shape[1]), self._tensors[id(args[0])][1].root()
        parts.join(_Channels(parts.size, blocks_of=(whole, parts.size // whole.size)))
        return whole


def _unfollowed(name: str, problem: str) -> OptionsError:
    text = f"the channels of {name} cannot be chosen by their norm: {problem}"
    return OptionsError("student.by", "magnitude", text, "Write by: first.")
