"""The report: the figures in the Markdown and JSON are those of the results, by hand."""

import errno
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import cv2
import pytest
import tiny

from srkd_plugin.cli.main import main
from srkd_plugin.errors import OptionsError
from srkd_plugin.tables import plan, report
from srkd_plugin.tables.plots import budget_curves
from srkd_plugin.tables.results import FILES, CurvePoint, ImageResult, Results, RunResult, load, merged
from srkd_plugin.tables.table_sections import BenchmarkSet, Group, Method, Table, TeacherRow
from srkd_plugin.utils import figures
from srkd_plugin.utils.figures import plain

SEEDS = (0, 1, 2)


@pytest.fixture
def table():
    return Table(
        name="t",
        seeds=list(SEEDS),
        baseline="none",
        teacher=TeacherRow(file="t.yml", seed=9),
        methods={
            "none": Method(file="s.yml", label="no distillation"),
            "good": Method(file="g.yml", label="good one"),
            "bad": Method(file="b.yml"),
            "later": Method(file="l.yml"),
            "b4": Method(file="b.yml", group="batch"),
        },
        groups={"main": Group(title="Methods"), "batch": Group(title="Batch size", sets=["S"])},
        pairs=[["good", "bad"], ["later", "none"]],
        sets={"S": BenchmarkSet(dataroot_gt="a", dataroot_lq="b"), "T": BenchmarkSet(dataroot_gt="a", dataroot_lq="b")},
    )


@pytest.fixture
def results():
    """Results by seed and image: none 30 + seed + 10 image, good 0.2 more, bad 0.1 less or more, collapsed on T."""
    offset = {"none": [0, 0, 0], "good": [0.2, 0.2, 0.2], "bad": [0.1, -0.1, 0.0], "b4": [0.0, 0.0, 0.0]}
    images = [ImageResult("bicubic", 0, s, f"i{k}", 28.0 + k) for s in "ST" for k in range(2)]
    images += [ImageResult("teacher", 9, s, f"i{k}", 40.0 + k) for s in "ST" for k in range(2)]
    for method, gains in offset.items():
        for seed in SEEDS:
            for s in "ST":
                gain = -20.0 if (method, s) == ("bad", "T") else gains[seed]
                images += [ImageResult(method, seed, s, f"i{k}", 30.0 + seed + 10 * k + gain) for k in range(2)]
    curves = [CurvePoint(m, s, i, 30.0 + i / 1000) for m in ("none", "good") for s in SEEDS for i in (1000, 2000)]
    runs = [RunResult(m, s, 34115, 2000, 1.0) for m in offset for s in SEEDS] + [
        RunResult("teacher", 9, 195971, 8000, 9.0)
    ]
    return Results(images, curves, runs)


def row(markdown, label):
    return next(line for line in markdown.splitlines() if line.startswith(f"| {label} |"))


def test_the_rows_say_what_was_measured(table, results):
    text = report.markdown(table, results)
    assert row(text, "bicubic") == "| bicubic |  |  | 28.500 | 28.500 |"
    assert row(text, "teacher").startswith("| teacher | 1 | 195,971 | 40.500 |")
    assert row(text, "no distillation") == "| no distillation | 3 | 34,115 | 36.000 (1.000) | 36.000 (1.000) |"
    assert row(text, "good one").split(" | ", 3)[3].startswith("36.200 (1.000)<br>**+0.200 (±0.000 \\| ±0.000)**")
    assert "35.9" not in row(text, "bad") and "<br>-0.000" in row(text, "bad").replace("+0.000", "-0.000")
    assert "**-20.000" in row(text, "bad"), "worse without doubt is bold as well"


def test_names_and_titles_are_text_whatever_they_hold(table, results):
    evil = "<img src=x onerror=alert(1)> a|b\n| x |"
    methods = {**table.methods, "good": Method(file="g.yml", label=evil, budget="x")}
    groups = {**table.groups, "batch": Group(title=evil, sets=["S"])}
    measured = [RunResult("good", 0, 34115, 2000, 1.0, 100.0, 30.0)]
    results = Results(results.images, results.curves, [*results.runs, *measured])
    text = report.markdown(table.model_copy(update={"methods": methods, "groups": groups}), results)
    assert "<img" not in text and text.count("&lt;img src=x onerror=alert(1)&gt; a") == 6
    for block in (block for block in text.split("\n\n") if block.startswith("|")):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block


