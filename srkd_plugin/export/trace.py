"""Networks as ONNX graphs by tracing, with the module at work kept, so that an error can name the layer."""

from __future__ import annotations

import inspect
import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from srkd_plugin.errors import InputError
from srkd_plugin.utils.building import first_line
from srkd_plugin.utils.extras import require

OPSET = 17
"""ONNX operators' version: LayerNormalization came with it, and torch 2.0 to today's write it."""
INPUT, OUTPUT = "input", "output"
"""Names of the graph's input and output."""
NAMES = {0: "batch", 2: "height", 3: "width"}
"""Names of the input's free dimensions."""


@dataclass
class Trace:
    """A traced graph, and where Python's control flow was baked into it."""

    content: bytes = b""
    """The ONNX file."""
    baked: list[str] = field(default_factory=list)
    """Layers in which a value became a constant, each with file and line; a graph may be right all the same."""

    def layer(self) -> str:
        """The first of them, for an error."""
        return f"; its control flow is fixed in {self.baked[0]}" if self.baked else ""


def trace(net: nn.Module, size: tuple[int, int, int, int], free: tuple[int, ...]) -> Trace:
    """Trace a network by torch's TorchScript exporter, which runs it once.

    Args:
        net: The network in eval mode, on the CPU.
        size: ``(N, C, h, w)`` of the input to run it on. Sides that are no usual ones and not equal take no branch
            that a network has for its training size.
        free: Dimensions of the input, of 0, 2 and 3, that the graph must leave free.

    Raises:
        InputError: onnx is not installed; or the network or the exporter fails: names the layer or the operator.
    """
    require("onnx", "export", "writing ONNX files")  # torch would blame the network
    found, names = Trace(), {dim: NAMES[dim] for dim in free}
    axes: dict[str, Any] = {INPUT: names, OUTPUT: {d: n if d == 0 else f"output_{n}" for d, n in names.items()}}
    # from torch 2.5 on there are two exporters, and the other one is the default some day
    which: dict[str, Any] = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    buffer: Any = io.BytesIO()  # torch takes one; its newer types name paths only
    image = torch.zeros(size)
    with _modules_at_work(net) as at_work, _warnings_noted(found, at_work):
        try:
            torch.onnx.export(
                net,
                (image,),
                buffer,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes=axes if free else None,
                opset_version=OPSET,
                **which,
            )
        except Exception as error:  # torch has several, and the network its own
            raise _not_exportable(net, error, at_work) from error
    found.content = buffer.getvalue()
    return found


def _not_exportable(net: nn.Module, error: Exception, at_work: list[str]) -> InputError:
    operator = re.search(r"operator '([\w:.]+)'", str(error))
    where = f"its operator {operator[1]}" if operator else f"its layer {at_work[-1] or '(whole)'}" if at_work else "it"
    problem = f"{where} cannot be exported to ONNX ({first_line(error)})"
    return InputError("network_g", type(net).__name__, problem, "Leave ONNX out (--without onnx), or change the layer.")


@contextmanager
def _modules_at_work(net: nn.Module) -> Iterator[list[str]]:
    """The names of the modules whose ``forward`` runs, outermost first; after an error, of those where it was."""
    at_work: list[str] = []
    hooks = []

    def leave(*_: Any) -> None:
        at_work.pop()

    for name, module in net.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: at_work.append(name)))
        hooks.append(module.register_forward_hook(leave))
    try:
        yield at_work
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _warnings_noted(found: Trace, at_work: list[str]) -> Iterator[None]:
    """The tracer's warnings become :attr:`Trace.baked`; those of the exporter about itself are not shown."""

    def note(message: Any, category: type, filename: str, lineno: int, *_: Any) -> None:
        if issubclass(category, torch.jit.TracerWarning):
            layer = (at_work[-1] if at_work else "") or "(whole)"
            found.baked.append(f"{layer} ({filename.replace(chr(92), '/').rpartition('/')[2]}, line {lineno})")

    with warnings.catch_warnings(), _quiet_exporter():
        warnings.simplefilter("always")
        warnings.showwarning = note  # type: ignore[assignment]  # typeshed's is a function of these arguments
        yield


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
