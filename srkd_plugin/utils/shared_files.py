"""Files that come with the plugin beside its package: where a checkout has them, and where a wheel puts them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from srkd_plugin.errors import InputError

PACKAGE = Path(__file__).resolve().parent.parent
SHARE = "share/srkd_plugin"
"""Where a wheel puts them, below the environment."""


def shared_folder(name: str) -> Path:
    """The folder of that name beside the package in a checkout, else where the wheel has put it.

    Args:
        name: ``options`` or ``docs``.

    Raises:
        InputError: It is in neither place.
    """
    beside = PACKAGE.parent / name
    if beside.is_dir() and (PACKAGE.parent / "pyproject.toml").is_file():
        return beside
    try:
        installed = files("srkd-plugin") or []
    except PackageNotFoundError:
        installed = []
    share = f"{SHARE}/{name}"
    stated = [Path(file.locate()) for file in installed if file.parent.as_posix().endswith(share)]
    for folder in [*(file.resolve().parent for file in stated), PACKAGE.parent / share]:  # the latter: pip --target
        if folder.is_dir():
            return folder
    problem = f"the folder {name} is neither beside the package nor installed with it"
    raise InputError("srkd-plugin", str(PACKAGE), problem, "Install it again, with pip.")
