"""Inputs beside the batch: which pixels they are, what is undone, and what a step with them computes."""

import copy
import itertools

import pytest
import tiny
import torch

from srkd_plugin.distill.samples import STEPS, Augmentation, choose_blocks, parts, zoom_in, zoom_out
from srkd_plugin.errors import OptionsError
from srkd_plugin.networks.build import build_described
from srkd_plugin.options.step_sections import AugmentSection, SamplesSection
from srkd_plugin.preflight import run_checks

NAMES = [name for name, _ in STEPS]
NONE = dict.fromkeys(NAMES, 0.0)


@pytest.mark.parametrize("chosen", list(itertools.product((0.0, 1.0), repeat=4)), ids=str)
def test_every_combination_is_undone(chosen):
    """On an image whose every pixel is another value; also at another size than it was done at."""
    augmentation = Augmentation(AugmentSection(**dict(zip(NAMES, chosen))), 2)
    images = torch.arange(2 * 3 * 6 * 6, dtype=torch.float64).reshape(2, 3, 6, 6) / 216
    torch.testing.assert_close(augmentation.undo(augmentation(images)), images)
    enlarge = torch.nn.Upsample(scale_factor=2)
    torch.testing.assert_close(augmentation.undo(enlarge(augmentation(images))), enlarge(images))
    assert torch.equal(augmentation(images), images) == (not any(chosen))


def test_each_image_is_augmented_in_its_own_way():
    torch.manual_seed(0)
    images = torch.rand(64, 3, 4, 4)
    augmented = Augmentation(AugmentSection(**dict.fromkeys(NAMES, 0.5)), 64)(images)
    unchanged = sum(torch.equal(a, b) for a, b in zip(images, augmented))
    assert 0 < unchanged < 20  # 1 of 16 is expected to stay


@pytest.mark.parametrize(("scale", "count"), [(2, 1), (2, 4), (3, 5)])
def test_zoomed_in_inputs_are_other_blocks_of_each_image(scale, count):
    n, h, w = 3, 4, 5
    gt = torch.rand(n, 2, scale * h, scale * w)
    blocks = zoom_in(gt, scale, choose_blocks(n, scale, count))
    assert blocks.shape == (count * n, 2, h, w)
    for i in range(n):
        places = [
            (y, x)
            for block in blocks[i::n]
            for y, x in itertools.product(range(0, scale * h, h), range(0, scale * w, w))
            if torch.equal(gt[i, :, y : y + h, x : x + w], block)
        ]
        assert len(places) == len(set(places)) == count


def test_zoomed_out_inputs_are_the_shrunk_crop():
    """A linear ramp stays one, away from the border; values are those that 8 bits have."""
    ramp = torch.linspace(0, 1, 32, dtype=torch.float64)
    lq = (ramp[:, None] * 0.5 + ramp[None] * 0.5).expand(1, 3, 32, 32)
    small = zoom_out(lq, 2)
    expected = lq.reshape(1, 3, 16, 2, 16, 2).mean(dim=(3, 5))
    inside = (..., slice(3, -3), slice(3, -3))
    torch.testing.assert_close(small[inside], expected[inside], rtol=0, atol=1 / 255)
    torch.testing.assert_close((small * 255).round() / 255, small)


def test_nothing_is_drawn_where_nothing_is_asked_for():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    batch = {"lq": torch.zeros(2, 3, 4, 4), "gt": torch.zeros(2, 3, 8, 8)}
    assert [part.kind for part in parts(SamplesSection(), batch, 2)] == ["batch"]
    assert torch.equal(torch.rand(2), expected)


@pytest.fixture
def opt(data, teacher_file):
    opt = tiny.distill_options(data, teacher_file)
    opt["train"]["samples"] = {"zoom_in": 2, "zoom_in_weight": 0.5, "zoom_out": True, "zoom_out_weight": 3.0}
    return opt


def feed(model, iteration=1):
    generator = torch.Generator().manual_seed(iteration)
    images = [torch.rand(2, 3, side, side, generator=generator) for side in (8, 16)]
    model.feed_data(dict(zip(("lq", "gt"), images)))
    return images


def test_a_step_is_the_sum_over_all_inputs(opt, tmp_path):
    """Against the same step written out: GT and terms for the batch and zoomed out, terms alone for zoomed in."""
    opt["train"]["distill_opt"] = {"output": {"type": "L1Loss", "loss_weight": 0.7}}
    opt["train"]["samples"]["augment"] = NONE
    model = tiny.model(opt, tmp_path)
    student, teacher = copy.deepcopy(model.net_g), model.step_losses.source.teacher.net
    lq, gt = feed(model)
    torch.manual_seed(1)
    blocks = zoom_in(gt, 2, choose_blocks(len(gt), 2, 2))
    torch.manual_seed(1)
    model.optimize_parameters(1)

    def distance(a, b):
        return (a - b).abs().mean().item()

    with torch.no_grad():
        small = zoom_out(lq, 2)
        l_pix = distance(student(lq), gt) + 3.0 * distance(student(small), lq)
        images = {1.0: lq, 0.5: blocks, 3.0: small}
        l_output = sum(weight * 0.7 * distance(student(x), teacher(x)) for weight, x in images.items())
    assert model.log_dict["l_pix"] == pytest.approx(l_pix, rel=1e-5)
    assert model.log_dict["l_output"] == pytest.approx(l_output, rel=1e-5)


