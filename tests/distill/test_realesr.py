"""RealESRDistillModel: LQ made in the model, and its training pair pool."""

import logging
import random
from types import SimpleNamespace

import numpy as np
import pytest
import realesr
import tiny
import torch
from basicsr.archs import vgg_arch
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.models.realesrnet_model import RealESRNetModel
from torch.utils.data import DataLoader
from torchvision.models.vgg import cfgs, make_layers

from srkd_plugin.distill.pair_pool import packed, unpack_into
from srkd_plugin.preflight import run_checks


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


@pytest.mark.parametrize("usm", [False, True])
def test_its_batches_are_those_of_realesrnetmodel(model, usm):
    model.opt["gt_usm"] = usm
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


def test_several_teachers_see_the_images_that_were_made(data, teacher_file, tmp_path):
    opt = realesr.options(data, None)
    del opt["network_t"], opt["path"]["pretrain_network_t"], opt["path"]["param_key_t"], opt["path"]["strict_load_t"]
    one = {"network_t": tiny.TEACHER, "pretrain_network_t": str(teacher_file)}
    opt["teachers"] = {key: {**one, "param_key_t": key} for key in ("params", "params_ema")}
    opt["teacher"] = {"combine": "nearest_gt"}
    assert run_checks.check(tiny.parsed(opt, tmp_path)).warnings == []
    model = tiny.model(opt, tmp_path)
    model.feed_data(realesr.batch(0))
    model.optimize_parameters(1)
    target = model.teachers_image(model.lq, model.gt)
    assert model.log_dict["l_output"] == pytest.approx((model.output - target).abs().mean().item(), rel=1e-5)


@pytest.fixture
def small_vgg(tmp_path, monkeypatch):
    """A random VGG19 of eight channels in place of torchvision's, whose file is where torch keeps downloads."""
    torch.manual_seed(0)
    features = make_layers([name if name == "M" else 8 for name in cfgs["E"]])
    for layer in features:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/vgg19-dcbb9e9d.pth").touch()
    monkeypatch.setattr(vgg_arch.vgg, "vgg19", lambda pretrained: SimpleNamespace(features=features))


def test_perceptual_opt_compares_with_the_gt_that_realesrnetmodel_makes(data, teacher_file, tmp_path, small_vgg):
    opt = realesr.options(data, teacher_file)
    opt["gt_usm"] = True
    opt["train"]["perceptual_opt"] = {"type": "PerceptualLoss", "layer_weights": {"conv5_4": 1.0}, "style_weight": 1.0}
    assert run_checks.check(tiny.parsed(opt, tmp_path)).warnings == []
    model = tiny.model(opt, tmp_path)
    seed()
    model.feed_data(realesr.batch(0))
    stock = RealESRNetModel.__new__(RealESRNetModel)
    stock.opt, stock.device, stock.is_train, stock.queue_size = model.opt, model.device, True, model.queue_size
    stock.jpeger, stock.usm_sharpener = model.jpeger, model.usm_sharpener
    seed()
    stock.feed_data(realesr.batch(0))
    before = [p.clone() for p in model.net_g.parameters()]
    model.optimize_parameters(1)
    percep, style = model.cri_perceptual(model.output, stock.gt)
    assert model.log_dict["l_percep"] == pytest.approx(percep.item(), rel=1e-5) != 0
    assert model.log_dict["l_style"] == pytest.approx(style.item(), rel=1e-5) != 0
    assert {"l_pix", "l_output"} <= model.log_dict.keys()
    assert all((p != was).any() for p, was in zip(model.net_g.parameters(), before))


ONE_BY_ONE = [(name,) for name in (*realesr.TOGETHER, *realesr.ALONE)]


@pytest.mark.parametrize("names", [*ONE_BY_ONE, tuple(realesr.TOGETHER)], ids="+".join)
def test_what_works_together_goes_on_bit_for_bit(data, teacher_file, tmp_path, names):
    """Ended after three of four iterations: the pool is full, and half of a step's batches are gone."""
    opt = realesr.with_sections(realesr.options(data, teacher_file), names)
    assert run_checks.check(tiny.parsed(opt, tmp_path)).warnings == []
    model = tiny.model(opt, tmp_path)
    model.opt["datasets"]["train"]["exact_resume"] = True  # would be refused before: no trainer is here to make it
    seed()
    for iteration in (1, 2, 3, 4):
        model.feed_data(realesr.batch(iteration))
        model.optimize_parameters(iteration)
        if iteration == 3:
            model.save(0, 3)
    resumed = tiny.resumed_model(opt, tmp_path, 3)
    resumed.feed_data(realesr.batch(4))
    resumed.optimize_parameters(4)
    assert model.log_dict == resumed.log_dict and all(np.isfinite(value) for value in model.log_dict.values())
    ours, theirs = (one.net_g.state_dict() for one in (model, resumed))
    start = tiny.model(opt, tmp_path).net_g.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert any((ours[key] != start[key]).any() for key in ours), "it trains"
    assert torch.equal(model.queue_lr, resumed.queue_lr) and torch.equal(model.queue_gt, resumed.queue_gt)


@pytest.mark.parametrize("side", [12, 20], ids=["smaller than the sharpening kernel", "larger"])
def test_validation_takes_images_as_they_are(model, side, monkeypatch):
    monkeypatch.setattr(model, "usm_sharpener", lambda images: pytest.fail("nothing reads a sharpened GT"))
    lq, gt = torch.rand(1, 3, side, side + 4), torch.rand(1, 3, 2 * side, 2 * side + 8)
    model.is_train = False  # as RealESRNetModel sets it while it validates
    model.feed_data({"lq": lq, "gt": gt, "lq_path": ["a.png"]})
    assert torch.equal(model.lq, lq) and torch.equal(model.gt, gt)


def test_image_samples_are_of_images_as_they_are(data, teacher_file, tmp_path):
    opt = realesr.options(data, teacher_file)
    opt["logger"].update(image_samples=2, use_tb_logger=True)
    model, shown = tiny.model(opt, tmp_path), []
    board = SimpleNamespace(add_image=lambda *arguments: shown.append(arguments), add_scalar=lambda *arguments: None)
    images = build_dataset(tiny.parsed(opt, tmp_path)["datasets"]["val"])
    model.validation(DataLoader(images), 4, board)
    assert [name for name, _, _ in shown] == ["samples/tiny_val/im0", "samples/tiny_val/im1"]
    (gt,) = (image["gt"] for image in images if image["lq_path"].endswith("im0.png"))
    assert torch.equal(shown[0][1][..., -32:], gt[..., 4:36])  # 16 of 20 LQ pixels: a multiple of the crops' 8
    assert model.is_train, "it goes on training"
    model.feed_data(realesr.batch(0))


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


def test_a_pool_of_other_ranks_is_filled_anew(model, caplog, monkeypatch):
    model.feed_data(realesr.batch(0))
    state = model._own_state()
    monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
    model._load_own_state({**state, "pair_pools": state["pair_pools"] * 2})
    assert "is filled anew: the state has those of 2 ranks, and there are 1 now." in caplog.text


def test_the_state_has_a_pool_only_where_a_resume_is_exact(model):
    model.feed_data(realesr.batch(0))
    assert len(model._own_state()["pair_pools"]) == 1
    model.opt["datasets"]["train"]["exact_resume"] = False
    assert "pair_pools" not in model._own_state()
