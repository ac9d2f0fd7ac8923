"""Profiles of options files; how long something takes is never asked."""

import sys

import pytest
from tiny import STUDENT, TEACHER

from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.student_file import StudentFile, write_student
from srkd_plugin.profiling import profile as profiling
from srkd_plugin.profiling import report, timed_models
from srkd_plugin.profiling.profile import LQ_SIZES, Wishes, profile
from srkd_plugin.utils.timing import Spread

OPT = {"scale": 2, "network_g": STUDENT, "network_t": TEACHER}
COUNTED = Wishes(latency=False)
TIMED = Wishes(outputs=[(64, 48)], lq=(16, 12), rounds=2)


@pytest.fixture
def torch_only(monkeypatch):
    monkeypatch.setattr(timed_models, "RUNTIMES", {"torch float32": timed_models.RUNTIMES["torch float32"]})
    monkeypatch.setattr(profiling, "usable_threads", lambda: 2)
    monkeypatch.setattr(profiling, "PAUSE", 0.0)


def student_file(network, scale):
    return StudentFile(network, scale, build_described("network_g", network).state_dict())


def test_student_and_teacher_are_counted_at_both_sizes():
    found = profile(OPT, COUNTED)
    assert [(one.role, one.type, one.receptive_field) for one in found.networks] == [
        ("student", "EDSR", 6),  # 1 + 2 + 1 convolutions, and those of the upsampler and behind it, in LQ pixels
        ("teacher", "EDSR", 8),
    ]
    for one in found.networks:
        assert [(cost.lq_width, cost.lq_height) for cost in one.costs] == [(640, 360), (960, 540)]
        assert one.costs[1].macs == one.costs[0].macs * 2.25
    assert found.latencies == () and found.notes == ()


def test_sides_that_the_scale_does_not_divide_are_rounded_up():
    found = profile({"scale": 3, "network_g": {**STUDENT, "upscale": 3}}, COUNTED)
    assert [(cost.lq_width, cost.lq_height) for cost in found.networks[0].costs] == [(427, 240), (640, 360)]
    text = report.markdown(found)
    assert "| GMACs, 1280x720 (LQ 427x240) |" in text
    assert "student / teacher" not in text


def test_the_table_has_ratios_to_the_teacher():
    found = profile(OPT, COUNTED)
    student, teacher = (one.costs[0] for one in found.networks)
    lines = report.markdown(found).splitlines()
    assert lines[0] == "| | student | teacher | student / teacher |"
    (macs,) = [line for line in lines if line.startswith("| GMACs, 1280x720 (LQ 640x360)")]
    assert macs.split("|")[2:5] == [
        f" {student.macs / 1e9:.4g} ",
        f" {teacher.macs / 1e9:.4g} ",
        f" {student.macs / teacher.macs:.3g} ",
    ]


@pytest.mark.usefixtures("torch_only")
def test_each_runtime_and_number_of_threads_is_compared_with_the_teachers():
    found = profile(OPT, TIMED)
    assert (found.lq, found.rounds) == ((16, 12), 2)
    assert [(one.runtime, one.threads, one.reference) for one in found.latencies] == [
        ("torch float32", 1, "teacher, torch float32"),
        ("torch float32", 2, "teacher, torch float32"),
    ]
    assert all(one.student.median > 0 and one.teacher.median > 0 for one in found.latencies)


@pytest.mark.usefixtures("torch_only")
def test_exported_files_are_compared_with_torch(tmp_path):
    file = tmp_path / "net.safetensors"
    write_student(file, student_file(STUDENT, 2))
    wishes = Wishes(outputs=[(64, 48)], lq=(16, 12), rounds=1, models=[file])
    for opt, reference in ((OPT, "teacher, torch float32"), ({**OPT, "network_t": None}, "student, torch float32")):
        first = profile(opt, wishes).latencies[0]
        assert (first.runtime, first.threads, first.reference) == ("net.safetensors (torch)", 1, reference)
        assert first.teacher is None
    write_student(file, student_file({**STUDENT, "upscale": 3}, 3))
    with pytest.raises(InputError, match="it is of x3 and 3 channels, and the student of x2 and 3"):
        profile(OPT, wishes)


def test_ratios_are_of_the_same_round():
    models = [timed_models.TimedModel(role, "torch float32", 1, None) for role in ("student", "teacher")]
    seconds = {"student, torch float32, 1": [1.0, 3.0, 1.5], "teacher, torch float32, 1": [2.0, 6.0, 3.0]}
    (found,) = profiling._latencies(models, seconds)
    assert found.ratio == Spread(0.5, 0.5, 0.5)
    assert found.student == Spread(1.5, 1.25, 2.25)


@pytest.mark.usefixtures("torch_only")
def test_what_cannot_run_a_network_is_a_note(monkeypatch):
    def missing(job):
        raise InputError("package", "ncnn", "running it needs it", "Install it.")

    monkeypatch.setitem(timed_models.RUNTIMES, "ncnn", missing)
    found = profile(OPT, TIMED)
    line = "student not timed in ncnn: package = 'ncnn': running it needs it. Install it."
    assert found.notes == (line, line.replace("student", "teacher"))
    assert f"- {line}" in report.markdown(found)


def test_without_onnx_a_note_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr(
        timed_models,
        "RUNTIMES",
        {name: timed_models.RUNTIMES[name] for name in ("torch float32", "onnxruntime float32")},
    )
    (note,) = profile({"scale": 2, "network_g": STUDENT}, TIMED).notes
    assert note.startswith("student not timed in onnxruntime float32: package = 'onnx': ") and "pip install" in note


def test_large_networks_are_timed_on_smaller_images():
    small = profiling._network(OPT, "student")
    large = profiling._network({"scale": 2, "network_t": {**TEACHER, "num_feat": 256, "num_block": 3}}, "teacher")
    assert profiling._affordable({"student": small}) == LQ_SIZES[0]
    assert profiling._affordable({"student": small, "teacher": large}) == (160, 90)


@pytest.mark.parametrize(
    ("opt", "message"),
    [
        ({"scale": 2}, "network_g is missing: a section with a type is expected"),
        ({"scale": 3, "network_g": STUDENT}, "it makes no images of 3 times the size"),
        ({"scale": 2, "network_g": STUDENT, "network_t": {"type": "EDSR", "no": 1}}, "network_t"),
    ],
)
def test_networks_that_cannot_be_profiled_are_refused(opt, message):
    with pytest.raises(OptionsError, match=message):
        profile(opt, COUNTED)
