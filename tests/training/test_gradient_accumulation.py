"""train.accumulate: batches that make one step, against one batch that is as large; left out, saved and resumed."""

import copy

import pytest
import tiny
import torch

from srkd_plugin.errors import OptionsError
from srkd_plugin.preflight import run_checks
from srkd_plugin.training.gradient_accumulation import STATE, GradientAccumulation


@pytest.fixture
def opt(data, teacher_file):
    opt = tiny.distill_options(data, teacher_file)
    opt["train"]["distill_opt"] = {"output": {"type": "L1Loss"}}
    opt["train"].update(accumulate=2, nan_policy="skip")
    return opt


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def batch(iteration, images=2):
    generator = torch.Generator().manual_seed(iteration)
    return {name: torch.rand(images, 3, side, side, generator=generator) for name, side in (("lq", 8), ("gt", 16))}


def train(model, first, last, change=lambda iteration, data: data):
    for iteration in range(first, last + 1):
        model.feed_data(change(iteration, batch(iteration)))
        model.optimize_parameters(iteration)
    return model


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.net_g.parameters()])


@pytest.mark.parametrize("student", [{}, {"reparameterize": True}], ids=str)
@pytest.mark.parametrize("batches", [2, 3])
def test_batches_that_make_a_step_are_one_batch_that_is_as_large(opt, tmp_path, batches, student, float64):
    """Adam, EMA and connectors, against a run whose every batch is that of a whole step."""
    taps = {"student": ["body.0"], "teacher": ["body.1"]}
    opt["train"]["distill_opt"]["hint"] = {"type": "FeatureLoss", "taps": taps, "connector": {}}
    opt["student"] = student
    opt["train"]["accumulate"] = batches
    found = train(tiny.model(opt, tmp_path), 1, 2 * batches)
    opt["train"]["accumulate"] = 1
    expected = tiny.model(opt, tmp_path)
    for step in range(2):
        parts = [batch(step * batches + i + 1) for i in range(batches)]
        expected.feed_data({name: torch.cat([part[name] for part in parts]) for name in ("lq", "gt")})
        expected.optimize_parameters(step + 1)
    torch.testing.assert_close(weights(found), weights(expected), rtol=1e-9, atol=1e-12)
    for name, value in expected.net_g_ema.state_dict().items():
        torch.testing.assert_close(found.net_g_ema.state_dict()[name], value, rtol=1e-9, atol=1e-12)
    connectors = expected.step_losses.connectors.state_dict()
    torch.testing.assert_close(found.step_losses.connectors.state_dict(), connectors, rtol=1e-9, atol=1e-12)


def test_gradients_in_float32_are_those_of_the_large_batch_to_a_millionth(opt, tmp_path):
    opt["train"].update(accumulate=3, ema_decay=0)
    model = tiny.model(opt, tmp_path)
    student, teacher = copy.deepcopy(model.net_g), model.step_losses.source.teacher.net
    train(model, 1, 3)
    data = {name: torch.cat([batch(i)[name] for i in (1, 2, 3)]) for name in ("lq", "gt")}
    output = student(data["lq"])
    ((output - data["gt"]).abs().mean() + (output - teacher(data["lq"])).abs().mean()).backward()
    for found, expected in zip(model.net_g.parameters(), student.parameters()):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-6 * expected.grad.abs().max().item())


