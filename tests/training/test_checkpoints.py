"""When a run's checkpoints are written, which stay, and what a resumed run makes up for, in one process."""

import logging
from types import SimpleNamespace

import pytest
import tiny
import torch

from srkd_plugin.options.sections import CheckpointsSection
from srkd_plugin.training import checkpoint_files
from srkd_plugin.training.checkpoints import Checkpoints
from srkd_plugin.training.trainer_data import TrainerData


@pytest.fixture
def log(caplog, monkeypatch):
    """What BasicSR's logger says."""
    monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
    caplog.set_level(logging.INFO, logger="basicsr")
    return caplog


@pytest.fixture
def make(tmp_path):
    """Build the checkpoints of a run under ``tmp_path``."""
    for name in ("models", "training_states"):
        (tmp_path / name).mkdir()
    paths = {name: str(tmp_path / name) for name in ("models", "training_states")}

    def make(metric=None, **section):
        opt = {"path": paths, "val": {"metrics": {"psnr": metric or {}}}}
        return Checkpoints(opt, CheckpointsSection(**section))

    return make


def save(checkpoints, iteration):
    return checkpoints.save(iteration, {"params": {"w": torch.ones(2)}}, {"iter": iteration})


def saved(checkpoints):
    return sorted(int(file.stem) for file in checkpoints.states.glob("*.state"))


@pytest.mark.parametrize(("metric", "best"), [({}, 4), ({"better": "higher"}, 4), ({"better": "lower"}, 6)])
def test_higher_is_better_where_the_metric_does_not_say(make, metric, best):
    checkpoints = make(metric, keep_last=1, keep_best="psnr")
    for iteration, psnr in ((2, 20.0), (4, 25.0), (6, 19.0), (8, 22.0)):
        save(checkpoints, iteration)
        checkpoints.validated(iteration, "set", {"psnr": psnr})
    assert saved(checkpoints) == [best, 8]


@pytest.mark.parametrize("which", ["training_states/2.state", "models/net_g_2.pth"])
def test_a_checkpoint_that_cannot_be_removed_is_told_once_and_the_run_goes_on(make, tmp_path, log, which):
    checkpoints = make(keep_last=1)
    save(checkpoints, 2)
    (tmp_path / which).unlink()
    (tmp_path / which).mkdir()
    for iteration in (4, 6):
        assert save(checkpoints, iteration)
    assert log.text.count(f"{tmp_path / which} was NOT removed (keep_last), and stays") == 1
    assert "Checkpoints removed (keep_last, keep_best): 4." in log.text
    assert [i for i in saved(checkpoints) if i > 2] == [6]
    assert checkpoint_files.load_pair(checkpoints.states / "6.state", checkpoints.models)[1] == ""


def test_a_folder_of_a_states_name_does_not_count_as_one_of_the_last(make):
    checkpoints = make(keep_last=2)
    save(checkpoints, 2)
    (checkpoints.states / "3.state").mkdir()
    save(checkpoints, 4)
    assert saved(checkpoints) == [2, 3, 4]


def test_a_state_that_does_not_fit_takes_its_weights_with_it(make, monkeypatch, log):
    checkpoints = make()
    save(checkpoints, 2)
    whole = checkpoint_files.save_verified

    def until_full(content, path):
        if path.suffix == ".state":
            raise OSError(28, "No space left on device")
        return whole(content, path)

    monkeypatch.setattr(checkpoint_files, "save_verified", until_full)
    assert not save(checkpoints, 4)
    assert "Checkpoint 4 was NOT saved: [Errno 28] No space left on device." in log.text
    assert [p.name for p in checkpoints.models.iterdir()] == ["net_g_2.pth"]
    assert not checkpoints.is_saved(4)


def state_of(checkpoints, iteration):
    return torch.load(checkpoints.states / f"{iteration}.state", weights_only=False)


def test_results_after_a_resume_are_added_to_the_state_it_went_on_from(make):
    first = make()
    save(first, 2)
    again = make()
    again.resumed(state_of(first, 2), first.states / "2.state")
    again.validated(2, "set", {"psnr": 30.0})
    state, fault = checkpoint_files.load_pair(first.states / "2.state", first.models)
    assert fault == ""
    assert state["validations"] == {2: {"set": {"psnr": 30.0}}}
    assert again.is_saved(2)


def test_a_state_of_another_run_is_left_as_it_is(make, tmp_path):
    first = make()
    save(first, 2)
    foreign = tmp_path / "2.state"
    (first.states / "2.state").rename(foreign)
    before = foreign.read_bytes()
    again = make()
    again.resumed(torch.load(foreign, weights_only=False), foreign)
    again.validated(2, "set", {"psnr": 30.0})
    assert foreign.read_bytes() == before
    assert saved(again) == []


@pytest.mark.parametrize("killed_at_the_end", [True, False])
def test_a_validation_that_a_kill_cost_is_made_up_for_once(data, teacher_file, tmp_path, killed_at_the_end):
    """Killed after the checkpoint of iteration 4 and before its validation; 4 may be the last iteration."""
    opt = tiny.distill_options(data, teacher_file)
    opt["val"]["val_freq"] = 4
    model = tiny.model(opt, tmp_path)
    model.save(0, 4)
    file = model.checkpoints.states / "4.state"

    again = tiny.model(opt, tmp_path)
    again.opt["path"]["resume_state"] = str(file)
    again.trainer_data = TrainerData(
        iters_per_epoch=2, val_loaders=[SimpleNamespace(dataset=SimpleNamespace(opt={"name": "set"}))]
    )
    asked = []

    def validation(loader, iteration, tb_logger, save_img):
        asked.append(iteration)
        again.metric_results = {"psnr": 30.0}
        again._initialize_best_metric_results("set")
        again._log_validation_metric_values(iteration, "set", tb_logger)

    again.validation = validation
    again.resume_training(torch.load(file, weights_only=False))
    if not killed_at_the_end:
        again.update_learning_rate(5)
        again.update_learning_rate(6)
    again.save(-1, -1)

    assert asked == [4]
    state, fault = checkpoint_files.load_pair(file, again.checkpoints.models)
    assert (state["validations"], fault) == ({4: {"set": {"psnr": 30.0}}}, "")
    third = tiny.model(opt, tmp_path)
    third.trainer_data, third.validation = again.trainer_data, validation
    third.resume_training(state)
    third.save(-1, -1)
    assert asked == [4], "it is in the state now"
