"""Which runs come after which, told by the files that their options name."""

import pytest

from srkd_plugin.errors import InputError
from srkd_plugin.tables.run_order import reads_of, stages

NAMES = ("t_a_s0", "t_a_s1", "t_teacher")


def test_the_runs_whose_files_are_named_anywhere_in_the_options():
    options = {
        "name": "t_b_s0",
        "path": {"pretrain_network_g": "experiments/t_a_s0/models/net_g_latest.pth", "resume_state": None},
        "others": [{"file": "experiments/t_teacher/models/net_g_500.pth"}, 3, "experiments/of_another_table/x.pth"],
        "text": ["t_a_s1", "experiments/t_a_s1", "results/t_a_s1/x.pth", "datasets/experiments/t_a_s1/x.pth"],
    }
    assert list(reads_of(options, NAMES)) == ["t_a_s0", "t_teacher"]
    assert list(reads_of(None, NAMES)) == []


def test_a_run_is_one_stage_after_the_last_that_it_waits_for():
    after = {"a": [], "b": ["a"], "c": ["a", "b"], "d": [], "e": ["d"]}
    assert stages(after) == {"a": 0, "b": 1, "c": 2, "d": 0, "e": 1}


def test_runs_that_wait_for_each_other_are_named():
    with pytest.raises(InputError, match=r"methods = '(a -> b -> a|b -> a -> b)': these runs wait for each other's"):
        stages({"a": ["b"], "b": ["a"], "c": []})
