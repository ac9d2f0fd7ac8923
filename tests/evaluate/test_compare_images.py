"""The comparison of results: its PSNR is BasicSR's, its table and picture show what was measured."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from basicsr.metrics import calculate_psnr
from photos import photo

from srkd_plugin.errors import InputError
from srkd_plugin.evaluate.compare_images import _hardest_crop, by_system, compare, draw_crops
from srkd_plugin.images.matlab_resize import downscale


@pytest.fixture
def results(data, tmp_path):
    """Two systems: one that is off by 3 everywhere, and one that gives HR itself but for one pixel."""
    for system in ("off", "near"):
        (tmp_path / system).mkdir()
        for file in (data / "HR").glob("*.png"):
            image = cv2.imread(str(file)).astype(int)
            image = (
                image + 3 if system == "off" else np.where(np.arange(image.size).reshape(image.shape) == 3000, 0, image)
            )
            cv2.imwrite(str(tmp_path / system / f"{file.stem}_{system}_run.png"), np.clip(image, 0, 255))
    return {"off": tmp_path / "off", "near": tmp_path / "near"}


def test_psnr_is_basicsrs_and_the_table_shows_it(data, results):
    found = compare(data / "HR", data / "LR", results, scale=2)
    assert list(found.psnr) == ["bicubic", "off", "near"]
    hr = cv2.imread(str(data / "HR/im1.png"))
    off = cv2.imread(str(results["off"] / "im1_off_run.png"))
    assert found.psnr["off"]["im1"] == calculate_psnr(off, hr, crop_border=2, test_y_channel=True)
    assert found.psnr["near"]["im1"] > found.psnr["off"]["im1"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found.table().splitlines()]
    assert rows[0] == ["PSNR, dB (Y)", *(f"im{i}" for i in range(6)), "mean", "over bicubic"]
    by_name = {row[0]: row[1:] for row in rows[2:]}
    assert by_name["off"][1] == f"{found.psnr['off']['im1']:.3f}"
    mean = {system: np.mean(list(values.values())) for system, values in found.psnr.items()}
    assert by_name["off"][-2:] == [f"{mean['off']:.3f}", f"{mean['off'] - mean['bicubic']:+.3f}"]
    assert by_name["bicubic"][-1] == "+0.000"


def test_the_picture_has_a_row_an_image_and_a_column_a_system(data, results, tmp_path):
    found = compare(data / "HR", data / "LR", results, scale=2)
    draw_crops(found, tmp_path / "crops.png", side=16)
    picture = cv2.imread(str(tmp_path / "crops.png"))
    assert picture.shape[1] / picture.shape[0] == pytest.approx((2.0 * 4) / (2.2 * 6), rel=0.02)
    assert picture.std() > 20


def test_the_crop_is_where_bicubic_is_furthest_from_hr():
    hr = np.zeros((64, 80, 3), np.uint8)
    bicubic = hr.copy()
    bicubic[40:44, 60:64] = 255
    y, x = _hardest_crop(hr, bicubic, 16)
    assert y <= 40 and y + 16 >= 44
    assert x <= 60 and x + 16 >= 64


def test_what_is_missing_is_named(data, results, tmp_path):
    (results["near"] / "im2_near_run.png").unlink()
    with pytest.raises(InputError, match=r"--system near = .*: it has no image im2_near_run\.png\. Was basicsr/test"):
        compare(data / "HR", data / "LR", results, scale=2)
    with pytest.raises(InputError, match=r"--gt = .*none.*there is no such folder"):
        compare(tmp_path / "off" / "none", data / "LR", results, scale=2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"--system off = .*empty.*no image im0_\*\.png"):
        compare(data / "HR", data / "LR", {"off": tmp_path / "empty"}, scale=2)


def write_set(root, names, run, seed=0):
    """HR, LR and the results of a run that gives HR itself, all different images."""
    folders = [root / "HR", root / "LR", root / f"results/{run}/visualization/set"]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        hr = photo(seed + number)
        for folder, image, file in zip(folders, (hr, downscale(hr, 2), hr), (name, name, f"{name}_{run}")):
            assert cv2.imwrite(str(folder / f"{file}.png"), image)
    return folders


@pytest.mark.parametrize("run", ["run", "1_run"])
@pytest.mark.parametrize("names", [["cat", "cat_1"], ["cat", "cat_1", "cat_1_1"], ["a[1]", "a1", "b|c"]])
def test_an_image_is_not_taken_for_one_whose_name_begins_with_its_own(tmp_path, names, run):
    hr, lr, results = write_set(tmp_path, names, run)
    (results / f"._{names[0]}_{run}.png").write_bytes(b"what a Mac leaves")
    (hr / f"._{names[0]}.png").write_bytes(b"what a Mac leaves")
    found = compare(hr, lr, {"own": results}, scale=2)
    assert list(found.hr) == sorted(names)
    assert all(psnr == np.inf for psnr in found.psnr["own"].values())


def test_a_part_of_the_set_is_found_by_the_run_that_the_folder_names(tmp_path):
    hr, lr, results = write_set(tmp_path, ["cat", "cat_1"], "run")
    for folder in (hr, lr):
        (folder / "cat_1.png").unlink()
    assert compare(hr, lr, {"own": results}, scale=2).psnr["own"] == {"cat": np.inf}
    elsewhere = shutil.copytree(results, tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"images of 2 runs are in it, or could be: cat_1_run\.png, cat_run\.png"):
        compare(hr, lr, {"own": elsewhere}, scale=2)


def test_images_of_two_runs_in_one_folder_are_refused(tmp_path):
    hr, lr, results = write_set(tmp_path, ["cat", "dog"], "run")
    for name in ("cat", "dog"):
        shutil.copy(results / f"{name}_run.png", results / f"{name}_x.png")
    with pytest.raises(InputError, match=r"images of 2 runs are in it, or could be: cat_run\.png, cat_x\.png"):
        compare(hr, lr, {"own": results}, scale=2)


def test_names_of_systems(data, results, tmp_path):
    with pytest.raises(InputError, match=r"--system = 'bicubic': it is the name of the baseline's row"):
        compare(data / "HR", data / "LR", {"bicubic": results["off"]}, scale=2)
    with pytest.raises(InputError, match=r"--system = 'off': it is given twice, as a and b"):
        by_system([("off", Path("a")), ("off", Path("b"))])
    assert by_system([("off", Path("a")), ("near", Path("b"))]) == {"off": Path("a"), "near": Path("b")}
    rows = compare(data / "HR", data / "LR", {"a|b": results["off"]}, scale=2).table().splitlines()
    assert r"| a\|b |" in rows[3]
    assert len({row.replace(r"\|", "").count("|") for row in rows}) == 1


def test_results_of_another_size(tmp_path):
    hr, lr, results = write_set(tmp_path, ["cat"], "run")
    cv2.imwrite(str(results / "cat_run.png"), photo(0, 24, 32))
    with pytest.raises(InputError, match=r"--system = 'own': its image of cat is \(24, 32\), and HR \(48, 64\)"):
        compare(hr, lr, {"own": results}, scale=2)