def test_a_resumed_run_draws_the_same_inputs(opt, tmp_path):
    def train(model, first, last):
        for iteration in range(first, last + 1):
            feed(model, iteration)
            model.optimize_parameters(iteration)
        return model

    torch.manual_seed(0)
    whole = train(tiny.model(opt, tmp_path), 1, 4)
    torch.manual_seed(0)
    train(tiny.model(opt, tmp_path), 1, 2).save(0, 2)
    again = tiny.resumed_model(opt, tmp_path, 2)
    train(again, 3, 4)
    assert all(torch.equal(a, b) for a, b in zip(whole.net_g.parameters(), again.net_g.parameters()))


def test_terms_that_read_gt_leave_zoomed_in_inputs_out(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    (term,) = model.step_losses.terms
    seen = []
    term.reads, term.loss = ("student", "gt"), lambda student, gt: seen.append(len(gt)) or (student - gt).mean()
    feed(model)
    model.optimize_parameters(1)
    assert seen == [2, 2] * (len(seen) // 2) and seen


def test_zoomed_out_inputs_need_no_teacher(opt, tmp_path):
    """The control of AugKD: the same samples, labelled by the crop itself."""
    del opt["network_t"], opt["train"]["distill_opt"], opt["path"]["pretrain_network_t"]
    opt["train"]["samples"] = {"zoom_out": True}
    run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path))
    model = tiny.model(opt, tmp_path)
    feed(model)
    model.optimize_parameters(1)
    assert "l_pix" in model.log_dict


TAPS = {"type": "FeatureLoss", "taps": {"student": ["body.0"], "teacher": ["body.1"]}, "connector": {}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": {"zoom_in": 5}}, r"train\.samples\.zoom_in = 5: a GT crop has 4 blocks .* Write 4 or less"),
        ({"samples": {"zoom_in": -1}}, r"train\.samples\.zoom_in = -1"),
        ({"samples": {"zoom_in": 1}, "distill_opt": None}, "has no term"),
        ({"samples": {"zoom_on": 1}}, "Did you mean 'zoom_in'"),
        ({"samples": {"augment": {"invert": 2.0}}}, r"train\.samples\.augment\.invert = 2\.0"),
        ({"samples": {"augment": 3}}, r"train\.samples\.augment = 3: a section of keys"),
        ({"samples": 3}, r"train\.samples = 3: a section of keys"),
        ({"samples": {"zoom_in": 1}, "distill_opt": {"hint": TAPS}}, "hint compares feature maps, which cannot"),
    ],
    ids=str,
)
def test_bad_options(opt, tmp_path, changes, message):
    opt["train"].update(changes)
    with pytest.raises(OptionsError, match=message):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_sizes_that_cannot_be_shrunk_are_refused(opt, tmp_path):
    opt["network_g"] = {**tiny.SWINIR}
    opt["train"]["samples"] = {"zoom_out": True}
    opt["datasets"]["train"]["gt_size"] = 16
    with pytest.raises(OptionsError, match=r"shrunk crops have 4 pixels per side, and network_g takes multiples of 8"):
        run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path))
    opt["network_g"], opt["datasets"]["train"]["gt_size"] = tiny.STUDENT, 18
    with pytest.raises(OptionsError, match=r"crops have 9 LQ pixels per side, which cannot be shrunk by 2"):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_feature_maps_of_inputs_that_are_not_augmented_are_compared(opt, tmp_path):
    opt["train"]["distill_opt"] = {"hint": TAPS}
    opt["train"]["samples"] = {"zoom_in": 1, "zoom_out": True, "augment": NONE}
    model = tiny.model(opt, tmp_path)
    feed(model)
    model.optimize_parameters(1)
    assert model.log_dict["l_hint"] > 0
    assert build_described("network_g", opt["network_g"]).state_dict().keys() == model.net_g.state_dict().keys()


def test_zoomed_in_inputs_that_no_term_reads_are_refused(opt, tmp_path):
    confidence = {"type": "ConfidenceL1Loss", "loss_weight": 1.0}
    opt["train"]["distill_opt"] = {"confidence": confidence}
    with pytest.raises(OptionsError, match=r"train.samples.zoom_in = 2: all terms of train.distill_opt read gt"):
        run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path))
    opt["train"]["distill_opt"]["output"] = {"type": "L1Loss", "loss_weight": 1.0}
    run_checks.check(tiny.parsed(opt, tmp_path))
