"""What BasicSR's sections have in common as pydantic models: the base class, and types of numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema


def whole_number(value: float) -> int:
    """A number that a file may write as a float, as an int.

    Raises:
        ValueError: It has a fraction.
    """
    if value != int(value):
        raise ValueError("a whole number is expected")
    return int(value)


Positive = Annotated[int, Field(ge=1)]
Count = Annotated[float, Field(ge=1, le=1_000_000_000), AfterValidator(whole_number)]
"""BasicSR's files write ``!!float 5e3`` for whole numbers."""
GpuCount = Annotated[
    int, Field(ge=0), WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"const": "auto"}]})
]
"""BasicSR has replaced ``auto`` by a number when the options are read."""


def added(default: Any = None) -> Any:
    """A key that BasicSR adds to the options and that no file has."""
    return Field(default=default, exclude=True)


class StockSection(BaseModel):
    """A section of BasicSR's: strict about the types of the keys that are known here, and open for others."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
