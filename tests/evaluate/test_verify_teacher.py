"""The teacher's measurement: agrees with BasicSR's own, and names a teacher that is not what its file is."""

from __future__ import annotations

import copy
import shutil
import sys

import cv2
import pytest
import tiny
import torch
import yaml
from basicsr.archs.edsr_arch import EDSR
from basicsr.utils import img2tensor
from photos import write_pairs

from srkd_plugin.datasets import published_figures
from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.evaluate.benchmark import PairSet
from srkd_plugin.evaluate.verify_teacher import read_options, validation_set, verify_teacher

SIZE = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 12, "num_block": 4, "upscale": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """LR is every second pixel of HR: half a pixel beside what bicubic interpolation takes it for, so easily better."""
    hr, lr = write_pairs(tmp_path_factory.mktemp("set"), 3, h=40, w=48)
    for path in hr.iterdir():
        cv2.imwrite(str(lr / path.name), cv2.imread(str(path))[::2, ::2])
    return hr, lr


def train(folders, **arguments):
    """A small EDSR with these arguments that is better than bicubic on the set: it has learnt its pixels."""
    torch.manual_seed(0)
    net = EDSR(**SIZE, **arguments)
    images = list(PairSet(*folders, 2))
    lr = torch.stack([img2tensor(lr / 255.0, float32=True) for lr, _ in images])
    hr = torch.stack([img2tensor(hr / 255.0, float32=True) for _, hr in images])
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.l1_loss(net(lr), hr).backward()
        optimizer.step()
    return net


@pytest.fixture(scope="module")
def weights(folders, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "EDSR_tiny.pth"
    torch.save({"params": train(folders).state_dict()}, path)
    return path


@pytest.fixture
def opt(weights, folders):
    return {
        "scale": 2,
        "model_type": "DistillModel",
        "network_t": {"type": "EDSR", **SIZE},
        "path": {"pretrain_network_t": str(weights)},
        "train": {"distill_opt": {"contrastive": {"type": "ContrastiveLoss"}}},
        "datasets": {"val": {"dataroot_gt": str(folders[0]), "dataroot_lq": str(folders[1])}},
    }


def test_a_good_teacher(opt, folders, weights, monkeypatch):
    report = verify_teacher(opt, *folders)
    assert (report.images, report.faults, report.published_rgb) == (3, [], None)
    assert report.psnr_rgb > report.bicubic_rgb
    assert report.describe().endswith("on this set: nothing was compared but with bicubic")
    monkeypatch.setitem(
        published_figures.WEIGHTS, weights.stem, published_figures.Weights({"Set5": report.psnr_rgb + 0.01})
    )
    known = verify_teacher(opt, *folders, known_set="Set5")
    assert (known.faults, known.weights, known.psnr_y) == ([], "EDSR_tiny", report.psnr_y)
    assert known.describe().endswith("\nnothing wrong")


def test_the_figures_are_those_of_basicsrs_validation(opt, folders, weights, tmp_path):
    from basicsr.data import build_dataloader, build_dataset
    from basicsr.models import build_model

    section = {
        "name": "set",
        "type": "PairedImageDataset",
        "io_backend": {"type": "disk"},
        "phase": "val",
        "scale": 2,
        **opt["datasets"]["val"],
    }
    metric = {"type": "calculate_psnr", "crop_border": 2}
    metrics = {"rgb": {**metric, "test_y_channel": False}, "y": {**metric, "test_y_channel": True}}
    test = {
        "model_type": "SRModel",
        "num_gpu": 0,
        "dist": False,
        "is_train": False,
        "name": "test",
        "scale": 2,
        "network_g": copy.deepcopy(opt["network_t"]),
        "val": {"metrics": metrics, "save_img": False},
        "path": {"pretrain_network_g": str(weights), "strict_load_g": True, "visualization": str(tmp_path)},
    }
    model = build_model(test)
    loader = build_dataloader(build_dataset(section), section, num_gpu=0, dist=False, sampler=None, seed=0)
    model.nondist_validation(loader, 0, None, save_img=False)
    report = verify_teacher(opt, *folders)
    assert report.psnr_rgb == pytest.approx(model.metric_results["rgb"], abs=1e-4)
    assert report.psnr_y == pytest.approx(model.metric_results["y"], abs=1e-4)


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({"res_scale": 0.1}, "network_t.res_scale: with 1.0"),
        ({"rgb_mean": [0.0, 0.0, 0.0]}, "network_t.rgb_mean: with [0.4488, 0.4371, 0.404]"),
        ({"img_range": 1.0}, "network_t.img_range: with 255.0"),
    ],
)
def test_a_wrong_argument_is_named(opt, folders, weights, monkeypatch, wrong, remedy):
    right = verify_teacher(opt, *folders).psnr_rgb
    monkeypatch.setitem(published_figures.WEIGHTS, weights.stem, published_figures.Weights({"Set5": right}))
    opt["network_t"].update(wrong)
    report = verify_teacher(opt, *folders, known_set="Set5")
    assert f"where {right:.4f} is published" in report.faults[0]
    assert any(remedy in fault for fault in report.faults)


