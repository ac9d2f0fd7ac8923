"""Quantisation-aware training: the student in INT8 in its place, in its phases, saved and resumed."""

import copy

import pytest
import quantized
import tiny
import torch

from srkd_plugin.distill import int8_training
from srkd_plugin.errors import OptionsError
from srkd_plugin.quantization.fold import folded
from srkd_plugin.quantization.int8_student_arch import Int8Student
from srkd_plugin.quantization.ranges import in_float


@pytest.fixture
def trained(tmp_path):
    """A student's file, with EMA."""
    net = quantized.network(tiny.STUDENT)
    torch.save({"params": net.state_dict(), "params_ema": net.state_dict()}, tmp_path / "float.pth")
    return tmp_path / "float.pth"


@pytest.fixture
def opt(data, trained):
    """Options of a run whose target is the float student."""
    opt = tiny.distill_options(data, trained)
    opt["network_t"] = dict(tiny.STUDENT)
    opt["path"]["pretrain_network_g"] = str(trained)
    opt["train"]["distill_opt"] = {"output": {"type": "L1Loss", "loss_weight": 1.0}}
    opt["train"]["quantize"] = {"crops": 4, "observe": 2, "freeze": 3}
    return opt


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    gt = torch.rand(2, 3, 16, 16, generator=generator)
    return {"lq": torch.nn.functional.avg_pool2d(gt, 2), "gt": gt}


def train(model, first, last):
    for iteration in range(first, last + 1):
        model.feed_data(batch(iteration))
        model.optimize_parameters(iteration)


def test_the_student_is_int8_and_begins_calibrated(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    assert isinstance(model.net_g, Int8Student) and isinstance(model.net_g_ema, Int8Student)
    lq = quantized.images()
    net = quantized.network(tiny.STUDENT)
    with torch.no_grad():
        expected, found = net(lq), model.net_g.eval()(lq)
        with in_float(model.net_g):
            assert torch.allclose(model.net_g(lq), expected, atol=1e-5)
    assert 0 < (found - expected.clamp(0, 1)).square().mean() < 1e-4
    assert {name for name, _ in model.net_g.named_parameters()} == {name for name, _ in net.named_parameters()}


@pytest.mark.parametrize(("crops", "batches"), [(4, "1 batch"), (6, "2 batches")])
def test_the_calibration_is_said_once_with_its_batches(opt, tmp_path, monkeypatch, crops, batches):
    said = []
    logger = type("Logger", (), {"info": lambda self, text: said.append(text)})()
    monkeypatch.setattr(int8_training, "get_root_logger", lambda: logger)
    monkeypatch.setattr(int8_training, "BATCH", 4)
    opt["train"]["quantize"]["crops"] = crops
    tiny.model(opt, tmp_path)  # the student and its average
    (line,) = [text for text in said if "calibrated now" in text]
    assert f"on {crops} crops ({batches}) of {opt['datasets']['train']['dataroot_lq']}" in line


def test_phases(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    net = model.net_g
    seen = []
    for iteration in range(1, 5):
        train(model, iteration, iteration)
        layer = net.layer("body.0.relu")
        seen.append((layer.hi.clone(), net.layer("body.0.conv1").weight_scale.clone()))
    ranges, scales = zip(*seen)
    assert not torch.equal(ranges[0], ranges[1])  # observed
    assert torch.equal(ranges[1], ranges[2]) and not torch.equal(scales[1], scales[2])  # follow the weights
    assert torch.equal(ranges[2], ranges[3]) and torch.equal(scales[2], scales[3])  # nothing moves
    source = net.layer(net.source(net.steps.output))
    assert float(source.lo) == 0 and float(source.hi) == 1


def test_weights_learn_at_their_own_scale(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    before = copy.deepcopy(model.net_g.state_dict())
    train(model, 1, 1)
    lr = opt["train"]["optim_g"]["lr"]
    for name, value in model.net_g.named_parameters():
        step = (value - before[name]).abs().max()
        assert step <= lr * 1.01  # Adam's first step, though img_range and its inverse are folded in


def test_a_resumed_run_is_the_run(opt, tmp_path):
    whole = tiny.model(opt, tmp_path)
    train(whole, 1, 4)
    part = tiny.model({**opt, "name": "part"}, tmp_path)
    train(part, 1, 2)
    part.save(0, 2)
    models = tmp_path / "experiments" / "part"
    again = copy.deepcopy({**opt, "name": "part"})
    again["path"]["pretrain_network_g"] = str(models / "models" / "net_g_2.pth")
    again["path"]["resume_state"] = str(models / "training_states" / "2.state")
    resumed = tiny.model(again, tmp_path, seed=9)
    resumed.resume_training(torch.load(models / "training_states" / "2.state", weights_only=False))
    train(resumed, 3, 4)
    for one, other in ((whole.net_g, resumed.net_g), (whole.net_g_ema, resumed.net_g_ema)):
        expected, found = one.state_dict(), other.state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_the_average_has_the_ranges_of_the_student(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    train(model, 1, 2)
    average = dict(model.net_g_ema.named_buffers())
    assert all(torch.equal(value, average[name]) for name, value in model.net_g.named_buffers())
    assert any(not torch.equal(v, model.net_g_ema.get_parameter(n)) for n, v in model.net_g.named_parameters())


def test_a_checkpoint_is_tested_as_any_network(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    train(model, 1, 2)
    model.save(0, 2)
    weights = torch.load(tmp_path / "experiments/tiny_distill/models/net_g_2.pth")["params_ema"]
    tested = Int8Student(network=tiny.STUDENT)
    tested.load_state_dict(weights)
    model.feed_data(batch(5))
    model.test()
    with torch.no_grad():
        assert torch.equal(tested.eval()(batch(5)["lq"]), model.output)


def test_a_float_file_names_what_an_int8_file_is(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    model.save(0, 2)
    plain = copy.deepcopy(opt)
    del plain["train"]["quantize"]
    plain["path"]["pretrain_network_g"] = str(tmp_path / "experiments/tiny_distill/models/net_g_2.pth")
    with pytest.raises(OptionsError, match=r"a student in INT8.*type: Int8Student"):
        tiny.model({**plain, "name": "plain"}, tmp_path)


def test_steps_are_those_of_the_network():
    net = Int8Student(tiny.STUDENT, ["conv_last"])
    steps, _ = folded(quantized.network(tiny.STUDENT))
    assert [step.name for step in net.steps.steps] == [step.name for step in steps.steps]
    assert net.float_steps == {"conv_last"}
