"""``srkd profile``: the tables, the JSON, and what is refused in one line."""

import json

import pytest
import tiny

from srkd_plugin.cli.main import main


@pytest.fixture
def options(tmp_path):
    opt = {"scale": 2, "network_g": tiny.STUDENT, "network_t": tiny.TEACHER}
    return str(tiny.write_options(opt, tmp_path / "o.yml"))


def test_tables_and_json(options, tmp_path, capsys):
    arguments = ["-opt", options, "--size", "64x48", "--lq", "12x8", "--rounds", "1"]
    assert main(["profile", *arguments, "--json", str(tmp_path / "p.json")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("| | student | teacher | student / teacher |")
    assert "LQ 12x8, x2, 1 round, CPU" in printed
    assert "| torch float32 | 1 |" in printed
    found = json.loads((tmp_path / "p.json").read_text())
    student = found["networks"][0]
    assert (student["type"], student["parameters"]) == ("EDSR", 27 * 8 + 8 + 3 * 584 + 8 * 292 + 27 * 8 + 3)
    (cost,) = student["costs"]
    assert (cost["lq_width"], cost["lq_height"], cost["flops"]) == (32, 24, 2 * cost["macs"])
    assert found["latencies"][0]["runtime"] == "torch float32"
    assert found["versions"]["torch"]


@pytest.mark.parametrize(("target", "says"), [("o.yml/p.json", "is a file)"), (".", "it is a folder")])
def test_a_target_that_cannot_be_written_is_found_before_anything_is_measured(
    options, tmp_path, monkeypatch, capsys, target, says
):
    from srkd_plugin.profiling import profile

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(profile, "profile", lambda *given: pytest.fail("it measures"))
    assert main(["profile", "-opt", options, "--json", target]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --json = '{target}': ") and says in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["o.yml"]


def test_nothing_is_timed_without_latency(options, capsys):
    assert main(["profile", "-opt", options, "--no-latency"]) == 0
    printed = capsys.readouterr().out
    assert "GMACs, 1920x1080 (LQ 960x540)" in printed
    assert "torch float32" not in printed


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-opt", "none.yml"], "error: -opt = 'none.yml'"),
        (["-opt", "o.yml", "--size", "64"], "error: argument --size: '64' is not WxH, e.g. 1280x720; see srkd profile"),
        (["-opt", "o.yml", "--model", "none.onnx"], "error: --model = 'none.onnx': there is no such file"),
    ],
)
def test_bad_input_is_one_line(options, tmp_path, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["profile", *arguments])
    except SystemExit as error:  # argparse
        code = error.code
    assert code == 2
    errors = [text for text in capsys.readouterr().err.splitlines() if text]
    assert len(errors) == 1 and errors[0].startswith(line)
