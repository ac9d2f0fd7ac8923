"""Values from an options file against a pydantic model or a signature: the first fault becomes one line."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from srkd_plugin.errors import MISSING, OptionsError, nearest

SectionT = typing.TypeVar("SectionT", bound=BaseModel)


def check_section(model: type[SectionT], key: str, values: Any) -> SectionT:
    """Read a section of an options file into its model.

    Args:
        model: What the section may hold.
        key: Path of the section.
        values: What it holds.

    Raises:
        OptionsError: pydantic's first error, with the remedy.
    """
    if not isinstance(values, Mapping):
        raise OptionsError(key, values, "a section of keys is expected", f"Known: {', '.join(model.model_fields)}.")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
    name = str(first["loc"][0])
    where = f"{key}.{name}"
    if first["type"] == "extra_forbidden":
        raise OptionsError(where, values[name], "unknown key", nearest(name, model.model_fields))
    if first["type"] == "missing":
        raise OptionsError(where, MISSING, "it is required", f"Add {name} to {key}.")
    raise OptionsError(where, values.get(name), first["msg"], _remedy(first, values.get(name)))


def check_arguments(function: Any, arguments: Mapping[str, Any], key: str) -> None:
    """Check keyword arguments from an options file against a signature, and for ours against its type hints too.

    Hints of others are not used: they may say ``tuple`` where a YAML list does well.

    Args:
        function: A class or function of BasicSR's registries.
        arguments: What the options file gives it.
        key: Where it does so, for the error.

    Raises:
        OptionsError: An argument is unknown, missing or of the wrong type.
    """
    parameters = inspect.signature(function).parameters.values()
    named = {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters)
    for name, value in arguments.items():
        if name not in named and not takes_any:
            raise OptionsError(f"{key}.{name}", value, "unknown key", nearest(name, named))
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise OptionsError(f"{key}.{name}", MISSING, "it is required", f"Add {name} to {key}.")
    if function.__module__.startswith("srkd_plugin."):
        hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
        given = {name: (hints.get(name, Any), ...) for name in arguments}
        check_section(create_model(function.__name__, __config__=ConfigDict(strict=True), **given), key, arguments)


def _remedy(error: Mapping[str, Any], value: Any) -> str:
    if error["type"] == "literal_error":
        choices = [choice.strip().strip("'") for choice in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        near = nearest(value, choices)
        return f"Write one of: {', '.join(choices)}." if near.startswith("Known") else near
    if isinstance(value, str) and _is_number(value):
        return "YAML reads this as text: write the number without quotes, and 1.0e-4 or !!float 1e-4 instead of 1e-4."
    return "Correct the value."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
