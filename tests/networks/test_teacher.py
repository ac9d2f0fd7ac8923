"""The teacher's trial on a small image: what fails, and whether the reason is the number of channels."""

import cached
import pytest
import tiny
import torch
from basicsr.archs import build_network

from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.evaluate.verify_teacher import verify_teacher
from srkd_plugin.networks.teacher import check_outputs
from srkd_plugin.preflight import run_checks
from srkd_plugin.teacher_cache.make import make_cache

GRAY = {"type": "SRVGGNetCompact", "num_in_ch": 1, "num_out_ch": 1, "num_feat": 4, "num_conv": 1, "upscale": 2}


@pytest.fixture
def opt(data, teacher_file):
    return tiny.distill_options(data, teacher_file)


@pytest.fixture
def of_gray_teacher(opt, tmp_path):
    opt["network_t"] = dict(GRAY)
    torch.save({"params": build_network(dict(GRAY)).state_dict()}, tmp_path / "gray.pth")
    opt["path"].update(pretrain_network_t=str(tmp_path / "gray.pth"), param_key_t="params")
    return opt


def test_a_gray_student_without_gray_data_is_told_about_color(opt, tmp_path):
    opt["network_g"] = dict(GRAY)
    words = (
        r"^datasets\.train\.color is missing: network_g \(SRVGGNetCompact\) takes images of 1 channel, and these have 3"
    )
    with pytest.raises(OptionsError, match=words):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_a_gray_teacher_without_gray_data_is_told_about_color(of_gray_teacher, tmp_path):
    words = (
        r"^datasets\.train\.color is missing: network_t \(SRVGGNetCompact\) takes images of 1 channel, and these have 3"
    )
    with pytest.raises(OptionsError, match=words):
        run_checks.check(tiny.parsed(of_gray_teacher, tmp_path))
    with pytest.raises(OptionsError, match=words):
        make_cache(cached.job(of_gray_teacher, tmp_path / "c.lmdb"))
    assert not list(tmp_path.glob("*c.lmdb*"))


def test_what_is_advised_works(of_gray_teacher, tmp_path):
    opt = of_gray_teacher
    opt["network_g"] = dict(GRAY)
    for section in opt["datasets"].values():
        section["color"] = "y"
    run_checks.check(tiny.parsed(opt, tmp_path))
    make_cache(cached.job(opt, tmp_path / "c.lmdb"))
    assert (tmp_path / "c.lmdb").is_dir()


def test_gray_data_for_a_network_of_three_channels(opt, tmp_path):
    for section in opt["datasets"].values():
        section["color"] = "y"
    with pytest.raises(
        OptionsError, match=r"^datasets\.train\.color = 'y': network_g \(EDSR\) takes images of 3 channels"
    ):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_a_network_that_fails_on_both_is_told_what_fails():
    net = build_network({**tiny.STUDENT, "num_in_ch": 1})  # BasicSR's EDSR subtracts the means of three channels
    with pytest.raises(OptionsError, match=r"^network_g = 'EDSR': the network fails on an input of \(1, 3, 8, 8\)"):
        check_outputs({"network_g": net}, torch.zeros(1, 3, 8, 8), torch.Size((1, 3, 16, 16)))


def test_a_gray_teacher_is_not_measured_in_rgb(of_gray_teacher, data):
    with pytest.raises(InputError, match=r"network_t = 'SRVGGNetCompact': it takes images of 1 channel, and here RGB"):
        verify_teacher(of_gray_teacher, data / "HR", data / "LR")
