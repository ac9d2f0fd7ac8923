"""pixel_opt and perceptual_opt before the run: built and tried; VGG's weights looked for and not downloaded."""

import io
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import tiny
import torch

from srkd_plugin.errors import OptionsError
from srkd_plugin.losses import vgg_weights
from srkd_plugin.preflight import run_checks

PERCEPTUAL = {"type": "PerceptualLoss", "layer_weights": {"conv5_4": 1.0}}


@pytest.fixture
def opt(data, teacher_file, tmp_path, monkeypatch):
    """Good options; torch's cache of weights is empty, and there is no network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refuse(request, timeout):
        raise urllib.error.URLError(socket.gaierror("Name or service not known"))

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return tiny.parsed(tiny.distill_options(data, teacher_file), tmp_path)


def check(opt, key, section):
    opt["train"][key] = section
    with pytest.raises(OptionsError) as caught:
        run_checks.check(opt)
    assert "\n" not in str(caught.value) and caught.value.remedy
    return str(caught.value)


BAD = [
    (
        "pixel_opt",
        {"type": "L1Loss", "reduction": "none"},
        "train.pixel_opt = 'L1Loss': it gives a tensor",
    ),
    ("pixel_opt", {"type": "L1Loss", "reduction": "MEAN"}, "it cannot be built (Unsupported reduction mode: MEAN"),
    ("pixel_opt", {"type": "GANLoss", "gan_type": "lsgan"}, "train.pixel_opt = 'GANLoss': an adversarial loss needs a"),
    ("pixel_opt", {"type": "WeightedTVLoss"}, "forward(pred, weight=None) would take gt as its weight"),
    ("pixel_opt", {"type": "SpatialAffinityLoss"}, "train.pixel_opt = 'SpatialAffinityLoss': "),
    (
        "perceptual_opt",
        {"type": "L1Loss"},
        "train.perceptual_opt = 'L1Loss': it gives one value",
    ),
    ("perceptual_opt", {"type": "PerceptualLoss"}, "train.perceptual_opt.layer_weights is missing"),
    (
        "perceptual_opt",
        {**PERCEPTUAL, "layer_weights": "conv5_4"},
        "layer_weights = 'conv5_4': Input should be a",
    ),
    (
        "perceptual_opt",
        {**PERCEPTUAL, "layer_weights": {"conv5_5": 1}},
        "layer_weights = 'conv5_5': vgg19 has no",
    ),
    (
        "perceptual_opt",
        {**PERCEPTUAL, "criterion": "l2"},
        "criterion = 'l2': Input should be 'l1' or 'fro'",
    ),
    (
        "perceptual_opt",
        {**PERCEPTUAL, "vgg_type": "vgg18"},
        "vgg_type = 'vgg18': BasicSR has no such VGG",
    ),
    (
        "distill_opt",
        {"p": PERCEPTUAL},
        "train.distill_opt.p = 'PerceptualLoss': it gives two losses",
    ),
    (
        "distill_opt",
        {"p": {"type": "L1Loss", "reduction": "MEAN"}},
        "train.distill_opt.p = {'type': 'L1Loss'",
    ),
]


@pytest.mark.parametrize(("key", "section", "says"), BAD, ids=[f"{key}={section}"[:70] for key, section, _ in BAD])
def test_a_loss_that_fails_in_the_run_is_one_line_before_it(opt, key, section, says):
    assert says in check(opt, key, section)


@pytest.mark.parametrize(("gt_size", "samples", "side"), [(14, {}, 14), (16, {"zoom_out": True}, 8)])
def test_images_that_vgg_makes_nothing_of_are_one_line(opt, gt_size, samples, side):
    opt["datasets"]["train"]["gt_size"] = gt_size
    opt["train"]["samples"] = samples
    line = check(opt, "perceptual_opt", PERCEPTUAL)
    assert line.startswith("train.perceptual_opt.layer_weights = 'conv5_4': VGG halves images 4 times for it, and the")
    assert f"compared have {side} pixels a side" in line and "for 16 pixels or more" in line


@pytest.mark.parametrize("gt_size", [16, 24])
def test_a_term_that_cannot_use_shrunk_crops_is_one_line(opt, vgg_file, gt_size):
    opt["datasets"]["train"]["gt_size"] = gt_size
    opt["train"]["distill_opt"] = {"csd": {"type": "VGGContrastiveLoss", "vgg_weights": str(vgg_file)}}
    line = check(opt, "samples", {"zoom_out": True})
    side = gt_size // 2
    says = f"crops of {side} LQ pixels a side are shrunk to {side // 2}, where train.distill_opt.csd fails (VGG19 takes"
    assert line.startswith(f"train.samples.zoom_out = True: {says}")
    assert line.endswith(f"Write false, or raise datasets.train.gt_size from {gt_size}.")
    opt["datasets"]["train"]["gt_size"] = 32
    run_checks.check(opt)


def test_vgg_weights_that_cannot_be_had_are_one_line(opt, tmp_path):
    line = check(opt, "perceptual_opt", PERCEPTUAL)
    cached = tmp_path / "hub/checkpoints/vgg19-dcbb9e9d.pth"
    assert f"neither at experiments/pretrained_models/vgg19-dcbb9e9d.pth nor at {cached}, and cannot be" in line
    assert "(<urlopen error Name or service not known>)" in line
    assert not cached.parent.exists(), "the check has written something"


@pytest.mark.parametrize("place", ["experiments/pretrained_models", "hub/checkpoints"])
def test_vgg_weights_that_are_there_are_not_asked_for(opt, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    Path(place).mkdir(parents=True)
    Path(place, "vgg19-dcbb9e9d.pth").touch()
    opt["train"]["perceptual_opt"] = PERCEPTUAL
    run_checks.check(opt)


def test_a_contrastive_term_downloads_nothing_and_says_that_the_run_will(opt, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(urllib.request, "urlopen", lambda request, timeout: io.BytesIO())
    monkeypatch.setattr(vgg_weights, "urlopen", lambda *_, **__: pytest.fail("the check downloads"))
    opt["train"]["distill_opt"] = {"csd": {"type": "VGGContrastiveLoss", "loss_weight": 0.7}}
    opt["datasets"]["train"]["gt_size"] = 32
    (said,) = [line for line in run_checks.check(opt).warnings if "VGG" in line]
    assert said.startswith(f"VGG's weights are not at {tmp_path}/hub/checkpoints/vgg19-dcbb9e9d.pth: the run downloads")
    assert not (tmp_path / "hub").exists(), "the check has written something"


def test_a_contrastive_term_whose_weights_cannot_be_had_is_one_line(opt, tmp_path):
    opt["datasets"]["train"]["gt_size"] = 32
    line = check(opt, "distill_opt", {"csd": {"type": "VGGContrastiveLoss"}})
    assert line.startswith("train.distill_opt.csd.vgg_weights = None: VGG19's weights are not at ")
    assert "write vgg_weights: <path of the file>" in line and not (tmp_path / "hub").exists()


def test_vgg_weights_that_will_be_downloaded_are_asked_for_and_not_loaded(opt, monkeypatch):
    asked = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda request, timeout: asked.append(request) or io.BytesIO())
    opt["train"]["perceptual_opt"] = {**PERCEPTUAL, "vgg_type": "vgg16_bn", "layer_weights": {"bn5_3": 0.5}}
    assert "the run downloads them from https" in " ".join(run_checks.check(opt).warnings)
    assert [(r.get_method(), r.full_url) for r in asked] == [
        ("HEAD", "https://download.pytorch.org/models/vgg16_bn-6c64b313.pth")
    ]
