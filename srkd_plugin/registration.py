"""Makes the plugin's models, losses and datasets known to BasicSR's registries.

``import srkd_plugin.registration`` in one's own training script is the manual alternative to the automatic way
(:mod:`srkd_plugin._autoload`); it does the same thing.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

from srkd_plugin import _autoload
from srkd_plugin.errors import RegistrationError

ENDINGS = ("_arch", "_dataset", "_loss", "_model")
"""BasicSR's own convention: what the name of a file ends with that registers something when it is imported."""

_started = False


def register() -> None:
    """Register everything of ours in BasicSR's registries, and apply :mod:`srkd_plugin.basicsr_patches`.

    Idempotent. The registries are left unchanged on error. A name that somebody else has registered stays theirs, and
    ours is registered with a suffix (:mod:`srkd_plugin.basicsr_patches.registry`).

    Raises:
        RegistrationError: A module of ours or BasicSR cannot be imported.
    """
    global _started
    if _started:  # done, or in progress: what is imported below calls us again
        return
    _started = True
    differences: list[str] = []
    try:
        _autoload.import_basicsr()
        from srkd_plugin.basicsr_patches import apply, assumptions

        differences = assumptions.differences()
        apply.let_registries_yield()
        _import_modules()
        apply.apply()
    except Exception as error:
        _started = False
        raise RegistrationError("; ".join([f"srkd_plugin registered nothing: {error}", *differences])) from error
    if differences:
        _say(assumptions.line(differences))


def _say(text: str) -> None:
    """Once for all processes of a run: loader workers and other ranks register, too."""
    if multiprocessing.parent_process() is None and os.environ.get("RANK", "0") == "0":
        print(f"srkd_plugin: warning: {text}", file=sys.stderr, flush=True)


def _import_modules() -> None:
    """Import every module that registers something: all of them, or the registries stay as they are."""
    maps = [names._obj_map for names in _registries()]
    before = [dict(names) for names in maps]
    try:
        for module in _modules_that_register():
            importlib.import_module(module)
    except Exception:
        for names, old in zip(maps, before):
            names.clear()
            names.update(old)
        _forget_modules()  # so that a second attempt registers all of them again
        raise


def names() -> list[str]:
    """What the plugin has registered, sorted."""
    return sorted(
        name
        for names in _registries()
        for name, value in names
        if getattr(value, "__module__", "").startswith("srkd_plugin.")
    )


def _registries() -> list[Any]:
    from basicsr.utils import registry

    return [value for value in vars(registry).values() if isinstance(value, registry.Registry)]


def _modules_that_register() -> list[str]:
    package = Path(__file__).parent
    files = (file for ending in ENDINGS for file in package.glob(f"*/**/*{ending}.py"))
    return sorted(".".join((package.name, *file.relative_to(package).with_suffix("").parts)) for file in files)


def _forget_modules() -> None:
    rooms = {name.rpartition(".")[0] for name in _modules_that_register()}
    for name in list(sys.modules):
        if name in rooms or name.startswith(tuple(f"{room}." for room in rooms)):
            del sys.modules[name]


register()
