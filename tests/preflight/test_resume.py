"""A run that is resumed with other options than it had: what goes on, what is said, and what is refused.

Each case is asked of the check before the run and of the model, which must answer the same.
"""

import copy
import shutil

import pytest
import tiny
import torch

from srkd_plugin.basicsr_patches.training_run import TrainingRun
from srkd_plugin.cli.main import main
from srkd_plugin.errors import OptionsError

FITNET = {
    "type": "FeatureLoss",
    "taps": {"student": ["body.0"], "teacher": ["body.1"]},
    "connector": {"kernel_size": 1},
}


@pytest.fixture
def opt(data, teacher_file, tmp_path):
    file = tmp_path / "teacher.pth"
    shutil.copy(teacher_file, file)
    return tiny.distill_options(data, file)


def steps(model, first, last):
    for iteration in range(first, last + 1):
        model.update_learning_rate(iteration)
        generator = torch.Generator().manual_seed(iteration)
        images = [torch.rand(2, 3, side, side, generator=generator) for side in (8, 16)]
        model.feed_data(dict(zip(("lq", "gt"), images)))
        model.optimize_parameters(iteration)
    return model


@pytest.fixture
def begin(tmp_path):
    """Train two iterations and save."""

    def run(opt):
        steps(tiny.model(opt, tmp_path), 1, 2).save(0, 2)

    return run


@pytest.fixture
def go_on(tmp_path, caplog):
    """Resume, train two more iterations; the model, and what it said."""

    def run(opt):
        parsed = tiny.parsed(copy.deepcopy(opt), tmp_path)
        parsed["auto_resume"] = True

        def leave(error):
            raise error

        before = tiny.tree(tmp_path)
        state = TrainingRun(parsed, leave).load_resume_state(parsed)
        assert tiny.tree(tmp_path) == before
        opt = copy.deepcopy(opt)
        opt["path"]["pretrain_network_g"] = parsed["path"]["pretrain_network_g"]
        caplog.clear()
        model = tiny.model(opt, tmp_path, seed=7)
        model.resume_training(state)
        return steps(model, 3, 4), caplog.text

    return run


@pytest.fixture
def refused(go_on, tmp_path, capsys):
    """The one line that both the run and ``srkd check`` say."""

    def run(opt):
        with pytest.raises(OptionsError) as found:
            go_on(opt)
        file = tiny.write_options(opt, tmp_path / "o.yml")
        assert main(["check", "-opt", str(file), "--root", str(tmp_path), "--auto_resume"]) == 2
        assert capsys.readouterr().err == f"srkd_plugin: options error: {found.value}\n"
        return str(found.value)

    return run


def test_the_same_options_are_not_spoken_of(opt, begin, go_on):
    begin(opt)
    assert "others than" not in go_on(opt)[1]


def test_a_teacher_that_was_moved_is_the_same_and_another_of_its_name_is_refused(opt, begin, go_on, refused, tmp_path):
    begin(opt)
    file = tmp_path / "teacher.pth"
    moved = copy.deepcopy(opt)
    moved["path"]["pretrain_network_t"] = str(shutil.copy(file, tmp_path / "moved.pth"))
    assert "others than" not in go_on(moved)[1]
    content = torch.load(file, weights_only=True)
    content["params"]["conv_first.bias"] += 1
    torch.save(content, file)
    assert "path.pretrain_network_t = " in refused(opt) and "give it another name" in refused(opt)
    renamed = copy.deepcopy(opt)  # the remedy
    renamed["path"]["pretrain_network_t"] = str(shutil.copy(file, tmp_path / "new.pth"))
    assert "takes effect: another teacher from iteration 3 on" in go_on(renamed)[1]


def test_weights_terms_and_data_take_effect_and_are_said(opt, begin, go_on):
    begin(opt)
    opt["train"]["distill_opt"]["contrastive"]["loss_weight"] = 5.0
    opt["datasets"]["train"]["dataroot_gt"] = opt["datasets"]["val"]["dataroot_gt"]
    said = go_on(opt)[1]
    assert "train.distill_opt.contrastive.loss_weight (10.0 -> 5.0) takes effect: from iteration 3 on" in said
    assert "datasets.train.dataroot_gt (" in said


def moments(model):
    return [model.optimizer_g.state.get(p, {}).get("step") for g in model.optimizer_g.param_groups for p in g["params"]]


def test_a_new_connector_starts_afresh_beside_those_that_go_on(opt, begin, go_on):
    opt["train"]["distill_opt"]["fitnet"] = copy.deepcopy(FITNET)
    begin(opt)
    opt["train"]["distill_opt"] = {"first": copy.deepcopy(FITNET), **opt["train"]["distill_opt"]}
    model, said = go_on(opt)
    assert "Connectors that start afresh, with no moments: those of first." in said
    assert [int(step) for step in moments(model)[-4:]] == [2, 2, 4, 4]  # weight and bias: first, fitnet
    assert model.schedulers[0].base_lrs == [1e-3, 1e-3]


def test_the_first_connector_and_the_removal_of_the_last(opt, begin, go_on):
    begin(opt)
    opt["train"]["distill_opt"]["fitnet"] = copy.deepcopy(FITNET)
    model, said = go_on(opt)
    assert "those of fitnet" in said and len(model.optimizer_g.param_groups) == 2
    model.save(0, 4)
    del opt["train"]["distill_opt"]["fitnet"]
    (model.checkpoints.states / "2.state").unlink()
    state = torch.load(model.checkpoints.states / "4.state", weights_only=True)
    assert len(state["optimizers"][0]["param_groups"]) == 2
    model, said = go_on(opt)
    assert len(model.optimizer_g.param_groups) == 1 and "train.distill_opt.fitnet (" in said


def test_another_network_is_refused_by_its_own_key(opt, begin, refused):
    begin(opt)
    other = copy.deepcopy(opt)
    other["network_g"]["num_feat"] = 6
    said = refused(other)
    assert said.startswith("network_g = ") and "pretrain_network_g =" not in said
    other["network_g"] = {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 2}
    assert refused(other).startswith("network_g.type = 'MSRResNet': the run that is resumed trains EDSR.")


def test_a_state_of_srmodel_goes_on(opt, data, tmp_path, go_on):
    stock = tiny.stock_options(data, name=opt["name"])
    model = steps(tiny.model(stock, tmp_path), 1, 2)
    model.save(0, 2)
    model, said = go_on(opt)
    assert "has no record of its run's options" in said
    assert {int(step) for step in moments(model)} == {4}


def test_check_says_what_the_run_will_say(opt, begin, go_on, tmp_path, capsys):
    begin(opt)
    opt["train"]["optim_g"]["lr"] = 2e-3
    file = tiny.write_options(opt, tmp_path / "o.yml")
    assert main(["check", "-opt", str(file), "--root", str(tmp_path), "--auto-resume"]) == 0
    printed, said = capsys.readouterr().out, go_on(opt)[1]
    line = "train.optim_g.lr (0.001 -> 0.002) is ignored: it stays as it was saved; to get it: "
    line += "train.lr_on_resume: options."
    assert f"resume: {line}" in printed and line in said
    assert "2.state, after iteration 2" in printed
