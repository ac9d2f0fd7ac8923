"""train.eco: the pairs that the student gets on the ramp, with and without terms, live and cached, resumed."""

import copy

import pytest
import tiny
import torch
from torch.nn import functional as F

from srkd_plugin.distill.eco import ramped, share_of_data
from srkd_plugin.distill.samples import Augmentation, Part
from srkd_plugin.distill.targets.source import Targets
from srkd_plugin.errors import OptionsError
from srkd_plugin.options.step_sections import AugmentSection, EcoSection
from srkd_plugin.preflight import run_checks

NONE = Augmentation(AugmentSection(invert=0, hflip=0, vflip=0, transpose=0), 2)


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def opt(data, teacher_file):
    opt = tiny.distill_options(data, teacher_file)
    opt["train"]["distill_opt"] = {"output": {"type": "L1Loss", "loss_weight": 0.5}}
    opt["train"]["eco"] = {"end_iter": 4}
    return opt


def feed(model, iteration, **more):
    generator = torch.Generator().manual_seed(iteration)
    lq, gt = (torch.rand(2, 3, side, side, generator=generator) for side in (8, 16))
    model.feed_data({"lq": lq, "gt": gt, **more})
    return lq, gt


def train(model, first, last):
    for iteration in range(first, last + 1):
        feed(model, iteration)
        model.optimize_parameters(iteration)
    return model


def test_the_share_rises_from_the_first_iteration_to_the_end():
    assert [share_of_data(EcoSection(end_iter=4), i) for i in range(1, 7)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert share_of_data(EcoSection(), 1) == 1.0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_pairs_are_those_of_the_formula(share):
    """In float64, with a teacher that leaves 0..1; the shrunk image is rounded to 8 bits, as data sets' are."""
    lq, gt, teacher = images(2, 3, 6, 8, seed=1), images(2, 3, 12, 16, seed=2), images(2, 3, 12, 16, seed=3) * 1.4 - 0.2
    found = ramped(Part("batch", {"lq": lq, "gt": gt}, 1.0, NONE), Targets(teacher, {}), share, 2)
    clipped = teacher.clamp(0, 1)
    shrunk = F.interpolate(clipped, size=(6, 8), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    torch.testing.assert_close(found.batch["gt"], (1 - share) * clipped + share * gt, rtol=1e-12, atol=1e-14)
    expected = (1 - share) * shrunk + share * lq
    torch.testing.assert_close(found.batch["lq"], expected, rtol=0, atol=(1 - share) * 0.51 / 255 + 1e-9)
    assert torch.equal(found.batch["targets"].images, teacher)


def test_a_step_on_the_ramp_is_that_of_its_pairs(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    student, teacher = copy.deepcopy(model.net_g), model.step_losses.source.teacher.net
    lq, gt = feed(model, 2)
    model.optimize_parameters(2)
    with torch.no_grad():
        target = teacher(lq)
        part = ramped(Part("batch", {"lq": lq, "gt": gt}, 1.0, NONE), Targets(target, {}), 0.25, 2)
        output = student(part.batch["lq"])
    assert model.log_dict["l_pix"] == pytest.approx((output - part.batch["gt"]).abs().mean().item(), rel=1e-5)
    assert model.log_dict["l_output"] == pytest.approx(0.5 * (output - target).abs().mean().item(), rel=1e-5)


def test_after_the_ramp_a_step_is_one_without(opt, tmp_path):
    found = train(tiny.model(opt, tmp_path), 5, 5)
    del opt["train"]["eco"]
    expected = train(tiny.model(opt, tmp_path), 5, 5)
    assert all(torch.equal(a, b) for a, b in zip(found.net_g.parameters(), expected.net_g.parameters()))


def test_a_ramp_needs_no_terms_and_takes_the_batchs_teacher_images(opt, tmp_path):
    del opt["train"]["distill_opt"]
    run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path))
    model = tiny.model(opt, tmp_path)
    cached = torch.full((2, 3, 16, 16), 0.25)
    student = copy.deepcopy(model.net_g)
    feed(model, 1, teacher=cached)
    model.optimize_parameters(1)
    with torch.no_grad():
        gray = torch.full((2, 3, 8, 8), 64 / 255)  # of 8 bits
        expected = (student(gray) - cached).abs().mean().item()
    assert model.log_dict["l_pix"] == pytest.approx(expected, rel=1e-4)
    del opt["network_t"]
    with pytest.raises(OptionsError, match="network_t is missing"):
        run_checks.check(tiny.parsed(opt, tmp_path))


@pytest.mark.parametrize("samples", [{}, {"zoom_in": 1, "zoom_out": True}], ids=str)
def test_a_resumed_run_goes_on_on_the_ramp(opt, tmp_path, samples):
    opt["train"]["samples"] = samples
    torch.manual_seed(0)
    whole = train(tiny.model(opt, tmp_path), 1, 5)
    torch.manual_seed(0)
    train(tiny.model(opt, tmp_path), 1, 2).save(0, 2)
    again = tiny.resumed_model(opt, tmp_path, 2)
    train(again, 3, 5)
    assert all(torch.equal(a, b) for a, b in zip(whole.net_g.parameters(), again.net_g.parameters()))


TAPS = {"type": "FeatureLoss", "taps": {"student": ["body.0"], "teacher": ["body.1"]}, "connector": {}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"eco": {"end_iter": 5}},
            r"train\.eco\.end_iter = 5: the run ends before, with iteration 4.* Write 4 or less",
        ),
        ({"eco": {"end_iter": -1}}, r"train\.eco\.end_iter = -1"),
        ({"eco": {"end": 3}}, r"train\.eco\.end = 3: unknown key\. Known: end_iter"),
        ({"distill_opt": {"hint": TAPS}}, "hint compares feature maps, and teacher and student get other inputs"),
    ],
    ids=str,
)
def test_bad_options(opt, tmp_path, changes, message):
    opt["train"].update(changes)
    with pytest.raises(OptionsError, match=message):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_a_batch_without_gt_is_refused(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    model.feed_data({"lq": torch.rand(2, 3, 8, 8)})
    with pytest.raises(OptionsError, match="the data set gives no GT"):
        model.optimize_parameters(1)
