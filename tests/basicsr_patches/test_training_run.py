"""Other people's trainers get what a run of ours was promised, however they call BasicSR; or they are told."""

import importlib
import random
import sys

import numpy as np
import pytest
import tiny
import torch

from srkd_plugin.basicsr_patches import parse_options, training_run
from srkd_plugin.training import stop_signals

HELPERS = """
from basicsr.utils.options import parse_options

def read_options(root):
    return parse_options(root, is_train=True)[0]
"""

TRAINER = """
import os
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.models import build_model
from basicsr.utils import check_resume, make_exp_dirs
from {helpers} import read_options

def load_resume_state(opt):
    if not opt["auto_resume"]:
        return None
    opt["path"]["resume_state"] = "states/as/stock/finds/them"
    state = torch.load(opt["path"]["resume_state"])
    check_resume(opt, state["iter"])
    return state

{load_around}

def train(root, last):
    opt = read_options(root)
    state = {load}(opt)
    if state is None:
        make_exp_dirs(opt)
    section = opt["datasets"]["train"]
    train_set = build_dataset(section)
    sampler = EnlargedSampler(train_set, 1, 0, 1)
    loader = {loader}
    build_dataloader(build_dataset(opt["datasets"]["val"]), opt["datasets"]["val"])
    model = build_model(opt)
    epoch, iteration = 0, 0
    if state is not None:
        model.resume_training(state)
        epoch, iteration = state["epoch"], state["iter"]
    seen = []
    while iteration < last:
        sampler.set_epoch(epoch)
        for batch in loader:
            if iteration == last:
                break
            iteration += 1
            model.update_learning_rate(iteration)
            model.feed_data(batch)
            model.optimize_parameters(iteration)
            seen.append((batch["lq_path"], batch["lq"].clone()))
        else:
            epoch += 1
    model.save(epoch, iteration)
    return model, seen
"""

OURS = {
    "load_around": "",
    "load": "load_resume_state",
    "loader": 'build_dataloader(train_set, section, 0, False, sampler, opt["manual_seed"])',
}
OWN_LOADER = {**OURS, "loader": "torch.utils.data.DataLoader(train_set, batch_size=2, sampler=sampler)"}
OWN_LOADING = {
    **OURS,
    "load": "find_state",
    "load_around": """
def find_state(opt):
    return torch.load(opt["path"]["training_states"] + "/2.state", weights_only=False) if opt["auto_resume"] else None
""",
}


@pytest.fixture(autouse=True)
def nothing_stays():
    """BasicSR seeds the generators, and a run listens for signals."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    training_run.begin(None)
    stop_signals.forget()


@pytest.fixture
def opt(data):
    opt = tiny.distill_options(data, None, iters=8)
    opt["datasets"]["train"].update(dataroot_gt=str(data / "HR"), dataroot_lq=str(data / "LR"), batch_size_per_gpu=2)
    opt["datasets"]["train"].update(io_backend={"type": "disk"}, dataset_enlarge_ratio=1)
    return opt


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Write a trainer and its helpers as modules of their own, and let it train."""
    monkeypatch.syspath_prepend(tmp_path)

    def trained(opt, last, *flags, parts=OURS):
        name = f"own_trainer_{random.SystemRandom().getrandbits(32)}"
        (tmp_path / f"{name}_helpers.py").write_text(HELPERS)
        (tmp_path / f"{name}.py").write_text(TRAINER.format(helpers=f"{name}_helpers", **parts))
        importlib.invalidate_caches()
        file = tiny.write_options(opt, tmp_path / "o.yml")
        monkeypatch.setattr(sys, "argv", ["own_train.py", "-opt", str(file), *flags])
        return importlib.import_module(name).train(str(tmp_path), last)

    return trained


@pytest.mark.parametrize("exact", [False, True])
def test_a_trainer_that_parses_through_a_helper_gets_everything(train, opt, exact):
    opt["datasets"]["train"]["exact_resume"] = exact
    _, whole = train(opt, 5)
    train(opt, 2)
    model, resumed = train(opt, 5, "--auto_resume")
    assert [paths for paths, _ in resumed] == [paths for paths, _ in whole[2:]]  # in the middle of an epoch of 3
    same_crops = all(torch.equal(a, b) for (_, a), (_, b) in zip(resumed, whole[2:]))
    assert same_crops or not exact
    assert model.trainer_data.iters_per_epoch == 3 and len(model.trainer_data.val_loaders) == 1
    assert stop_signals.signal.getsignal(stop_signals.signal.SIGTERM) is stop_signals._note


