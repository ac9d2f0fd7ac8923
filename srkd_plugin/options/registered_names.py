"""Names in BasicSR's registries: those of the plugin's classes, and what options name by ``type``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from srkd_plugin.errors import MISSING, OptionsError, nearest

MODEL_TYPES = ("DistillModel", "RealESRDistillModel")
"""The plugin's models; the second makes its LQ images itself."""

SUFFIX = "srkd"
"""What follows the name of a class of ours where somebody else has registered one of the same name."""

OF_ONES_OWN = "If a module of your own registers it, give srkd --import MODULE."
"""What to do about a name that is right, and of code that no command knows."""

TAKEN: set[str] = set()
"""Names of ours that somebody else has in this process; whoever changes BasicSR's registration adds to them."""


def registered_name(name: str) -> str:
    """The name that a class of ours is registered under: its own, or with the suffix where that is taken."""
    return f"{name}_{SUFFIX}" if name in TAKEN else name


def model_types() -> tuple[str, ...]:
    """The names that the plugin's models are registered under."""
    return tuple(map(registered_name, MODEL_TYPES))


def makes_lq(opt: Mapping[str, Any]) -> bool:
    """Whether a run's model makes LQ images of what the data set gives (RealESRDistillModel)."""
    return opt.get("model_type") == registered_name(MODEL_TYPES[1])


def find_class(names: Any, key: str, section: Any) -> Any:
    """Find what ``section.type`` names in one of BasicSR's registries.

    Args:
        names: The registry.
        key: Path of the section, for the error.
        section: The section, ``type`` and arguments.

    Raises:
        OptionsError: There is no such section, or nothing of that name.
    """
    return names.get(find_name(names, key, section))


def find_name(names: Any, key: str, section: Any) -> str:
    """Find the name in the registry itself; ``Registry.get`` prints a line where that has a suffix.

    Args:
        names: See :func:`find_class`.
        key: See there.
        section: See there.

    Raises:
        OptionsError: As there.
    """
    if not isinstance(section, Mapping) or not isinstance(section.get("type"), str):
        value = section.get("type", MISSING) if isinstance(section, Mapping) else section
        raise OptionsError(f"{key}.type", value, "a registered name is expected", f"Give {key} a type.")
    name = section["type"]
    for candidate in (name, f"{name}_basicsr"):  # BasicSR's Registry.get tries both
        if candidate in names:
            return candidate
    remedy = f"{nearest(name, names.keys())} {OF_ONES_OWN}"
    raise OptionsError(f"{key}.type", name, "nothing is registered under this name", remedy)
