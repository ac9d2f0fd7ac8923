"""A student as ncnn's two files, which Real-ESRGAN-ncnn-vulkan, Upscayl and video2x read; made by pnnx."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from srkd_plugin.errors import InputError
from srkd_plugin.export.job import ExportJob, Written
from srkd_plugin.runtimes.ncnn_upscaler import INPUT, OUTPUT, NcnnUpscaler, graph_lines, unknown_layers
from srkd_plugin.utils.extras import require
from srkd_plugin.utils.files import write_atomically

SIZES = ((16, 16), (17, 24), (33, 19), (8, 41), (1, 5), (64, 48))
"""LQ heights and widths on which the files are compared with the network."""
TRACED, ALSO = (18, 26), (33, 21)
"""Two LQ sizes that pnnx is told of: with one only, it takes sizes inside the network for constants."""
MAX_ERROR = 2e-3
"""Largest difference from torch, images being in 0..1; 1/255 is 4e-3."""


@dataclass(frozen=True)
class NcnnModel:
    """The two files' contents, compared with the network."""

    param: bytes
    """The graph; its blobs are called ``data`` and ``output``."""
    weights: bytes
    """What the ``.bin`` file holds."""
    half: bool
    """Weights of convolutions are float16 (pnnx's and ncnn's usual storage); otherwise float32."""
    max_error: float
    """Largest difference from torch in float32 on images of :data:`SIZES`, in 0..1."""


def write_ncnn(job: ExportJob) -> Iterator[Written]:
    """Write ``NAME.param`` and ``NAME.bin``.

    Raises:
        InputError: See :func:`convert`; or they cannot be written.
    """
    model = convert(job)
    param, weights = job.path(".param"), job.path(".bin")
    write_atomically(weights, model.weights)
    write_atomically(param, model.param)
    verified = f"{len(SIZES)} images in ncnn against torch"
    yield Written("ncnn", (param, weights), verified, model.max_error, tuple(_notes(job, model)), NcnnUpscaler)


def convert(job: ExportJob, half: bool = True) -> NcnnModel:
    """Convert a student to ncnn and compare it with torch on random images of several sizes.

    Args:
        job: The student.
        half: Store the weights of convolutions in float16, as pnnx does unless it is told otherwise; where the result
            then differs by more than :data:`MAX_ERROR`, they are stored in float32 all the same.

    Raises:
        InputError: pnnx or ncnn is not installed; the network has a layer that ncnn has not, takes sizes of a multiple
            only, or comes out different by more than :data:`MAX_ERROR` in float32, too.
    """
    pnnx = require("pnnx", "export", "writing ncnn files")
    require("ncnn", "export", "checking ncnn files")
    if job.multiple != 1:
        problem = f"it takes sides of multiples of {job.multiple} only, and ncnn's programs cut images into any tiles"
        raise _refused(job, problem)
    for storage in (True, False) if half else (False,):
        with tempfile.TemporaryDirectory(prefix="srkd-ncnn-") as folder:
            param = _run_pnnx(pnnx.EXEC_PATH, job, Path(folder), storage)
            error = _compare(NcnnUpscaler(param), job)
            if error <= MAX_ERROR:
                return NcnnModel(param.read_bytes(), param.with_suffix(".bin").read_bytes(), storage, error)
    raise _refused(job, f"ncnn's result differs from torch's by up to {error:.1e}, more than {MAX_ERROR:.0e}")


def _refused(job: ExportJob, problem: str) -> InputError:
    return InputError("network_g.type", job.student.network["type"], problem, "Use another format, e.g. ONNX.")


def _notes(job: ExportJob, model: NcnnModel) -> Iterator[str]:
    yield f"weights of convolutions are stored as {'float16' if model.half else 'float32'}"
    scale, channels = job.student.scale, job.student.channels
    if channels != 3:
        yield f"it takes {channels} channels; Real-ESRGAN-ncnn-vulkan and Upscayl give 3"
    if (taken := upscayl_scale(job.name)) != scale:
        yield f"Upscayl takes it for x{taken}, by its name: choose another --name"


