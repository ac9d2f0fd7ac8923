"""Connectors: convolutions that give the student's feature maps the teacher's channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from srkd_plugin.options.term_sections import ConnectorSection


class TermConnectors(nn.ModuleList):
    """The connectors of one term: one convolution per tap.

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

    def fitting(self, saved: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Choose what fits of a state dict that other terms may have left.

        Returns:
            The entries of all terms whose connectors are in it with their shapes; and the names of the other terms.
        """
        kept: dict[str, Tensor] = {}
        fresh = []
        for term, connectors in self.by_term.items():
            names = {f"by_term.{term}.{name}": value.shape for name, value in connectors.state_dict().items()}
            if all(name in saved and saved[name].shape == shape for name, shape in names.items()):
                kept.update({name: saved[name] for name in names})
            else:
                fresh.append(term)
        return kept, fresh

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
