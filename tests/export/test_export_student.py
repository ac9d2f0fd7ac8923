"""A student exported: what is written, by what it is checked, and that nothing is written where something is wrong."""

import errno
import hashlib
import json
import os
import re
import resource
import shutil
import sys

import cv2
import numpy as np
import pytest
import tiny
import torch
import yaml
from basicsr.metrics import calculate_psnr
from basicsr.utils import img2tensor, tensor2img
from photos import write_pairs
from torch import nn

from srkd_plugin.cli.main import main
from srkd_plugin.errors import OptionsError
from srkd_plugin.export import export_student as exporting
from srkd_plugin.export import onnx_file
from srkd_plugin.export.export_student import ExportRequest, export_student
from srkd_plugin.export.job import ExportJob, Int8Wish, Wishes
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.student_file import StudentFile, read_student
from srkd_plugin.runtimes.opening import open_model

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
    assert open_model(student / "out/stu-x2.onnx").name == "onnxruntime float32"
    assert [one.version for one in model.opset_import if one.domain == ""] == [17]
    (given,), (made,) = model.graph.input, model.graph.output
    assert (given.name, made.name) == ("input", "output")
    shape = given.type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in shape] == ["batch", 3, "height", "width"]


def test_a_student_file_knows_its_run(student):
    export_student(request(student), say=lambda line: None)
    facts = read_student(student / "out/stu-x2.pth").facts
    assert (facts["run"], facts["iteration"], facts["weights"]["file"]) == ("stu", 7, "net_g_7.pth")
    assert facts["weights"]["key"] == "params_ema"
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
    export_student(request(student, param_key="params", out=student / "plain"))
    assert "weights: params of" in capsys.readouterr().out
    first, second = (read_student(student / folder / "stu-x2.pth").weights for folder in ("out", "plain"))
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
    assert (student / "out/stu-x2-fp16.onnx").is_file(), "nothing is lost"


def test_what_an_earlier_card_lists_and_the_new_one_does_not_is_named_in_one_line(student):
    first = request(student, name="first", wishes={"fp16": True})
    export_student(first, say=lambda line: None)
    (student / "out/first-x2.pth").unlink()
    (student / "out/mine.txt").write_text("of nobody's card")
    kept = ["first-x2-fp16.onnx", "first-x2.onnx", "first-x2.safetensors"]
    said = []
    export_student(request(student, name="second", force=True), say=said.append)
    (line,) = [line for line in said if line.startswith("still there, and not on the new card (nothing is removed")]
    assert sorted(os.path.basename(path) for path in line.split(": ")[1].split(", ")) == kept
    assert {*kept, "mine.txt"} <= set(names(student / "out"))

    said.clear()
    export_student(request(student, name="second"), say=said.append)
    assert not [line for line in said if "still there" in line], "all that the card lists was written again"


def test_two_sets_of_one_name_are_told_apart_by_their_folders(student, benchmark):
    folders = [student / parent / "Tiny" for parent in ("clean", "noisy")]
    for folder in folders:
        folder.parent.mkdir()
        shutil.copytree(benchmark, folder)
    other = student / "noisy/Other"
    shutil.copytree(benchmark, other)
    for file in (folders[1] / "LR_bicubic/X2").iterdir():
        cv2.imwrite(str(file), 255 - cv2.imread(str(file)))
    wishes = {"without": ("onnx", "ncnn")}
    export_student(request(student, tests=tuple(map(str, [*folders, other])), wishes=wishes), say=lambda line: None)
    card = json.loads((student / "out/card.json").read_text())["benchmarks"]
    assert list(card) == ["clean/Tiny", "noisy/Tiny", "Other"]
    psnr = {name: one["torch safetensors"]["psnr"] for name, one in card.items()}
    assert psnr["clean/Tiny"] == psnr["Other"] != psnr["noisy/Tiny"]
    with pytest.raises(OptionsError, match="two sets have this name"):
        export_student(request(student, tests=(str(other), str(other)), wishes=wishes), say=lambda line: None)


def test_what_is_long_on_a_page_is_broken(student):
    export_student(request(student, wishes={"without": ("ncnn",)}), say=lambda line: None)
    rows = [line for line in (student / "out/card.md").read_text().splitlines() if line.startswith("| stu-x2")]
    card = json.loads((student / "out/card.json").read_text())["files"]
    assert len(rows) == len(card)
    for row, one in zip(rows, card):
        expected = "; ".join([one["verified"], *one["notes"]])
        assert "; " not in row and row.split(" | ")[-1].removesuffix(" |").replace("<br>", "; ") == expected
    assert any("<br>" in row for row in rows)


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
    assert main([*command, "--without", "onnx", "ncnn"]) == 0
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