def test_y_is_judged_where_rgb_is_not_known(opt, folders, weights, monkeypatch):
    monkeypatch.setitem(published_figures.WEIGHTS, weights.stem, published_figures.Weights({}, {"B100": 99.0}))
    (fault, *_) = verify_teacher(opt, *folders, known_set="B100").faults
    assert fault.endswith("dB (Y) where 99.0000 is published")


def test_a_random_teacher_is_worse_than_bicubic(opt, folders):
    opt["path"] = {"pretrain_network_t": None}
    opt["teacher"] = {"random_init": True}
    assert "the teacher is worse than bicubic interpolation" in verify_teacher(opt, *folders).faults


def test_bad_input(opt, folders, tmp_path):
    other = write_pairs(tmp_path, 2, h=40, w=48)
    with pytest.raises(InputError, match=r"--lq = .*it has 2 files, and --gt has 3.*without a partner: p2\.png"):
        verify_teacher(opt, folders[0], other[1])
    with pytest.raises(InputError, match="which is not x4"):
        verify_teacher({**opt, "scale": 4}, *folders)
    with pytest.raises(OptionsError, match=r"path\.pretrain_network_t.*no such file"):
        verify_teacher({**opt, "path": {"pretrain_network_t": "none.pth"}}, *folders)
    with pytest.raises(InputError, match="Give --gt and --lq"):
        validation_set({"datasets": {"train": {}}})


def test_a_sets_filename_tmpl_names_its_lr_images(opt, folders, tmp_path):
    renamed = tmp_path / "LR"
    renamed.mkdir()
    for path in folders[1].iterdir():
        shutil.copy(path, renamed / f"{path.stem}x2.png")
    opt["datasets"]["val"].update(dataroot_lq=str(renamed), filename_tmpl="{}x2")
    hr, lr, template = validation_set(opt)
    assert verify_teacher(opt, hr, lr, filename_tmpl=template) == verify_teacher(opt, *folders)
    with pytest.raises(InputError, match=r"filename_tmpl = 'x2': .*no \{\} in it"):
        verify_teacher(opt, hr, lr, filename_tmpl="x2")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scale: [", "it is not YAML"),
        ("name: x", "no scale"),
        ("!!python/object/apply:os.system [x]", "a tag that makes the file a program"),
    ],
)
def test_options_files_are_only_looked_at(text, words, tmp_path):
    path = tmp_path / "options.yml"
    path.write_text(text)
    with pytest.raises(OptionsError, match=words):
        read_options(path)
    path.write_text("scale: 2\nlr: !!float 1e-4\n")
    assert read_options(path) == {"scale": 2, "lr": 1e-4}


@pytest.mark.parametrize("name", ["distill_cl_l1.yml", "demo_distill_cl_l1.yml"])
def test_the_shipped_options_are_read(name):
    hr, lr, template = validation_set(read_options(tiny.PROJECT / "options" / name))
    assert hr.name == "HR"
    assert lr.parts[-2:] == ("LR_bicubic", "X2")
    assert template == "{}"


@pytest.mark.integration
def test_the_command(opt, tmp_path):
    import subprocess

    path = tmp_path / "options.yml"
    path.write_text(yaml.safe_dump(opt))
    script = tiny.PROJECT / "scripts/verify_teacher.py"

    def command(*arguments):
        return subprocess.run(
            [sys.executable, script, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=tiny.child_environment(),
        )

    done = command("-opt", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("nothing was compared but with bicubic\n")
    failed = command("-opt", tmp_path / "none.yml")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.splitlines()[-1].startswith("error: -opt = ")
