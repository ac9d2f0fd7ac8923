"""Modules of the user's, imported for what they register in BasicSR's registries: architectures, losses, data sets."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from srkd_plugin.errors import InputError
from srkd_plugin.utils.building import first_line

FLAG = "--import"


def import_modules(names: Iterable[str], key: str = FLAG) -> None:
    """Import modules, which are looked for in the working directory first, as ``python -m`` does.

    Args:
        names: Dotted names, e.g. ``hat.archs``, or paths of ``.py`` files. A file in a package is imported as a part of
            it, so that its relative imports work; its loader workers find it too.
        key: Where the user has named them, for errors.

    Raises:
        InputError: A module is not there, or cannot be imported.
    """
    for name in names:
        root, dotted = _module_of_file(key, name) if name.endswith(".py") else (Path.cwd(), name)
        if str(root) not in sys.path:
            sys.path.insert(0, str(root))
        if name.endswith(".py"):
            _refuse_another(key, name, root, dotted)
        try:
            importlib.import_module(dotted)
        except (Exception, SystemExit) as error:  # whatever it does when it is imported
            problem = f"it cannot be imported ({type(error).__name__}: {first_line(error)})"
            remedy = f"Correct that; it is looked for in {Path.cwd()} first, and then among what is installed."
            raise InputError(key, name, problem, remedy) from error
        if name.endswith(".py"):
            _refuse_another(key, name, root, dotted)


def _refuse_another(key: str, name: str, root: Path, dotted: str) -> None:
    """Refuse a file whose module or package is loaded from another place: Python has one of each name."""
    top = dotted.partition(".")[0]
    where = getattr(sys.modules.get(top), "__file__", None)
    if where and root not in Path(where).resolve().parents:
        remedy = f"Start python -m srkd_plugin in {root}, where it finds yours first; or rename yours."
        raise InputError(key, name, f"{top} is another one already, {where}", remedy)


def _module_of_file(key: str, name: str) -> tuple[Path, str]:
    """The folder from which a file is imported, and its dotted name there: its package's, if it is in one."""
    file = Path(name).resolve()
    if not file.is_file():
        raise InputError(key, name, "there is no such file", f"Relative paths start at {Path.cwd()}.")
    root, parts = file.parent, [file.stem]
    while (root / "__init__.py").is_file():
        root, parts = root.parent, [root.name, *parts]
    return root, ".".join(part for part in parts if part != "__init__")
