"""What the last quarter of a training gave: against numpy's interpolation, and in report, JSON and page."""

import numpy as np
import pytest

from srkd_plugin.tables.report import as_json, markdown
from srkd_plugin.tables.results import CurvePoint, Results
from srkd_plugin.tables.table_sections import BenchmarkSet, Method, Table, TeacherRow
from srkd_plugin.tables.validation_curves import curves_by_run, gain_of_last_quarter, last_quarters, mean_curves


@pytest.fixture
def table():
    rows = {name: Method(file="s.yml") for name in ("none", "fast", "late")}
    sets = {"S": BenchmarkSet(dataroot_gt="a", dataroot_lq="b")}
    return Table(name="t", seeds=[0, 1], baseline="none", teacher=TeacherRow(file="t.yml"), methods=rows, sets=sets)


def test_the_gain_is_that_of_numpy():
    rng = np.random.default_rng(0)
    for count in (2, 3, 7, 40):
        steps = np.cumsum(rng.integers(1, 900, count))
        steps[0] = min(steps[0], int(0.7 * steps[-1]))
        psnr = rng.normal(30, 2, count)
        wanted = psnr[-1] - np.interp(0.75 * steps[-1], steps, psnr)
        found = gain_of_last_quarter(list(zip(steps.tolist(), psnr.tolist())))
        assert found == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("curve", [[], [(1000, 30.0)], [(800, 30.0), (1000, 31.0)]])
def test_without_a_validation_before_the_last_quarter_there_is_none(curve):
    assert gain_of_last_quarter(curve) is None


def test_a_validation_at_three_quarters_is_taken_as_it_is():
    assert gain_of_last_quarter([(250, 1.0), (750, 30.0), (1000, 30.5)]) == 0.5


def test_of_two_validations_at_one_iteration_the_last_counts():
    points = [(500, 29.0), (750, 1.0), (750, 30.0), (1000, 30.5)]
    curves = curves_by_run(Results([], [CurvePoint("none", 0, *point) for point in points], []))
    assert curves == {("none", 0): [(500, 29.0), (750, 30.0), (1000, 30.5)]}
    assert gain_of_last_quarter(curves["none", 0]) == 0.5


def test_a_mean_curve_is_over_the_seeds_that_were_validated_there():
    points = [(0, 500, 29.0), (0, 500, 30.0), (1, 1000, 32.0), (1, 500, 31.0), (0, 1000, 31.0), (0, 1500, 33.0)]
    results = Results([], [*(CurvePoint("none", *point) for point in points), CurvePoint("fast", 0, 500, 9.0)], [])
    curves = mean_curves(results)
    assert curves["none"] == [(500, 30.5), (1000, 31.5), (1500, 33.0)]  # of two at 500 the last counts
    assert curves["fast"] == [(500, 9.0)] and "teacher" not in curves


def test_rows_have_the_mean_over_their_seeds_and_the_report_says_it(table):
    ends = {("teacher", 0): 0.0, ("none", 0): 0.4, ("none", 1): 0.8, ("fast", 0): -0.1}
    curves = [
        CurvePoint(m, s, i, 30 + (gain if i == 1000 else 0)) for (m, s), gain in ends.items() for i in (1000, 500)
    ]
    results = Results([], [*curves, CurvePoint("late", 0, 1000, 30.0)], [])
    found = last_quarters(table, results)
    assert {name: (one.mean, one.count) for name, one in found.items()} == {
        "teacher": (0.0, 1),
        "none": (pytest.approx(0.3), 2),
        "fast": (pytest.approx(-0.05), 1),
    }
    assert list(found) == ["teacher", "none", "fast"]
    text = markdown(table, results)
    assert "### Gain of the last quarter of the training" in text
    assert "| none | 2 | +0.300 (±1.271) |" in text and "| fast | 1 | -0.050 (one) |" in text
    assert as_json(table, results)["last_quarter"]["none"]["mean"] == pytest.approx(0.3)
    assert "last quarter" not in markdown(table, Results([], [], []))
