"""A model that runs in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Union

import numpy as np
import torch

from srkd_plugin.errors import InputError
from srkd_plugin.networks.padding import run_padded, size_multiple
from srkd_plugin.runtimes.upscaler import check_images
from srkd_plugin.utils.extras import require

PROBE = 16
"""Side of the image by which the scale is found where the size is free."""


def _number(text: Optional[str]) -> Optional[int]:
    """A number of the file's metadata; None if it states none."""
    return int(text) if text is not None and text.isdecimal() else None


class OnnxUpscaler:
    """An ONNX file with one image input and one image output, NCHW in 0..1, on the CPU.

    Args:
        model: The file, or its content.
        threads: Threads of one operator; None: as many as onnxruntime likes.
        name: See :class:`~srkd_plugin.runtimes.upscaler.Upscaler`; None: as the file states its precision.

    Raises:
        InputError: onnxruntime is not installed; or the file is not such a model.
    """

    def __init__(self, model: Union[Path, bytes], threads: Optional[int] = None, name: Optional[str] = None) -> None:
        runtime = require("onnxruntime", "export", "running ONNX files")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 4  # what fails is raised, too
        content = model if isinstance(model, bytes) else model.read_bytes()
        shown = "the model" if isinstance(model, bytes) else str(model)
        try:
            self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class for each kind, without a common one
            problem = f"onnxruntime cannot load it ({' '.join(str(error).split())[:200]})"
            raise InputError("--model", shown, problem, "Give a whole ONNX file.") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
            problem = "it has not one image as its input and one as its output"
            raise InputError("--model", shown, problem, "Give a file that srkd export wrote.")
        self._input = inputs[0].name
        self._dtype = np.float16 if inputs[0].type == "tensor(float16)" else np.float32
        batch, channels, height, width = inputs[0].shape
        self._one_by_one = isinstance(batch, int)
        self.channels = channels if isinstance(channels, int) else 3
        if isinstance(height, int) != isinstance(width, int):
            problem = f"its input is {inputs[0].shape}, where NCHW is expected, with both sides fixed or both free"
            raise InputError("--model", shown, problem, "Give a file that srkd export wrote.")
        self.fixed_size: Optional[tuple[int, int]] = (
            (height, width) if isinstance(height, int) and isinstance(width, int) else None
        )
        stated = self._session.get_modelmeta().custom_metadata_map
        self.name = name or f"onnxruntime {stated.get('precision', 'float32')}"
        self.receptive_field = _number(stated.get("receptive_field"))
        """LQ pixels to each side, if the file states it."""
        self.multiple = _number(stated.get("size_multiple")) or 1
        """What it sees of an image begins at a multiple of this."""
        self.scale = self._find_scale(shown)
        if self.fixed_size is None and "size_multiple" not in stated:  # a file of others
            self.multiple = size_multiple(self._run_in_torch, self.channels, self.scale) or 1

    def _find_scale(self, shown: str) -> int:
        h, w = self.fixed_size or (-(-PROBE // self.multiple) * self.multiple,) * 2
        try:
            out = self._run(np.zeros((1, self.channels, h, w), np.float32))
        except Exception as error:  # as above
            problem = f"it fails on an image of {h}x{w} ({' '.join(str(error).split())[:200]})"
            raise InputError("--model", shown, problem, "Give a file that srkd export wrote.") from error
        if out.ndim != 4 or out.shape[-1] % w or out.shape[-2:] != (out.shape[-1] // w * h, out.shape[-1]):
            problem = f"of an image of {h}x{w} it makes an output of {out.shape}"
            raise InputError("--model", shown, problem, "Give a file that srkd export wrote.")
        return out.shape[-1] // w

    def _run(self, lq: np.ndarray) -> np.ndarray:
        lq = lq.astype(self._dtype, copy=False)
        batches = np.split(lq, len(lq)) if self._one_by_one and len(lq) > 1 else [lq]
        outputs = [self._session.run(None, {self._input: batch})[0] for batch in batches]
        return np.concatenate(outputs).astype(np.float32, copy=False)

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        """Upscale images; see :class:`~srkd_plugin.runtimes.upscaler.Upscaler`.

        Raises:
            InputError: The model has a fixed size, and ``lq`` another.
        """
        check_images(lq, self.channels)
        if self.fixed_size is not None and lq.shape[-2:] != self.fixed_size:
            problem = f"the model takes {self.fixed_size[0]}x{self.fixed_size[1]} only"
            raise InputError("images", lq.shape[-2:], problem, "Export it without --fixed.")
        if self.multiple == 1:
            return self._run(lq)
        image = torch.from_numpy(np.ascontiguousarray(lq))
        return run_padded(self._run_in_torch, image, self.multiple, self.scale).numpy()

    def _run_in_torch(self, lq: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._run(lq.numpy()))
