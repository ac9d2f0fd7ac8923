"""Convolutions that train as branches: what they compute, what is saved, and how a run goes on."""

import copy

import pytest
import tiny
import torch
from torch import nn

from srkd_plugin.errors import OptionsError
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.reparameterize import Branches, fused_state_dict, reparameterize
from srkd_plugin.preflight import run_checks

COMPACT = {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 2, "upscale": 2, "act_type": "prelu"}


def shaken(net, seed=0):
    """All parameters moved, so that no branch is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return net


@pytest.mark.parametrize("section", [tiny.STUDENT, COMPACT, tiny.SWINIR], ids=lambda s: s["type"])
def test_a_network_starts_as_it_was_and_is_saved_as_what_it_became(section):
    net, lq = build_described("network_g", section).eval(), torch.rand(2, 3, 16, 24)
    before = net(lq)
    names = reparameterize(net)
    assert names and torch.equal(net(lq), before)
    after = shaken(net)(lq)
    assert not torch.allclose(after, before, atol=1e-3)
    plain = build_described("network_g", section).eval()
    plain.load_state_dict(fused_state_dict(net))
    assert torch.equal(plain(lq), after)


@pytest.mark.parametrize(("stride", "padding", "bias"), [(1, 1, True), (2, 0, False), (1, 2, True)])
def test_the_kernel_is_that_of_the_branches_run_one_by_one(stride, padding, bias):
    """In float64, the convolutions one after the other; the border too, since none inside has a bias."""
    conv = nn.Conv2d(3, 5, 3, stride, padding, bias=bias).double()
    net = nn.Sequential(conv)
    plain = copy.deepcopy(conv)
    reparameterize(net)
    branches = conv.parametrizations.weight[0]
    shaken(branches)
    x = torch.rand(2, 3, 9, 12, dtype=torch.float64)
    run = nn.functional.conv2d
    inside = run(run(x, branches.expand[..., None, None]), branches.middle, None, stride, padding)
    point = nn.functional.pad(branches.point[..., None, None], (1, 1, 1, 1))
    expected = plain(x) + run(inside, branches.project[..., None, None]) + run(x, point, None, stride, padding)
    torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-12)


def test_all_parameters_train_from_the_second_step_on():
    net = build_described("network_g", tiny.STUDENT)
    reparameterize(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.rand(1, 3, 8, 8)).abs().mean().backward()
        optimizer.step()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_other_convolutions_stay_as_they_are():
    net = nn.ModuleDict({"a": nn.Conv2d(4, 4, 3, groups=4), "b": nn.Conv2d(4, 4, 5), "c": nn.Conv2d(4, 2, 3)})
    net["d"] = net["e"] = nn.Conv2d(4, 4, 3)
    net["f"], net["g"] = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)
    net["g"].weight = net["f"].weight
    assert reparameterize(net) == ["c"]
    with pytest.raises(OptionsError, match=r"student\.reparameterize = True: ModuleDict has no 3x3 convolution"):
        reparameterize(nn.ModuleDict({"b": nn.Conv2d(4, 4, 5)}))


def test_the_kernel_keeps_its_precision_under_autocast():
    kernel = torch.rand(4, 3, 3, 3)
    branches = shaken(Branches(kernel))
    expected = branches(kernel)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(branches(kernel), expected)


@pytest.fixture
def opt(data, teacher_file):
    opt = tiny.distill_options(data, teacher_file)
    opt["student"] = {"reparameterize": True}
    opt["train"]["ema_decay"] = 0.5
    return opt


def train(model, first, last):
    for iteration in range(first, last + 1):
        generator = torch.Generator().manual_seed(iteration)
        images = [torch.rand(2, 3, side, side, generator=generator) for side in (8, 16)]
        model.feed_data(dict(zip(("lq", "gt"), images)))
        model.optimize_parameters(iteration)
    return model


def test_checkpoints_are_the_plain_network_and_its_average(opt, tmp_path):
    model = tiny.model(opt, tmp_path)
    start = build_described("network_g", opt["network_g"])
    start.load_state_dict(fused_state_dict(model.net_g))
    averages = [{name: value.clone() for name, value in fused_state_dict(model.net_g).items()}]
    for iteration in (1, 2):
        train(model, iteration, iteration)
        now = fused_state_dict(model.net_g)
        averages.append({name: 0.5 * value + 0.5 * now[name] for name, value in averages[-1].items()})
    model.save(0, 2)
    saved = torch.load(model.checkpoints.models / "net_g_2.pth", weights_only=True)
    lq = torch.rand(1, 3, 9, 7)
    plain = build_described("network_g", opt["network_g"])
    plain.load_state_dict(saved["params"])
    assert torch.equal(plain(lq), model.net_g(lq)) and not torch.equal(plain(lq), start(lq))
    for name, value in averages[-1].items():
        torch.testing.assert_close(saved["params_ema"][name], value)


def test_a_resumed_run_goes_on_with_its_branches(opt, tmp_path):
    whole = train(tiny.model(opt, tmp_path), 1, 4)
    train(tiny.model(opt, tmp_path), 1, 2).save(0, 2)
    again = tiny.resumed_model(opt, tmp_path, 2)
    train(again, 3, 4)
    expected, found = whole.net_g.state_dict(), again.net_g.state_dict()
    assert expected.keys() == found.keys() and any("middle" in name for name in found)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    for name, value in whole.net_g_ema.state_dict().items():
        assert torch.equal(value, again.net_g_ema.state_dict()[name])


def test_the_run_is_otherwise_the_one_without_branches(opt, tmp_path):
    """The same student, the same random numbers after building it."""
    model = tiny.model(opt, tmp_path)
    drawn = torch.rand(3)
    opt = copy.deepcopy(opt)
    opt["student"] = {"reparameterize": False}
    other = tiny.model(opt, tmp_path)
    assert torch.equal(torch.rand(3), drawn)
    expected = other.net_g.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in fused_state_dict(model.net_g).items())


def test_no_teacher_is_needed(opt, tmp_path):
    """The control of every comparison: the same convolutions, and GT alone."""
    del opt["network_t"], opt["train"]["distill_opt"], opt["path"]["pretrain_network_t"], opt["path"]["param_key_t"]
    opt["train"]["grad_norm_log"] = {"first": 0}
    parsed = tiny.parsed(copy.deepcopy(opt), tmp_path)
    run_checks.check(parsed)
    model = train(tiny.model(opt, tmp_path), 1, 2)
    assert set(model.log_dict) == {"l_pix"}
    opt["student"] = {}
    with pytest.raises(OptionsError, match=r"train\.distill_opt is missing"):
        run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path))
