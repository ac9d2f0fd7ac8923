"""Means, spreads and paired differences against hand values and scipy's own interval."""

import math

import numpy as np
import pytest
from scipy import stats

from srkd_plugin.tables.paired_stats import PsnrTable, interval
from srkd_plugin.tables.results import ImageResult


def table(values):
    """``values[method][seed][image]`` on one set."""
    return PsnrTable(
        [
            ImageResult(method, seed, "S", f"i{k}", psnr)
            for method, seeds in values.items()
            for seed, images in seeds.items()
            for k, psnr in enumerate(images)
        ]
    )


def test_mean_and_spread_are_over_the_seeds_means():
    found = table({"a": {0: [30.0, 34.0], 1: [31.0, 37.0]}})
    assert found.means("a", "S") == [32.0, 34.0]
    assert found.mean("a", "S") == 33.0
    assert found.spread("a", "S") == pytest.approx(math.sqrt(2.0))
    assert table({"a": {0: [30.0]}}).spread("a", "S") is None


def test_the_interval_is_scipys():
    values = np.random.default_rng(0).normal(0.1, 0.05, 7)
    low, high = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    found = interval(list(values))
    assert (found.mean - found.half_width, found.mean + found.half_width) == (pytest.approx(low), pytest.approx(high))
    assert (found.count, interval([1.0]).half_width) == (7, None)


def test_the_difference_is_paired_by_seed_and_by_image():
    """Seeds differ by 5 dB and images by 10, the methods by exactly 0.1: pairing takes both out."""
    base = {s: [30.0 + 5 * s + 10 * k for k in range(3)] for s in range(4)}
    found = table({"none": base, "m": {s: [p + 0.1 for p in images] for s, images in base.items()}})
    difference = found.difference("m", "none", "S")
    for one, count in ((difference.over_seeds, 4), (difference.over_images, 3)):
        assert (one.mean, one.half_width, one.count) == (pytest.approx(0.1), pytest.approx(0.0, abs=1e-9), count)
        assert one.is_clear_of_zero


def test_the_two_intervals_are_over_different_things():
    found = table({"none": {0: [0.0, 0.0], 1: [0.0, 0.0]}, "m": {0: [1.0, 3.0], 1: [1.0, 3.0]}})
    difference = found.difference("m", "none", "S")
    assert difference.over_seeds.mean == difference.over_images.mean == 2.0
    assert difference.over_seeds.half_width == 0.0
    assert difference.over_images.half_width == pytest.approx(stats.t.ppf(0.975, 1) * 1.0)
    assert difference.over_seeds.is_clear_of_zero and not difference.over_images.is_clear_of_zero


def test_seeds_that_only_one_has_are_left_out():
    found = table({"none": {0: [0.0], 1: [0.0], 2: [9.0]}, "m": {1: [1.0], 0: [2.0], 5: [7.0]}})
    difference = found.difference("m", "none", "S")
    assert (difference.over_seeds.mean, difference.over_seeds.count) == (1.5, 2)
    assert found.difference("m", "absent", "S") is None


def test_images_that_only_one_has_are_left_out():
    """An image of one seed is missing: it is left out of all differences, and without a common image there is none."""
    both = [ImageResult(m, s, "S", i, 30.0 + (m == "a") * (1 + s)) for m in "ab" for s in (0, 1) for i in ("x", "y")]
    found = PsnrTable([one for one in both if (one.method, one.seed, one.image) != ("b", 1, "x")])
    difference = found.difference("a", "b", "S")
    assert difference.over_images.count == 1
    assert (difference.over_seeds.count, difference.over_seeds.mean) == (2, 1.5)
    assert PsnrTable([o for o in both if (o.method == "a") == (o.image == "x")]).difference("a", "b", "S") is None
