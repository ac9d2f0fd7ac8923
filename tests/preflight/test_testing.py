"""Tests with DistillModel are checked before their folder is made, as trainings are."""

import copy

import pytest
import tiny

from srkd_plugin.errors import OptionsError
from srkd_plugin.preflight.testing import check_test


@pytest.fixture
def good(data, tmp_path):
    opt = tiny.stock_options(data)
    opt["datasets"] = {"test_1": opt["datasets"]["val"]}
    opt["val"] = {"save_img": True, "suffix": None, "metrics": opt["val"]["metrics"]}
    opt["path"]["visualization"] = str(tmp_path / "results/tiny/visualization")
    for key in ("train", "logger"):
        del opt[key]
    opt.update(model_type="DistillModel", is_train=False, auto_resume=False, rank=0)
    return opt


FAULTS = [
    ("val", None, "val is missing: it is required"),
    ("val.suffix", None, "val.suffix is missing: BasicSR needs it to save images. Add suffix: ~ to val."),
    ("val.save_img", "yes", "val.save_img = 'yes': Input should be a valid boolean"),
    ("val.metrics.psnr.crop_border", 500, "nothing is left of im0.png (48x40)"),
    ("network_g.type", "EDRS", "network_g.type = 'EDRS': nothing is registered under this name"),
    ("network_g.num_block", "1", "network_g = {'type': 'EDSR'"),
    ("network_g.upscale", 4, "its output for an input of (1, 3, 16, 16) is (1, 3, 64, 64), where scale asks for"),
    ("network_g.num_in_ch", 6, "the network fails on an input of (1, 3, 16, 16)"),
    ("path.pretrain_network_g", "no.pth", "path.pretrain_network_g = 'no.pth': there is no such file"),
    ("datasets.test_1.type", "VideoTestDataset", "it gives sequences, and video is not supported"),
    ("datasets.test_1.type", "SingleImageDataset", "it compares with gt, which SingleImageDataset (datasets.test_1)"),
    ("datasets.test_1.mean", [0.5], "BasicSR needs mean and std, or neither"),
    ("name", "../../x", "it names the experiment's folder"),
    ("datasets.train", {}, "datasets.train = '...': this is the options file of a training, and a test has test,"),
    ("datasets.train", {}, "Remove datasets.train, or take a file as options/test_student.yml."),
    ("datasets.tset", {}, "Did you mean 'test'?"),
]


def test_a_good_one(good):
    found, warnings = check_test(good, of_ours=True)
    assert (found["test_1"].pairs, warnings) == (6, [])


STOCK_FAULTS = [fault for fault in FAULTS if fault[1] != "VideoTestDataset"]  # BasicSR has models for video


@pytest.mark.parametrize(
    ("model", "path", "value", "says"),
    [("DistillModel", *fault) for fault in FAULTS] + [("SRModel", *fault) for fault in STOCK_FAULTS],
)
def test_one_line(good, model, path, value, says):
    good["model_type"] = model
    opt = copy.deepcopy(good)
    *parents, key = path.split(".")
    section = opt
    for parent in parents:
        section = section[parent]
    if value is None:
        del section[key]
    else:
        section[key] = value
    with pytest.raises(OptionsError) as caught:
        check_test(opt, of_ours=model == "DistillModel")
    assert says in str(caught.value)
