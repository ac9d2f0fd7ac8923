"""Sections of what a training step is made of: ``train.samples``, ``history``, ``eco`` and ``accumulate``."""

from __future__ import annotations

from typing import Annotated, Literal, Optional

from pydantic import Field, field_validator

from srkd_plugin.options.section import Section

ZoomKind = Literal["zoom_in", "zoom_out"]
"""Inputs that a step may have beside its batch, by the key of ``train.samples`` that asks for them."""


class AugmentSection(Section):
    """``train.samples.augment``: how often a zoomed-in input is augmented; undone on the student's output."""

    invert: float = Field(default=0.3, ge=0, le=1)
    """Probability that an image's colours are inverted, 1 - x."""
    hflip: float = Field(default=0.3, ge=0, le=1)
    """Probability that it is flipped from left to right."""
    vflip: float = Field(default=0.3, ge=0, le=1)
    """Probability that it is flipped upside down."""
    transpose: float = Field(default=0.3, ge=0, le=1)
    """Probability that rows become columns."""


class SamplesSection(Section):
    """``train.samples``: more inputs for the student out of each batch, after AugKD (ICLR 2025)."""

    zoom_in: int = Field(default=0, ge=0)
    """Blocks of each GT crop, of the LQ crop's size, that are inputs too; up to scale * scale. The teacher's output is
    their only target: terms that read gt, and ``pixel_opt``, leave them out."""
    zoom_in_weight: float = Field(default=1.0, gt=0, le=1e6)
    """Factor of all losses of the zoomed-in inputs."""
    zoom_out: bool = False
    """Whether each LQ crop, shrunk by the scale, is an input, with the crop itself as its GT."""
    zoom_out_weight: float = Field(default=1.0, gt=0, le=1e6)
    """Factor of all losses of the zoomed-out inputs."""
    augment: AugmentSection = AugmentSection()
    """Augmentations of the zoomed-in inputs."""

    @property
    def kinds(self) -> tuple[ZoomKind, ...]:
        """The kinds of inputs that a step has beside its batch."""
        return (*(("zoom_in",) if self.zoom_in else ()), *(("zoom_out",) if self.zoom_out else ()))

    @property
    def adds_inputs(self) -> bool:
        """Whether a step has other inputs than its batch."""
        return bool(self.kinds)


class HistorySection(Section):
    """``train.history``: the earlier student whose images losses with ``negatives: history`` push the student off."""

    every: list[Annotated[int, Field(ge=1)]] = Field(default=[1000, 2000, 3000], min_length=1)
    """Iterations between its updates; several numbers are for as many equal parts of the run, one after the other."""
    keep: float = Field(default=0.1, ge=0, lt=1)
    """Share of it that an update leaves; the rest becomes the student's average (EMA), or the student where none is."""
    noised: int = Field(default=4, ge=0)
    """Images of it per input on noised inputs, beside the one on the input itself. With 0 let the terms ``start`` after
    the first update: until then it gives what the student gives, and there is nothing to push off."""
    sigma: list[Annotated[float, Field(ge=0, le=255)]] = Field(default=[1.0, 30.0], min_length=2, max_length=2)
    """Standard deviation of the noise, in 255ths of the range: drawn between these two, image by image."""

    @field_validator("sigma")
    @classmethod
    def _sigma_is_an_interval(cls, ends: list[float]) -> list[float]:
        if ends[0] > ends[1]:
            raise ValueError("two numbers that rise are expected, e.g. [1.0, 30.0]")
        return ends


class EcoSection(Section):
    """``train.eco``: a ramp from the teacher's images, and their shrunk versions as inputs, to the data set's pairs."""

    end_iter: int = Field(default=0, ge=0)
    """Iterations until inputs and targets are those of the data set; 0: they are from the first. A run with a ramp
    needs no ``train.distill_opt``."""


class AccumulationSection(Section):
    """``train``: keys about batches that make one step together."""

    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are averaged for one step of the optimizer. An iteration stays one batch: ``total_iter``
    (a multiple of it), ``scheduler`` and ``warmup_iter`` count batches."""
    accumulate_negatives: Optional[Literal["per_batch", "joint"]] = None
    """Where the negatives of a step's batches come from; needed with losses that take them from the batch.
    ``per_batch``: each batch has its own. ``joint``, over all batches of a step, cannot be had and is refused."""