def upscayl_scale(name: str) -> int:
    """SR factor that Upscayl reads from a model's name: by the first of x2, 2x, x3, 3x that is anywhere in it; or 4."""
    lower = name.lower()
    return next((scale for scale in (2, 3) if f"x{scale}" in lower or f"{scale}x" in lower), 4)


def _run_pnnx(program: str, job: ExportJob, folder: Path, half: bool) -> Path:
    """Trace the network and convert it; pnnx writes half a dozen files beside its input, and a lot to stdout.

    Returns:
        The ``.param`` file, its blobs renamed, with its ``.bin`` beside it.
    """
    with warnings.catch_warnings(), torch.no_grad(), _ForNcnn():
        warnings.simplefilter("ignore")  # of sizes that become constants, which the comparison finds; of torch.jit
        traced = torch.jit.trace(job.net, torch.full((1, job.student.channels, *TRACED), 0.5), check_trace=False)
    traced.save(str(folder / "net.pt"))
    shapes = [f"[1,{job.student.channels},{h},{w}]f32" for h, w in (TRACED, ALSO)]
    arguments = ["net.pt", f"inputshape={shapes[0]}", f"inputshape2={shapes[1]}", f"fp16={int(half)}"]
    done = subprocess.run(
        [program, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    param = folder / "net.ncnn.param"
    if done.returncode != 0 or not param.is_file():
        last = " | ".join(done.stdout.decode(errors="replace").strip().splitlines()[-3:])
        raise _refused(job, f"pnnx ended with code {done.returncode}: {last[:300]}")
    renamed = _rename_blobs(param.read_text("utf-8"))
    missing = unknown_layers(graph_lines(renamed))
    if missing:
        raise _refused(job, f"ncnn has no layer {missing[0]}")
    param.write_text(renamed, "utf-8")
    return param


class _ForNcnn(TorchFunctionMode):
    """Writes functions that pnnx cannot convert as others of exactly the same result."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Optional[dict[str, Any]] = None
    ) -> Any:
        """Call the function, or for ``repeat_interleave`` over channels (ECBSR's anchor) slices and a concatenation."""
        given = kwargs or {}
        if func in (torch.repeat_interleave, torch.Tensor.repeat_interleave):
            image, count, dim = (*args, given.get("dim"))[:3]
            if isinstance(count, int) and dim is not None:
                slices = torch.split(image, 1, dim=dim)
                return torch.cat([one for one in slices for _ in range(count)], dim=dim)
        return func(*args, **given)


def _rename_blobs(param: str) -> str:
    """Rename pnnx's blobs ``in0`` and ``out0`` wherever they are blobs, and the input layer with its blob."""
    names = {"in0": INPUT, "out0": OUTPUT}
    head, lines = param.splitlines()[:2], []
    for words in graph_lines(param):
        blobs = 4 + int(words[2]) + int(words[3])
        name = names.get(words[1], words[1]) if words[0] == "Input" else words[1]
        given = [names.get(blob, blob) for blob in words[4:blobs]]
        lines.append(f"{words[0]:<24} {name:<24} {' '.join([*words[2:4], *given, *words[blobs:]])}")
    return "\n".join([*head, *lines]) + "\n"


@torch.no_grad()
def _compare(upscaler: NcnnUpscaler, job: ExportJob) -> float:
    """Largest difference from the network on random images; infinite where the shapes differ."""
    rng, largest = np.random.default_rng(0), 0.0
    for height, width in SIZES:
        lq = rng.random((1, job.student.channels, height, width), np.float32)
        expected, found = job.net(torch.from_numpy(lq)).numpy(), upscaler(lq)
        if found.shape != expected.shape:
            return float("inf")
        largest = max(largest, float(np.abs(found - expected).max()))  # NaN stays
    return largest
