"""The history student: when it is updated, what its images are, and that a resumed run has the same one."""

import copy
from types import SimpleNamespace

import pytest
import tiny
import torch

from srkd_plugin.distill import history
from srkd_plugin.errors import OptionsError
from srkd_plugin.losses import contrastive_loss
from srkd_plugin.networks.reparameterize import fused_state_dict
from srkd_plugin.options.step_sections import HistorySection
from srkd_plugin.preflight import run_checks

TERM = {"type": "ContrastiveLoss", "negatives": "history", "loss_weight": 0.1}


@pytest.fixture
def opt(data, teacher_file):
    opt = tiny.distill_options(data, teacher_file)
    opt["train"]["distill_opt"] = {"history": dict(TERM)}
    opt["train"]["history"] = {"every": [2], "noised": 2}
    return opt


def train(model, first, last):
    for iteration in range(first, last + 1):
        generator = torch.Generator().manual_seed(iteration)
        lq, gt = (torch.rand(2, 3, side, side, generator=generator) for side in (8, 16))
        model.feed_data({"lq": lq, "gt": gt})
        model.optimize_parameters(iteration)
    return model


@pytest.mark.parametrize(
    ("every", "total", "expected"),
    [([2], 7, [2, 4, 6]), ([1, 2, 3], 9, [1, 2, 3, 4, 6, 9]), ([3, 4], 7, [3, 8][:1]), ([1000, 2000, 3000], 900, [])],
)
def test_it_is_updated_by_a_schedule_over_equal_parts_of_the_run(every, total, expected):
    assert history.updates(HistorySection(every=every), total) == expected


@pytest.mark.parametrize("ema_decay", [0, 0.9])
def test_an_update_keeps_a_share_and_takes_the_rest_from_the_average(opt, tmp_path, ema_decay):
    opt["train"]["ema_decay"] = ema_decay
    model = tiny.model(opt, tmp_path)
    start = copy.deepcopy(model.history.net.state_dict())
    assert all(torch.equal(start[name], value) for name, value in model.net_g.state_dict().items())
    train(model, 1, 1)
    assert all(torch.equal(start[name], value) for name, value in model.history.net.state_dict().items())
    train(model, 2, 2)
    now = (model.net_g_ema if ema_decay else model.net_g).state_dict()
    for name, value in model.history.net.state_dict().items():
        torch.testing.assert_close(value, 0.1 * start[name] + 0.9 * now[name])
        assert not torch.equal(value, start[name])


def test_the_loss_of_a_step_is_that_of_its_images(opt, tmp_path):
    """Against the same step written out: one image per input as it is, and two of noised inputs."""
    opt["train"]["history"]["sigma"] = [5.0, 20.0]
    model = tiny.model(opt, tmp_path)
    train(model, 1, 2)  # so that it is another network than the student
    student, earlier = copy.deepcopy(model.net_g), copy.deepcopy(model.history.net)
    generator = torch.Generator().manual_seed(3)
    lq = torch.rand(2, 3, 8, 8, generator=generator)
    torch.manual_seed(5)
    inputs = [lq]
    for _ in range(2):
        sigma = (5 + 15 * torch.rand(2, 1, 1, 1)) / 255
        inputs.append(lq + sigma * torch.randn(2, 3, 8, 8))
    torch.manual_seed(5)
    train(model, 3, 3)
    with torch.no_grad():
        images = torch.stack([earlier(x) for x in inputs])
        teacher = model.step_losses.source.teacher.net(lq)
        expected = 0.1 * contrastive_loss(student(lq), teacher, lq, images, negatives="history").item()
    assert model.log_dict["l_history"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"student": {"reparameterize": True}},
        {"samples": {"zoom_in": 1, "zoom_out": True}},
        {"amp": {"precision": "bf16"}},
    ],
    ids=str,
)
def test_a_resumed_run_has_the_same_history(opt, tmp_path, changes):
    opt["student"] = changes.get("student", {})
    opt["train"].update({key: value for key, value in changes.items() if key != "student"})
    torch.manual_seed(0)
    whole = train(tiny.model(opt, tmp_path), 1, 5)
    torch.manual_seed(0)
    train(tiny.model(opt, tmp_path), 1, 3).save(0, 3)
    again = tiny.resumed_model(opt, tmp_path, 3)
    train(again, 4, 5)
    assert all(torch.equal(a, b) for a, b in zip(whole.net_g.parameters(), again.net_g.parameters()))
    ours, theirs = again.history.net.state_dict(), whole.history.net.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert not all(torch.equal(ours[name], value) for name, value in fused_state_dict(whole.net_g).items())