@pytest.fixture
def benchmark(tmp_path):
    (tmp_path / "Tiny/LR_bicubic").mkdir(parents=True)
    hr, lr = write_pairs(tmp_path / "Tiny/all", 2, h=24, w=40)
    hr.rename(tmp_path / "Tiny/HR")
    lr.rename(tmp_path / "Tiny/LR_bicubic/X2")
    return tmp_path / "Tiny"


def test_the_card_has_the_figures_of_every_file(student, benchmark, capfd):
    said = []
    export_student(request(student, tests=(str(benchmark),), wishes={"fp16": True}), say=said.append)
    card = json.loads((student / "out/card.json").read_text())
    net = read_student(student / "out/stu-x2.pth").build()
    expected = []
    for hr, lr in zip(*(sorted((benchmark / folder).iterdir()) for folder in ("HR", "LR_bicubic/X2"))):
        sr = net(img2tensor(cv2.imread(str(lr)) / 255.0, float32=True)[None])
        expected.append(calculate_psnr(tensor2img(sr), cv2.imread(str(hr)), crop_border=2, test_y_channel=True))
    found = card["benchmarks"]["Tiny"]
    assert found["images"] == 2 and found["torch safetensors"]["psnr"] == pytest.approx(np.mean(expected), abs=1e-9)
    for name in ("ONNX float32", "ONNX float16"):
        assert found[name]["psnr"] == pytest.approx(np.mean(expected), abs=0.05)
        assert 0 < found[name]["ssim"] <= 1 and len(found[name]["psnr and ssim by image"]) == 2
    assert (card["name"], card["scale"], card["run"]) == ("stu-x2", 2, "stu")
    assert card["parameters"] == sum(value.numel() for value in net.state_dict().values())
    for one in card["files"]:
        for name, facts in one["files"].items():
            content = (student / "out" / name).read_bytes()
            assert (facts["bytes"], facts["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert set(card["latency"]["ratio"]) == {"torch safetensors", "ONNX float32", "ONNX float16"}
    page = (student / "out/card.md").read_text()
    assert f"| torch safetensors | {np.mean(expected):.3f} / " in page and "EDSR x2" in page
    assert any(line.startswith("Tiny, PSNR in dB (Y): torch safetensors ") for line in said)
    assert "Tiny" not in capfd.readouterr().err, "no progress bar where there is no terminal"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("nowhere", r"--test = 'nowhere': there is no such folder"),
        (".", r"--test = '\.': there is no folder HR\. Give a folder that srkd prepare benchmark made"),
        ("Tiny/HR:nowhere", r"--test = 'Tiny/HR:nowhere': there is no folder nowhere"),
        ("Tiny/HR:Tiny/HR", r"image = .*which is not x2"),
    ],
)
def test_sets_that_are_none_are_one_line(student, benchmark, capsys, given, line):
    before = names(student)
    command = ["export", "-opt", "o.yml", "--weights", "net_g_7.pth", "--out", "out", "--without", "ncnn", "onnx"]
    assert main([*command, "--test", given]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(line, error), error
    assert names(student) == before


def test_a_card_of_another_student_is_kept_without_force(student):
    export_student(request(student), say=lambda line: None)
    with pytest.raises(OptionsError, match=r"card\.json is there, and is not of this student"):
        export_student(request(student, name="other"), say=lambda line: None)
    assert json.loads((student / "out/card.json").read_text())["name"] == "stu-x2"


def test_networks_with_a_multiple_are_padded_by_our_runtime(tmp_path):
    folder = make_student(tmp_path, **{**tiny.SWINIR, "num_feat": 8})
    written = export_student(request(folder), say=lambda line: None)
    (told,) = [one for one in written if one.format == "ONNX float32"]
    assert any("multiples of 8" in note for note in told.notes) and any("batch 1" in note for note in told.notes)
    lq = np.random.default_rng(3).random((2, 3, 19, 13), np.float32)
    found, expected = (open_model(folder / f"out/stu-x2{suffix}")(lq) for suffix in (".onnx", ".pth"))
    assert found.shape == (2, 3, 38, 26) and np.abs(found - expected).max() <= 1e-5
    with pytest.raises(OptionsError, match=r"--fixed = '12x16': the network takes sides that are multiples of 8"):
        export_student(request(folder, wishes={"fixed": (12, 16)}, out=folder / "f"), say=lambda line: None)


class Branching(nn.Module):
    """Looks at its input's values, or at its size, in Python."""

    def __init__(self, by):
        super().__init__()
        self.by, self.conv = by, nn.Conv2d(3, 12, 3, 1, 1)
        self.inner = nn.Identity()

    def forward(self, x):
        y = self.conv(x)
        if self.by == "values" and float(x.mean()) > 0.7:
            y = 2 * y
        if self.by == "size" and x.shape[2] + x.shape[3] != 48:
            y = 3 * y
        if self.by == "operator":
            y = torch.fft.fft2(y).real
        return nn.functional.pixel_shuffle(y, 2)


def branching_job(tmp_path, by, **wishes):
    student = StudentFile({"type": "Branching"}, 2, {})
    job = ExportJob(student, "net-x2", tmp_path, wishes=Wishes(**wishes))
    job.__dict__["net"] = Branching(by).eval().requires_grad_(False)
    job.__dict__["receptive_field"] = 1
    return job


@pytest.mark.parametrize("by", ["values", "size"])
def test_control_flow_that_a_graph_cannot_have_is_named(tmp_path, by):
    line = r"network_g = 'Branching': its ONNX graph is right at the traced size only.*control flow is fixed in "
    with pytest.raises(OptionsError, match=line + r"\(whole\) \(test_export_student\.py, line \d+\).*--fixed HxW"):
        list(onnx_file.write_float32(branching_job(tmp_path, by)))
    assert not list(tmp_path.iterdir())


def test_one_size_can_be_exported_where_no_graph_is_right_for_all(tmp_path):
    (written,) = onnx_file.write_float32(branching_job(tmp_path, "size", fixed=(20, 28)))
    assert written.format == "ONNX float32 20x28" and "there is none for every size" in written.notes[0]
    with pytest.raises(OptionsError, match="its ONNX graph is wrong by"):
        list(onnx_file.write_float32(branching_job(tmp_path, "values", fixed=(20, 28))))


def test_an_operator_that_onnx_has_not_is_named(tmp_path):
    with pytest.raises(OptionsError, match=r"its operator aten::fft_fft2 cannot be exported to ONNX.*--without onnx"):
        list(onnx_file.write_float32(branching_job(tmp_path, "operator")))


def test_ncnn_is_written_where_it_can_be_and_otherwise_said(student, monkeypatch):
    pytest.importorskip("pnnx")
    said = []
    export_student(request(student, wishes={"without": ("onnx",)}), say=said.append)
    assert (student / "out/stu-x2.param").is_file() and (student / "out/stu-x2.bin").is_file()
    assert any(line.startswith("stu-x2.param, stu-x2.bin: ") for line in said)
    assert "ncnn" in json.loads((student / "out/card.json").read_text())["latency"]["ratio"]
    monkeypatch.setitem(sys.modules, "pnnx", None)
    export_student(request(student, wishes={"without": ("onnx",)}, out=student / "b"), say=said.append)
    assert any(line.startswith("left out: ncnn. package = 'pnnx'") and "pip install" in line for line in said)
    assert "stu-x2.param" not in names(student / "b")


def test_a_student_that_ncnn_cannot_run_is_exported_without(tmp_path):
    pytest.importorskip("pnnx")
    folder, said = make_student(tmp_path, **{**tiny.SWINIR, "num_feat": 8}), []
    export_student(request(folder, wishes={"without": ("onnx",)}), say=said.append)
    assert any(line.startswith("left out: ncnn. network_g.type = 'SwinIR'") for line in said)
    assert names(folder / "out") == ["card.json", "card.md", "stu-x2.pth", "stu-x2.safetensors"]


@pytest.mark.parametrize("module", ["job", "formats", "export_student"])
def test_modules_can_be_imported_first(module):
    """Registration imports what ends in _model, as BasicSR does: no exporter may be called so."""
    tiny.run_ok("-W", "error::RuntimeWarning", "-c", f"import srkd_plugin.export.{module}", cwd=tiny.PROJECT)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"path": "x"}, "error: path = 'x': a section is expected"),
        ({"datasets": ["train"]}, "error: datasets = ['train']: a section is expected"),
        ({"datasets": {"train": "x"}}, "error: datasets.train = 'x': a section is expected"),
        ({"name": 7}, "error: name = 7: it names the files"),
    ],
)
def test_options_that_are_not_sections_are_one_line(student, changes, line, capsys):
    opt = yaml.safe_load((student / "o.yml").read_text())
    (student / "o.yml").write_text(yaml.safe_dump({**opt, **changes}))
    assert main(["export", "-opt", "o.yml", "--weights", "net_g_7.pth", "--out", "out"]) == 2
    assert capsys.readouterr().err.startswith(line) and not (student / "out").exists()


def test_empty_sections_are_as_none(student):
    opt = yaml.safe_load((student / "o.yml").read_text())
    (student / "o.yml").write_text(yaml.safe_dump({**opt, "path": None, "datasets": {"train": None}}))
    export_student(request(student, wishes={"without": ("onnx", "ncnn")}), say=lambda line: None)
    assert json.loads((student / "out/card.json").read_text())["data"] == {"train": None}


def test_int8_is_not_calibrated_on_the_sets_of_the_card(student):
    hr, lr = write_pairs(student / "photos", 4, h=64, w=64)
    wishes = {"int8": Int8Wish(calibrate=lr)}
    with pytest.raises(OptionsError, match=r"--calibrate = .*it has images that the student is tested on"):
        export_student(request(student, tests=(f"{hr}:{lr}",), wishes=wishes), say=lambda line: None)
    assert not (student / "out").exists()
