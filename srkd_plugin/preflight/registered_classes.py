"""Classes and functions that options name by ``type``: found in BasicSR's registries, with the arguments they take."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

from basicsr.utils import registry

from srkd_plugin.errors import MISSING, OptionsError, nearest
from srkd_plugin.options import sections
from srkd_plugin.options.registered_names import TAKEN, registered_name
from srkd_plugin.options.validate import check_arguments, check_section


def find_class(names: Any, key: str, section: Any) -> Any:
    """Find what ``section.type`` names in one of BasicSR's registries.

    Raises:
        OptionsError: There is no such section, or nothing of that name.
    """
    if not isinstance(section, Mapping) or not isinstance(section.get("type"), str):
        value = section.get("type", MISSING) if isinstance(section, Mapping) else section
        raise OptionsError(f"{key}.type", value, "a registered name is expected", f"Give {key} a type.")
    name = section["type"]
    for candidate in (name, f"{name}_basicsr"):  # BasicSR's Registry.get tries both
        if candidate in names:
            return names.get(candidate)
    raise OptionsError(f"{key}.type", name, "nothing is registered under this name", nearest(name, names.keys()))


def check_registered(names: Any, key: str, section: Any) -> list[str]:
    """Check that a class is registered, and takes the arguments that the options give it.

    Args:
        names: One of BasicSR's registries.
        key: Path of the section.
        section: ``type`` and the arguments.

    Returns:
        A line for each argument that looks misspelt.

    Raises:
        OptionsError: There is no such class, or an argument is wrong.
    """
    cls = find_class(names, key, section)
    if "distill_opt" in key:
        _refuse_two_meanings(cls, key, section["type"])
    arguments = {k: v for k, v in section.items() if k != "type"}
    if "distill_opt" in key:
        arguments = {k: v for k, v in arguments.items() if k not in sections.TermSection.model_fields}
    if names is registry.LOSS_REGISTRY:
        check_section(sections.LossArguments, key, arguments)
    near_misses = check_arguments(cls, arguments, key)
    if inspect.isclass(cls) and cls.__module__.startswith("srkd_plugin.losses."):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns when it is built for the run
                cls(**arguments)
        except OptionsError as error:  # it names the argument itself
            raise OptionsError(f"{key}.{error.key}", error.value, error.problem, error.remedy) from error
        except ValueError as error:
            raise OptionsError(key, arguments, str(error), "Correct the term.") from error
    return near_misses


def _refuse_two_meanings(cls: Any, key: str, name: str) -> None:
    """A term of a name that was the plugin's may be meant for either class; only who wrote the options knows."""
    if name in TAKEN:
        problem = f"{cls.__module__} has registered a loss of this name, beside the plugin's"
        remedy = f"Write {registered_name(name)} for the plugin's, or register the other under another name."
        raise OptionsError(f"{key}.type", name, problem, remedy)
