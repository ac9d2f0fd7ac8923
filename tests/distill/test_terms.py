"""Terms: what a loss may read, what its ``forward`` must take, and what it must give; all known before the run."""

import pytest
import tiny
import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from srkd_plugin.distill.terms import DistillTerm
from srkd_plugin.errors import OptionsError
from srkd_plugin.options.term_sections import TermSection
from srkd_plugin.preflight import run_checks


class Loss(nn.Module):
    def forward(self, pred, target):
        return (pred - target).abs().mean()


class Three(nn.Module):
    reads = ("student", "teacher", "lq")

    def forward(self, student, teacher, lq, scale=1.0):
        return (student - teacher).abs().mean() + 0 * lq.sum()


def term(loss, **attributes):
    for name, value in attributes.items():
        setattr(loss, name, value)
    return DistillTerm("mine", loss, TermSection(type="Mine"))


def test_a_loss_is_called_with_what_it_reads_in_that_order():
    step = {name: torch.rand(1, 3, 4, 4) for name in ("student", "teacher", "lq", "gt")}
    assert term(Loss())(step) == (step["student"] - step["teacher"]).abs().mean()
    assert term(Loss(), reads=["gt", "student"])(step) == (step["gt"] - step["student"]).abs().mean()
    assert term(Three())(step) == (step["student"] - step["teacher"]).abs().mean()


@pytest.mark.parametrize(
    ("loss", "reads", "says"),
    [
        (Loss, "student", "its reads is 'student', where a tuple of names is expected. Correct `reads`"),
        (Loss, (), "its reads is (), where a tuple of names is expected. Correct `reads`"),
        (Loss, None, "its reads is None, where a tuple of names is expected. Correct `reads`"),
        (Loss, ("student", 3), "its reads is ('student', 3), where a tuple of names is expected. Correct `reads`"),
        (
            Loss,
            ("student", "techer"),
            "names 'techer', which no step has. Correct `reads`. Did you mean 'teacher'?",
        ),
        (Loss, ("student", "teacher", "gt"), "forward(pred, target) does not take student, teacher, gt (too many"),
        (
            Loss,
            ("student",),
            "forward(pred, target) does not take student (missing a required argument: 'target')",
        ),
        (Three, ("student", "teacher"), "missing a required argument: 'lq'). Correct `reads`."),
    ],
)
def test_wrong_reads_are_refused_when_the_term_is_built(loss, reads, says):
    with pytest.raises(OptionsError) as caught:
        term(loss(), reads=reads)
    assert str(caught.value).startswith(f"train.distill_opt.mine = {loss.__name__!r}: ")
    assert says in str(caught.value)


def test_a_loss_that_reads_only_the_teachers_feature_maps_needs_taps():
    with pytest.raises(OptionsError, match=r"mine.taps = None: Loss compares feature maps, and none are named"):
        term(Loss(), reads=("student", "teacher_taps"))


class Fails(Loss):
    def forward(self, pred, target):
        raise RuntimeError("no kernel\nfor this")


LOSSES = [
    ({"type": "GANLoss", "gan_type": "vanilla"}, "an adversarial loss needs a discriminator"),
    ({"type": "GANLoss", "gan_type": "wgan"}, "an adversarial loss needs a discriminator"),
    (
        {"type": "L1Loss", "reduction": "none"},
        "it gives a tensor of shape (2, 3, 16, 16), and no single number",
    ),
    ({"type": "WeightedTVLoss"}, "its forward(pred, weight=None) would take teacher as its weight"),
    (
        {"type": "TestFails"},
        "mine = 'Fails': it fails on a small batch (no kernel). Correct its arguments.",
    ),
    ({"type": "TestPair"}, "it gives a tuple, and no tensor"),
]


class Pair(Loss):
    def forward(self, pred, target):
        return (super().forward(pred, target), None)


@pytest.fixture
def losses_of_somebody():
    for cls in (Fails, Pair):
        LOSS_REGISTRY._obj_map[f"Test{cls.__name__}"] = cls
    yield
    for cls in (Fails, Pair):
        del LOSS_REGISTRY._obj_map[f"Test{cls.__name__}"]


@pytest.mark.usefixtures("losses_of_somebody")
@pytest.mark.parametrize(("section", "says"), LOSSES, ids=[str(section) for section, _ in LOSSES])
def test_a_loss_that_is_no_term_is_refused_before_the_run(data, teacher_file, tmp_path, section, says):
    opt = tiny.distill_options(data, teacher_file)
    opt["train"]["distill_opt"] = {"mine": section}
    with pytest.raises(OptionsError) as caught:
        run_checks.check(tiny.parsed(opt, tmp_path))
    assert says in str(caught.value)
    assert str(caught.value).startswith("train.distill_opt.mine = ")
    assert "\n" not in str(caught.value)
