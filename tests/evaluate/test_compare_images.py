"""The comparison of results: its PSNR is BasicSR's, its table and picture show what was measured."""

import shutil

import cv2
import numpy as np
import pytest
import tiny
from basicsr.metrics import calculate_psnr

from srkd_plugin.evaluate.compare_images import _hardest_crop, compare, draw_crops


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
    with pytest.raises(FileNotFoundError, match=r"near has no image im2_\*.png; was basicsr/test.py run"):
        compare(data / "HR", data / "LR", results, scale=2)
    with pytest.raises(FileNotFoundError, match=r"there are no .png images in"):
        compare(tmp_path / "off" / "none", data / "LR", results, scale=2)


@pytest.mark.integration
def test_the_command(data, results, tmp_path):
    script = tiny.PROJECT / "scripts/compare_results.py"
    shared = [script, "--hr", data / "HR", "--lq", data / "LR", "--scale", "2"]
    out = tiny.run_ok(*shared, "--system", f"off={results['off']}", "--picture", "c.png", cwd=tmp_path)
    assert "| off |" in out
    assert (tmp_path / "c.png").stat().st_size > 1000
    shutil.rmtree(results["off"])
    failed = tiny.run(*shared, "--system", f"off={results['off']}", cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stdout.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in failed.stdout
