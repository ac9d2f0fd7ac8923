"""The page of a table: its figures are those of table.json, what is missing is said, and text of others stays text."""

import errno
import json
import shutil
import sys
from dataclasses import replace
from statistics import fmean

import cv2
import pytest
import report_cases
import tiny

from srkd_plugin.cli.main import main
from srkd_plugin.report import crops, image_gains
from srkd_plugin.report.render import LARGEST, render
from srkd_plugin.report.setting import setting
from srkd_plugin.report.source import Source, missing_runs
from srkd_plugin.report.table_page import TEMPLATE, page_content
from srkd_plugin.tables.plan import Run, plan_runs, read_table
from srkd_plugin.tables.report import as_json
from srkd_plugin.tables.results import CurvePoint, Results

CPU = [str(tiny.PROJECT / "options/tables/cpu.yml"), "--results", str(tiny.PROJECT / "docs/results/cpu")]


@pytest.fixture
def source(tmp_path):
    return report_cases.finish(tmp_path, report_cases.write_table(tmp_path))


def page_of(source):
    return report_cases.Page(render(TEMPLATE, page_content(source)))


def rows_of(html, table="results"):
    """``{row: [attributes of its cells of sets]}`` of the tables of a class."""
    found, row = {}, None
    for tag, attributes, _ in report_cases.Page(html).elements:
        if tag == "table":
            inside = attributes.get("class") == table
        elif tag == "tr" and inside:
            row = attributes.get("data-row")
        elif tag == "td" and inside and row and "data-set" in attributes:
            found.setdefault(row, []).append(attributes)
    return found


def test_the_figures_are_those_of_the_json(tmp_path):
    assert main(["table", "report", *CPU, "--out", str(tmp_path / "out"), "--html", str(tmp_path / "page.html")]) == 0
    html = (tmp_path / "page.html").read_text("utf-8")
    assert len(html) < 1_000_000
    figures = json.loads((tmp_path / "out/table.json").read_text())
    compared = 0
    for name, cells in rows_of(html).items():
        for psnr, gain in zip(cells[::2], cells[1::2]):
            one = figures["methods"][name][psnr["data-set"]]
            assert float(psnr["data-value"]) == one["mean"]
            wanted = one["difference"] and one["difference"]["over_seeds"]["mean"]
            assert (float(gain["data-value"]) if gain["data-value"] else None) == wanted
            compared += 1
    assert compared == 3 * (len(figures["methods"]) + 2 * 6), "bicubic and the teacher are in each of seven groups"
    page = report_cases.Page(html)
    (inside,) = page.all("script", id="figures")
    assert json.loads(inside[1]) == figures
    assert "stored results (CSV), which have no images" in page.text
    assert "Missing" not in page.text and "97 of 97 runs" in page.text
    assert page.all("img") == []


def test_the_same_results_give_the_same_page(source):
    assert render(TEMPLATE, page_content(source)) == render(TEMPLATE, page_content(source))


def test_text_of_others_stays_text(tmp_path):
    """A label, a title and an option that are HTML, and a name of an image that is."""
    file = report_cases.write_table(tmp_path, report_cases.EVIL, report_cases.EVIL)
    source = report_cases.finish(tmp_path, file)
    page = page_of(source)
    assert page.text.count("<img src=x onerror=alert(1)>") > 10
    scripts = [about for about, _ in page.all("script")]
    assert sum("type" not in about for about in scripts) == 1, "the page's own"
    assert all(about["src"].startswith("data:image/png;base64,") for about, _ in page.all("img") if "src" in about)
    assert not [about for _, about, _ in page.elements if any(name.startswith("on") for name in about)]
    for about, text in page.all("script", type="application/json"):
        assert json.loads(text), about


def test_labels_of_systems_on_the_command_line_stay_text(tmp_path):
    file = report_cases.write_table(tmp_path)
    report_cases.finish(tmp_path, file)
    systems = {report_cases.EVIL.replace("=", " "): "t_good_s0_test", "none": "t_none_s0_test"}
    named = [f"--system={name}={tmp_path}/results/{run}/visualization/S" for name, run in systems.items()]
    folders = ["--gt", str(tmp_path / "data/S/HR"), "--lq", str(tmp_path / "data/S/LR"), "--scale", "2"]
    assert main(["compare", *folders, *named, "--html", str(tmp_path / "page.html")]) == 0
    page = report_cases.Page((tmp_path / "page.html").read_text("utf-8"))
    assert "<img src x onerror alert(1)>" in page.text
    assert sum("type" not in about for about, _ in page.all("script")) == 1


