"""Means, spreads and paired differences of a table's results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Optional

from scipy.stats import t as student_t

from srkd_plugin.tables.results import ImageResult

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % confidence interval: Student's t over the values; none for fewer than two."""

    mean: float
    half_width: Optional[float]
    count: int

    @property
    def is_clear_of_zero(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.half_width is not None and abs(self.mean) > self.half_width


@dataclass(frozen=True)
class Difference:
    """A method's PSNR less that of what it is compared with, in dB, on the seeds that both have.

    Attributes:
        over_seeds: Interval of the seeds' differences, each a mean over the images: does it hold for another training?
        over_images: Interval of the images' differences, each a mean over the seeds: does it hold for other images?
    """

    over_seeds: Interval
    over_images: Interval


class PsnrTable:
    """PSNR by method, set, seed and image.

    Args:
        images: The results.
    """

    def __init__(self, images: Sequence[ImageResult]) -> None:
        self._psnr: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
        for one in images:
            seeds = self._psnr.setdefault((one.method, one.set), {})
            seeds.setdefault(one.seed, {})[one.image] = one.psnr

    def seeds(self, method: str, name: str) -> list[int]:
        """The seeds of a method for which a set has been measured."""
        return sorted(self._psnr.get((method, name), {}))

    def means(self, method: str, name: str) -> list[float]:
        """The mean over a set's images of each seed, in dB."""
        return [fmean(self._psnr[method, name][seed].values()) for seed in self.seeds(method, name)]

    def mean(self, method: str, name: str) -> float:
        """The mean over seeds and images, in dB."""
        return fmean(self.means(method, name))

    def spread(self, method: str, name: str) -> Optional[float]:
        """The standard deviation over the seeds, in dB; None for a single one."""
        means = self.means(method, name)
        return stdev(means) if len(means) > 1 else None

    def difference(self, method: str, baseline: str, name: str) -> Optional[Difference]:
        """The paired difference on a set, of the images that all have; None without a common seed or image."""
        seeds = [seed for seed in self.seeds(method, name) if seed in self.seeds(baseline, name)]
        if not seeds:
            return None
        ours, theirs = self._psnr[method, name], self._psnr[baseline, name]
        all_have = set.intersection(*(set(found[seed]) for found in (ours, theirs) for seed in seeds))
        images = [image for image in ours[seeds[0]] if image in all_have]
        if not images:
            return None
        by_image = {image: [ours[seed][image] - theirs[seed][image] for seed in seeds] for image in images}
        by_seed = [fmean(values) for values in zip(*by_image.values())]
        return Difference(interval(by_seed), interval([fmean(values) for values in by_image.values()]))


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % confidence interval of independent values."""
    count = len(values)
    if count < 2:
        return Interval(fmean(values), None, count)
    quantile = float(student_t.ppf((1 + CONFIDENCE) / 2, count - 1))
    return Interval(fmean(values), quantile * stdev(values) / math.sqrt(count), count)
