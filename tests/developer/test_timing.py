"""Order, ratios and tables of benchmarks; nothing is timed here."""

import importlib.util
import json
import sys

import pytest
import timing
import tiny
import torch


def test_rounds_are_interleaved_and_begin_with_another_step():
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "abc"}
    clock = iter(range(100))

    def timer(step):
        step()
        return float(next(clock))

    seconds = timing.interleaved(steps, repeats=3, warm_up=2, timer=timer)

    assert "".join(calls) == "aabbcc" + "abc" + "bca" + "cab"
    assert seconds == {"a": [0, 5, 7], "b": [1, 3, 8], "c": [2, 4, 6]}


def test_ratios_are_of_the_same_round():
    """A machine that is three times slower in one round changes no ratio."""
    found = timing.ratios({"stock": [1.0, 3.0, 1.0], "live": [2.0, 6.0, 2.5]}, "stock")
    assert found["stock"] == timing.Spread(1.0, 1.0, 1.0)
    assert found["live"] == timing.Spread(2.0, 2.0, 2.25)


def test_a_single_repetition_is_its_own_spread():
    assert timing.Spread.of([0.5]) == timing.Spread(0.5, 0.5, 0.5)
    assert str(timing.Spread.of([0.5])) == "0.500 (0.500 to 0.500)"


def test_the_peak_counts_what_a_step_frees_again():
    size = 64 << 20

    def prepare():
        return lambda: torch.zeros(size, dtype=torch.uint8).add_(1).sum()

    assert timing.peak_bytes(prepare, 1, torch.device("cpu")) > 0.9 * size


def test_table():
    assert timing.table([["1", "2"]], ["a", "b"]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_events_measure_something():
    x = torch.rand(512, 512, device="cuda")
    assert timing.cuda_timer(lambda: x @ x) > 0


def test_work_of_a_convolution():
    """3 to 5 channels, kernel 3, and then 5 to 2 at half the side."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.Conv2d(5, 2, 2, stride=2))
    flops, out, weights = timing.convolution_work(net)
    assert flops == 2 * 5 * 27 + 2 * 2 * 20 / 4
    assert out == 4 * (5 + 2 / 4)
    assert weights == 4 * (5 * 27 + 5 + 2 * 20 + 2)


@pytest.fixture
def script(monkeypatch):
    """benchmarks/steps.py at a tiny size; it sets things for the whole process, which are left alone."""
    spec = importlib.util.spec_from_file_location("benchmark_steps", tiny.PROJECT / "benchmarks" / "steps.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(module.SIZES, "cpu", {"teacher": (2, 12), "student": (1, 8), "batch": 2, "side": 8})
    monkeypatch.setattr(module, "_settle", lambda threads: None)
    return module


def test_every_step_of_the_script_trains(script, monkeypatch, tmp_path):
    def timer(step):
        step()
        return 1.0

    monkeypatch.setattr(script, "_timer", lambda args: timer)
    file = tmp_path / "figures.json"
    command = ["benchmark.py", "--device", "cpu", "--repeats", "2", "--no_memory", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", command)

    assert script.main() == 0

    figures = json.loads(file.read_text())
    assert figures["ratios"] == dict.fromkeys(("stock", "cached", "live", "floor_live", "naive", "loss"), 1.0)
    assert figures["batch"] == 2


@pytest.mark.usefixtures("script")
def test_the_scripts_broadcast_loss_is_ours_written_out():
    from step_kinds import broadcast_loss

    from srkd_plugin.losses.contrastive_loss import contrastive_loss

    torch.manual_seed(0)
    student, teacher = torch.rand(3, 3, 6, 8), torch.rand(3, 3, 6, 8)
    torch.testing.assert_close(broadcast_loss(student, teacher), contrastive_loss(student, teacher))


def test_the_options_part_runs_each_option_and_compares_the_loss(script, monkeypatch, tmp_path, capsys):
    for name in [name for name in script.OPTIONS if "compile" in name or "fp16" in name]:
        monkeypatch.delitem(script.OPTIONS, name)  # a compiler and a torch that are not everywhere
    calls = []

    def timer(step):
        step()
        calls.append(step)
        return 1.0

    monkeypatch.setattr(script, "_timer", lambda args: timer)
    file = tmp_path / "figures.json"
    monkeypatch.setattr(
        sys, "argv", ["benchmark.py", "--part", "options", "--device", "cpu", "--repeats", "2", "--json", str(file)]
    )

    assert script.main() == 0

    figures = json.loads(file.read_text())
    assert len(calls) == 2 * len(script.OPTIONS)
    assert figures["changes"]["live"] == 0.0
    assert 0 < abs(figures["changes"]["teacher: {precision: bf16}"]) < 0.1
    assert 0 < abs(figures["changes"]["train.amp: {precision: bf16}"]) < 0.1
    assert "| train.amp: {precision: bf16} | 1.000 (1.000 to 1.000) |" in capsys.readouterr().out
