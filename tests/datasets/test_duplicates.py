from __future__ import annotations

import cv2
import numpy as np
import pytest
from photos import photo, write_photos
from real_data import real_data

from srkd_plugin.datasets.duplicates import find_near_duplicates
from srkd_plugin.images.decode import encode_png
from srkd_plugin.images.image_sets import open_images
from srkd_plugin.images.lmdb_store import LmdbWriter

CHANGES = {
    "same": lambda image: image,
    "resized": lambda image: cv2.resize(image, (90, 50), interpolation=cv2.INTER_CUBIC),
    "mirrored": lambda image: image[:, ::-1],
    "turned": lambda image: np.rot90(image),
    "darker": lambda image: image // 2,
    "gray": lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2GRAY),
    "slightly cropped": lambda image: image[1:-1, 2:],
}


def compare(train, test, **arguments):
    return find_near_duplicates(
        [open_images("--against", path) for path in train], open_images("--gt", test), **arguments
    )


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_copies_are_found(tmp_path, change):
    train = write_photos(tmp_path / "train", 6)
    test = write_photos(tmp_path / "test", 2, first_seed=80)
    assert compare([train], test).twins == []
    copy = np.ascontiguousarray(change(photo(3)))
    assert cv2.imwrite(str(test / "copy.jpg"), copy, [cv2.IMWRITE_JPEG_QUALITY, 70])
    (found,) = compare([train], test, workers=1).twins
    assert (found.test, found.train) == (str(test / "copy"), str(train / "p3"))
    assert 0.92 < found.correlation <= 1.0001


def test_several_training_sets_and_lmdbs(tmp_path):
    train = write_photos(tmp_path / "train", 2)
    with LmdbWriter(tmp_path / "more.lmdb") as writer:
        writer.put([("q", encode_png(photo(60)))])
        writer.finish(1)
    test = write_photos(tmp_path / "test", 1, first_seed=60)
    (found,) = compare([train, tmp_path / "more.lmdb"], test).twins
    assert found.train == str(tmp_path / "more.lmdb/q")


def test_images_of_one_colour_and_broken_ones_are_left_out_and_named(tmp_path):
    for name in ("train", "test"):
        folder = write_photos(tmp_path / name, 1, first_seed=len(name))
        cv2.imwrite(str(folder / "white.png"), np.full((40, 40, 3), 255, np.uint8))
        (folder / "broken.png").write_bytes(b"no image")
    found = compare([tmp_path / "train"], tmp_path / "test")
    assert found.twins == []
    assert found.unread == [(str(tmp_path / "train/broken"), "it cannot be decoded")]
    assert found.plain == [str(tmp_path / name / "white") for name in ("train", "test")]


def test_set14_shares_a_photograph_with_set5():
    (found,) = compare([real_data("Set5") / "HR"], real_data("Set14") / "HR").twins
    assert (found.test.endswith("face"), found.train.endswith("head")) == (True, True)


def test_training_photographs_are_not_in_the_test_sets():
    train = [real_data("BSDS500") / "test"]
    for name in ("Set5", "Set14"):
        assert compare(train, real_data(name) / "HR", workers=2).twins == []
