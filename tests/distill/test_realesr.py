"""RealESRDistillModel: LQ made in the model, and its training pair pool."""

import random

import numpy as np
import pytest
import realesr
import tiny
import torch
from basicsr.models import build_model
from basicsr.models.realesrnet_model import RealESRNetModel

from srkd_plugin.distill.pair_pool import packed, unpack_into


def seed():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


@pytest.fixture
def model(data, teacher_file, tmp_path):
    opt = tiny.parsed({**realesr.options(data, teacher_file), "gt_usm": False}, tmp_path)
    with torch.random.fork_rng(devices=[]):
        model = build_model(opt)  # an exact resume would be refused: no trainer is here to make it
        model.opt["datasets"]["train"]["exact_resume"] = True
        yield model


def test_its_batches_are_those_of_realesrnetmodel(model):
    stock = RealESRNetModel.__new__(RealESRNetModel)
    stock.opt, stock.device, stock.is_train, stock.queue_size = model.opt, model.device, True, model.queue_size
    stock.jpeger, stock.usm_sharpener = model.jpeger, model.usm_sharpener
    found = []
    for one in (model, stock):
        seed()
        for number in range(4):
            one.feed_data(realesr.batch(number))
        found.append((one.lq, one.gt))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_the_teacher_sees_the_images_that_were_made(model):
    model.feed_data(realesr.batch(0))
    model.optimize_parameters(1)
    teacher = model.step_losses.source.teacher
    expected = (model.output - teacher(model.lq)).abs().mean()
    assert model.log_dict["l_output"] == pytest.approx(expected.item(), rel=1e-5)
    assert model.log_dict["l_pix"] == pytest.approx((model.output - model.gt).abs().mean().item(), rel=1e-5)


def test_validation_takes_images_as_they_are(model):
    lq, gt = torch.rand(1, 3, 20, 24), torch.rand(1, 3, 40, 48)
    model.is_train = False  # as RealESRNetModel sets it while it validates
    model.feed_data({"lq": lq, "gt": gt, "lq_path": ["a.png"]})
    assert torch.equal(model.lq, lq) and torch.equal(model.gt, gt)


@pytest.mark.parametrize("usm", [False, True])
def test_a_pool_is_given_back_bit_for_bit(model, usm):
    model.opt["gt_usm"] = usm
    model.feed_data(realesr.batch(0))
    saved = packed(model)
    assert saved["filled"] == 2
    assert "levels" in saved["queue_lr"] and ("levels" in saved["queue_gt"]) != usm
    other = RealESRNetModel.__new__(RealESRNetModel)
    other.queue_size, other.device = 4, model.device
    assert unpack_into(other, saved, batch=2, gt_size=16, scale=2) is None
    assert other.queue_ptr == 2
    assert torch.equal(other.queue_lr, model.queue_lr) and torch.equal(other.queue_gt, model.queue_gt)


def test_an_empty_pool_is_one_that_is_filled_from_its_start(model):
    saved = packed(model)
    assert saved == {"size": 4, "filled": 0}
    assert unpack_into(model, saved, batch=2, gt_size=16, scale=2) is None and not hasattr(model, "queue_lr")


@pytest.mark.parametrize(
    ("batch", "gt_size", "size", "says"),
    [
        (3, 16, 4, "no multiple of the batch size, 3"),
        (2, 32, 4, "have 8 pixels per side"),
        (2, 16, 6, "queue_size is 6"),
    ],
)
def test_a_pool_of_other_options_is_not_taken(model, batch, gt_size, size, says):
    model.feed_data(realesr.batch(0))
    other = RealESRNetModel.__new__(RealESRNetModel)
    other.queue_size, other.device = size, model.device
    assert says in unpack_into(other, packed(model), batch, gt_size, scale=2)
    assert not hasattr(other, "queue_ptr")


def test_the_state_has_a_pool_only_where_a_resume_is_exact(model):
    model.feed_data(realesr.batch(0))
    assert len(model._own_state()["pair_pools"]) == 1
    model.opt["datasets"]["train"]["exact_resume"] = False
    assert "pair_pools" not in model._own_state()
