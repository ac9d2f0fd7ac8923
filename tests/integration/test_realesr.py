"""Distillation on images that are degraded as Real-ESRGAN does, by BasicSR's own trainer on the CPU."""

import re
from itertools import combinations

import pytest
import realesr
import tiny
import torch
import yaml

from srkd_plugin.tables.runner import TORCHRUN

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


RANK = """
import os, signal, sys, torch
from basicsr import train
from srkd_plugin.distill.realesr_distill_model import RealESRDistillModel as Model

feed_data, save = Model.feed_data, Model.save
fed = 0

def feed_and_perhaps_die(self, data):
    global fed
    feed_data(self, data)
    fed += self.is_train
    if os.environ.get("DIES_AT") == str(fed) and self.opt["rank"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)

def save_and_tell(self, epoch, current_iter):
    save(self, epoch, current_iter)
    nets = {"student": self.get_bare_model(self.net_g), "average": self.net_g_ema, "history": self.history.net}
    torch.save({name: net.state_dict() for name, net in nets.items()}, f"of_rank_{self.opt['rank']}.pt")

Model.feed_data, Model.save = feed_and_perhaps_die, save_and_tell
train.train_pipeline(os.getcwd())
"""
"""BasicSR's trainer, of which each rank leaves its networks; rank 1 kills itself in the iteration ``DIES_AT``."""


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


def test_two_ranks_have_a_student_in_common_and_pools_of_their_own(checkout, tmp_path, opt):
    """With all that works together. A rank is killed in iteration 3; the run goes on bit for bit from iteration 2."""
    opt = realesr.with_sections(opt, realesr.TOGETHER)
    opt["datasets"]["train"]["exact_resume"] = True
    (tmp_path / "whole").mkdir()
    roots = [tiny.copy_basicsr(tmp_path / "whole"), checkout]
    for root in roots:
        (root / "rank.py").write_text(RANK)
        tiny.write_options(opt, root / "options.yml")
    command = [*TORCHRUN, "--nproc_per_node=2", "rank.py", "-opt", "options.yml", "--launcher", "pytorch"]
    tiny.run_ok(*command, cwd=roots[0])
    assert tiny.run(*command, cwd=checkout, DIES_AT="3").returncode != 0
    assert not (checkout / FOLDER / "training_states/4.state").exists()
    resumed = tiny.run_ok(*command, "--auto_resume", cwd=checkout)
    assert "Resuming training from epoch: 0, iter: 2." in resumed and "filled anew" not in resumed

    theirs, ours = (load(root, "training_states/4.state") for root in roots)
    pools = theirs["pair_pools"]
    assert [pool["filled"] for pool in pools] == [4, 4] and not same(pools[0], pools[1])
    nets = [torch.load(root / f"of_rank_{rank}.pt", weights_only=True) for root in roots for rank in (0, 1)]
    assert all(same(a, b) for a, b in combinations(nets, 2)), "of both ranks, killed or not"
    assert same(dict(nets[0]["average"]), load(checkout, "models/net_g_latest.pth")["params_ema"])
    assert all(same(ours[key], theirs[key]) for key in ("optimizers", "schedulers", "pair_pools", "ranks", "history"))
