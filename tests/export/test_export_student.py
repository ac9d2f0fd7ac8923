"""A student exported: what is written, by what it is checked, and that nothing is written where something is wrong."""

import errno
import os
import re
import resource
import sys

import numpy as np
import pytest
import tiny
import torch
import yaml

from srkd_plugin.cli.main import main
from srkd_plugin.errors import OptionsError
from srkd_plugin.export import export_student as exporting
from srkd_plugin.export.export_student import ExportRequest, export_student
from srkd_plugin.export.job import Wishes
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.student_file import read_student
from srkd_plugin.runtimes.open_model import open_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

WITHOUT_NCNN = ("ncnn",)


@pytest.fixture
def student(tmp_path, monkeypatch):
    """An options file and a weights file with EMA, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return make_student(tmp_path)


def make_student(folder, scale=2, seed=0, **changes):
    network = {**tiny.STUDENT, "upscale": scale, "res_scale": 0.5, **changes}
    states = {}
    for key in ("params", "params_ema"):
        torch.manual_seed(seed + len(states))
        states[key] = build_described("network_g", network).state_dict()
    torch.save(states, folder / "net_g_7.pth")
    opt = {"name": "stu", "scale": scale, "network_g": network}
    (folder / "o.yml").write_text(yaml.safe_dump(opt))
    return folder


def request(folder, **changes):
    given = {"options": folder / "o.yml", "weights": folder / "net_g_7.pth", "out": folder / "out"}
    wishes = changes.pop("wishes", {})
    return ExportRequest(**{**given, **changes}, wishes=Wishes(**{"without": WITHOUT_NCNN, **wishes}))


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_file_upscales_as_the_network(tmp_path, scale):
    folder = make_student(tmp_path, scale)
    written = export_student(request(folder), say=lambda line: None)
    net = build_described("network_g", yaml.safe_load((folder / "o.yml").read_text())["network_g"])
    net.load_state_dict(torch.load(folder / "net_g_7.pth")["params_ema"])
    lq = np.random.default_rng(1).random((2, 3, 21, 13), np.float32)
    expected = net(torch.from_numpy(lq)).detach().numpy()
    assert {file.name for one in written for file in one.files} >= {
        f"stu-x{scale}{suffix}" for suffix in (".onnx", ".pth", ".safetensors")
    }
    for one in written:
        assert one.max_error <= 1e-6
        for file in one.files:
            upscaler = open_model(file)
            assert upscaler.scale == scale
            assert np.abs(upscaler(lq) - expected).max() <= 1e-6


def test_the_onnx_file_says_what_it_is(student):
    export_student(request(student), say=lambda line: None)
    model = onnx.load(student / "out/stu-x2.onnx")
    facts = {one.key: one.value for one in model.metadata_props}
    assert (facts["scale"], facts["architecture"], facts["size_multiple"]) == ("2", "EDSR", "1")
    assert [one.version for one in model.opset_import if one.domain == ""] == [17]
    (given,), (made,) = model.graph.input, model.graph.output
    assert (given.name, made.name) == ("input", "output")
    shape = given.type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in shape] == ["batch", 3, "height", "width"]


def test_a_student_file_knows_its_run(student):
    export_student(request(student), say=lambda line: None)
    facts = read_student(student / "out/stu-x2.pth").facts
    assert (facts["run"], facts["iteration"], facts["weights"]["file"]) == ("stu", 7, "net_g_7.pth")
    assert facts["versions"]["torch"] == torch.__version__ and facts["teacher"] is None
    assert str(student) not in str(facts), "the same on every machine"


def test_fixed_sizes_and_half_precision(student):
    written = export_student(request(student, wishes={"fixed": (12, 20), "fp16": True}), say=lambda line: None)
    assert {"stu-x2-12x20.onnx", "stu-x2-fp16.onnx", "stu-x2-12x20-fp16.onnx"} <= set(names(student / "out"))
    lq = np.random.default_rng(2).random((1, 3, 12, 20), np.float32)
    expected = open_model(student / "out/stu-x2.pth")(lq)
    fixed = open_model(student / "out/stu-x2-12x20.onnx")
    assert fixed.fixed_size == (12, 20) and np.abs(fixed(lq) - expected).max() <= 1e-6
    half = onnx.load(student / "out/stu-x2-fp16.onnx")
    tensor = onnx.TensorProto
    ends = [*half.graph.input, *half.graph.output]
    assert [one.type.tensor_type.elem_type for one in ends] == [tensor.FLOAT] * 2
    assert {one.data_type for one in half.graph.initializer if one.dims} == {tensor.FLOAT16}
    error = np.abs(open_model(student / "out/stu-x2-fp16.onnx")(lq) - expected).max()
    assert 0 < error < 5e-3
    (told,) = [one for one in written if one.format == "ONNX float16"]
    assert 1e-6 < told.max_error < 5e-3


def test_half_precision_that_overflows_is_refused(tmp_path):
    folder = make_student(tmp_path)
    state = torch.load(folder / "net_g_7.pth")
    state["params_ema"]["conv_first.weight"] *= 1e4
    state["params_ema"]["conv_last.weight"] *= 1e-4
    torch.save(state, folder / "net_g_7.pth")
    with pytest.raises(OptionsError, match=r"--fp16 = 'stu-x2': float16 changes an output value by .*img_range: 1"):
        export_student(request(folder, wishes={"fp16": True}), say=lambda line: None)
    assert not (folder / "out").exists()


def test_which_weights_are_taken_is_said(student, capsys):
    export_student(request(student))
    assert "weights: params_ema of" in capsys.readouterr().out
    export_student(request(student, param_key="params", name="plain"))
    assert "weights: params of" in capsys.readouterr().out
    first, second = (read_student(student / "out" / name).weights for name in ("stu-x2.pth", "plain-x2.pth"))
    assert not torch.equal(first["conv_first.weight"], second["conv_first.weight"])


def test_the_newest_weights_of_the_run_are_the_default(student):
    with pytest.raises(OptionsError, match=r"--weights is missing: .*there is no experiments/stu/models/net_g_latest"):
        export_student(request(student, weights=None))
    (student / "experiments/stu/models").mkdir(parents=True)
    (student / "net_g_7.pth").rename(student / "experiments/stu/models/net_g_latest.pth")
    export_student(request(student, weights=None), say=lambda line: None)
    assert (student / "out/stu-x2.onnx").is_file()


def test_the_same_student_again_changes_nothing(student):
    export_student(request(student), say=lambda line: None)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (student / "out").glob("stu*")}
    said = []
    export_student(request(student), say=said.append)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert any("3 were there, the same" in line for line in said)


def test_files_of_another_student_are_kept_without_force(student):
    export_student(request(student), say=lambda line: None)
    before = (student / "out/stu-x2.onnx").read_bytes()
    with pytest.raises(OptionsError, match=r"--out = .*stu-x2\.onnx is there, and is not of this student.*--force"):
        export_student(request(student, param_key="params"), say=lambda line: None)
    assert (student / "out/stu-x2.onnx").read_bytes() == before
    export_student(request(student, param_key="params", force=True), say=lambda line: None)
    assert (student / "out/stu-x2.onnx").read_bytes() != before


def test_what_force_leaves_of_another_student_is_named(student):
    export_student(request(student, wishes={"fp16": True}), say=lambda line: None)
    said = []
    export_student(request(student, param_key="params", force=True), say=said.append)
    assert next(line for line in said if line.startswith("still there")).endswith("stu-x2-fp16.onnx")


def nan_weights(folder):
    state = torch.load(folder / "net_g_7.pth")
    state["params_ema"]["conv_first.bias"][0] = float("nan")
    torch.save(state, folder / "net_g_7.pth")


def edit_options(folder, **changes):
    opt = yaml.safe_load((folder / "o.yml").read_text())
    opt.update(changes)
    (folder / "o.yml").write_text(yaml.safe_dump({k: v for k, v in opt.items() if v is not None}))


BROKEN = {
    "nan": (nan_weights, [], r"--weights = .*: conv_first\.bias has values that are NaN"),
    "no file": (lambda d: (d / "net_g_7.pth").unlink(), [], r"--weights = .*: there is no such file"),
    "no torch file": (lambda d: (d / "net_g_7.pth").write_text("x"), [], r"--weights = .*cannot be read as PyTorch"),
    "another width": (
        lambda d: edit_options(d, network_g={**tiny.STUDENT, "num_feat": 12}),
        [],
        r"--weights = .*: the weights do not fit network_g: conv_first\.weight is",
    ),
    "another architecture": (
        lambda d: edit_options(d, network_g={"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 2}),
        [],
        r"--weights = .*: the weights do not fit network_g",
    ),
    "another scale": (
        lambda d: edit_options(d, scale=3),
        [],
        r"network_g = 'EDSR': its output for an input of \(1, 3, 64, 64\) is .*where scale asks for",
    ),
    "no scale": (lambda d: edit_options(d, scale=None), [], "scale = None: a whole number"),
    "no network": (lambda d: edit_options(d, network_g=None), [], "network_g is missing: a section with a type"),
    "unknown architecture": (
        lambda d: edit_options(d, network_g={"type": "EDSRR"}),
        [],
        r"network_g.*EDSRR",
    ),
    "key": (lambda d: None, ["--param-key", "ema"], r"--param-key = 'ema': .*The file has: params, params_ema"),
    "name": (lambda d: None, ["--name", "../a"], r"--name = '\.\./a': it names the files"),
    "fixed": (lambda d: None, ["--without", "onxx"], r"--without = 'onxx': it is no format.*'onnx'"),
    "out is a file": (lambda d: (d / "out").write_text("x"), [], r"--out = 'out': it is a file, not a folder"),
    "out below a file": (
        lambda d: (d / "a").write_text("x"),
        ["--out", "a/b"],
        r"--out = .*: it cannot be written \(Not a directory\)",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_input_is_one_line_and_nothing_is_written(student, capsys, case):
    spoil, flags, line = BROKEN[case]
    spoil(student)
    before = names(student)
    assert main(["export", "-opt", "o.yml", "--weights", "net_g_7.pth", "--out", "out", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert re.search(line, captured.err), captured.err
    assert names(student) == before


def test_a_network_that_gives_nan_is_refused(tmp_path):
    folder = make_student(tmp_path, img_range=0.0)
    with pytest.raises(OptionsError, match="its output has values that are NaN or infinite"):
        export_student(request(folder))
    assert not (folder / "out").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_a_package_one_line_says_what_to_install(student, monkeypatch, capsys, package):
    monkeypatch.setitem(sys.modules, package, None)
    command = ["export", "-opt", "o.yml", "--weights", "net_g_7.pth", "--out", "out"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "pip install 'srkd-plugin[export]'" in error and "--without onnx" in error
    assert not (student / "out").exists()
    assert main([*command, "--without", "onnx"]) == 0
    assert {"stu-x2.pth", "stu-x2.safetensors"} <= set(names(student / "out"))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_export_that_ends_in_the_middle_leaves_nothing(student, monkeypatch, error):
    def fail(job, *_):
        assert (job.folder / "stu-x2.pth").write_bytes(b"half")
        raise error

    monkeypatch.setattr(exporting, "write_all", fail)
    before = names(student)
    with pytest.raises(type(error)):
        export_student(request(student), say=lambda line: None)
    assert names(student) == before


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no such limit here")
def test_a_disk_that_takes_no_more_leaves_nothing(student, capsys):
    before = names(student)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        code = main(["export", "-opt", "o.yml", "--weights", "net_g_7.pth", "--out", "out"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 2
    assert "stu-x2.safetensors': it cannot be written (File too large)" in capsys.readouterr().err
    assert names(student) == before


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_line(student, capsys):
    (student / "out").mkdir(mode=0o555)
    assert main(["export", "-opt", "o.yml", "--weights", "net_g_7.pth", "--out", "out"]) == 2
    assert "--out = 'out'" in capsys.readouterr().err


def test_what_a_killed_export_left_is_removed(student):
    left = student / "out/.export.123.unfinished"
    left.mkdir(parents=True)
    (left / "stu-x2.onnx").write_bytes(b"half")
    export_student(request(student), say=lambda line: None)
    assert not left.exists() and (student / "out/stu-x2.onnx").is_file()
