"""How soon a method has its baseline's PSNR, by hand."""

import pytest

from srkd_plugin.tables import report
from srkd_plugin.tables.results import CurvePoint, Results, RunResult
from srkd_plugin.tables.table_sections import BenchmarkSet, Method, Table, TeacherRow
from srkd_plugin.tables.time_to_quality import iterations_to, times_to_quality

CURVES = {
    ("none", 0): [30.0, 31.0, 32.0],
    ("none", 1): [30.0, 31.0, 33.0],
    ("fast", 0): [31.0, 33.0, 34.0],
    ("fast", 1): [32.0, 34.0, 35.0],
    ("slow", 0): [29.0, 31.0, 32.0],
    ("slow", 1): [29.0, 30.0, 31.0],
    ("first", 0): [32.5, 33.0, 34.0],
}
CPU = {"none": (100.0, 0.0), "fast": (200.0, 50.0), "slow": (0.0, 0.0), "first": (100.0, 0.0)}


@pytest.fixture
def table():
    methods = {name: Method(file="a.yml", label=name) for name in (*CPU, "never run")}
    sets = {"S": BenchmarkSet(dataroot_gt="a", dataroot_lq="b")}
    return Table(name="t", seeds=[0, 1], baseline="none", teacher=TeacherRow(file="t.yml"), methods=methods, sets=sets)


@pytest.fixture
def results():
    points = [
        CurvePoint(method, seed, 100 * i, psnr)
        for (method, seed), curve in CURVES.items()
        for i, psnr in reversed(list(enumerate(curve, 1)))
    ]
    runs = [RunResult(m, s, 10, 300, 1.0, *CPU[m]) for m, s in CURVES]
    return Results([], points, runs)


@pytest.mark.parametrize(
    ("psnr", "expected"), [(29.0, 100.0), (30.0, 100.0), (30.25, 125.0), (31.0, 200.0), (31.5, 300.0), (32.0, None)]
)
def test_iterations_are_linear_between_validations_and_the_first_crossing_counts(psnr, expected):
    assert iterations_to([(100, 30.0), (200, 31.0), (300, 31.5), (400, 31.2)], psnr) == expected


def test_a_run_without_validations_gets_nowhere():
    assert iterations_to([], 30.0) is None


def test_each_seed_is_compared_with_its_baseline(table, results):
    fast, slow, first = times_to_quality(table, results)
    assert (fast.method, fast.seeds, fast.reached, fast.at_most) == ("fast", 2, 2, False)
    assert fast.share.mean == pytest.approx(0.5)  # seed 0 is at 32 after 150 of 300 iterations, seed 1 at 33 after 150
    assert fast.cpu.mean == pytest.approx(0.5 * 2.0)
    assert fast.cpu_with_cache.mean == pytest.approx((150 * 200 / 300 + 50) / 100)
    assert (slow.seeds, slow.reached, slow.share.mean, slow.share.half_width) == (2, 1, 1.0, None)
    assert slow.cpu is None
    assert (first.reached, first.at_most, first.share.mean) == (1, True, pytest.approx(100 / 300))


def test_the_report_has_them(table, results):
    text = report.markdown(table, results).split("### Time to the baseline's PSNR")[1].split("\n### ")[0]
    lines = [line.split("|") for line in text.splitlines() if line.startswith("|")]
    rows = {line[1].strip(): [cell.strip() for cell in line[2:-1]] for line in lines}
    assert rows["fast"] == ["2 of 2", "0.50 (±0.00)", "1.00 (±0.00)", "1.50 (±0.00)"]
    assert rows["slow"] == ["1 of 2", "1.00 (one)", "", ""]
    assert rows["first"][1] == "at most 0.33 (one)"
    assert report.as_json(table, results)["time_to_quality"]["fast"]["share"]["mean"] == pytest.approx(0.5)
