"""A clone of BasicSR that cannot be imported, since its setup has not written one of its files yet."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from srkd_plugin.errors import RegistrationError


def no_version_file() -> RegistrationError:
    """The error that says how to make ``basicsr/version.py``, which is generated and not in BasicSR's repository."""
    spec = find_spec("basicsr")
    folder = Path(spec.origin).parent.parent if spec and spec.origin else "its folder"
    return RegistrationError(
        "this BasicSR is a clone without basicsr/version.py, which its setup writes: "
        f"run python setup.py --version in {folder}"
    )
