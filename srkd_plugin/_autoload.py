"""Makes an unmodified BasicSR know the plugin, without costing anybody else anything.

torch (>= 2.5) calls :func:`install` at the end of ``import torch`` through the entry point group ``torch.backends``.
``install`` only puts a finder on ``sys.meta_path`` that waits for two module names:

``basicsr.models``
    the point at which BasicSR's registries and ``SRModel`` are complete and its ``train`` module is not yet imported:
    here the plugin registers itself (:func:`srkd_plugin.registration.register`).
``torchvision.transforms.functional_tensor``
    imported by BasicSR 1.4.2 and gone from torchvision >= 0.17: supplied while BasicSR is being imported, and only if
    it is really missing (:mod:`srkd_plugin.basicsr_patches.functional_tensor`).

Everything else is left alone. Nothing here may raise into a process that merely imports torch, so this module imports
nothing that is not already loaded, and a plugin that fails to load warns once, when BasicSR is imported.

``SRKD_PLUGIN_AUTOLOAD=0`` in the environment switches this off.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable, Optional

OFF_SWITCH = "SRKD_PLUGIN_AUTOLOAD"
REGISTRIES_COMPLETE = "basicsr.models"
FUNCTIONAL_TENSOR = "torchvision.transforms.functional_tensor"
REGISTER = "srkd_plugin.registration", "register"
STAND_IN = "srkd_plugin.basicsr_patches.functional_tensor", "functional_tensor_module"
NO_VERSION_FILE = "srkd_plugin.basicsr_patches.unbuilt_clone", "no_version_file"
"""What is called when the time comes, by name, as an entry point names it: this module is below everything else."""


def install() -> None:
    """Wait for BasicSR to be imported, then register the plugin. Idempotent; never raises."""
    if os.environ.get(OFF_SWITCH, "1").strip().lower() in ("0", "off", "false", "no"):
        return
    install_finder()


def install_finder() -> None:
    """Put the finder on ``sys.meta_path`` once, whatever the off switch says. Never raises."""
    if not any(getattr(finder, "is_srkd_finder", False) for finder in sys.meta_path):
        sys.meta_path.insert(0, _BasicSRFinder())


def import_basicsr() -> None:
    """Import BasicSR, and so register the plugin, from a module of ours that needs it; with the off switch on, too.

    Each folder of ours that registers something calls this first in its ``__init__``: when its modules run, BasicSR is
    complete and registering is over or in progress, so that no circle can arise whatever is imported first.
    """
    install_finder()
    was_there = REGISTRIES_COMPLETE in sys.modules  # then the finder has nothing to wait for
    try:
        import basicsr.models  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name == "basicsr.version":
            raise _call(NO_VERSION_FILE) from error
        raise

    if was_there:
        _call(REGISTER)


class _BasicSRFinder:
    """Finds what the other finders find, and adds to two names only (see the module's docstring)."""

    # Told by a mark, not by its class: the class is another one after a reload of this module.
    is_srkd_finder = True

    def __init__(self) -> None:
        self._looking_for: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Optional[ModuleType] = None) -> Optional[ModuleSpec]:
        if name == REGISTRIES_COMPLETE:
            spec = self._find_elsewhere(name, path, target)
            if spec is not None and spec.loader is not None:
                loader: Any = _ThenCall(spec.loader, _register)  # a loader by what it can, as the import system asks
                spec.loader = loader
            return spec
        if name == FUNCTIONAL_TENSOR and "basicsr" in sys.modules:
            stand_in: Any = _FunctionalTensorLoader()
            return self._find_elsewhere(name, path, target) or ModuleSpec(name, stand_in)
        return None

    def _find_elsewhere(self, name: str, path: Any, target: Optional[ModuleType]) -> Optional[ModuleSpec]:
        if name in self._looking_for:  # another finder of this kind asks us while we ask it
            return None
        self._looking_for.add(name)
        try:
            for finder in sys.meta_path:
                if finder is not self and hasattr(finder, "find_spec"):
                    spec = finder.find_spec(name, path, target)
                    if spec is not None:
                        return spec
            return None
        finally:
            self._looking_for.discard(name)


class _ThenCall:
    """A loader that executes a module with its own loader, puts that loader back, and then calls a function."""

    def __init__(self, loader: Any, after: Callable[[], None]) -> None:
        self._loader = loader
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # get_code, get_source ...: runpy, inspect and pkgutil ask for them

    def create_module(self, spec: ModuleSpec) -> Optional[ModuleType]:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec: Any = module.__spec__  # the one that find_spec has given this loader
        module.__loader__ = spec.loader = self._loader
        self._loader.exec_module(module)
        self._after()


class _FunctionalTensorLoader:
    """Loads the stand-in for the module that torchvision no longer has."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _call(STAND_IN)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to execute: the module was made complete."""


def _register() -> None:
    try:
        _call(REGISTER)
    except Exception as error:  # whatever it is, it must not keep anybody from using BasicSR
        import warnings

        warnings.warn(
            f"srkd_plugin could not be loaded and is not available in this run: {error!r}. BasicSR itself is not "
            f"affected. Set {OFF_SWITCH}=0 to silence this.",
            RuntimeWarning,
            stacklevel=2,
        )


def _call(named: tuple[str, str]) -> Any:
    module, function = named
    return getattr(import_module(module), function)()
