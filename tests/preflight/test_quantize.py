"""What train.quantize cannot be: one line each, before the run."""

import pytest
import quantized
import tiny
import torch

from srkd_plugin.errors import OptionsError
from srkd_plugin.preflight.run_checks import check


@pytest.fixture
def opt(data, tmp_path):
    torch.save({"params": quantized.network(tiny.STUDENT).state_dict()}, tmp_path / "float.pth")
    opt = tiny.distill_options(data, None)
    opt["path"]["pretrain_network_g"] = str(tmp_path / "float.pth")
    opt["train"]["quantize"] = {"crops": 4}
    return opt


def checked(opt, tmp_path):
    return check(tiny.parsed(opt, tmp_path))


def test_a_right_run_passes(opt, tmp_path):
    assert checked(opt, tmp_path).ours.quantize is not None


def test_no_terms_are_needed(opt, tmp_path):
    del opt["train"]["distill_opt"], opt["network_t"], opt["teacher"]
    assert checked(opt, tmp_path).ours.quantize is not None


def change(*path_and_value):
    *path, last, value = path_and_value

    def apply(opt):
        for key in path:
            opt = opt.setdefault(key, {})
        opt[last] = value

    return apply


@pytest.mark.parametrize(
    ("apply", "problem"),
    [
        (
            change("path", "pretrain_network_g", None),
            r"pretrain_network_g is missing: train\.quantize fine-tunes",
        ),
        (change("train", "amp", {"precision": "bf16"}), r"train\.amp\.precision = 'bf16'.*levels need float32"),
        (change("student", "compile", True), r"student\.compile = True: it is not supported beside train\.quantize"),
        (change("student", "reparameterize", True), r"student\.reparameterize = True: it is not supported"),
        (change("train", "quantize", "float_layers", ["conv_lst"]), r"float_layers = 'conv_lst'.*conv_last"),
        (change("train", "quantize", "observe", 5), r"observe = '5': the run ends before, with iteration 4"),
        (
            change("train", "quantize", {"observe": 5, "freeze": 6}),
            r"train\.quantize\.observe and freeze = '5 and 6': the run ends before, with iteration 4",
        ),
        (change("train", "quantize", {"freeze": 6}), r"train\.quantize\.freeze = '6': the run ends before"),
        (change("train", "quantize", "bits", 4), r"train\.quantize\.bits = 4"),
        (change("train", "quantize", {"observe": 3, "freeze": 2}), "freeze"),
        (change("train", "quantize", "crops", 3), r"train\.quantize\.crops = 3"),
        (change("train", "quantize", True), r"train\.quantize = True"),
        (change("train", "quantise", {}), r"quantize"),
        (
            change("train", "distill_opt", {"f": {"type": "FeatureLoss", "taps": {"student": ["body.0"]}}}),
            r"taps|distill_opt",
        ),
    ],
)
def test_what_cannot_be(opt, tmp_path, apply, problem):
    apply(opt)
    with pytest.raises(OptionsError, match=problem) as error:
        checked(opt, tmp_path)
    assert "\n" not in str(error.value)


def test_taps(opt, tmp_path):
    taps = {"student": ["conv_after_body"], "teacher": ["conv_after_body"]}
    opt["train"]["distill_opt"] = {"f": {"type": "FeatureLoss", "taps": taps, "connector": {"kernel_size": 1}}}
    with pytest.raises(OptionsError, match="terms with taps are not supported beside it"):
        checked(opt, tmp_path)


def test_a_network_that_int8_does_not_know(opt, tmp_path):
    rcan = {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_group": 1, "num_block": 1}
    opt["network_g"] = {**rcan, "upscale": 2}
    torch.save({"params": quantized.network(opt["network_g"]).state_dict()}, tmp_path / "float.pth")
    with pytest.raises(OptionsError, match="AdaptiveAvgPool2d"):
        checked(opt, tmp_path)
