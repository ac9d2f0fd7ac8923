"""A browser and pages that the tests of this folder share."""

import browser
import pytest
import report_cases
import tiny

from srkd_plugin.cli.main import main
from srkd_plugin.report.table_page import write_table_page

MANY = {f"Set_{number}": (f"an_image_with_a_long_name_{number}", f"x{number}") for number in range(8)}


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    with browser.running(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """A table with crops, the published results, a comparison, and a table with many sets and long names."""
    root = tmp_path_factory.mktemp("table")
    file = report_cases.write_table(root, report_cases.EVIL, report_cases.EVIL)
    write_table_page(report_cases.finish(root, file), root / "photos.html")
    cpu = [str(tiny.PROJECT / "options/tables/cpu.yml"), "--results", str(tiny.PROJECT / "docs/results/cpu")]
    assert main(["table", "report", *cpu, "--out", str(root / "cpu"), "--html", str(root / "cpu.html")]) == 0
    folders = ["--gt", str(root / "data/S/HR"), "--lq", str(root / "data/S/LR"), "--scale", "2"]
    systems = [f"--system={s}={root}/results/t_{s}_s0_test/visualization/S" for s in ("none", "good")]
    assert main(["compare", *folders, *systems, "--html", str(root / "compare.html")]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_cases, "SETS", MANY)
        file = report_cases.write_table(root / "wide", "a row with a_very_long_label " * 4)
        write_table_page(report_cases.finish(root / "wide", file), root / "wide.html")
    return root
