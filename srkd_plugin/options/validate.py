"""Values from an options file against a pydantic model or a signature: the first fault becomes one line."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from srkd_plugin.errors import MISSING, OptionsError, nearest
from srkd_plugin.options.key_names import is_near, near_miss

REMEDIES = {
    "bool_type": "Write true or false, without quotes.",
    "int_type": "Write a whole number.",
    "int_from_float": "Write a whole number.",
    "float_type": "Write a number.",
    "finite_number": "Write a finite number.",
    "string_type": "Write text.",
    "list_type": "Write a list, e.g. [1, 2].",
    "dict_type": "Write a section of keys.",
    "greater_than": "Write a number greater than {gt}.",
    "greater_than_equal": "Write a number of at least {ge}.",
    "less_than": "Write a number less than {lt}.",
    "less_than_equal": "Write a number of at most {le}.",
    "too_short": "Write at least {min_length}.",
    "too_long": "Write at most {max_length}.",
}
"""What to do about pydantic's errors, by their type."""
SectionT = typing.TypeVar("SectionT", bound=BaseModel)


def check_section(model: type[SectionT], key: str, values: Any) -> SectionT:
    """Read a section of an options file into its model.

    Args:
        model: What the section may hold.
        key: Path of the section.
        values: What it holds.

    Raises:
        OptionsError: pydantic's first error, with the remedy.

    Example:
        >>> from srkd_plugin.options.sections import TeacherSection
        >>> check_section(TeacherSection, "teacher", {"precision": "bf16"}).precision
        'bf16'
        >>> check_section(TeacherSection, "teacher", {"precision": "half"})
        Traceback (most recent call last):
        ...
        srkd_plugin.errors.OptionsError: teacher.precision = 'half': Input should be 'fp32', 'fp16' or 'bf16'. ...
    """
    if not isinstance(values, Mapping):
        raise OptionsError(key, values, "a section of keys is expected", f"Known: {', '.join(model.model_fields)}.")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
    if not first["loc"]:  # of the section as a whole
        raise OptionsError(key, values, _problem(first), "Correct one of them.")
    name = str(first["loc"][0])
    where = f"{key}.{name}" if key else name
    if first["type"] == "extra_forbidden":
        raise OptionsError(where, values[name], "unknown key", nearest(name, model.model_fields))
    if first["type"] == "missing":
        raise OptionsError(where, MISSING, "it is required", f"Add {name}{f' to {key}' if key else ''}.")
    raise OptionsError(where, values.get(name), _problem(first), _remedy(first, values.get(name)))


def check_nested(model: type[SectionT], key: str, values: Any, **parts: type[BaseModel]) -> SectionT:
    """Read a section that has sections in it, so that an error names the key inside.

    Args:
        model: What the section may hold.
        key: Path of the section.
        values: What it holds.
        **parts: Models of the sections in it; those that are left out, or ``~``, have their defaults.

    Raises:
        OptionsError: As :func:`check_section`.
    """
    if isinstance(values, Mapping):
        given = {name: value for name, value in values.items() if name not in parts or value is not None}
        read = {
            name: check_section(part, f"{key}.{name}", given[name]) for name, part in parts.items() if name in given
        }
        values = {**given, **read}
    return check_section(model, key, values)


def refuse_nonfinite(key: str, value: Any) -> None:
    """Refuse NaN and infinity wherever they are.

    Args:
        key: Where the value is; empty for the whole file.
        value: A section, a list or a value.

    Raises:
        OptionsError: There is one.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionsError(key, value, "it is not a finite number", "Write a finite number.")
    if isinstance(value, (Mapping, list)):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, inner in items:
            refuse_nonfinite(f"{key}.{name}" if key else str(name), inner)


def check_arguments(function: Any, arguments: Mapping[str, Any], key: str) -> list[str]:
    """Check keyword arguments from an options file against a signature, and for ours against its type hints too.

    Hints of others are not used: they may say ``tuple`` where a YAML list does well.

    Args:
        function: A class or function of BasicSR's registries.
        arguments: What the options file gives it.
        key: Where it does so, for the error.

    Returns:
        One line for each argument that a function with ``**kwargs`` takes and that looks like a misspelt one.

    Raises:
        OptionsError: An argument is unknown, missing or of the wrong type.
    """
    parameters = inspect.signature(function).parameters.values()
    named = {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters)
    warnings = []
    for name, value in arguments.items():
        if name not in named and not takes_any:
            raise OptionsError(f"{key}.{name}", value, "unknown key", nearest(name, named))
        if name not in named and is_near(name, named):
            warnings.append(near_miss(key, name, value, named))
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise OptionsError(f"{key}.{name}", MISSING, "it is required", f"Add {name} to {key}.")
    if function.__module__.startswith("srkd_plugin."):
        hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
        given: dict[str, Any] = {name: (hints.get(name, Any), ...) for name in arguments}
        check_section(
            create_model(function.__name__, __config__=ConfigDict(strict=True, allow_inf_nan=False), **given),
            key,
            arguments,
        )
    return warnings


def _problem(error: Mapping[str, Any]) -> str:
    return error["msg"].replace("Value error, ", "")


def _remedy(error: Mapping[str, Any], value: Any) -> str:
    if error["type"] == "literal_error":
        choices = [choice.strip().strip("'") for choice in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        near = nearest(value, choices)
        return f"Write one of: {', '.join(choices)}." if near.startswith("Known") else near
    if isinstance(value, str) and _is_number(value):
        return "YAML reads this as text: write the number without quotes, and 1.0e-4 or !!float 1e-4 instead of 1e-4."
    return REMEDIES.get(error["type"], "Correct the value.").format(**error.get("ctx", {}))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
