"""Taps: feature maps of a network, recorded by module path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from srkd_plugin.errors import OptionsError, nearest


class Taps:
    """Records feature maps while a network runs.

    A path names a module as ``named_modules`` does, e.g. ``body.4`` or ``conv_after_body``; what is recorded is the
    module's output, or with ``@in`` after the path its first input. Each is copied at once, so that operations in
    place that follow do not reach it: in BasicSR's EDSR, ``conv_after_body`` is that convolution alone, and
    ``upsample@in`` is the same after ``res += x``.

    The hooks sit on the modules themselves: they work inside DDP and under autograd, and under torch.compile if the
    taps are set before the compiled network first runs (it traces the hooks with the network, and ignores later ones).
    Nothing is recorded, or kept alive, outside of :meth:`recording`.

    Args:
        net: The bare network (not its DDP wrapper); a compiled one's paths are those without ``_orig_mod``.
        paths: What to record.
        key: Where the options say so, for the error.

    Raises:
        OptionsError: There is no such module.
    """

    def __init__(self, net: nn.Module, paths: Iterable[str], key: str) -> None:
        self._maps: dict[str, Tensor] = {}
        self._recording = False
        self._key = key
        net = getattr(net, "_orig_mod", net)
        modules = dict(net.named_modules())
        for path in dict.fromkeys(paths):
            name, _, side = path.partition("@")
            if not name or name not in modules:
                raise OptionsError(key, path, f"{type(net).__name__} has no such module", nearest(name, modules))
            if side == "in":
                modules[name].register_forward_pre_hook(self._recorder_of_input(path))
            elif side == "":
                modules[name].register_forward_hook(self._recorder_of_output(path))
            else:
                raise OptionsError(key, path, f"@{side} is not known", f"Write {name} or {name}@in.")

    @contextmanager
    def recording(self) -> Iterator[Mapping[str, Tensor]]:
        """Record in the block; the maps by path are there until it ends."""
        self._recording = True
        try:
            yield self._maps
        finally:
            self._recording = False
            self._maps = {}

    def _copy(self, path: str, value: Any) -> Tensor:
        if not isinstance(value, Tensor):
            problem = f"what it records is a {type(value).__name__}, and not a tensor"
            raise OptionsError(self._key, path, problem, "Name a module that gives one tensor.")
        return value.clone()

    def _recorder_of_input(self, path: str) -> Any:
        def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if self._recording:
                self._maps[path] = self._copy(path, inputs[0])

        return record

    def _recorder_of_output(self, path: str) -> Any:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if self._recording:
                self._maps[path] = self._copy(path, output)

        return record


def channels_of(maps: Mapping[str, Tensor], key: str) -> dict[str, int]:
    """Channels of feature maps by tap.

    Args:
        maps: Feature maps by tap, ``(N, C, H, W)`` each.
        key: Where the options name the taps, for the error.

    Raises:
        OptionsError: One of them has another shape, e.g. ``(N, L, C)`` of tokens.
    """
    for path, found in maps.items():
        if found.dim() != 4:
            problem = f"it gives {tuple(found.shape)}, and a connector needs feature maps, (N, C, H, W)"
            raise OptionsError(key, path, problem, "Name a module that gives feature maps, or remove connector.")
    return {path: found.shape[1] for path, found in maps.items()}
