"""Repairs that act where stock BasicSR can do nothing but raise."""

import random
import subprocess
import sys
from types import ModuleType

import pytest
import realesr
import tiny
import torch
from basicsr.models import build_model
from basicsr.utils import logger

TEXT = {"capture_output": True, "text": True, "check": False}


class Wandb(ModuleType):
    """A stand-in for wandb: what BasicSR calls of it."""

    def __init__(self, has_generate_id):
        super().__init__("wandb")
        self.util, self.started = ModuleType("wandb.util"), {}
        if has_generate_id:
            self.util.generate_id = lambda: "its own"

    def init(self, **arguments):
        self.started = arguments


@pytest.mark.parametrize("has_generate_id", [True, False])
def test_wandb_without_generate_id_gets_an_id(monkeypatch, has_generate_id):
    wandb = Wandb(has_generate_id)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "wandb.util", wandb.util)
    before = random.getstate()
    logger.init_wandb_logger({"name": "x", "logger": {"wandb": {"project": "p"}}})
    assert random.getstate() == before
    assert (wandb.started["id"] == "its own") == has_generate_id
    assert len(wandb.started["id"]) >= 7 and wandb.started["project"] == "p"


def test_without_wandb_the_error_is_stocks(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match="wandb"):
        logger.init_wandb_logger({"name": "x", "logger": {"wandb": {"project": "p"}}})


def test_a_process_on_the_cpu_leaves_its_group_before_it_ends(tmp_path):
    """Otherwise gloo's threads abort some processes at their end: exit code -6 after a run that was fine."""
    code = f"""
import atexit, sys
import srkd_plugin.registration
import torch.distributed as dist
from basicsr.utils import dist_util
atexit.register(lambda: print("left" if not dist.is_initialized() else "still in"))  # runs last
dist_util._init_dist_pytorch("nccl", init_method="file://{tmp_path}/store", rank=0, world_size=1)
print("joined" if dist.is_initialized() else "did not join", dist.get_backend())
"""
    process = subprocess.run([sys.executable, "-c", code], env=tiny.child_environment(CUDA_VISIBLE_DEVICES=""), **TEXT)
    assert process.stdout.split("\n")[-3:] == ["joined gloo", "left", ""], process.stderr


@pytest.mark.parametrize("kind", ["RealESRNetModel", "RealESRGANModel"])
def test_stocks_models_of_real_esrgan_train_without_a_gpu(kind, data, tmp_path):
    opt = {**tiny.stock_options(data), **realesr.DEGRADATION, "model_type": kind, "gt_size": 32, "queue_size": 4}
    if kind == "RealESRGANModel":
        gan = {"gan_type": "vanilla", "real_label_val": 1.0, "fake_label_val": 0.0, "loss_weight": 0.1}
        opt["network_d"] = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4}
        opt["train"].update(gan_opt={"type": "GANLoss", **gan}, optim_d=dict(opt["train"]["optim_g"]))
        opt.update(l1_gt_usm=True, percep_gt_usm=True, gan_gt_usm=False)
    model = build_model(tiny.parsed(opt, tmp_path))
    before = [p.clone() for p in model.net_g.parameters()]
    for number in (1, 2, 3):  # the pool is full after two
        model.feed_data(realesr.batch(number))
        model.optimize_parameters(number)
    assert model.lq.shape == (2, 3, 16, 16) and model.gt.shape == (2, 3, 32, 32)
    assert model.queue_ptr == 4 and model.queue_lr.any(dim=(1, 2, 3)).all()
    assert any(not torch.equal(a, b) for a, b in zip(before, model.net_g.parameters()))
    model.queue_size = 3
    del model.queue_lr
    with pytest.raises(AssertionError, match="queue size 3 should be divisible by batch size 2"):  # as stock does
        model.feed_data(realesr.batch(4))