def test_what_is_missing_is_said_while_the_table_is_trained(tmp_path, monkeypatch, capsys):
    file = report_cases.write_table(tmp_path)
    source = report_cases.finish(tmp_path, file)
    log = source.machine.folder / "logs/t_late_s0_train.txt"
    log.write_text("INFO: [t][epoch:  0, iter:   1,500, lr:(1e-3,)] l_pix: 1\n\t # psnr: 30.5000\n")
    (log.parent / "t_late_s1_train.txt").write_text("# python train.py: exit code 0 after 1.00 s\n")
    monkeypatch.chdir(tmp_path)
    assert main(["table", "report", str(file), "--html", "page.html"]) == 0
    assert "5 of 7 runs" in capsys.readouterr().out
    page = report_cases.Page((tmp_path / "page.html").read_text("utf-8"))
    missing = [text for _, text in page.all("li") if text.startswith("late, seed")]
    assert missing == [
        "late, seed 0: begun: iteration 1,500 of 2,000; last validation 30.500 dB",
        "late, seed 1: trained, not tested yet",
    ]
    assert "5 of 7 runs have all their results" in page.text


def test_a_table_of_which_nothing_is_finished_has_a_page(tmp_path, monkeypatch):
    file = report_cases.write_table(tmp_path)
    (tmp_path / "tables/t").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert main(["table", "report", str(file), "--html", "page.html"]) == 0
    text = report_cases.Page((tmp_path / "page.html").read_text("utf-8")).text
    assert "0 of 7 runs" in text and "good one, seed 1: not started" in text
    assert "No run has results yet." in text


def test_a_teacher_without_a_row_is_not_missing(source):
    teacher = source.table.teacher.model_copy(update={"file": None, "weights": "w.pth", "test": False})
    students = [one for one in source.results.images if one.method != "teacher"]
    table = source.table.model_copy(update={"teacher": teacher})
    missing = missing_runs(Source(source.file, table, Results(students, [], [])))
    assert [(one.method, one.seed) for one in missing] == [("late", 0), ("late", 1)]


def test_a_set_that_a_run_was_not_tested_on_is_named(tmp_path):
    file = report_cases.write_table(tmp_path)
    source = report_cases.finish(tmp_path, file, ("teacher", "none", "good", "late"))
    fewer = [one for one in source.results.images if (one.method, one.seed, one.set) != ("good", 1, "U")]
    text = page_of(type(source)(file, source.table, type(source.results)(fewer, [], source.results.runs))).text
    assert "good one, seed 1: not tested on U" in text and "6 of 7 runs" in text


