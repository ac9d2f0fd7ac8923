"""Makes the plugin's models, losses and datasets known to BasicSR's registries.

``import srkd_plugin.registration`` in one's own training script is the manual alternative to the automatic way
(:mod:`srkd_plugin._autoload`); it does the same thing.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from srkd_plugin import _autoload

ROOMS = {"archs": "_arch", "data": "_dataset", "losses": "_loss", "models": "_model"}
"""BasicSR's own convention: which files of a folder register something when they are imported."""

_started = False


class RegistrationError(ImportError):
    """The plugin could not register; BasicSR's registries are as they were before."""


def register() -> None:
    """Register everything of ours in BasicSR's registries and put the changes of :mod:`srkd_plugin.host` in place.

    Idempotent. The registries are left unchanged on error.

    Raises:
        RegistrationError: A name of ours is taken by somebody else, or a module of ours or BasicSR cannot be imported.
    """
    global _started
    if _started:  # done, or in progress: what is imported below calls us again
        return
    _started = True
    try:
        _autoload.import_basicsr()
        _import_rooms()
    except Exception as error:
        _started = False
        raise RegistrationError(f"srkd_plugin registered nothing: {error}") from error

    from srkd_plugin import host

    host.apply(check=_check)


def _import_rooms() -> None:
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
        for name, value in names._obj_map.items()
        if value.__module__.startswith("srkd_plugin.")
    )


def _registries() -> list[Any]:
    from basicsr.utils import registry

    return [value for value in vars(registry).values() if isinstance(value, registry.Registry)]


def _check(opt: dict[str, Any]) -> None:
    from srkd_plugin import agreement, preflight  # they need BasicSR complete; nobody needs them before a run of ours

    agreement.check_on_all_ranks(preflight.check, opt)


def _modules_that_register() -> list[str]:
    package = Path(__file__).parent
    return [
        f"srkd_plugin.{room}.{file.stem}"
        for room, ending in ROOMS.items()
        for file in sorted((package / room).glob(f"*{ending}.py"))
    ]


def _forget_modules() -> None:
    for name in list(sys.modules):
        if name.startswith(tuple(f"srkd_plugin.{room}" for room in ROOMS)):
            del sys.modules[name]


register()
