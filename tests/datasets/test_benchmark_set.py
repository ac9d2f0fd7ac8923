from __future__ import annotations

import cv2
import numpy as np
import other_process
import pytest
from photos import photo, write_photos
from real_data import real_data

from srkd_plugin.datasets.benchmark_set import make_benchmark_set
from srkd_plugin.datasets.verify import verify
from srkd_plugin.errors import InputError
from srkd_plugin.images.matlab_resize import downscale


@pytest.fixture
def hr(tmp_path):
    folder = write_photos(tmp_path / "raw", 2, h=47, w=65)
    cv2.imwrite(str(folder / "gray.jpg"), photo(9, 47, 65)[:, :, 1])
    return folder


def snapshot(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.png")}


def test_hr_is_cropped_and_lr_is_matlabs(hr, tmp_path):
    out = tmp_path / "set"
    info = make_benchmark_set(hr, out, (2, 3))
    for number in range(2):
        cropped = np.ascontiguousarray(photo(number, 47, 65)[:42, :60])
        np.testing.assert_array_equal(cv2.imread(str(out / f"HR/p{number}.png")), cropped)
        for scale in (2, 3):
            lr = cv2.imread(str(out / f"LR_bicubic/X{scale}/p{number}.png"))
            np.testing.assert_array_equal(lr, downscale(cropped, scale))
    assert {name: entry["images"] for name, entry in info["folders"].items()} == {
        "HR": 3,
        "LR_bicubic/X2": 3,
        "LR_bicubic/X3": 3,
    }


def test_what_is_left_out_is_said_once(hr, tmp_path, capsys):
    (hr / "p9.gif").write_bytes(b"")
    make_benchmark_set(hr, tmp_path / "set", (2,))
    assert capsys.readouterr().err.count(f"left out of {hr}: 1 file(s) by their extension (p9.gif)\n") == 1


def test_gray_becomes_rgb(hr, tmp_path):
    make_benchmark_set(hr, tmp_path / "set", (2,))
    for folder in ("HR", "LR_bicubic/X2"):
        image = cv2.imread(str(tmp_path / "set" / folder / "gray.png"), cv2.IMREAD_UNCHANGED)
        assert image.ndim == 3
        np.testing.assert_array_equal(image[:, :, 0], image[:, :, 2])


def test_what_is_there_is_kept_and_what_lacks_is_made(hr, tmp_path):
    out = tmp_path / "set"
    make_benchmark_set(hr, out, (2,))
    before = snapshot(out)
    (out / "LR_bicubic/X2/p1.png").unlink()
    make_benchmark_set(hr, out, (2,))
    after = snapshot(out)
    assert after.keys() == before.keys()
    assert {path for path in after if after[path] != before[path]} == {out / "LR_bicubic/X2/p1.png"}


def test_differing_images_are_replaced_only_by_force(hr, tmp_path):
    out = tmp_path / "set"
    make_benchmark_set(hr, out, (2,))
    whole = (out / "HR/p1.png").read_bytes()
    for damage in (whole[:-30], cv2.imencode(".png", photo(5))[1].tobytes()):
        (out / "HR/p1.png").write_bytes(damage)
        (out / "HR/p0.png").unlink(missing_ok=True)
        before = snapshot(out)
        with pytest.raises(InputError, match=r"1 images are there and differ, e\.g\. .*p1\.png"):
            make_benchmark_set(hr, out, (2,))
        assert snapshot(out) == before, "nothing was written, not even what is missing"
        make_benchmark_set(hr, out, (2,), force=True)
        assert (out / "HR/p1.png").read_bytes() == whole


def test_what_is_written_before_a_broken_image_is_kept_and_said(hr, tmp_path):
    whole = (hr / "p1.png").read_bytes()
    (hr / "p1.png").write_bytes(whole[:-100])
    with pytest.raises(InputError, match=r"p1\.png.*What is written is kept; the same command goes on\.$"):
        make_benchmark_set(hr, tmp_path / "set", (2,))
    before = snapshot(tmp_path / "set")
    (hr / "p1.png").write_bytes(whole)
    make_benchmark_set(hr, tmp_path / "set", (2,))
    assert before and before.items() <= snapshot(tmp_path / "set").items()


def test_the_source_is_never_overwritten(tmp_path):
    hr = write_photos(tmp_path / "set/HR", 1, h=47, w=65)
    before = snapshot(hr)
    with pytest.raises(InputError, match="its HR folder is --gt itself"):
        make_benchmark_set(hr, tmp_path / "set", (2,), force=True)
    assert snapshot(hr) == before


def test_strangers_among_the_output_are_named(hr, tmp_path):
    out = tmp_path / "set"
    make_benchmark_set(hr, out, (2,))
    (out / "LR_bicubic/X2/Thumbs.db").write_bytes(b"")
    with pytest.raises(InputError, match=r"Thumbs\.db.*not one of the images"):
        make_benchmark_set(hr, out, (2,))


def test_images_that_are_too_small_are_named(tmp_path):
    with pytest.raises(InputError, match=r"p0\.png.*\(1, 9\).*less than the scale"):
        make_benchmark_set(write_photos(tmp_path / "raw", 1, h=1, w=9), tmp_path / "set", (2,))
    assert not (tmp_path / "set/HR").exists()


@pytest.mark.parametrize(("name", "x2", "x3", "x4"), [("Set5", 33.66, 30.39, 28.42), ("Set14", 30.24, 27.55, 26.00)])
def test_the_real_sets_have_the_published_bicubic_figures(name, x2, x3, x4, tmp_path):
    out = tmp_path / name
    make_benchmark_set(real_data(name) / "HR", out, (2, 3, 4), workers=2)
    for scale, published in ((2, x2), (3, x3), (4, x4)):
        report = verify(out / "HR", out / f"LR_bicubic/X{scale}", scale, workers=2)
        assert report.faults == []
        assert report.published_y == published
        assert report.exact == report.pairs
        assert report.bicubic_y == pytest.approx(published, abs=0.03)


OTHER = """
from pathlib import Path
from srkd_plugin.datasets import benchmark_set
benchmark_set._write_info = wait
benchmark_set.make_benchmark_set(Path(sys.argv[1]), Path(sys.argv[2]), (2,))
"""


def test_a_set_that_another_process_makes(hr, tmp_path):
    with other_process.waiting(OTHER, hr, tmp_path / "set") as other, other_process.is_named(other):
        make_benchmark_set(hr, tmp_path / "set", (2,))
    assert make_benchmark_set(hr, tmp_path / "set", (2,))["folders"]["HR"]["images"] == 3