def test_it_costs_nothing_where_no_term_reads_it(opt, tmp_path):
    """Neither a network nor, in iterations in which the term does not count, a pass or a random number."""
    opt["train"]["distill_opt"]["history"]["start"] = 3
    model = tiny.model(opt, tmp_path)
    model.history.net.forward = lambda x: pytest.fail("it ran")
    before = torch.get_rng_state()
    train(model, 1, 2)
    assert torch.equal(torch.get_rng_state(), before)
    opt["train"]["distill_opt"] = {"output": {"type": "L1Loss"}}
    model = tiny.model(opt, tmp_path)
    assert model.history is None
    assert "history" not in model._own_state()


def test_its_cost_is_logged_once(opt, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(history, "get_root_logger", lambda: SimpleNamespace(info=told.append))
    model = train(tiny.model(opt, tmp_path), 1, 2)
    parameters = sum(p.numel() for p in model.net_g.parameters())
    assert len(told) == 1
    assert f"{parameters:,d} parameters" in told[0]
    assert "3 forward passes more per input" in told[0]
    assert "updated 2 times" in told[0]


def test_a_term_that_is_new_starts_with_the_student_of_now(opt, tmp_path):
    with_history = opt["train"]["distill_opt"]
    opt["train"]["distill_opt"] = {"output": {"type": "L1Loss"}}
    model = train(tiny.model(opt, tmp_path), 1, 3)
    model.save(0, 3)
    opt["train"]["distill_opt"] = with_history
    opt["path"]["pretrain_network_g"] = str(model.checkpoints.models / "net_g_3.pth")
    again = tiny.model(opt, tmp_path, seed=5)
    again.resume_training(torch.load(again.checkpoints.states / "3.state", weights_only=True))
    for name, value in model.net_g_ema.state_dict().items():
        assert torch.equal(again.history.net.state_dict()[name], value)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"every": []}, r"train\.history\.every = \[\]"),
        ({"every": [0]}, r"train\.history\.every = \[0\].*at least 1"),
        ({"every": [1000, 2000]}, r"every = \[1000, 2000\]: the history student would never .* Write smaller numbers"),
        ({"sigma": [30.0, 1.0]}, r"train\.history\.sigma = \[30\.0, 1\.0\]: .*two numbers that rise"),
        ({"sigma": [1.0]}, r"train\.history\.sigma = \[1\.0\]"),
        ({"keep": 1.0}, r"train\.history\.keep = 1\.0"),
        ({"noise": 3}, "Did you mean 'noised'"),
    ],
    ids=str,
)
def test_bad_options(opt, tmp_path, section, message):
    opt["train"]["history"] = section
    with pytest.raises(OptionsError, match=message):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_a_section_that_no_term_reads_is_one_warning(opt, tmp_path):
    assert not run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path)).warnings
    opt["train"]["distill_opt"] = {"output": {"type": "L1Loss"}}
    warnings = run_checks.check(tiny.parsed(opt, tmp_path)).warnings
    assert warnings == ["train.history is read by no term: it is for losses with negatives: history."]


def test_one_image_per_batch_has_negatives(opt, tmp_path):
    opt["datasets"]["train"]["batch_size_per_gpu"] = 1
    run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path))
    opt["train"]["distill_opt"]["history"]["negatives"] = "teacher"
    with pytest.raises(OptionsError, match="needs 2 images"):
        run_checks.check(tiny.parsed(opt, tmp_path))
