"""Where the options files that a table names are, and what is in them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

from srkd_plugin.errors import InputError, nearest
from srkd_plugin.options import safe_yaml
from srkd_plugin.options.shipped import FOLDER
from srkd_plugin.utils.shared_files import shared_folder


class OptionsFiles:
    """Options files by the names that a table's file gives them; each is read once.

    A name is a path from the table's folder; what is not there is looked for from the folder above it, then among the
    options files that come with the plugin.

    Args:
        table: The table's file.
    """

    def __init__(self, table: Path) -> None:
        folder = table.resolve().parent
        self._folders = [folder, folder.parent]
        with suppress(InputError):  # without the shipped files, the table's own are enough
            self._folders.append(shared_folder(FOLDER))
        self._read: dict[str, dict[str, Any]] = {}

    def find(self, name: str) -> Optional[Path]:
        """Where an options file is; None: in none of the folders."""
        return next((folder / name for folder in self._folders if os.path.isfile(folder / name)), None)

    def read(self, name: str, key: str) -> Mapping[str, Any]:
        """The content of an options file; it is the caller's to copy.

        Args:
            name: What the table calls it.
            key: Where the table does so, for errors, e.g. ``methods.fakd.file``.

        Raises:
            OptionsError: It is not there, or no options file (:func:`srkd_plugin.options.safe_yaml.read`).
        """
        if name not in self._read:
            file = self.find(name)
            if file is None:
                looked_in = ", ".join(dict.fromkeys(str((folder / name).parent) for folder in self._folders))
                known = {file.name for folder in self._folders for file in folder.glob("*.yml")}
                remedy = nearest(name, known, or_all=False)
                remedy = remedy or "Put it beside the table, or name one that srkd options list shows."
                raise InputError(key, name, f"there is no such file; looked in: {looked_in}", remedy)
            self._read[name] = safe_yaml.read(file, key)
        return self._read[name]
