"""Classes that options name by ``type``: whether they are registered and take the arguments that they are given."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from basicsr.utils import registry

from srkd_plugin.errors import OptionsError
from srkd_plugin.losses.vgg_weights import nothing_downloaded
from srkd_plugin.options import term_sections
from srkd_plugin.options.registered_names import TAKEN, find_class, registered_name
from srkd_plugin.options.validate import check_arguments, check_section


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
        arguments = {k: v for k, v in arguments.items() if k not in term_sections.TermSection.model_fields}
    if names is registry.LOSS_REGISTRY:
        check_section(term_sections.LossArguments, key, arguments)
    near_misses = check_arguments(cls, arguments, key)
    if inspect.isclass(cls) and cls.__module__.startswith("srkd_plugin.losses."):
        try:
            with warnings.catch_warnings(), nothing_downloaded():
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
