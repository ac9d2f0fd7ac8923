"""Feature maps of a network by module path, and the connectors that make the student's comparable to the teacher's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from srkd_plugin.errors import OptionsError, nearest
from srkd_plugin.option_sections import ConnectorSection


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

    def _recorder_of_input(self, path: str) -> Any:
        def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if self._recording:
                self._maps[path] = inputs[0].clone()

        return record

    def _recorder_of_output(self, path: str) -> Any:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if self._recording:
                self._maps[path] = output.clone()

        return record


class TermConnectors(nn.ModuleList):
    """The connectors of one term: one convolution a tap.

    Args:
        section: What they are like.
        channels: ``(student's, teacher's)`` of each tap.
    """

    def __init__(self, section: ConnectorSection, channels: Sequence[tuple[int, int]]) -> None:
        size = section.kernel_size
        super().__init__(nn.Conv2d(s, t, size, padding=size // 2) for s, t in channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """The student's maps of the term with the teacher's channels."""
        return [connect(x) for connect, x in zip(self, maps)]


class Connectors(nn.Module):
    """Convolutions from the student's channels to the teacher's, for every term that asks for it.

    They train with the student and are no part of it: they are saved with the training state, not in its checkpoints.
    Each term's are run for themselves (:attr:`runners`): DDP insists that what it wraps is used whole or not at all,
    and terms start and stop.

    Attributes:
        runners: What runs a term's connectors, by term: they themselves, or a DDP wrapper of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_term = nn.ModuleDict()
        self.runners: dict[str, Callable[[list[Tensor]], list[Tensor]]] = {}

    def add(self, term: str, section: ConnectorSection, channels: Sequence[tuple[int, int]]) -> None:
        """Add the connectors of a term, for ``(student's, teacher's)`` channels of each of its taps."""
        self.by_term[term] = self.runners[term] = TermConnectors(section, channels)

    def wrap(self, wrapper: Callable[[nn.Module], nn.Module]) -> None:
        """Run each term's connectors inside of ``wrapper(them)``; parameters and state dict stay as they are."""
        self.runners = {term: wrapper(connectors) for term, connectors in self.by_term.items()}

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Run without wrappers in the block."""
        wrapped, self.runners = self.runners, dict(self.by_term.items())
        try:
            yield
        finally:
            self.runners = wrapped

    def forward(self, maps: dict[str, list[Tensor]]) -> dict[str, list[Tensor]]:
        """The student's maps of each term, connected where the term has connectors."""
        return {
            term: self.runners[term](features) if term in self.runners else features for term, features in maps.items()
        }