def test_a_table_that_was_not_begun_here_is_refused(tmp_path, monkeypatch, capsys):
    file = report_cases.write_table(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = tiny.tree(tmp_path)
    assert main(["table", "report", str(file), "--html", "page.html"]) == 2
    assert capsys.readouterr().err.startswith("error: --results is missing: and there is no tables/t")
    assert tiny.tree(tmp_path) == before


def test_without_jinja2_one_line_says_what_to_install_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.chdir(tmp_path)
    assert main(["table", "report", *CPU, "--out", "out", "--html", "page.html"]) == 2
    errors = capsys.readouterr().err
    assert "pip install 'srkd-plugin[report]'" in errors and errors.count("\n") == 1
    assert tiny.tree(tmp_path) == {}


def test_a_page_that_is_a_folder_is_refused(tmp_path, capsys):
    assert main(["table", "report", *CPU, "--out", str(tmp_path / "out"), "--html", str(tmp_path)]) == 2
    assert "--html" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_many_sets_are_in_several_figures_that_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(report_cases, "SETS", {f"S{number}": (f"a{number}", f"b{number}") for number in range(4)})
    content = page_content(report_cases.finish(tmp_path, report_cases.write_table(tmp_path)))
    panels = [[panel.title for panel in plot.panels] for plot in content["groups"][0]["plots"]]
    assert panels == [["S0", "S1", "S2"], ["S3"]]
    labels = [about.get("aria-label", "") for about, _ in report_cases.Page(render(TEMPLATE, content)).all("svg")]
    assert sum(label.startswith("Gains, Methods, ") for label in labels) == 2


def test_values_of_many_validations_are_in_several_tables_that_fit(source):
    curves = [CurvePoint("good", 0, 100 * step, 30 + step / 10) for step in range(1, 31)]
    page = page_of(Source(source.file, source.table, Results(source.results.images, curves, source.results.runs)))
    starts = [
        about["aria-label"] for about, _ in page.all("div", role="region") if "values from" in about["aria-label"]
    ]
    assert starts == [f"Methods, values from {first} iterations" for first in ("100", "1,300", "2,500")]
    values = [text for _, text in page.all("td")]
    assert all(values.count(f"{30 + step / 10:.3f}") == 1 for step in range(1, 31))


def test_provenance_has_options_commands_versions_and_hashes(source):
    page = page_of(source)
    cells = [text for _, text in page.all("code")]
    assert "train.pixel_opt.loss_weight" in cells and "2.0" in cells and "(not there)" in cells
    assert f"srkd table run {source.file} --methods good" in [text for _, text in page.all("pre")]
    assert "BasicSR 1.4.2, PyTorch 2.1.0, TorchVision 0.16.0" in page.text
    assert sum(len(text) == 64 for text in cells) >= 2, "the table's file and the options file"


def test_options_files_that_are_not_there_leave_the_figures(source, tmp_path):
    elsewhere = tmp_path / "alone/t.yml"
    elsewhere.parent.mkdir()
    shutil.copy(source.file, elsewhere)
    content = page_content(type(source)(elsewhere, source.table, source.results))
    assert content["origins"] == [] and "student.yml" in content["why_no_origins"]
    assert content["figures"] == as_json(source.table, source.results)
    render(TEMPLATE, content)


def test_the_crops_are_of_all_finished_systems_and_chosen_by_the_pair(source):
    content = page_content(source)
    assert content["pair"] == ("good", "none")
    assert {crop.set for crop in content["crops"]} == {"S", "U"}
    for crop in content["crops"]:
        assert [picture.system for picture in crop.pictures] == [crops.HR, "bicubic", "teacher", "none", "good"]
        assert crop.pictures[4].psnr > crop.pictures[3].psnr, "good is nearer to HR everywhere"


def test_images_that_are_gone_leave_the_page_without_crops(source):
    shutil.rmtree(source.machine.root / "results/t_good_s0_test")
    content = page_content(source)
    assert content["crops"] == [] and "t_good_s0_test" in content["why_no_crops"]
    assert "There are no crops" in render(TEMPLATE, content)


def test_the_page_stays_below_its_bound(source, monkeypatch):
    whole = len(render(TEMPLATE, page_content(source)).encode())
    assert whole < LARGEST
    monkeypatch.setattr("srkd_plugin.report.table_page.LARGEST", whole - 60_000)
    assert len(render(TEMPLATE, page_content(source)).encode()) < whole - 60_000


def test_a_page_whose_tables_are_too_large_says_that_it_has_no_crops(source, tmp_path, monkeypatch, capsys):
    for module in ("table_page", "compare_page", "render"):
        monkeypatch.setattr(f"srkd_plugin.report.{module}.LARGEST", 10_000)
    monkeypatch.chdir(source.machine.root)
    systems = [f"--system={s}=results/t_{s}_s0_test/visualization/S" for s in ("none", "good")]
    page = tmp_path / "page.html"
    for command in (
        ["table", "report", str(source.file)],
        ["table", "report", str(source.file), "--results", "tables/t"],
        ["compare", "--gt", "data/S/HR", "--lq", "data/S/LR", "--scale", "2", *systems],
    ):
        assert main([*command, "--html", str(page)]) == 0
        said = f"more than the {0.01:.0f} MB of a page with crops, so that it has none."
        assert said in capsys.readouterr().out.splitlines()[-1]
        read = report_cases.Page(page.read_text("utf-8"))
        assert said in read.text and read.all("img") == []


def test_the_page_begins_with_title_and_setting(source):
    page = page_of(source)
    facts = dict(zip((text for _, text in page.all("dt")), (text for _, text in page.all("dd"))))
    assert [text for _, text in page.all("h1")] == ["Table t"]
    assert (facts["scale"], facts["iterations"], facts["student"]) == ("x2", "2,000", "EDSR")
    titled = Source(source.file, source.table.model_copy(update={"title": "Small & quick"}), source.results)
    assert [text for _, text in page_of(titled).all("h1")] == ["Small & quick"]


def test_the_setting_of_the_shipped_table_is_that_of_its_file():
    file = tiny.PROJECT / "options/tables/cpu.yml"
    assert setting(plan_runs(read_table(file), file)) == {
        "scale": "x2",
        "student": "EDSR, num_feat 16, num_block 4",
        "teacher": "EDSR, num_feat 32, num_block 8",
        "training images": "BSDS500 in datasets/BSDS500_120/BSDS500_train_HR_sub.lmdb",
        "batch": "16 crops of 48x48 HR pixels per process; 4 crops of 48x48 HR pixels per process (2 rows); "
        "32 crops of 48x48 HR pixels per process (2 rows)",
        "iterations": "2,000; 4,000 (1 row)",
    }


def test_the_page_says_what_the_last_quarter_gave(source):
    page = page_of(source)
    note = next(text for _, text in page.all("p") if "three quarters" in text)
    assert "learning rate" in note
    curves = [CurvePoint("good", 0, step, 30 + step / 1000) for step in (500, 1000)]
    (row,) = page_content(Source(source.file, source.table, Results([], curves, [])))["rising"]
    assert (row[0], row[1].get("mean"), row[1].get("half_width")) == ("good one", pytest.approx(0.25), None)


def test_many_different_values_are_counted():
    rows = [Run(f"r{n}", 0, f"r{n}", {"scale": 2, "train": {"total_iter": 10 + n // 2}}, {}) for n in range(9)]
    assert setting(rows) == {"scale": "x2", "iterations": "10; 11 (2 rows); 12 (2 rows); 2 others"}


def test_bicubic_and_the_teacher_are_compared_with_all_seeds_of_a_row(source):
    """They are stored with one seed, which the row has, too: its other seeds count as well."""
    images = [replace(one, seed=0) if one.method == "teacher" else one for one in source.results.images]
    psnr = {}
    for one in images:
        psnr.setdefault((one.method, one.image), []).append(one.psnr)
    assert len(psnr["good", "sea"]) == 2 and len(psnr["teacher", "sea"]) == 1
    for other in ("bicubic", "teacher"):
        wanted = fmean(psnr["good", "sea"]) - psnr[other, "sea"][0]
        there = image_gains.gains(*image_gains.paired_means(images, "good", other))
        back = image_gains.gains(*image_gains.paired_means(images, other, "good"))
        assert dict(there["U"])["sea"] == pytest.approx(wanted)
        assert dict(back["U"])["sea"] == pytest.approx(-wanted)
    systems = image_gains.for_script({name: name for name in ("bicubic", "teacher", "good")}, images, ["U"])["systems"]
    assert [(one["key"], one["paired"]) for one in systems] == [("bicubic", False), ("teacher", False), ("good", True)]


def test_a_run_that_failed_is_said_to_have(source):
    logs = source.machine.folder / "logs"
    logged = "INFO: [t][epoch:  0, iter:   1,500, lr:(1e-3,)] l_pix: 1\n"
    end = "# python x.py: exit code {} after 1.00 s, 1.00 s of CPU time\n"

    def states(*codes):
        for seed, code in enumerate(codes):
            (logs / f"t_late_s{seed}_train.txt").write_text(logged + end.format(code))
        return [one.state for one in missing_runs(source)]

    begun = "begun: iteration 1,500 of 2,000"
    assert states(1, 75) == [f"{begun}; its last command failed (exit code 1)", f"{begun}; asked to end, to be resumed"]
    (logs / "t_late_s0_test.txt").write_text("error\n" + end.format(2))
    assert states(0, 0) == ["trained, not tested yet; its last command failed (exit code 2)", "trained, not tested yet"]
    (logs / "t_late_s0_train.txt").write_text(
        logged + end.format(0) + "INFO: Start training from epoch: 0, iter: 0\n" + logged.replace("1,500", "  100")
    )
    assert states()[0] == "begun: iteration 100 of 2,000", "what is before is of another training"


def test_a_page_that_cannot_be_written_is_said_before_any_work(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    page = str(tmp_path / "file" / "page.html")
    assert main(["table", "report", *CPU, "--out", str(tmp_path / "out"), "--html", page]) == 2
    assert f"--html = {page!r}: it cannot be written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_old_page_stays_where_a_new_one_cannot_be_written(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.html"
    page.write_text("old")
    monkeypatch.setattr("srkd_plugin.utils.files.os.fsync", full_disk)
    assert main(["table", "report", *CPU, "--out", str(tmp_path / "out"), "--html", str(page)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert page.read_text() == "old" and [file.name for file in tmp_path.iterdir() if file.is_file()] == ["page.html"]


def full_disk(file):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_commands_of_a_page_are_for_a_shell(tmp_path):
    source = report_cases.finish(tmp_path, report_cases.write_table(tmp_path))
    file = source.file.rename(source.file.with_name("my table; ls.yml"))
    content = page_content(replace(source, file=file))
    assert content["command"] == f"srkd table run '{file}'"
    assert content["origins"][1].command == f"srkd table run '{file}' --methods none"
    assert ("", f"srkd table run '{file}'") in [
        (about.get("class", ""), text) for about, text in page_of(replace(source, file=file)).all("pre")
    ]


def test_an_image_of_another_size_than_it_had_leaves_the_page_without_crops(source):
    images = source.machine.root / "results/t_good_s0_test/visualization/S"
    file = next(images.iterdir())
    cv2.imwrite(str(file), cv2.imread(str(file))[:50, :60])
    content = page_content(source)
    assert not content["crops"]
    assert "good has it with 60 x 50 pixels, and HR with 128 x 96" in content["why_no_crops"]
