"""Where the marks of a page's figures lie, in the units of their SVG; the templates draw them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

COLLAPSED = 1.0
"""A gain that is this many dB below zero is written and not drawn: it would hide the rest."""
WIDEST = 2.0
"""Intervals are drawn to this many times the range of the means beyond them, and cut there."""
LABEL = 38
"""Letters in a line of a label."""
STYLES = 9
"""Colours of lines; further lines have the same colours and other dashes."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    """A linear axis: values from ``low`` to ``high`` lie from ``start`` to ``end``, which may run backwards."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Where a value lies; values outside lie at the nearer end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """``(place, text)`` of about six round values."""
        values = round_values(self.low, self.high)
        step = values[1] - values[0] if len(values) > 1 else 1.0
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return [(self.place(value), f"{value:,.{digits}f}".replace("-", "\u2212")) for value in values]


def round_values(low: float, high: float, about: int = 6) -> list[float]:
    """Round values between two, as a scale shows them.

    Example:
        >>> round_values(0.0, 0.93)
        [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


@dataclass(frozen=True)
class Span:
    """An interval as a line, and whether it goes on beyond the left or the right end of the axis."""

    left: float
    right: float
    is_cut_left: bool
    is_cut_right: bool


@dataclass(frozen=True)
class Dot:
    """A mean with up to two intervals; ``off`` is written where it is too far off to be drawn."""

    y: float
    x: float
    says: str
    first: Optional[Span]
    second: Optional[Span]
    off: str = ""


@dataclass(frozen=True)
class Panel:
    """A scale with the dots above it."""

    title: str
    axis: Axis
    zero: float
    dots: Sequence[Dot]


@dataclass(frozen=True)
class DotPlot:
    """Rows of dots, a panel beside the other."""

    width: float
    height: float
    labels: Sequence[tuple[float, str, Sequence[str]]]
    """Where a row lies, its label, and the lines that the label is written in."""
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Estimate:
    """A mean, and half the widths of its intervals: None where there is none."""

    mean: float
    first: Optional[float] = None
    second: Optional[float] = None


def dot_plot(
    rows: Sequence[tuple[str, Sequence[Optional[Estimate]]]],
    titles: Sequence[str],
    reference: float = 0.0,
    names: tuple[str, str] = ("over seeds", "over images"),
    digits: int = 3,
    unit: str = " dB",
    collapse: bool = True,
) -> DotPlot:
    """Lay out a dot plot.

    Args:
        rows: Label and estimates, one for each panel; None: nothing is drawn there.
        titles: Titles of the panels.
        reference: Where the line lies that the dots are compared with.
        names: What the two intervals are over.
        digits: Decimals in the text of a dot.
        unit: What follows a number.
        collapse: Whether a mean :data:`COLLAPSED` below the reference is written instead of drawn.
    """
    left, wide, row, top = 300.0, 240.0, 36.0, 34.0
    panels = []
    for number, title in enumerate(titles):
        start = left + number * (wide + 24)
        found = [estimates[number] for _, estimates in rows]
        drawn = [one for one in found if one and not (collapse and one.mean < reference - COLLAPSED)]
        axis = _axis_around(drawn, reference, start, start + wide)
        dots = []
        for i, one in enumerate(found):
            if one is not None:
                y = top + (i + 0.5) * row
                dots.append(_dot(y, one, axis, one not in drawn, names, digits, unit, f"{rows[i][0]}, {title}"))
        panels.append(Panel(title, axis, axis.place(reference), dots))
    labels = [(top + (i + 0.5) * row, label, _lines(label)) for i, (label, _) in enumerate(rows)]
    return DotPlot(left + len(titles) * (wide + 24), top + len(rows) * row + 30, labels, panels)


def _lines(label: str) -> list[str]:
    """A label in at most two lines."""
    return textwrap.wrap(label, LABEL, max_lines=2, placeholder="\u2026") or [""]


def _axis_around(drawn: Sequence[Estimate], reference: float, start: float, end: float) -> Axis:
    means = [one.mean for one in drawn] + [reference]
    reach = WIDEST * max(max(means) - min(means), 0.02)
    halves = [(one.mean, min(max(one.first or 0.0, one.second or 0.0), reach)) for one in drawn]
    low = min([mean - width for mean, width in halves] + [reference])
    high = max([mean + width for mean, width in halves] + [reference])
    margin = 0.06 * max(high - low, 0.01)
    return Axis(low - margin, high + margin, start, end)


def _dot(
    y: float, one: Estimate, axis: Axis, off: bool, names: tuple[str, str], digits: int, unit: str, where: str
) -> Dot:
    text = f"{one.mean:+.{digits}f}" if unit == " dB" else f"{one.mean:.{digits}f}"
    text = f"{text}{unit}".replace("-", "\u2212")
    halves = [f"±{width:.{digits}f} {name}" for width, name in zip((one.first, one.second), names) if width is not None]
    says = ", ".join([f"{where}: {text}", *halves])
    spans = [None if off else _span(one.mean, width, axis) for width in (one.first, one.second)]
    return Dot(y, axis.place(one.mean), says, spans[0], spans[1], f"\u25c2 {text}" if off else "")


def _span(mean: float, width: Optional[float], axis: Axis) -> Optional[Span]:
    if width is None:
        return None
    low, high = mean - width, mean + width
    return Span(axis.place(low), axis.place(high), low < axis.low, high > axis.high)


@dataclass(frozen=True)
class Line:
    """A line of a chart: its points, and the values at the chart's steps for the one who asks."""

    label: str
    color: int
    dash: int
    points: Sequence[tuple[float, float]]
    values: Sequence[Optional[float]]


@dataclass(frozen=True)
class Chart:
    """Lines over steps."""

    width: float
    height: float
    x: Axis
    y: Axis
    steps: Sequence[int]
    lines: Sequence[Line]
    left_out: Sequence[str]

    @property
    def data(self) -> Json:
        """What the script of the page needs to say the values at a step."""
        lines = [{"label": line.label, "values": line.values} for line in self.lines]
        return {"steps": self.steps, "places": [self.x.place(step) for step in self.steps], "lines": lines}


def line_chart(curves: Mapping[str, Mapping[int, float]]) -> Optional[Chart]:
    """Lay out a chart of validation PSNR against iterations.

    Args:
        curves: PSNR in dB by iteration, by label. Those that end thrice :data:`COLLAPSED` below the best are not drawn.

    Returns:
        The chart; None without a curve.
    """
    curves = {label: dict(sorted(curve.items())) for label, curve in curves.items() if curve}
    if not curves:
        return None
    best = max(list(curve.values())[-1] for curve in curves.values())
    shown = {label: curve for label, curve in curves.items() if list(curve.values())[-1] > best - 3 * COLLAPSED}
    steps = sorted({step for curve in shown.values() for step in curve})
    values = [value for curve in shown.values() for value in curve.values()]
    margin = 0.06 * max(max(values) - min(values), 0.1)
    width, height = 1090.0, 420.0
    x = Axis(min(0, steps[0]), max(1, steps[-1]), 62, width - 26)
    y = Axis(min(values) - margin, max(values) + margin, height - 46, 14)
    lines = [
        Line(
            label,
            number % STYLES,
            number // STYLES % 4,
            [(x.place(step), y.place(value)) for step, value in curve.items()],
            [curve.get(step) for step in steps],
        )
        for number, (label, curve) in enumerate(shown.items())
    ]
    return Chart(width, height, x, y, steps, lines, [label for label in curves if label not in shown])
