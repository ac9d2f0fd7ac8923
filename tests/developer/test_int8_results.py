"""The table of what INT8 costs: by hand, and the published one is that of its CSV."""

import json

import int8_results
import pytest
import tiny


def card(folder, name, formats):
    (folder / name).mkdir(parents=True)
    figures = {f: {"psnr and ssim by image": {"a": [x, 1], "b": [y, 1]}} for f, (x, y) in formats.items()}
    benchmarks = {"Set5": {"images": 2, **figures}}
    (folder / name / "card.json").write_text(json.dumps({"benchmarks": benchmarks}))


def test_losses_are_paired_by_seed_and_image(tmp_path):
    card(tmp_path, "ptq_edsr_s0", {"ONNX float32": (30.0, 40.0), "ONNX INT8": (29.9, 39.8), "torch pth": (1.0, 1.0)})
    card(tmp_path, "ptq_edsr_s1", {"ONNX float32": (32.0, 42.0), "ONNX INT8": (31.5, 42.0)})
    card(tmp_path, "qat_edsr_s0", {"ONNX INT8": (30.1, 40.1), "torch pth": (1.0, 1.0)})
    int8_results.main(["collect", str(tmp_path), str(tmp_path / "a.csv")])
    rows = int8_results.read(tmp_path / "a.csv")
    assert len(rows) == 10
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in int8_results.table(rows).splitlines()]
    assert lines[2:] == [
        ["edsr, float32", "2", "36.000 (1.414)"],
        ["edsr, INT8, after training", "2", "35.800 (1.344)<br>-0.200, worst image -0.500"],
        ["edsr, INT8, fine-tuned", "1", "35.100<br>+0.100, worst image +0.100"],
    ]


def test_other_folders_are_refused(tmp_path):
    card(tmp_path, "other", {"ONNX INT8": (1.0, 1.0)})
    with pytest.raises(SystemExit, match="other is not called"):
        int8_results.collect(tmp_path)


def test_the_published_table_is_that_of_its_csv():
    text = int8_results.table(int8_results.read(tiny.PROJECT / "docs/results/int8.csv"))
    assert text in (tiny.PROJECT / "docs/results.md").read_text()
