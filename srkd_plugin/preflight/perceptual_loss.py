"""BasicSR's PerceptualLoss: its arguments, and whether VGG's weights can be had; they are not loaded or downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from basicsr.archs import vgg_arch
from pydantic import BaseModel, ConfigDict, Field
from torchvision.models import get_model_weights

from srkd_plugin.errors import OptionsError, nearest
from srkd_plugin.losses.vgg_weights import plan_download, torch_cache_file
from srkd_plugin.options.validate import check_section


class _Perceptual(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    layer_weights: dict[str, float] = Field(min_length=1)
    vgg_type: str = "vgg19"
    perceptual_weight: float = Field(default=1.0, ge=0)
    style_weight: float = Field(default=0.0, ge=0)
    criterion: Literal["l1", "fro"] = "l1"
    """BasicSR's ``l2`` names a class that torch does not have."""


def check_perceptual_loss(key: str, section: Mapping[str, Any], side: int) -> None:
    """Check the section of a PerceptualLoss.

    Args:
        key: Path of the section.
        section: ``type`` and the loss's arguments.
        side: Side of the smallest images that it compares, in pixels.

    Raises:
        OptionsError: An argument is wrong; VGG needs larger images; or its weights are not there and cannot be
            downloaded.
    """
    checked = check_section(_Perceptual, key, {name: value for name, value in section.items() if name != "type"})
    plain = checked.vgg_type.replace("_bn", "")
    if plain not in vgg_arch.NAMES:
        known = [name + end for name in vgg_arch.NAMES for end in ("", "_bn")]
        remedy = nearest(checked.vgg_type, known)
        raise OptionsError(f"{key}.vgg_type", checked.vgg_type, "BasicSR has no such VGG", remedy)
    layers = vgg_arch.NAMES[plain]
    if checked.vgg_type != plain:
        layers = vgg_arch.insert_bn(layers)
    for layer in checked.layer_weights:
        if layer not in layers:
            problem = f"{checked.vgg_type} has no such layer"
            raise OptionsError(f"{key}.layer_weights", layer, problem, nearest(layer, layers))
        _check_side(f"{key}.layer_weights", layer, layers, side)
    _check_weights(key, checked.vgg_type)


def _check_side(key: str, layer: str, layers: Sequence[str], side: int) -> None:
    halvings = sum(name.startswith("pool") for name in layers[: layers.index(layer) + 1])
    if side < 2**halvings:
        problem = (
            f"VGG halves images {halvings} times for it, and the smallest that are compared have {side} pixels a side"
        )
        remedy = f"Name an earlier layer, or raise datasets.train.gt_size, for {2**halvings} pixels or more"
        raise OptionsError(key, layer, problem, f"{remedy} (train.samples.zoom_out compares crops of LQ's size).")


def _check_weights(key: str, vgg_type: str) -> None:
    """Look where BasicSR and torchvision look, and ask the server for the file's header if they would download it."""
    url = get_model_weights(vgg_type).IMAGENET1K_V1.url
    own, cached = Path(vgg_arch.VGG_PRETRAIN_PATH), torch_cache_file(url)
    if own.exists() or cached.exists():
        return
    try:
        plan_download(url)
    except OSError as error:
        problem = f"VGG's weights are neither at {own} nor at {cached}, and cannot be downloaded from {url} ({error})"
        remedy = f"Download them elsewhere, and put them at {cached}."
        raise OptionsError(key, "PerceptualLoss", problem, remedy) from error
