"""The stand-in for a module of torchvision that BasicSR 1.4.2 imports and torchvision >= 0.17 does not have."""

from __future__ import annotations

from types import ModuleType
from typing import Any, cast


def functional_tensor_module() -> ModuleType:
    """The stand-in for ``torchvision.transforms.functional_tensor``.

    BasicSR 1.4.2 takes only ``rgb_to_grayscale`` from it, which is public in ``torchvision.transforms.functional``.
    """
    from torchvision.transforms import functional

    module: Any = ModuleType(
        "torchvision.transforms.functional_tensor", doc="Supplied by srkd_plugin for BasicSR 1.4.2."
    )
    module.rgb_to_grayscale = functional.rgb_to_grayscale
    return cast(ModuleType, module)
