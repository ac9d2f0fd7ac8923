"""A model that runs in ncnn."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import numpy as np

from srkd_plugin.errors import InputError
from srkd_plugin.runtimes.upscaler import check_images
from srkd_plugin.utils.extras import require

INPUT, OUTPUT = "data", "output"
"""Names of the blobs, as Real-ESRGAN-ncnn-vulkan and Upscayl look for them."""
PROBE = 16
"""Side of the image by which the scale is found."""
CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")


class NcnnUpscaler:
    """A ``.param`` file with its ``.bin`` beside it, from blob ``data`` to blob ``output``, on the CPU.

    Args:
        param: The ``.param`` file.
        threads: Threads of one layer; None: as many as ncnn likes.
        name: See :class:`~srkd_plugin.runtimes.upscaler.Upscaler`.

    Raises:
        InputError: ncnn is not installed; or the files are not such a model, or have layers that ncnn has not.
    """

    def __init__(self, param: Path, threads: Optional[int] = None, name: str = "ncnn") -> None:
        self._ncnn = require("ncnn", "export", "running .param files")
        graph, weights = _read_graph(param), param.with_suffix(".bin")
        if not weights.is_file():
            problem = f"{weights.name} is not beside it"
            raise InputError("--model", str(param), problem, "Put both files into one folder.")
        missing = unknown_layers(graph)
        if missing:  # ncnn would print lines of its own
            raise InputError("--model", str(param), f"ncnn has no layer {missing[0]}", "Give a file of srkd export.")
        self._net = self._ncnn.Net()
        if threads is not None:
            self._net.opt.num_threads = threads
        # without Vulkan; float16 where this CPU computes with it, as ncnn's own programs do
        if self._net.load_param(str(param)) != 0 or self._net.load_model(str(weights)) != 0:
            problem = "ncnn cannot load it, or its .bin file is another network's"
            raise InputError("--model", str(param), problem, "Give the two files that srkd export wrote together.")
        self.name, self.channels = name, _input_channels(graph)
        self.scale = self._run(np.zeros((self.channels, PROBE, PROBE), np.float32)).shape[-1] // PROBE

    def _run(self, image: np.ndarray) -> np.ndarray:
        """Run one image, ``(channels, h, w)``."""
        pixels = np.ascontiguousarray(image)  # a Mat of an array does not keep the array: it must live until the clone
        given = self._ncnn.Mat(pixels).clone()
        with self._net.create_extractor() as extractor:
            extractor.input(INPUT, given)
            code, found = extractor.extract(OUTPUT)
            if code != 0:
                problem = f"ncnn failed with code {code}"
                raise InputError("images", image.shape, problem, "Is there memory enough? Upscale it in tiles.")
            return np.array(found)

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        """Upscale images one by one; see :class:`~srkd_plugin.runtimes.upscaler.Upscaler`."""
        check_images(lq, self.channels)
        return np.stack([self._run(image) for image in lq])


def unknown_layers(graph: list[list[str]]) -> list[str]:
    """Types of layers of a ``.param`` file's lines that the installed ncnn has not, each once."""
    ncnn = require("ncnn", "export", "running .param files")
    return [kind for kind in dict.fromkeys(line[0] for line in graph) if ncnn.layer_to_index(kind) == -1]


def graph_lines(text: str) -> list[list[str]]:
    """Lines of a ``.param`` file, one per layer, in words: type, name, how many blobs in and out, blobs, parameters.

    Raises:
        ValueError: It is no such file.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if len(lines) < 3 or lines[0] != ["7767517"] or any(len(line) < 4 for line in lines[2:]):
        raise ValueError("it does not begin as ncnn's .param files do")
    return lines[2:]


def _read_graph(param: Path) -> list[list[str]]:
    try:
        graph = graph_lines(param.read_text("utf-8"))
        blobs = {blob for line in graph for blob in line[4 : 4 + int(line[2]) + int(line[3])]}
    except (ValueError, OSError) as error:  # also what is not text
        problem = f"it cannot be read as ncnn's .param file ({error})"
        raise InputError("--model", str(param), problem, "Give a file that srkd export wrote.") from error
    if not {INPUT, OUTPUT} <= blobs:
        problem = f"it has no blobs called {INPUT} and {OUTPUT}"
        raise InputError("--model", str(param), problem, "Give a file that srkd export wrote.")
    return graph


def _input_channels(graph: list[list[str]]) -> int:
    """Channels that the first convolution takes; a ``.param`` file says nothing of its input."""
    for line in graph:
        if line[0] in CONVOLUTIONS:
            values = dict(word.split("=", 1) for word in line[4:] if "=" in word)
            width = int(values["1"])
            per_group = int(values["6"]) // (int(values["0"]) * width * int(values.get("11", width)))
            return per_group * int(values.get("7", 1))
    return 3
