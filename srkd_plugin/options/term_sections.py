"""Sections of a distillation term, ``train.distill_opt.<name>``, as pydantic models."""

from __future__ import annotations

import math
from typing import Any, Literal, Optional

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from srkd_plugin.options.section import Section


class TapsSection(Section):
    """``taps`` of a term: which feature maps it compares, pair by pair, as module paths."""

    student: list[str] = Field(min_length=1)
    """Modules of the student, e.g. ``body.5``."""
    teacher: list[str] = Field(min_length=1)
    """Modules of the teacher, as many, in the same order."""


class ConnectorSection(Section):
    """``connector`` of a term: one trained convolution per tap from the student's channels to the teacher's."""

    kernel_size: Literal[1, 3, 5, 7] = 1
    """Kernel size of the convolutions."""


class BalanceSection(Section):
    """``balance`` of a term: its weight follows its gradient; a ``loss_weight`` other than 1 beside it is refused."""

    target: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Norm of the term's gradient that is aimed at, as a multiple of that of ``pixel_opt``."""
    every: int = Field(default=20, ge=1)
    """The norms are measured every this many iterations; each time costs two backward passes."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the running ratio that a measurement leaves as it was."""


class LossArguments(BaseModel):
    """Arguments that mean the same in every loss that has them, BasicSR's and ours."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    loss_weight: float = Field(default=1.0, ge=0, le=1e12)
    """Factor of the loss."""
    eps: float = Field(default=1e-6, gt=0, lt=1)
    """Small number that keeps a denominator from zero."""


class TermSection(BaseModel):
    """``train.distill_opt.<name>``: one named term, a registered loss with its arguments, and what it reads when."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    type: str
    """Name of a registered loss, the plugin's or BasicSR's; its arguments stand beside it."""
    taps: Optional[TapsSection] = None
    """Feature maps that the term compares; none: it compares images."""
    connector: Optional[ConnectorSection] = None
    """Convolutions from the student's feature maps to the teacher's; none: there are none."""
    start: int = Field(default=1, ge=1)
    """First iteration in which the term counts."""
    stop: Optional[int] = Field(default=None, ge=1)
    """Last iteration in which it counts; none: to the end."""
    schedule: Optional[list[list[float]]] = None
    """``[[iteration, factor], ...]``: factors of the weight; linear between points, constant outside."""
    balance: Optional[BalanceSection] = None
    """Let the weight follow the gradient; none: it is ``loss_weight``."""

    @field_validator("schedule")
    @classmethod
    def _schedule_is_a_function(cls, points: Optional[list[list[float]]]) -> Optional[list[list[float]]]:
        if points is None:
            return None
        if not points or any(len(point) != 2 for point in points):
            raise ValueError("a list of [iteration, factor] pairs is expected, e.g. [[1, 0.0], [1000, 1.0]]")
        iterations = [point[0] for point in points]
        if any(b <= a for a, b in zip([0, *iterations], iterations)) or any(i != int(i) for i in iterations):
            raise ValueError("its iterations must be whole numbers from 1 that rise")
        if any(not 0 <= factor < math.inf for _, factor in points):
            raise ValueError("its factors must be numbers from 0")
        return points

    @model_validator(mode="after")
    def _starts_before_it_stops(self) -> TermSection:
        if self.stop is not None and self.stop < self.start:
            raise ValueError(f"stop ({self.stop}) comes before start ({self.start})")
        return self

    def is_active(self, iteration: int) -> bool:
        """Whether the term counts in an iteration (the first is 1)."""
        return self.start <= iteration and (self.stop is None or iteration <= self.stop)

    def loss_options(self) -> dict[str, Any]:
        """Arguments of :func:`basicsr.losses.build_loss`."""
        return {"type": self.type, **(self.model_extra or {})}


TERM_PARTS: dict[str, type[Section]] = {"taps": TapsSection, "connector": ConnectorSection, "balance": BalanceSection}
"""Sections within a term."""
