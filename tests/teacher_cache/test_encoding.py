"""What a cache keeps of a value, against the mapping written out in float64."""

import numpy as np
import pytest

from srkd_plugin.teacher_cache.encoding import decode, encode


def image(low=-0.4, high=1.4, shape=(37, 41, 3)):
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)


def test_uint16_is_the_stated_mapping_and_never_further_than_half_a_step():
    x = image()
    stored, clipped = encode(x, "uint16")
    reference = np.round((x.astype(np.float64) + 0.5) * 32768)
    assert stored.dtype == np.uint16
    assert np.abs(stored - reference).max() <= 1  # float32 may round a tie to the other side
    back = decode(stored, "uint16")
    assert back.dtype == np.float32
    assert np.array_equal(back, stored.astype(np.float64) / 32768 - 0.5), "decoding rounds"
    assert np.abs(back.astype(np.float64) - x).max() <= (0.5 + 1e-2) / 32768
    assert clipped == 0


def test_zero_one_and_every_stored_value_are_exact_in_uint16():
    assert decode(encode(np.float32([[0, 1]]), "uint16").values, "uint16").tolist() == [[0, 1]]
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(encode(decode(every, "uint16"), "uint16").values, every)


def test_float16_keeps_any_range():
    x = image(-3, 300)
    back = decode(encode(x, "float16").values, "float16")
    assert np.array_equal(back, x.astype(np.float16).astype(np.float32))
    assert encode(x, "float16").clipped == 0


def test_uint8_is_what_a_png_keeps():
    x = image()
    stored, clipped = encode(x, "uint8")
    assert np.array_equal(stored, np.clip(np.round(x.astype(np.float64) * 255), 0, 255))
    assert clipped == np.count_nonzero((np.round(x * 255) < 0) | (np.round(x * 255) > 255)) > 0
    grid = np.arange(256, dtype=np.uint8)
    assert np.array_equal(encode(decode(grid, "uint8"), "uint8").values, grid)


def test_a_few_values_beyond_the_range_are_clipped_and_counted():
    x = image()
    x[0, 0, 0], x[1, 1, 1] = -0.7, 1.6
    stored, clipped = encode(x, "uint16")
    assert clipped == 2
    assert (stored[0, 0, 0], stored[1, 1, 1]) == (0, 65535)


@pytest.mark.parametrize(
    ("x", "storage", "says"),
    [
        (image() * 255, "uint16", r"values are outside -0.5..1.5 .*output is not in 0..1"),
        (image() * 255, "uint8", "are outside"),
        (np.float32([0, np.nan]), "float16", "NaN or infinite"),
        (np.float32([0, np.inf]), "uint16", "NaN or infinite"),
        (np.float32([0, 1e5]), "float16", "beyond 65504"),
    ],
)
def test_what_is_no_image_is_refused(x, storage, says):
    with pytest.raises(ValueError, match=says):
        encode(x, storage)
