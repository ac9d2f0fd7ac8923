"""VGG19's feature maps of an image, from weights in a local file or torchvision's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import torch
from torch import Tensor, nn
from torchvision.models import VGG19_Weights
from torchvision.models.vgg import cfgs, make_layers

from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.losses.vgg_weights import download, is_only_planned, plan_download, torch_cache_file
from srkd_plugin.utils.weights import load_weights_file, without_wrappers

KEY = "vgg_weights"
LAYERS = {"relu1_1": 1, "relu2_1": 6, "relu3_1": 11, "relu4_1": 20, "relu5_1": 29}
"""Index of each layer in torchvision's ``features``."""
SMALLEST_SIDE = 16
"""Side that an image must have at least, in pixels: relu5_1 comes after four poolings."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG19Features(nn.Module):
    """relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of torchvision's VGG19, frozen.

    Args:
        weights: A file with torchvision's state dict (``features.0.weight`` ...); None for torchvision's own
            (``VGG19_Weights.IMAGENET1K_V1``, 548 MB), from torch's cache, where it is downloaded once; in a check that
            downloads nothing (:func:`~srkd_plugin.losses.vgg_weights.nothing_downloaded`), random ones stand for it.

    Raises:
        OptionsError: The weights are not there, cannot be downloaded, or are not VGG19's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Optional[str] = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # a loss must not change how a run starts
            layers = make_layers(cfgs["E"])[: max(LAYERS.values()) + 1]
        file = weights if weights is not None else _torchvisions_file()
        if file is not None:
            _load(layers, str(file))
        self.layers = layers
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The feature maps, with autograd history if the images have one.

        Args:
            images: ``(N, 3, H, W)`` RGB or ``(N, 1, H, W)`` gray, in 0..1, H and W at least 16.

        Returns:
            ``(N, 64, H, W)``, ``(N, 128, H/2, W/2)``, ``(N, 256, H/4, W/4)``, ``(N, 512, H/8, W/8)`` and
            ``(N, 512, H/16, W/16)``, sides rounded down.

        Raises:
            ValueError: The images have another shape.
        """
        if images.dim() != 4 or images.shape[1] not in (1, 3) or min(images.shape[-2:]) < SMALLEST_SIDE:
            wanted = f"(N, 3, H, W) or (N, 1, H, W) of at least {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels"
            raise ValueError(f"VGG19 takes images {wanted}; got {tuple(images.shape)}")
        x = (images.to(self.mean.dtype).expand(-1, 3, -1, -1) - self.mean) / self.std
        maps = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in LAYERS.values():
                maps.append(x)
        return maps


def _load(layers: nn.Module, file: str) -> None:
    content = load_weights_file(KEY, file)
    weights = without_wrappers(content) if isinstance(content, Mapping) else {}
    expected = layers.state_dict()
    found = {name: weights.get(f"features.{name}") for name in expected}
    for name, value in found.items():
        if not isinstance(value, Tensor) or value.shape != expected[name].shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else "not there"
            problem = f"features.{name} is {shape}, and {tuple(expected[name].shape)} in VGG19"
            raise InputError(KEY, file, problem, "Give torchvision's vgg19 state dict, e.g. vgg19-dcbb9e9d.pth.")
    layers.load_state_dict(found)


def _torchvisions_file() -> Optional[Path]:
    """torchvision's weights in torch's cache, downloaded if they are not there; None if that is only to be planned."""
    url = VGG19_Weights.IMAGENET1K_V1.url
    file = torch_cache_file(url)
    if file.is_file():
        return file
    try:
        if is_only_planned():
            plan_download(url)
            return None
        download(url)
    except OSError as error:  # URLError and time-outs are OSErrors
        problem = f"VGG19's weights are not at {file} and cannot be downloaded from {url} ({error})"
        remedy = f"Download them elsewhere, and write {KEY}: <path of the file>, or put the file there."
        raise OptionsError(KEY, None, problem, remedy) from error
    return file
