"""Calibration crops: how they are cut, and what is refused."""

import cv2
import numpy as np
import pytest
import torch

from srkd_plugin.errors import InputError
from srkd_plugin.quantization.calibration_images import read_crops


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "lr").mkdir()
    for index in range(6):
        coarse = rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (40 + index, 50), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / "lr" / f"im{index}.png"), image)
    return tmp_path / "lr"


def read(folder, channels=3, count=6, **more):
    return read_crops("--calibrate", folder, channels, count, **more)


def test_crops_are_rgb_of_one_size_and_the_same_each_time(folder):
    crops = read(folder, count=5)
    assert crops.shape == (5, 3, 41, 41) and crops.dtype == torch.float32
    assert crops.min() >= 0 and crops.max() <= 1
    assert torch.equal(crops, read(folder, count=5))
    assert not torch.equal(crops, read(folder, count=5, seed=1))
    image = cv2.imread(str(folder / "im0.png"))[..., ::-1] / 255.0
    whole = read(folder, count=6)[0].permute(1, 2, 0).numpy()
    assert any(np.allclose(image[top : top + 40], whole, atol=1e-6) for top in range(11))


def test_one_channel_is_y(folder):
    crops = read(folder, channels=1)
    rgb = read(folder)
    y = (16 + 65.481 * rgb[:, 0] + 128.553 * rgb[:, 1] + 24.966 * rgb[:, 2]) / 255
    assert torch.allclose(crops[:, 0], y, atol=1e-3)


def test_an_lmdb_will_do(data):
    assert read(data / "LR.lmdb").shape == (6, 3, 20, 20)


def fill(folder, shape, count=5, value=100):
    for index in range(count):
        cv2.imwrite(str(folder / f"x{index}.png"), np.full(shape, value, np.uint8))
    return folder


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda root: root, "no images|no image"),
        (lambda root: root / "nowhere", "not there|no such|does not exist"),
        (lambda root: fill(root, (30, 30, 3), 3), "3 images are too few: at least 4 are needed"),
        (lambda root: fill(root, (30, 30)), "its images are gray, and the network takes RGB"),
        (lambda root: fill(root, (30, 30, 3)), "its crops are of one value each"),
        (lambda root: fill(root, (30, 9, 3)), "it is 30x9, and calibration needs 16x16"),
    ],
)
def test_folders_that_will_not_do(make, problem, tmp_path):
    with pytest.raises(InputError, match=problem) as error:
        read(make(tmp_path))
    assert "\n" not in str(error.value)


def test_channels_that_are_neither_rgb_nor_y(folder):
    with pytest.raises(InputError, match="takes 4 channels"):
        read(folder, channels=4)


def test_a_damaged_image_is_named(folder):
    (folder / "im2.png").write_bytes((folder / "im2.png").read_bytes()[:-30])
    with pytest.raises(InputError, match=r"im2.*cut off"):
        read(folder)


def test_benchmarks_are_refused_by_name_and_by_image(folder, tmp_path):
    named = tmp_path / "Set5" / "LR"
    named.parent.mkdir()
    folder.rename(named)
    with pytest.raises(InputError, match="named after Set5"):
        read(named)
    innocent = tmp_path / "photos"
    named.rename(innocent)
    (tmp_path / "HR").mkdir()
    image = cv2.imread(str(innocent / "im3.png"))
    cv2.imwrite(str(tmp_path / "HR" / "other_name.png"), cv2.resize(image, None, fx=2, fy=2))
    with pytest.raises(InputError, match=r"tested on: .*other_name looks like .*im3"):
        read(innocent, tested=[tmp_path / "HR"])
