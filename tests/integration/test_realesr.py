"""Distillation on images that are degraded as Real-ESRGAN does, by BasicSR's own trainer on the CPU."""

import re

import pytest
import realesr
import tiny
import torch
import yaml

pytestmark = [pytest.mark.integration, tiny.needs_autoload, pytest.mark.timeout(1200)]
FOLDER = "experiments/tiny_realesr"


def train(checkout, opt, *more):
    file = tiny.write_options(opt, checkout / "options.yml")
    return tiny.run_ok("basicsr/train.py", "-opt", file, *more, cwd=checkout)


def load(checkout, name):
    return torch.load(checkout / FOLDER / name, weights_only=True)


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


@pytest.fixture
def opt(data, teacher_file):
    opt = realesr.options(data, teacher_file)
    opt["val"]["val_freq"] = 2
    opt["checkpoints"] = {"keep_last": 3, "keep_best": "psnr"}
    return opt


def test_a_resumed_run_goes_on_with_its_pool(checkout, tmp_path, opt):
    opt["datasets"]["train"]["exact_resume"] = True
    (tmp_path / "whole").mkdir()
    whole = tiny.copy_basicsr(tmp_path / "whole")
    log = train(whole, opt)
    assert len(re.findall(r"(?<!/)l_output: \d", re.sub("Gradient norms.*", "", log))) == 4
    assert len(re.findall(r"# psnr: \d+\.\d+\tBest: ", log)) >= 2, "it validates on pairs"
    train(checkout, {**opt, "train": {**opt["train"], "total_iter": 2}})
    assert [pool["filled"] for pool in load(checkout, "training_states/2.state")["pair_pools"]] == [4]
    resumed = train(checkout, opt, "--auto_resume")
    assert "Resuming training from epoch: 0, iter: 2." in resumed and "filled anew" not in resumed
    assert same(load(checkout, "models/net_g_4.pth"), load(whole, "models/net_g_4.pth"))
    ours, theirs = (load(root, "training_states/4.state") for root in (checkout, whole))
    assert all(same(ours[key], theirs[key]) for key in ("optimizers", "schedulers", "pair_pools", "ranks"))
    anew = yaml.safe_load((checkout / "options.yml").read_text())
    anew["queue_size"] = 8
    anew["train"]["total_iter"] = 5
    said = train(checkout, anew, "--auto_resume")
    assert "The training pair pool is filled anew: it has 4 pairs, and queue_size is 8." in said
