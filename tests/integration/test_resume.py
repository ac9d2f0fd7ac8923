"""Runs of BasicSR's own trainer that are killed, asked to end, or find broken files, and go on with --auto_resume."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cached
import pytest
import tiny
import torch

from srkd_plugin.tables.runner import TORCHRUN

pytestmark = [pytest.mark.integration, tiny.needs_autoload]

ITERS = 32
LAUNCH = {1: [], 2: [*TORCHRUN, "--nproc_per_node=2"]}
STATES = "experiments/tiny_distill/training_states"
TERMS = {
    "contrastive": {"type": "ContrastiveLoss", "balance": {"target": 1.0, "every": 3}},
    "fitnet": {
        "type": "FeatureLoss",
        "taps": {"student": ["body.0"], "teacher": ["body.1"]},
        "connector": {"kernel_size": 1},
    },
}


@pytest.fixture
def opt(data, teacher_file):
    """Several short epochs, whose ends are not those of checkpoints; validation; connectors, balance, EMA, warm-up."""
    opt = tiny.distill_options(data, teacher_file, iters=ITERS)
    opt["train"]["distill_opt"] = TERMS
    opt["train"]["warmup_iter"] = 7
    opt["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [9, 21], "gamma": 0.5}
    opt["datasets"]["train"].update(exact_resume=True, dataset_enlarge_ratio=5)
    opt["logger"]["save_checkpoint_freq"] = 4
    opt["val"]["val_freq"] = 8
    return opt


def start(checkout, opt, *more, processes=1):
    file = tiny.write_options(opt, checkout / "options.yml")
    launcher = ["--launcher", "pytorch"] if processes > 1 else []
    command = [sys.executable, *LAUNCH[processes], "basicsr/train.py", "-opt", file, "--auto_resume", *launcher, *more]
    env = tiny.child_environment()
    log = open(checkout / "log.txt", "ab")  # noqa: SIM115 (the process writes to it)
    return subprocess.Popen(
        list(map(str, command)), cwd=checkout, env=env, stdout=log, stderr=log, start_new_session=True
    )


def finish(checkout, opt, processes=1):
    with start(checkout, opt, processes=processes) as process:
        code = process.wait(240)
    assert code == 0, (checkout / "log.txt").read_text()[-3000:]


def states(checkout):
    folder = checkout / STATES
    return sorted(int(f.stem) for f in folder.glob("[0-9]*.state")) if folder.is_dir() else []


def when_more_than(checkout, process, count):
    """Wait until there are more states than this, or the process has ended."""
    end = time.monotonic() + 120
    while len(states(checkout)) <= count and process.poll() is None:
        assert time.monotonic() < end, (checkout / "log.txt").read_text()[-3000:]
        time.sleep(0.005)


def kill_group(process, number=signal.SIGKILL):
    """Send a signal to the process's group, and to those of torchrun's ranks, which are groups of their own."""
    for group in [process.pid, *children(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
    return process.wait(60)


def children(parent):
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            _, ppid = status.read_text().rpartition(")")[2].split()[:2]
            found += [int(status.parent.name)] if int(ppid) == parent else []
    return found


def kill_and_resume(checkout, opt, kills, seed, processes=1):
    rng = random.Random(seed)
    killed = 0
    for _ in range(kills):
        process = start(checkout, opt, processes=processes)
        when_more_than(checkout, process, len(states(checkout)) + rng.randrange(2))
        time.sleep(rng.random() * 0.05)
        killed += kill_group(process) == -signal.SIGKILL
    finish(checkout, opt, processes)
    assert killed >= kills - 1, "the run ended before it was killed: nothing was tested"


def content(checkout):
    """Everything that a finished run leaves and that decides about its future."""
    root = checkout / "experiments/tiny_distill"
    return {
        "latest": torch.load(root / "models/net_g_latest.pth", weights_only=True),
        "state": torch.load(checkout / STATES / f"{ITERS}.state", weights_only=False),
    }


def differences(a, b, where=""):
    """Paths at which two nested values differ, tensors compared bit for bit."""
    if isinstance(a, dict):
        missing = [f"{where}/{key}" for key in a.keys() ^ b.keys()]
        return missing + [d for key in a.keys() & b.keys() for d in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, (list, tuple)):
        missing = [f"{where}/length"] if len(a) != len(b) else []
        return missing + [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, f"{where}/{i}")]
    same = torch.equal(a, b) if torch.is_tensor(a) else a == b
    return [] if same else [where]


def undisturbed(tmp_path, opt, processes=1):
    root = tmp_path / "undisturbed"
    root.mkdir()
    finish(tiny.copy_basicsr(root), opt, processes)
    return content(root)


@pytest.mark.timeout(1200)  # many starts of two processes, each with a spawned worker
@pytest.mark.parametrize(
    ("workers", "more", "processes"),
    [
        pytest.param(0, {"prefetch_mode": "cpu"}, 1, id="no workers, prefetch"),
        pytest.param(2, {"persistent_workers": True, "prefetch_mode": "cpu"}, 1, id="persistent workers, prefetch"),
        pytest.param(1, {}, 2, id="two ranks"),
    ],
)
def test_a_killed_run_ends_as_one_that_was_not(checkout, tmp_path, opt, workers, more, processes):
    opt["datasets"]["train"].update(num_worker_per_gpu=workers, **more)
    if processes == 2:
        opt["datasets"]["train"]["dataset_enlarge_ratio"] = 10
    kill_and_resume(checkout, opt, kills=2, seed=workers, processes=processes)
    assert differences(content(checkout), undisturbed(tmp_path, opt, processes)) == []


@pytest.mark.timeout(1200)
def test_two_ranks_go_on_with_zoomed_inputs_of_a_cache(checkout, tmp_path, opt):
    """Each rank draws its own crops of the zoomed images, and has to draw the same ones again."""
    cache = cached.make_with_zooms(opt, tmp_path / "zoomed.lmdb")
    opt["datasets"]["train"].update(type="TeacherCacheDataset", dataroot_teacher=str(cache), dataset_enlarge_ratio=10)
    opt["train"]["distill_opt"] = {"contrastive": TERMS["contrastive"]}  # a cache has no feature maps
    opt["train"]["samples"] = {"zoom_in": 2, "zoom_out": True}
    kill_and_resume(checkout, opt, kills=1, seed=3, processes=2)
    assert differences(content(checkout), undisturbed(tmp_path, opt, 2)) == []


def test_a_finished_run_goes_on_longer_and_a_refused_one_changes_nothing(checkout, opt):
    """Raised ``total_iter`` and ``periods``, as the error of the one without the other advises."""
    cosine = {"type": "CosineAnnealingRestartLR", "periods": [8], "restart_weights": [1], "eta_min": 1e-7}
    opt["train"].update(total_iter=8, scheduler=cosine)
    finish(checkout, opt)
    opt["train"]["total_iter"], cosine["periods"] = 12, [12]
    steps = {**opt["train"], "scheduler": {"type": "MultiStepLR", "milestones": [10]}}
    before = tiny.tree(checkout / "experiments")
    for refused in ({**opt, "network_g": {**opt["network_g"], "num_feat": 4}}, {**opt, "train": steps}):
        with start(checkout, refused) as process:
            assert process.wait(240) == 2
    assert tiny.tree(checkout / "experiments") == before
    refusals = [line for line in (checkout / "log.txt").read_text().splitlines() if "options error" in line]
    assert ["network_g =" in refusals[0], "train.scheduler.type = 'MultiStepLR'" in refusals[1]] == [True, True]
    finish(checkout, opt)
    assert states(checkout)[-1] == 12
    assert (
        "train.scheduler.periods ([8] -> [12]) takes effect: from iteration 9 on" in (checkout / "log.txt").read_text()
    )


def test_sigterm_saves_and_the_run_goes_on(checkout, opt):
    """The signal goes to the whole process group, loader workers included, as SLURM and terminals send it."""
    opt["train"]["total_iter"] = 100_000
    opt["datasets"]["train"].update(num_worker_per_gpu=2, persistent_workers=True)
    opt["logger"]["save_checkpoint_freq"] = 90_000
    opt["val"]["val_freq"] = 90_000
    process = start(checkout, opt)
    log = checkout / "log.txt"
    while "iter:       2" not in log.read_text() and process.poll() is None:
        time.sleep(0.05)
    assert kill_group(process, signal.SIGTERM) == 75, log.read_text()[-3000:]
    (saved,) = states(checkout)
    assert f"Ended on request after iteration {saved:,d}" in log.read_text()
    opt["train"]["total_iter"] = saved + 10  # more than warmup_iter, however early the signal came
    finish(checkout, opt)
    assert f"iter: {saved}." in log.read_text()
    assert (checkout / "experiments/tiny_distill/models/net_g_latest.pth").exists()


GUARD_OF_RANK = """
import os, sys, torch
import srkd_plugin.registration
import torch.distributed as dist
from srkd_plugin.training.finite_steps import FiniteSteps
from srkd_plugin.options.sections import NonfiniteSection
dist.init_process_group("gloo")
rank, weight = dist.get_rank(), torch.nn.Parameter(torch.ones(2))
weight.grad = torch.ones(2)
describe = lambda bad, gradients: f"{bad} {gradients} im{rank}.png"
def look(section, value, asked=False):
    guard = FiniteSteps(section)
    passed = guard.passes({"l_pix": torch.tensor(value)}, [weight], asked, 7, describe)
    return passed, guard.skipped, guard.ending
found = [look(NonfiniteSection(nan_policy="skip"), float("nan") if rank else 1.0)]
found.append(look(NonfiniteSection(), 1.0, asked=rank == 1))
weight.grad[0] = float("inf") if rank else 0.0
try:
    look(NonfiniteSection(), 1.0)
except FloatingPointError as error:
    found.append(str(error).split(". The")[0])
with open(f"{sys.argv[1]}/{rank}.txt", "w") as file:
    file.write(repr(found))
dist.destroy_process_group()  # a thread of gloo's that outlives the interpreter ends the process with an abort
"""


def test_ranks_act_alike_on_bad_values_and_signals(tmp_path):
    (tmp_path / "guard.py").write_text(GUARD_OF_RANK)
    tiny.run_ok(*LAUNCH[2], "guard.py", tmp_path, cwd=tmp_path)
    expected = [(False, 1, False), (True, 0, True), "iteration 7: rank 0: [] True im0.png; rank 1: [] True im1.png"]
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)] == [repr(expected)] * 2