def test_auto_resume_without_a_state_says_that_the_run_starts_anew(train, opt, tmp_path, capfd):
    says = f"warning: there is no training state in {tmp_path}/experiments/tiny_distill/training_states: the run starts"
    train(opt, 2)
    assert says not in capfd.readouterr().err
    for file in (tmp_path / "experiments/tiny_distill/training_states").iterdir():
        file.unlink()
    train(opt, 2, "--auto_resume")
    assert capfd.readouterr().err.count(says) == 1
    train(opt, 3, "--auto_resume")
    assert says not in capfd.readouterr().err


def lines(caplog):
    return [record.getMessage() for record in caplog.records if "srkd_plugin" in record.getMessage()]


@pytest.fixture
def log(caplog, monkeypatch):
    """BasicSR's logger does not hand its records on."""
    logger = training_run.get_root_logger()
    monkeypatch.setattr(logger, "propagate", True)
    return caplog


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (OWN_LOADER, "the training loader was not built by basicsr.data.build_dataloader"),
        (OWN_LOADING, "the training state was not loaded by load_resume_state"),
    ],
)
def test_what_a_trainer_of_ones_own_will_not_have_is_one_line(train, opt, log, parts, says):
    train(opt, 2)
    assert lines(log) == []
    train(opt, 4, "--auto_resume", parts=parts)
    assert len(lines(log)) == 1 and says in lines(log)[0]


@pytest.mark.parametrize("model_type", ["DistillModel", "SRModel"])
@pytest.mark.parametrize("parts", [OWN_LOADER, OWN_LOADING])
def test_exact_resume_that_cannot_be_is_an_error(train, opt, data, capfd, parts, model_type):
    opt = opt if model_type == "DistillModel" else {**tiny.stock_options(data), "datasets": opt["datasets"]}
    train(opt, 2)
    opt["datasets"]["train"]["exact_resume"] = True
    with pytest.raises(SystemExit) as ended:
        train(opt, 4, "--auto_resume", parts=parts)
    assert ended.value.code == 2
    error = [line for line in capfd.readouterr().err.splitlines() if line.startswith("srkd_plugin: options error")]
    assert len(error) == 1 and "datasets.train.exact_resume = True: the training" in error[0]


def test_options_that_parse_options_has_not_seen_are_one_line_or_an_error(tmp_path, opt, log):
    batch = {"lq": torch.rand(2, 3, 8, 8), "gt": torch.rand(2, 3, 16, 16)}
    model = tiny.model(opt, tmp_path)
    for iteration in (1, 2):
        model.feed_data(batch)
        model.optimize_parameters(iteration)
    assert (
        len(lines(log)) == 1 and "the options were not parsed by basicsr.utils.options.parse_options" in lines(log)[0]
    )
    opt["datasets"]["train"]["exact_resume"] = True
    model = tiny.model(opt, tmp_path)
    model.feed_data(batch)
    with pytest.raises(training_run.OptionsError, match="exact_resume = True: the options were not parsed"):
        model.optimize_parameters(1)


def test_a_stock_run_after_one_of_ours_runs_the_stock_functions(data, opt, train, monkeypatch):
    """In one process, on a machine with CUDA as far as the options go."""
    monkeypatch.setattr(parse_options, "has_cuda", lambda: True)
    for _ in range(2):
        model, seen = train(opt, 1)
        assert model.trainer_data.iters_per_epoch == 3 and len(seen) == 1
    stock = {**tiny.stock_options(data), "datasets": opt["datasets"]}
    with pytest.raises(FileNotFoundError, match="states/as/stock"):
        train(stock, 1, "--auto_resume")
    model, seen = train(stock, 1)
    assert not hasattr(model, "trainer_data") and not {"optimize_parameters", "resume_training"} & vars(model).keys()
    assert training_run._current is None and len(seen) == 1


def test_a_run_that_ends_without_trainer_data_saves_as_epoch_0(tmp_path, opt):
    model = tiny.model(opt, tmp_path)
    with pytest.raises(SystemExit) as ended:
        model._save_and_end(7)
    assert ended.value.code == stop_signals.STOPPED
    other = tiny.model(opt, tmp_path)
    assert model.trainer_data is not other.trainer_data
    assert torch.load(tmp_path / "experiments/tiny_distill/training_states/7.state", weights_only=False)["epoch"] == 0