def test_rows_without_results_are_left_out_and_groups_are_tables_of_their_own(table, results):
    text = report.markdown(table, results)
    assert "later" not in text
    before, after = text.split("### Batch size")
    assert "b4" in after and "b4" not in before
    assert "| T |" not in after.split("###")[0], "the group shows S alone"


def test_pairs_are_differences_of_the_two(table, results):
    text = report.markdown(table, results).split("### Pairs")[1]
    (line,) = [line for line in text.splitlines() if line.startswith("| good one − bad")]  # noqa: RUF001
    assert "| 3 | +0.200 (±0.248" in line, "t(0.975, 2) * 0.1 / sqrt(3)"


def test_json_and_plots_are_written(table, results, tmp_path):
    report.write_report(table, results, tmp_path / "out")
    content = json.loads((tmp_path / "out/table.json").read_text())
    assert content["methods"]["good"]["S"]["difference"]["over_seeds"]["mean"] == pytest.approx(0.2)
    assert content["methods"]["none"]["S"]["seeds"] == {"0": 35.0, "1": 36.0, "2": 37.0}
    assert content["methods"]["none"]["S"]["difference"] is None
    assert len(content["pairs"]) == 4
    assert (tmp_path / "out/table.md").read_text().rstrip() == report.markdown(table, results)
    for name in ("gain.png", "curves.png"):
        assert cv2.imread(str(tmp_path / "out" / name)).std() > 10


def test_cpu_time_is_that_of_training_and_cache(table, results, tmp_path):
    """Two seeds of one row were measured: 100 and 140 s in 2,000 iterations, after a cache of 30 s."""
    assert "CPU time" not in report.markdown(table, results)
    methods = {**table.methods, "good": Method(file="g.yml", label="good one", budget="cached")}
    table = table.model_copy(update={"methods": methods})
    measured = [RunResult("good", seed, 34115, 2000, 1.0, 100.0 + 40 * seed, 30.0) for seed in (0, 1)]
    others = [run for run in results.runs if (run.method, run.seed) not in {("good", 0), ("good", 1)}]
    results = Results(results.images, results.curves, others + measured)
    assert "| good one | 2 | 2,000 | 120 | 30 | 150 |" in report.markdown(table, results)
    assert budget_curves(table, results) == {
        "cached, 2,000 iterations": [[(80.0, 31.0), (130.0, 32.0)], [(100.0, 31.0), (170.0, 32.0)]]
    }
    report.write_report(table, results, tmp_path)
    assert cv2.imread(str(tmp_path / "budget.png")).std() > 10


def test_parts_are_merged_in_the_order_of_the_table(table, results):
    """Seed 2 was made elsewhere, with bicubic and the teacher measured again, a hair from the first."""

    def part(name, keep):
        return [row for row in getattr(results, name) if keep(row)]

    far = Results(*(part(n, lambda r: r.seed == 2 or r.method in ("bicubic", "teacher")) for n in FILES))
    near = Results(*(part(n, lambda r: r.seed != 2) for n in FILES))
    moved = [replace(r, psnr=r.psnr + 5e-4) if r.method == "teacher" else r for r in far.images]
    found = merged({"near": near, "far": Results(moved, far.curves, far.runs)}, table)
    assert report.markdown(table, found) == report.markdown(table, results)
    assert sorted(map(str, found.images)) == sorted(map(str, results.images))
    students = [(r.seed, r.method) for r in found.runs if r.method != "teacher"]
    assert found.runs[0].method == "teacher"
    assert students == [(seed, m) for seed in SEEDS for m in ("none", "good", "bad", "b4")]


def test_parts_of_different_teachers_are_refused(table, results):
    moved = [replace(r, psnr=r.psnr + 0.01) if r.method == "teacher" else r for r in results.images]
    other = Results(moved, results.curves, results.runs)
    with pytest.raises(OptionsError, match=r"psnr of teacher 9 S i0 is 40.0 in A and 40.01 in B.* same teacher"):
        merged({"A": results, "B": other}, table)


def test_a_teacher_that_is_given_as_weights_in_one_part_is_the_one_that_was_trained_in_the_other(table, results):
    given = Results(*([replace(r, seed=0) for r in getattr(results, n) if r.method == "teacher"] for n in FILES))
    given = replace(given, runs=[replace(r, iterations=0, seconds=0.0) for r in given.runs])
    found = merged({"B": given, "A": results}, table)
    assert {image.seed for image in found.images if image.method == "teacher"} == {table.teacher.seed} == {9}
    assert [run.iterations for run in found.runs if run.method == "teacher"] == [8000]
    assert report.markdown(table, found) == report.markdown(table, results)
    other = replace(given, images=[replace(r, psnr=r.psnr + 0.01) for r in given.images])
    with pytest.raises(OptionsError, match=r"psnr of teacher \d+ S i0 is 40.0 in A and 40.01 in B.* same teacher"):
        merged({"A": results, "B": other}, table)


