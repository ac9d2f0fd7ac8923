"""Opening a finished model by what its file is."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from srkd_plugin.errors import InputError
from srkd_plugin.networks.student_file import SUFFIXES, read_student
from srkd_plugin.runtimes.ncnn_upscaler import NcnnUpscaler
from srkd_plugin.runtimes.onnx_upscaler import OnnxUpscaler
from srkd_plugin.runtimes.torch_upscaler import TorchUpscaler
from srkd_plugin.runtimes.upscaler import Upscaler
from srkd_plugin.utils.files import require_file


def open_model(path: Path, threads: Optional[int] = None, device: str = "cpu") -> Upscaler:
    """Open a model file that ``srkd export`` wrote, or an ONNX or ncnn file of the same kind.

    Args:
        path: ``.pth``, ``.safetensors``, ``.onnx``, or ``.param`` with its ``.bin`` beside it.
        threads: Threads of onnxruntime and ncnn; None: as many as they like. torch's are set for the process.
        device: Where torch runs; onnxruntime and ncnn run on the CPU.

    Raises:
        InputError: The file is not such a model, or the package that runs it is not installed.
    """
    require_file("--model", path)
    if path.suffix in SUFFIXES:
        return TorchUpscaler.of(read_student(path), device)
    if path.suffix == ".onnx":
        return OnnxUpscaler(path, threads)
    if path.suffix == ".param":
        return NcnnUpscaler(path, threads)
    raise InputError("--model", str(path), "it is no model file", "Give a .pth, .safetensors, .onnx or .param file.")
