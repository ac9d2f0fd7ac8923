"""Proofs that the resize is MATLAB's: against its formula written out naively, and against the official LR images."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from real_data import real_data

from srkd_plugin.images.matlab_resize import compute_taps, downscale, upscale

SCALES = (2, 3, 4)
IMAGES = st.tuples(st.integers(1, 19), st.integers(1, 19)).flatmap(
    lambda side: arrays(np.uint8, (*side, 3)) | arrays(np.uint8, side)
)


def kernel(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def naive_line(line: list[int], length: int, scale: float) -> list[int]:
    """One row or column, sample by sample, from MATLAB's formula."""
    reduction = scale < 1
    width = 4 / scale if reduction else 4
    out = []
    for x in range(1, length + 1):
        u = x / scale + 0.5 * (1 - 1 / scale)
        first = math.floor(u - width / 2)
        taps = [first + k for k in range(math.ceil(width) + 2)]
        weights = [scale * kernel(scale * (u - t)) if reduction else kernel(u - t) for t in taps]
        norm = sum(weights)
        total = 0.0
        for tap, weight in zip(taps, weights):
            position = (tap - 1) % (2 * len(line))
            mirrored = position if position < len(line) else 2 * len(line) - 1 - position
            total += line[mirrored] * (weight / norm)
        out.append(min(max(math.floor(total + 0.5), 0), 255))
    return out


def naive(image: np.ndarray, h: int, w: int, scale: float) -> np.ndarray:
    planes = image.reshape(*image.shape[:2], -1)
    out = np.empty((h, w, planes.shape[2]), np.uint8)
    for channel in range(planes.shape[2]):
        columns = [naive_line(planes[:, x, channel].tolist(), h, scale) for x in range(planes.shape[1])]
        out[:, :, channel] = [naive_line(list(row), w, scale) for row in zip(*columns)]
    return out.reshape(h, w, *image.shape[2:])


@pytest.mark.parametrize("scale", SCALES)
@settings(max_examples=25, deadline=None)
@given(image=IMAGES)
def test_downscale_is_the_formula(scale, image):
    h, w = (math.ceil(side / scale) for side in image.shape[:2])
    np.testing.assert_array_equal(downscale(image, scale), naive(image, h, w, 1 / scale))


@pytest.mark.parametrize("scale", SCALES)
@settings(max_examples=25, deadline=None)
@given(image=IMAGES)
def test_upscale_is_the_formula(scale, image):
    h, w = image.shape[:2]
    np.testing.assert_array_equal(upscale(image, scale), naive(image, h * scale, w * scale, float(scale)))


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_downscale_makes_the_official_lr(name):
    folder = real_data(name)
    files = sorted((folder / "HR").glob("*.png"))
    assert len(files) == {"Set5": 5, "Set14": 14}[name]
    for file in files:
        hr = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        official = cv2.imread(str(folder / "LR_bicubic/X2" / file.name), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(downscale(hr, 2), official, err_msg=file.name)


@pytest.mark.parametrize("resize", [downscale, upscale])
@pytest.mark.parametrize("scale", SCALES)
def test_each_block_size_gives_the_same(resize, scale, monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (60, 36, 3), np.uint8)
    whole = resize(image, scale)
    monkeypatch.setattr("srkd_plugin.images.matlab_resize.BLOCK_BYTES", 1)
    np.testing.assert_array_equal(resize(image, scale), whole)


def test_views_are_taken_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    view = image[1:, ::-1, ::-1]
    np.testing.assert_array_equal(downscale(view, 2), downscale(view.copy(), 2))
    assert downscale(view, 2).flags.c_contiguous


def test_any_number_of_channels():
    image = np.random.default_rng(0).integers(0, 256, (12, 20, 7), np.uint8)
    each = np.dstack([downscale(image[..., channel], 2) for channel in range(7)])
    np.testing.assert_array_equal(downscale(image, 2), each)


@pytest.mark.parametrize("scale", SCALES)
def test_a_flat_image_stays_flat(scale):
    image = np.full((13, 17, 3), 200, np.uint8)
    assert np.all(downscale(image, scale) == 200)
    assert np.all(upscale(image, scale) == 200)


def test_weights_of_x2_are_the_known_ones():
    inner = compute_taps(40, 20, 0.5).weights[10]
    np.testing.assert_array_equal(inner * 256, [-3, -9, 29, 111, 111, 29, -9, -3])


@pytest.mark.parametrize(
    ("image", "scale", "message"),
    [
        (np.zeros((4, 4), np.float32), 2, "float32"),
        (np.zeros((4,), np.uint8), 2, "shape"),
        (np.zeros((0, 4), np.uint8), 2, "shape"),
        (np.zeros((4, 4), np.uint8), 0, "scale = 0"),
        (np.zeros((4, 4), np.uint8), 0.5, "scale = 0.5"),
    ],
)
def test_bad_arguments_are_refused(image, scale, message):
    for resize in (downscale, upscale):
        with pytest.raises(ValueError, match=message):
            resize(image, scale)
