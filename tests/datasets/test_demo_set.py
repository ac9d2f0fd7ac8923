"""The demo's data set, from photographs inside installed packages."""

import cv2
import lmdb
import numpy as np
import other_process
import pytest
import tiny

from srkd_plugin.datasets import demo_set

pytest.importorskip("sklearn", reason="the photographs of the extra 'demo' are not installed")
pytest.importorskip("matplotlib", reason="the photographs of the extra 'demo' are not installed")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    return out, demo_set.make_demo_data(out)


def test_lmdbs_are_basicsrs_and_the_pairs_fit(made):
    from basicsr.data import build_dataset

    _, (hr, lr, _, _) = made
    section = {
        "name": "demo",
        "type": "PairedImageDataset",
        "dataroot_gt": str(hr),
        "dataroot_lq": str(lr),
        "io_backend": {"type": "lmdb"},
        "phase": "val",
        "scale": 2,
    }
    pairs = build_dataset(section)
    assert len(pairs) == 271
    for i in (0, 100, 270):
        pair = pairs[i]
        assert pair["gt"].shape == (3, 160, 160)
        assert pair["lq"].shape == (3, 80, 80)
        shrunk = cv2.resize(pair["gt"].permute(1, 2, 0).numpy(), (80, 80), interpolation=cv2.INTER_AREA)
        assert np.abs(shrunk - pair["lq"].permute(1, 2, 0).numpy()).mean() < 0.03


def test_training_and_test_photographs_are_different(made):
    _, (hr, _, test_hr, test_lr) = made
    with lmdb.open(str(hr), readonly=True, lock=False) as env, env.begin() as txn:
        trained = {key.decode().rsplit("_s", 1)[0] for key, _ in txn.cursor()}
    tested = {file.stem for file in test_hr.iterdir()}
    assert trained == set(demo_set.TRAIN_PHOTOS)
    assert tested == set(demo_set.TEST_PHOTOS) == {file.stem for file in test_lr.iterdir()}
    assert not trained & tested


def test_what_is_there_is_kept(made):
    out, paths = made
    before = {path: path.stat().st_mtime_ns for path in paths}
    assert demo_set.make_demo_data(out) == paths
    assert {path: path.stat().st_mtime_ns for path in paths} == before
    assert {path.name for path in out.iterdir()} == {"train_HR_sub.lmdb", "train_LR_x2_sub.lmdb", "test"}


def test_a_missing_package_is_named():
    with pytest.raises(FileNotFoundError, match=r"no_such_package is not installed; run: pip install"):
        demo_set._read_photo("no_such_package", "x.png")
    with pytest.raises(FileNotFoundError, match="is not there or is no image"):
        demo_set._read_photo("skimage", "data/no_such.png")


@pytest.mark.integration
def test_the_command_explains_itself(tmp_path):
    out = tiny.run_ok(tiny.PROJECT / "scripts/prepare_data.py", "demo", "--help", cwd=tmp_path)
    assert "--out" in out


OTHER = """
from pathlib import Path
from srkd_plugin.datasets import demo_set
demo_set._read_photo = wait
demo_set.make_demo_data(Path(sys.argv[1]))
"""


def test_a_set_that_another_process_makes(tmp_path):
    with other_process.waiting(OTHER, tmp_path / "demo") as other:
        with other_process.is_named(other):
            demo_set.make_demo_data(tmp_path / "demo")
        assert (tmp_path / "demo/.demo.unfinished").is_dir(), "the other's work was thrown away"
