"""Order, ratios and tables of benchmarks; nothing is timed here."""

import importlib.util
import json
import re
import sys

import cached
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc here")
def test_growth_counts_what_a_step_frees_again_and_not_what_was_there():
    size, before = 64 << 20, torch.ones(64 << 20, dtype=torch.uint8)
    grown = timing.growth_bytes(lambda: torch.zeros(size, dtype=torch.uint8).add_(1))
    assert 0.9 * size < grown < 1.5 * size
    assert before.numel() == size


def test_spreads_are_shown_in_any_format():
    values = [1000.0, 2000.0, 3000.0]
    assert f"{timing.Spread.of(values):,.0f}" == "2,000 (1,500 to 2,500)"
    assert f"{timing.Spread.whole(values):.1f}" == "2000.0 (1000.0 to 3000.0)"
    assert str(timing.Spread.of(values)) == "2000.000 (1500.000 to 2500.000)"


def test_steps_may_tell_their_own_seconds():
    values = iter([1.0, 3.0, 2.0, 4.0])
    steps = {"a": lambda: next(values), "b": lambda: next(values)}
    assert timing.interleaved(steps, 2, 0, timing.told) == {"a": [1.0, 4.0], "b": [3.0, 2.0]}


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", tiny.PROJECT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "sizes", "arguments", "heading"),
    [
        ("resize", ((48, 60),), ["--repeats", "2"], "| | 60x48 |"),
        ("affinity", ((4, 2),), ["--channels", "4"], "| maps | batch | HW | naive | chunked | ratio |"),
    ],
)
def test_the_other_benchmarks_print_a_table(name, sizes, arguments, heading, monkeypatch, capsys):
    module = load(name)
    monkeypatch.setattr(module, "SIZES", sizes)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(module, "_in_a_process", lambda *_: 2.0, raising=False)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    module.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == heading
    assert len(lines) > 2
    assert all(line.count("|") == heading.count("|") for line in lines)


def test_the_loaders_benchmark_prints_a_table(data, teacher_file, cache, tmp_path, monkeypatch, capsys):
    file = tiny.write_options(cached.options(data, teacher_file, cache), tmp_path / "cached.yml")
    arguments = ["--workers", "0", "--batches", "2", "--repeats", "2"]
    monkeypatch.setattr(sys, "argv", ["loader", "-opt", str(file), *arguments])
    assert load("loader").main() == 0
    heading, _, row = capsys.readouterr().out.splitlines()
    assert heading == "| workers | PairedImageDataset, images/s | TeacherCacheDataset, images/s | ratio |"
    rate = r"[\d,]+ \([\d,]+ to [\d,]+\)"
    assert re.fullmatch(rf"\| 0 \| {rate} \| {rate} \| [\d.]+ \|", row)


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
    module = load("steps")
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