def test_between_steps_nothing_moves(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    start, average = weights(model), copy.deepcopy(model.net_g_ema.state_dict())
    train(model, 1, 1)
    assert torch.equal(weights(model), start)
    assert all(torch.equal(average[name], value) for name, value in model.net_g_ema.state_dict().items())
    train(model, 2, 2)
    assert not torch.equal(weights(model), start)


@pytest.mark.parametrize("saved_at", [2, 3, 4, 5])
@pytest.mark.parametrize("amp", [{}, {"precision": "bf16"}], ids=str)
def test_a_run_that_is_resumed_between_steps_is_the_same(opt, tmp_path, saved_at, amp):
    opt["train"].update(accumulate=3, amp=amp)
    whole = train(tiny.model(opt, tmp_path), 1, 6)
    train(tiny.model(opt, tmp_path), 1, saved_at).save(0, saved_at)
    opt = copy.deepcopy(opt)
    opt["path"]["pretrain_network_g"] = str(tmp_path / f"experiments/tiny_distill/models/net_g_{saved_at}.pth")
    again = tiny.model(opt, tmp_path, seed=5)
    state = torch.load(again.checkpoints.states / f"{saved_at}.state", weights_only=True)
    assert (STATE in state) == bool(saved_at % 3)
    again.resume_training(state)
    train(again, saved_at + 1, 6)
    assert torch.equal(weights(again), weights(whole))


@pytest.mark.parametrize("bad", [1, 2])
def test_a_batch_that_is_left_out_leaves_the_others(opt, tmp_path, bad, float64):
    """Whether it is the first of a step or the last: the step is that of the other one."""

    def spoil(iteration, data):
        return {**data, "gt": data["gt"] * float("nan")} if iteration == bad else data

    found = train(tiny.model(opt, tmp_path), 1, 2, spoil)
    assert found.finite_steps.skipped == 1
    opt["train"]["accumulate"] = 1
    expected = tiny.model(opt, tmp_path)
    expected.feed_data(batch(3 - bad))
    expected.optimize_parameters(1)
    torch.testing.assert_close(weights(found), weights(expected), rtol=1e-12, atol=1e-14)


def test_a_step_without_any_batch_is_none(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    start = weights(model)
    train(model, 1, 2, lambda iteration, data: {**data, "gt": data["gt"] * float("nan")})
    assert torch.equal(weights(model), start)
    train(model, 3, 4)
    assert weights(model).isfinite().all()
    assert not torch.equal(weights(model), start)


@pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="float16 on the CPU needs torch 2.4")
def test_an_overflow_in_the_last_batch_of_a_step_leaves_the_step_to_the_others(opt, tmp_path):
    opt["train"]["amp"] = {"precision": "fp16"}
    model = tiny.model(opt, tmp_path)
    train(model, 1, 1)
    start, scale = weights(model), model.amp.scale()
    model.amp._scaler._scale.fill_(2.0**120)
    train(model, 2, 2)
    assert model.amp.scale() == 2.0**119
    assert scale <= 65536
    assert not torch.equal(weights(model), start)
    assert weights(model).isfinite().all()


def test_sums_of_other_parameters_are_left_out(caplog):
    parameters = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2))]
    accumulation = GradientAccumulation(2)
    parameters[0].grad = torch.ones(3)
    assert not accumulation.take(parameters, True, 1)
    state = accumulation.state_dict()
    again = GradientAccumulation(2)
    again.load_state_dict(state, parameters)
    parameters[1].grad = torch.ones(2)
    assert again.take(parameters, True, 2)
    assert [p.grad.tolist() for p in parameters] == [[0.5] * 3, [0.5] * 2]
    again.load_state_dict(state, parameters[:1])
    assert again.state_dict() == {}
    once = GradientAccumulation(1)
    once.load_state_dict(state, parameters)
    assert once.state_dict() == {}


CONTRASTIVE = {"contrastive": {"type": "ContrastiveLoss"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulate": 0}, r"train\.accumulate = 0: .* at least 1"),
        ({"accumulate": 3}, r"train\.accumulate = 3: the run has 4 iterations, and the last 1 .* total_iter: 3"),
        ({"distill_opt": CONTRASTIVE}, r"train\.accumulate_negatives is missing: .*contrastive.*Write per_batch"),
        (
            {"distill_opt": CONTRASTIVE, "accumulate_negatives": "joint"},
            r"accumulate_negatives = 'joint': .* are not kept.*Write per_batch, or .* batch_size_per_gpu: 4",
        ),
        ({"accumulate_negatives": "all"}, r"train\.accumulate_negatives = 'all': Input should be 'per_batch' or"),
        ({"accumulat": 2}, "Did you mean 'accumulate'"),
    ],
    ids=str,
)
def test_bad_options(opt, tmp_path, changes, message):
    opt["train"].update(changes)
    with pytest.raises(OptionsError, match=message):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_what_is_said_of_the_negatives_is_checked_and_warned_of(opt, tmp_path):
    opt["train"].update(distill_opt=CONTRASTIVE, accumulate_negatives="per_batch")
    assert not run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path)).warnings
    opt["train"].update(distill_opt={"history": {"type": "ContrastiveLoss", "negatives": "history"}})
    opt["train"].update(history={"every": [2]}, accumulate_negatives=None)
    assert not run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path)).warnings
    opt["train"].update(accumulate=1, accumulate_negatives="per_batch")
    (warning,) = run_checks.check(tiny.parsed(opt, tmp_path)).warnings
    assert warning.startswith("train.accumulate_negatives is read with train.accumulate: 2 or more")