def test_results_of_another_table_are_refused(table, results):
    renamed = [replace(r, method=f"other_{r.method}") for r in results.images]
    with pytest.raises(OptionsError, match=r"--results = 'A': none of the methods of table \w+ has results there"):
        merged({"A": replace(results, images=renamed)}, table)


def test_the_command_merges_folders_and_writes_into_none_of_them(tmp_path):
    stored, out = tiny.PROJECT / "docs/results/cpu", tmp_path / "out"
    command = [sys.executable, "scripts/run_table.py", "report", "options/tables/cpu.yml"]
    command += ["--results", str(stored), str(stored)]
    how = {"cwd": tiny.PROJECT, "env": tiny.child_environment(), "capture_output": True, "text": True}
    refused = subprocess.run(command, **how)
    assert refused.returncode == 2
    assert "--out" in refused.stderr
    done = subprocess.run([*command, "--out", str(out)], **how)
    assert done.returncode == 0, done.stderr
    assert (out / "table.md").read_text() == (stored / "table.md").read_text()
    assert load(out) == load(stored)


STORED = sorted(file.parent for file in (tiny.PROJECT / "docs/results").glob("*/images.csv"))


@pytest.mark.parametrize("folder", STORED, ids=lambda f: f.name)
def test_the_published_table_is_that_of_its_csv(folder):
    table = plan.read_table(tiny.PROJECT / f"options/tables/{folder.name}.yml")
    text = report.markdown(table, load(folder))
    assert (folder / "table.md").read_text().rstrip() == text
    for block in text.split("\n\n")[1:]:
        assert block in (tiny.PROJECT / "docs/results.md").read_text()


def test_results_of_several_folders_are_not_mixed_with_the_csv_of_one(tmp_path, capsys):
    """Its table would be of all folders, and its CSV of one."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        shutil.copytree(tiny.PROJECT / "docs/results/cpu", folder)
    before = tiny.tree(tmp_path)
    file = str(tiny.PROJECT / "options/tables/cpu.yml")
    assert main(["table", "report", file, "--results", *map(str, folders), "--out", f"{tmp_path}/b/../a"]) == 2
    assert "results of several folders are not written into one of them" in capsys.readouterr().err
    assert tiny.tree(tmp_path) == before


def test_labels_are_drawn_as_they_are(table, results, tmp_path):
    """No formula, which could be wrong; and a legend that leaves no row out."""
    labels = {"none": "_none", "good": r"costs $\frac$ or $", "bad": "a|b_c"}
    methods = {name: row.model_copy(update={"label": labels.get(name)}) for name, row in table.methods.items()}
    methods["good"] = methods["good"].model_copy(update={"budget": r"$\frac$"})
    measured = [RunResult("good", 0, 34115, 2000, 1.0, 100.0, 30.0)]
    table = table.model_copy(update={"methods": methods})
    report.write_report(table, Results(results.images, results.curves, [*results.runs, *measured]), tmp_path)
    for name in ("gain.png", "curves.png", "budget.png"):
        assert cv2.imread(str(tmp_path / name)).std() > 10
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    axis.plot([1], label=plain("_none"))
    assert [text.get_text() for text in axis.legend().get_texts()] == [" _none"]


def test_without_matplotlib_there_is_a_report_without_pictures(table, results, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "can_draw", lambda: False)
    report.write_report(table, results, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["table.json", "table.md"]
    assert "There are no pictures: they need matplotlib" in capsys.readouterr().err


def test_an_old_picture_stays_where_a_new_one_cannot_be_written(table, results, tmp_path, monkeypatch):
    (tmp_path / "gain.png").write_bytes(b"old")

    def full_disk(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(figures, "write_atomically", full_disk)
    with pytest.raises(OSError, match="No space left"):
        report.write_report(table, results, tmp_path)
    assert (tmp_path / "gain.png").read_bytes() == b"old"


def test_curves_of_iteration_0_alone_end_nothing(table, results, tmp_path):
    """Earlier versions have stored such."""
    curves = [replace(point, iteration=0) for point in results.curves if point.iteration == 2000]
    report.write_report(table, Results(results.images, curves, results.runs), tmp_path)
    assert "| good one | 0 of 3 |" in (tmp_path / "table.md").read_text()
