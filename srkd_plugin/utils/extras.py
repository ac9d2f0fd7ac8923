"""Packages that only some commands need, and the one line that says how to install them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from srkd_plugin.errors import InputError


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module of an optional package.

    Args:
        module: Its name, e.g. ``onnxruntime.quantization``.
        extra: Name of the extra in pyproject.toml that installs it.
        purpose: What it is needed for, e.g. ``writing ONNX``.

    Returns:
        The module.

    Raises:
        InputError: It is not installed, or cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:  # also what an installed package lacks itself
        package = module.split(".")[0]
        problem = f"{purpose} needs it, and it cannot be imported ({error})"
        remedy = f"Install it: pip install 'srkd-plugin[{extra}]', or pip install {package}."
        raise InputError("package", package, problem, remedy) from error
