"""Values that are not finite, and how a run's checkpoints come and go, in one process."""

import copy
import logging
import os

import pytest
import tiny
import torch

from srkd_plugin.training import stop_signals


@pytest.fixture
def opt(data, teacher_file):
    return tiny.distill_options(data, teacher_file)


def step(model, iteration, spoil=None, images=4):
    generator = torch.Generator().manual_seed(iteration)
    batch = {"lq": torch.rand(images, 3, 8, 10, generator=generator)}
    batch["gt"] = torch.rand(images, 3, 16, 20, generator=generator)
    if spoil:
        batch[spoil][0, 0, 0, 0] = float("inf")
    names = [f"im{iteration}_{i}.png" for i in range(images)]
    model.feed_data({**batch, "lq_path": names, "gt_path": names})
    model.optimize_parameters(iteration)


def everything(model):
    ema = model.net_g_ema.state_dict()
    return copy.deepcopy([model.net_g.state_dict(), ema, model.optimizer_g.state_dict()])


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


def test_the_error_names_term_iteration_and_files(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    step(model, 1)
    before = everything(model)
    with pytest.raises(FloatingPointError, match=r"iteration 2: l_pix = inf \(files: im2_0.png, im2_1.png, .*nothing"):
        step(model, 2, spoil="gt")
    assert same(everything(model), before)


class Sqrt(torch.nn.Module):
    """Finite at 0, with an infinite gradient."""

    def forward(self, student, teacher):
        return (student - student.detach()).abs().sqrt().sum()


def test_a_gradient_that_is_not_finite_names_its_term(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    model.step_losses.terms[0].loss = Sqrt()
    before = everything(model)
    with pytest.raises(FloatingPointError, match=r"the gradient of l_contrastive is not finite \(files: im1_0.png"):
        step(model, 1)
    assert same(everything(model), before)


def test_skip_leaves_the_iteration_out_up_to_a_limit(opt, tmp_path, caplog):
    opt["train"].update(nan_policy="skip", max_skipped=2)
    model = tiny.model(opt, tmp_path)
    logging.getLogger("basicsr").propagate = True
    try:
        step(model, 1)
        before = everything(model)
        step(model, 2, spoil="gt")
        assert same(everything(model), before)
        step(model, 3)
        assert not same(everything(model), before)
        step(model, 4, spoil="lq")
    finally:
        logging.getLogger("basicsr").propagate = False
    assert "iteration 2: l_pix = inf" in caplog.text and "left out, 2 of 2 allowed" in caplog.text
    model.save(0, 4)
    again = tiny.model(opt, tmp_path)
    again.resume_training(torch.load(f"{again.opt['path']['training_states']}/4.state", weights_only=False))
    with pytest.raises(FloatingPointError, match=r"2 iterations have been left out, as many as train.max_skipped"):
        step(again, 5, spoil="gt")


def test_skip_puts_running_statistics_back(opt, tmp_path):
    opt["train"]["nan_policy"] = "skip"
    opt["train"]["grad_norm_log"] = {"first": 0}
    model = tiny.model(opt, tmp_path)
    model.net_g.body[0] = torch.nn.Sequential(torch.nn.BatchNorm2d(8), model.net_g.body[0])
    before = copy.deepcopy(model.net_g.state_dict())
    step(model, 1, spoil="lq")
    assert same(dict(model.net_g.state_dict()), dict(before))


def test_weights_that_are_not_finite_are_never_saved(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    model.save(0, 2)
    before = tiny.tree(tmp_path)
    model.net_g.conv_last.weight.data[0] = float("nan")
    for iteration in (2, 4, -1):
        with pytest.raises(FloatingPointError, match=r"params.conv_last.weight .* nothing was saved"):
            model.save(0, iteration)
    assert tiny.tree(tmp_path) == before


def test_a_full_disk_is_said_and_the_run_goes_on_but_does_not_end_well(opt, tmp_path, monkeypatch, caplog):
    model = tiny.model(opt, tmp_path)
    model.save(0, 2)
    before = tiny.tree(tmp_path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    logging.getLogger("basicsr").propagate = True
    try:
        with monkeypatch.context() as patch, caplog.at_level(logging.INFO, logger="basicsr"):
            patch.setattr(os, "fsync", full)
            model.save(0, 4)
            with pytest.raises(OSError, match="the weights at the end of training were not saved"):
                model.save(-1, -1)
    finally:
        logging.getLogger("basicsr").propagate = False
    assert "Checkpoint 4 was NOT saved" in caplog.text and "No space left" in caplog.text
    assert "was saved" not in caplog.text
    assert tiny.tree(tmp_path) == before


@pytest.mark.parametrize(("better", "kept"), [("higher", ["4", "8", "10"]), ("lower", ["6", "8", "10"])])
def test_keep_last_and_keep_best(opt, tmp_path, better, kept):
    opt["checkpoints"] = {"keep_last": 2, "keep_best": "psnr"}
    opt["val"]["metrics"]["psnr"]["better"] = better
    model = tiny.model(opt, tmp_path)
    for iteration, psnr in ((2, 20.0), (4, 25.0), (6, 19.0), (8, 22.0), (10, 23.0)):
        model.save(0, iteration)
        model.metric_results = {"psnr": psnr}
        model._initialize_best_metric_results("set")
        model._log_validation_metric_values(iteration, "set", None)
    there = {name.split("/")[-1] for name in tiny.tree(tmp_path)}
    assert {n for n in there if n.endswith(".state")} == {f"{i}.state" for i in kept}
    assert {n for n in there if n.endswith(".pth")} == {f"net_g_{i}.pth" for i in kept}


def test_a_request_to_end_saves_once_the_step_and_what_follows_it_are_done(opt, tmp_path, monkeypatch):
    model = tiny.model(opt, tmp_path)
    model.trainer_data = type(model.trainer_data)(iters_per_epoch=2)
    monkeypatch.setattr(stop_signals, "_first", 0.0)
    model.update_learning_rate(5)
    step(model, 5)
    states = f"{model.opt['path']['training_states']}"
    assert os.listdir(states) == []
    with pytest.raises(SystemExit) as ended:
        model.update_learning_rate(6)
    assert ended.value.code == stop_signals.STOPPED
    state = torch.load(f"{states}/5.state", weights_only=False)
    assert (state["iter"], state["epoch"]) == (5, 2)


@pytest.mark.parametrize("batch", ["one image", "identical images", "constant"])
def test_degenerate_batches_give_finite_updates(opt, tmp_path, batch):
    """One image has no negatives; the check of options refuses that batch size, and a step alone says what is wrong."""
    opt["train"]["nan_policy"] = "raise"
    opt["train"]["distill_opt"] = (
        {"output": {"type": "L1Loss"}} if batch == "one image" else opt["train"]["distill_opt"]
    )
    model = tiny.model(opt, tmp_path)
    lq = torch.full((4, 3, 8, 10), 0.5) if batch == "constant" else torch.rand(1, 3, 8, 10).repeat(4, 1, 1, 1)
    lq = lq[:1] if batch == "one image" else lq
    model.feed_data({"lq": lq, "gt": lq.repeat_interleave(2, -1).repeat_interleave(2, -2)})
    model.optimize_parameters(1)
    assert all(torch.isfinite(p).all() for p in model.net_g.parameters())
