"""The campaign itself, on a small program: it sees a workload that survives, and it sees one that does not."""

import random
import sys

import pytest
import tiny
import torch
from fault_campaign import Outcome, Workload, campaign, digest, report

COUNTS_TO_FIVE = """
import os, sys, time
for i in range(5):
    if not os.path.exists(f"{i}.txt"):
        time.sleep(0.1)
        with open("new", "w") as file:
            file.write(str(i) if FAITHFUL or i == 0 or os.getpid() == int(open("0.txt").read() or 0) else "other")
        os.replace("new", f"{i}.txt")
"""


def workload(faithful):
    code = COUNTS_TO_FIVE.replace("FAITHFUL", str(faithful))
    if not faithful:  # what it writes depends on the process that began
        code = code.replace("str(i) if", "str(os.getpid()) if i == 0 else str(i) if")

    def result(folder):
        return digest({p.name: p.read_text() for p in folder.glob("*.txt") if faithful or p.name != "0.txt"})

    return Workload("counting", [sys.executable, "-c", code], result)


def test_a_workload_that_goes_on_is_found_equal(tmp_path):
    outcome = campaign(workload(True), tmp_path / "faithful", 4, random.Random(1))
    assert (outcome.kills, outcome.faults) == (4, [])
    assert outcome.completions >= 1
    assert outcome.row() == ("counting", 4, 0, outcome.completions, "all equal")
    assert not outcome.failed


def test_a_workload_that_forgets_is_found_out(tmp_path):
    outcome = campaign(workload(False), tmp_path / "forgets", 8, random.Random(1))
    assert outcome.failed and "another result" in outcome.faults[0]


def test_a_command_that_fails_is_a_fault(tmp_path):
    fails = Workload("failing", [sys.executable, "-c", "raise SystemExit(3)"], lambda folder: "")
    assert "the undisturbed run failed" in campaign(fails, tmp_path / "fails", 1, random.Random(1)).faults[0]


@pytest.mark.parametrize("fault", ["skipped after all", "as expected it broke", "exit code 1"])
def test_a_fault_is_one_whatever_its_text_begins_with(fault):
    good = [Outcome("a"), Outcome("b", skipped="no disk"), Outcome("c", remark="as undisturbed, once it could write")]
    table, code = report(good)
    assert code == 0
    assert [line.split("|")[-2].strip() for line in table.splitlines()[2:]] == [
        "all equal",
        "skipped: no disk",
        "as undisturbed, once it could write",
    ]
    table, code = report([*good, Outcome("d", faults=[fault])])
    assert code == 1
    assert fault in table


def test_the_script_is_found_by_its_caller_and_from_anywhere(tmp_path):
    for script in ("soak/soak.py", "scripts/soak.py"):
        assert "--kills N" in tiny.run_ok(tiny.PROJECT / script, "--help", cwd=tmp_path)


def test_digests_tell_values_apart_bit_for_bit():
    values = [
        {"a": torch.zeros(2)},
        {"a": -torch.zeros(2)},
        {"a": torch.zeros(2, 1)},
        {"b": torch.zeros(2)},
        [1],
        [[1]],
    ]
    assert len({digest(value) for value in values}) == len(values)
    assert digest({"a": 1, "b": (torch.ones(3), "x")}) == digest({"b": [torch.ones(3), "x"], "a": 1})
