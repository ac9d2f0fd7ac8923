"""Order, ratios and tables of benchmarks; nothing is timed here."""

import pytest
import torch

from srkd_plugin.utils import benchmark


def test_rounds_are_interleaved_and_begin_with_another_step():
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "abc"}
    clock = iter(range(100))

    def timer(step):
        step()
        return float(next(clock))

    seconds = benchmark.interleaved(steps, repeats=3, warm_up=2, timer=timer)

    assert "".join(calls) == "aabbcc" + "abc" + "bca" + "cab"
    assert seconds == {"a": [0, 5, 7], "b": [1, 3, 8], "c": [2, 4, 6]}


def test_ratios_are_of_the_same_round():
    """A machine that is three times slower in one round changes no ratio."""
    found = benchmark.ratios({"stock": [1.0, 3.0, 1.0], "live": [2.0, 6.0, 2.5]}, "stock")
    assert found["stock"] == benchmark.Spread(1.0, 1.0, 1.0)
    assert found["live"] == benchmark.Spread(2.0, 2.0, 2.25)


def test_a_single_repetition_is_its_own_spread():
    assert benchmark.Spread.of([0.5]) == benchmark.Spread(0.5, 0.5, 0.5)
    assert str(benchmark.Spread.of([0.5])) == "0.500 (0.500 to 0.500)"


def test_the_peak_counts_what_a_step_frees_again():
    size = 64 << 20

    def prepare():
        return lambda: torch.zeros(size, dtype=torch.uint8).add_(1).sum()

    assert benchmark.peak_bytes(prepare, 1, torch.device("cpu")) > 0.9 * size


def test_table():
    assert benchmark.table([["1", "2"]], ["a", "b"]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_events_measure_something():
    x = torch.rand(512, 512, device="cuda")
    assert benchmark.cuda_timer(lambda: x @ x) > 0
