"""Crops: where they are, and that there are fewer and smaller ones where they would be too large."""

import base64

import cv2
import numpy as np
import pytest

from srkd_plugin.report.crops import HR, SIDES, SetImages, make_crops


def images(**systems):
    """A set of two gray images of 192x240 pixels; systems are HR plus what is added to each."""
    hr = {name: np.full((192, 240, 3), 100, np.uint8) for name in ("a", "b")}
    made = {key: {name: hr[name] + added.get(name, 0) for name in hr} for key, added in systems.items()}
    return SetImages("S", list(hr), hr.__getitem__, {key: one.__getitem__ for key, one in made.items()})


def spot(top, left, value):
    added = np.zeros((192, 240, 3), np.uint8)
    added[top : top + 8, left : left + 8] = value
    return added


def test_the_first_is_where_the_one_gains_the_most_and_the_last_where_it_loses_the_most():
    one = images(theirs={"a": spot(150, 200, 30), "b": spot(10, 10, 10)}, ours={"b": spot(100, 110, 20)})
    best, second, worst = make_crops([one], "ours", "theirs", 10**9)
    assert (best.image, second.image, worst.image) == ("a", "b", "b")
    for crop, (top, left) in ((best, (150, 200)), (second, (10, 10)), (worst, (100, 110))):
        assert crop.top <= top and top + 8 <= crop.top + crop.height
        assert crop.left <= left and left + 8 <= crop.left + crop.width
    assert best.gain == 1.0 and worst.top % (SIDES[0] // 2) == 0
    assert [picture.system for picture in best.pictures] == [HR, "theirs", "ours"]
    assert best.pictures[0].psnr is None and best.pictures[2].psnr == np.inf
    error = 64 * 30**2 / SIDES[0] ** 2
    assert best.pictures[1].psnr == pytest.approx(10 * np.log10(255**2 / error))


def test_the_pictures_are_the_pixels():
    one = images(theirs={"a": spot(0, 0, 30)}, ours={})
    crop = make_crops([one], "ours", "theirs", 10**9)[0]
    content = base64.b64decode(crop.pictures[1].uri.removeprefix("data:image/png;base64,"))
    read = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(read, one.systems["theirs"]("a")[:96, :96])


def test_an_image_smaller_than_a_crop_is_shown_whole():
    hr = np.zeros((20, 30, 3), np.uint8)
    one = SetImages("S", ["a"], lambda name: hr, {"x": lambda name: hr + 1, "y": lambda name: hr})
    (crop,) = make_crops([one], "y", "x", 10**9)
    assert (crop.width, crop.height, crop.top, crop.left) == (30, 20, 0, 0)


@pytest.mark.parametrize(
    ("limit", "count", "side"), [(110_000, 3, SIDES[-1]), (30_000, 1, SIDES[-1]), (10, 0, 0), (-1, 0, 0)]
)
def test_crops_are_smaller_and_then_fewer_where_they_would_be_too_large(limit, count, side):
    rng = np.random.default_rng(0)
    noise = {key: {n: rng.integers(0, 100, (192, 240, 3), np.uint8) for n in "ab"} for key in ("x", "y")}
    found = make_crops([images(**noise)], "x", "y", limit)
    assert len(found) == count and {crop.width for crop in found} <= {side}
    assert sum(len(picture.uri) for crop in found for picture in crop.pictures) <= max(limit, 0)


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (2, 0, "B is exactly HR, A is not"),
        (0, 0, "A and B are both exactly HR"),
        (0, 2, "squared error of A 100.0 % lower"),
        (2, 1, "squared error of A 300.0 % higher"),
    ],
)
def test_a_share_of_no_error_is_not_said(ours, theirs, says):
    hr = np.full((20, 30, 3), 9, np.uint8)
    one = SetImages("S", ["a"], lambda name: hr, {"a": lambda name: hr + ours, "b": lambda name: hr + theirs})
    (crop,) = make_crops([one], "a", "b", 10**9)
    assert crop.compared("A", "B") == says


def test_no_image_is_read_where_there_is_no_room_for_crops():
    def read(name):
        raise AssertionError

    assert make_crops([SetImages("S", ["a"], read, {"x": read, "y": read})], "x", "y", 0) == []
