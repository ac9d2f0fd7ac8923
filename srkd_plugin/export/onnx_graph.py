"""ONNX graphs: what does not depend on the image computed once, facts beside it, half precision inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Union

import numpy as np

from srkd_plugin.errors import InputError
from srkd_plugin.export.trace import OUTPUT
from srkd_plugin.utils.extras import require


def finished(content: bytes, properties: Mapping[str, object]) -> bytes:
    """A traced graph as it is exported: constants folded, facts added, checked by ``onnx.checker``.

    Args:
        content: An ONNX file with one input and one output.
        properties: The facts: the file's ``metadata_props``.

    Raises:
        InputError: onnx is not installed, or the graph is not valid.
    """
    onnx = require("onnx", "export", "writing ONNX files")
    model = onnx.load_from_string(content)
    _fold_constants(model)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {name: str(value) for name, value in properties.items()})
    return checked(model)


def half(content: bytes) -> bytes:
    """The graph with float16 weights and values; its input and output stay float32.

    Raises:
        InputError: onnx or onnxruntime is not installed, or the graph is not valid.
    """
    onnx = require("onnx", "export", "writing ONNX files")
    converter = require("onnxruntime.transformers.float16", "export", "writing float16 files")
    model = converter.convert_float_to_float16(onnx.load_from_string(content), keep_io_types=True)
    for one in model.metadata_props:
        if one.key == "precision":
            one.value = "float16"
    _sort_nodes(model.graph)  # the converter puts the casts of input and output last
    return checked(model)


def checked(model: Any) -> bytes:
    """A model as the content of a file, checked by ``onnx.checker`` with its shapes.

    Raises:
        InputError: It is not valid.
    """
    onnx = require("onnx", "export", "checking ONNX files")
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker's and the shape inference's own
        problem = f"onnx.checker refuses the graph ({' '.join(str(error).split())[:200]})"
        raise InputError("network_g", model.graph.name, problem, "Leave ONNX out: --without onnx.") from error
    return model.SerializeToString(deterministic=True)


def _fold_constants(model: Any) -> None:
    """Replace what does not depend on the input by its values, as ECBSR's kernels; and nodes that only rename."""
    onnx = require("onnx", "export", "writing ONNX files")
    runtime = require("onnxruntime", "export", "checking ONNX files")
    graph = model.graph
    constant, rest = _split(graph)
    wanted = {name for node in rest for name in node.input} | {OUTPUT}
    made = [name for node in constant for name in node.output if name in wanted]
    if made:
        needed = {name for node in constant for name in node.input}
        read = [one for one in graph.initializer if one.name in needed]
        part = onnx.helper.make_graph(
            constant, "constants", [], [onnx.ValueInfoProto(name=name) for name in made], read
        )
        sub = onnx.helper.make_model(part, opset_imports=list(model.opset_import), ir_version=model.ir_version)
        session = runtime.InferenceSession(sub.SerializeToString(), providers=["CPUExecutionProvider"])
        values: list[Union[np.ndarray, Any]] = session.run(made, {})
        graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in zip(made, values))
    del graph.node[:]
    graph.node.extend(rest)
    used = {name for node in rest for name in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]  # of values that are gone, too; the checker infers them again


def _split(graph: Any) -> tuple[list[Any], list[Any]]:
    """The nodes that do not depend on the input, and the others, in order."""
    varying, constant, rest = {one.name for one in graph.input}, [], []
    for node in graph.node:
        if varying.intersection(node.input) or any(attribute.HasField("g") for attribute in node.attribute):
            varying.update(node.output)
            rest.append(node)
        else:
            constant.append(node)
    return constant, rest


def _sort_nodes(graph: Any) -> None:
    """Put each node behind those that it reads from, and otherwise leave the order."""
    ready = {one.name for one in (*graph.input, *graph.initializer)} | {""}
    waiting, done = list(graph.node), []
    while waiting:
        able = [node for node in waiting if ready.issuperset(node.input)]
        if not able:
            break  # there is a circle, which the checker will name
        ready.update(name for node in able for name in node.output)
        done += able
        waiting = [node for node in waiting if not ready.issuperset(node.output)]
    del graph.node[:]
    graph.node.extend([*done, *waiting])
