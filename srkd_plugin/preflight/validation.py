"""Validation sets, test sets and metrics: what BasicSR would find out hours later, or compare with the wrong image."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Optional

import numpy as np
from basicsr.utils import registry

from srkd_plugin.errors import OptionsError
from srkd_plugin.images.pairs import GT
from srkd_plugin.images.sizes import Size
from srkd_plugin.options.registered_names import find_class
from srkd_plugin.options.validate import check_arguments
from srkd_plugin.preflight.image_pairs import FoundPairs

WITHOUT_GT = ("SingleImageDataset",)
WITHOUT_LQ = ("FFHQDataset", "RealESRGANDataset")
VIDEO = (
    "REDSDataset",
    "REDSRecurrentDataset",
    "Vimeo90KDataset",
    "Vimeo90KRecurrentDataset",
    "VideoTestDataset",
    "VideoTestVimeo90KDataset",
    "VideoTestDUFDataset",
    "VideoRecurrentTestDataset",
)
"""BasicSR's data sets of sequences, whose items have one more dimension."""
PAIRED_REMEDY = "Use a data set of pairs, e.g. PairedImageDataset."
LQ_REMEDY = "Write model_type: RealESRDistillModel, which makes LQ images of them; or use a data set of pairs."
LARGEST_TRIAL = 256
"""Side of the image that metrics are tried on, in pixels, if the sets have larger ones."""


def check_kinds(datasets: Mapping[str, Any], makes_lq: bool = False) -> None:
    """Refuse BasicSR's data sets whose items DistillModel cannot use.

    Args:
        datasets: ``datasets`` of the options.
        makes_lq: Whether the model makes the training set's LQ images; its training set is then not looked at.

    Raises:
        OptionsError: A set is of video, lacks the LQ image, or the training set lacks GT.
    """
    for phase, section in datasets.items():
        kind, key = section.get("type"), f"datasets.{phase}.type"
        if makes_lq and phase == "train":
            continue
        if kind in VIDEO:
            raise OptionsError(key, kind, "it gives sequences, and video is not supported", PAIRED_REMEDY)
        if kind in WITHOUT_LQ:
            remedy = LQ_REMEDY if phase == "train" and kind == WITHOUT_LQ[1] else PAIRED_REMEDY
            raise OptionsError(key, kind, "its items have no lq image", remedy)
        if phase == "train" and kind in WITHOUT_GT:
            raise OptionsError(key, kind, "its items have no gt image, and training needs it", PAIRED_REMEDY)


def check_validation(
    datasets: Mapping[str, Any], metrics: Mapping[str, Any], found: Mapping[str, Optional[FoundPairs]]
) -> list[str]:
    """Check the sets that are validated, or tested on, with the metrics.

    Args:
        datasets: ``datasets``; the training set is passed over.
        metrics: ``val.metrics``.
        found: Pairs of the sets, as far as they are known.

    Returns:
        A line for each argument of a metric that looks misspelt.

    Raises:
        OptionsError: Two sets have one name; a metric is not registered, does not take its arguments, needs GT where a
            set has none, or gives no number for the smallest image.
    """
    sets = {phase: section for phase, section in datasets.items() if phase != "train"}
    _refuse_equal_names(sets)
    smallest = {phase: _smallest(found[phase]) for phase in sets if found.get(phase) is not None} if metrics else {}
    lines = []
    for name, section in metrics.items():
        key = f"val.metrics.{name}"
        function = find_class(registry.METRIC_REGISTRY, key, section)
        lines += _check_metric(key, function, section, sets)
        for phase, image in smallest.items():
            _try_on(key, function, section, 1 if sets[phase].get("color") == "y" else 3, image)
    return lines


def _refuse_equal_names(sets: Mapping[str, Any]) -> None:
    phases: dict[str, str] = {}
    for phase, section in sets.items():
        first = phases.setdefault(str(section.get("name")), phase)
        if first != phase:
            problem = f"datasets.{first} has this name, too: their images and best values would be mixed"
            raise OptionsError(f"datasets.{phase}.name", section.get("name"), problem, "Give each a name of its own.")


def _check_metric(
    key: str, function: Callable[..., Any], section: Mapping[str, Any], sets: Mapping[str, Any]
) -> list[str]:
    parameters = inspect.signature(function).parameters
    arguments = _arguments(section)
    images: dict[str, Any] = {"img": None, "img2": None} if "img2" in parameters else {"img": None}
    for name in images:
        if name in arguments:
            problem = "validation gives it, an image"
            raise OptionsError(f"{key}.{name}", arguments[name], problem, "Remove it.")
    if "img2" in parameters and parameters["img2"].default is inspect.Parameter.empty:
        for phase, dataset in sets.items():
            if dataset.get("type") in WITHOUT_GT:
                problem = f"it compares with gt, which {dataset['type']} (datasets.{phase}) does not have"
                remedy = "Use a set of pairs, or metrics without a reference, e.g. calculate_niqe."
                raise OptionsError(f"{key}.type", section["type"], problem, remedy)
    return check_arguments(function, {**images, **arguments}, key)


def _arguments(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name not in ("type", "better")}


def _smallest(found: Optional[FoundPairs]) -> tuple[str, Size]:
    """Name and size of the GT image with the shortest side."""
    assert found is not None
    _, name, index = min((min(found.images.size(GT, i)), found.images.name(i), i) for i in range(len(found.images)))
    return name, found.images.size(GT, index)


def _try_on(
    key: str, function: Callable[..., Any], section: Mapping[str, Any], channels: int, image: tuple[str, Size]
) -> None:
    """Let one of BasicSR's metrics compare two images of the size of the smallest one; those of others may be slow."""
    if not function.__module__.startswith("basicsr."):
        return
    size, border = image[1], section.get("crop_border", 0)
    name = f"{image[0]} ({size[0]}x{size[1]})"
    if min(size) <= 2 * border:
        problem = f"nothing is left of {name}"
        raise OptionsError(f"{key}.crop_border", border, problem, "Write less, or use larger images.")
    random = np.random.default_rng(0)
    shape = (*(min(side, 2 * border + LARGEST_TRIAL) for side in size), channels)
    img, img2 = (random.integers(0, 256, shape, dtype=np.uint8) for _ in range(2))
    images = {"img": img, "img2": img2} if "img2" in inspect.signature(function).parameters else {"img": img}
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            value = float(function(**images, **_arguments(section)))
    except Exception as error:  # whatever the metric makes of it
        problem = f"it fails on an image of the size of {name} ({next(iter(str(error).splitlines()), repr(error))})"
        raise OptionsError(key, section["type"], problem, "Correct its arguments, or use larger images.") from error
    if math.isnan(value):
        problem = f"it is nan for an image of the size of {name}"
        raise OptionsError(key, section["type"], problem, "Correct its arguments, or use larger images.")
