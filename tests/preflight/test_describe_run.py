"""The description of a run, from what its checks have found."""

from collections import Counter

import cached
import tiny

from srkd_plugin.images import find_pairs, lmdb_store


def test_what_trains_otherwise_is_a_line_each(data, teacher_file, tmp_path):
    from srkd_plugin.basicsr_patches.parse_options import parse_without_running
    from srkd_plugin.preflight.describe_run import describe, lines

    def said(student, train):
        opt = tiny.distill_options(data, teacher_file)
        opt["student"] = student
        opt["train"].update(train)
        file = tiny.write_options(opt, tmp_path / "o.yml")
        found = lines(describe({**parse_without_running(file, tmp_path, True), "auto_resume": False}))
        beginnings = ("student: 3x3", "student: starts", "samples: ", "ECO: ", "history: ", "INT8: ")
        return [line for line in found if line.startswith(beginnings)]

    assert said({}, {}) == []
    assert said({"reparameterize": True}, {"samples": {"zoom_in": 2, "zoom_out": True}}) == [
        "student: 3x3 convolutions train as branches, and are saved as plain ones",
        "samples: 2 zoomed-in blocks per image, zoomed-out crops",
    ]
    past = {"type": "ContrastiveLoss", "negatives": "history"}
    assert said(
        {"init": "teacher_slice", "by": "magnitude"},
        {"eco": {"end_iter": 3}, "history": {"every": [1, 2], "noised": 2}, "distill_opt": {"past": past}},
    ) == [
        "student: starts as a slice of the teacher (init: teacher_slice, by: magnitude)",
        "ECO: in the first 3 iterations inputs and targets go from the teacher's images to the data set's pairs",
        "history: an earlier student gives 3 images per input; it is updated 3 times (every: [1, 2], keep: 0.1)",
    ]
    other = {"network_g": dict(tiny.TEACHER), "pretrain_network_g": str(teacher_file)}
    assert said({"init": "teacher_slice", "cut_from": other}, {}) == [
        f"student: starts as a slice of {teacher_file} (init: teacher_slice, by: first)"
    ]


def test_each_folder_and_lmdb_is_listed_once(data, teacher_file, cache, tmp_path, monkeypatch):
    from srkd_plugin.basicsr_patches.parse_options import parse_without_running
    from srkd_plugin.preflight.describe_run import describe, lines

    listed = Counter()

    def counted(function):
        def count(option, folder):
            listed[folder.name] += 1
            return function(option, folder)

        return count

    monkeypatch.setattr(find_pairs, "list_folder", counted(find_pairs.list_folder))
    monkeypatch.setattr(lmdb_store, "read_meta_info", counted(lmdb_store.read_meta_info))
    file = tiny.write_options(cached.options(data, teacher_file, cache), tmp_path / "o.yml")
    opt = {**parse_without_running(file, tmp_path, True), "auto_resume": False}
    facts = describe(opt)
    assert [found["pairs"] for found in facts["data"]] == [6, 6]
    assert listed == {"HR.lmdb": 1, "LR.lmdb": 1, "HR": 1, "LR": 1}
    opened = [line for line in lines(facts) if line.startswith("student's file is opened by: ")]
    assert opened == [f"student's file is opened by: {facts['student_opened_by']}"]
    assert "spandrel (chaiNNer, ComfyUI) does not know its EDSR" in opened[0]
