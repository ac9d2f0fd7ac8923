"""The average of checkpoints: its values, when it is kept, and which files are refused."""

import pytest
import tiny
import torch
from basicsr.archs.edsr_arch import EDSR

from srkd_plugin.cli.main import main
from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.evaluate.average_checkpoints import average, average_files
from srkd_plugin.evaluate.benchmark import Benchmark, PairSet, measure
from srkd_plugin.runtimes.torch_upscaler import TorchUpscaler

ARGUMENTS = {key: value for key, value in tiny.STUDENT.items() if key != "type"}


def save(path, change=0.0, keys=("params", "params_ema"), seed=0):
    """A student's checkpoint; ``change`` is added to one bias."""
    torch.manual_seed(seed)
    state = EDSR(**ARGUMENTS).state_dict()
    state["conv_last.bias"] += change
    torch.save(dict.fromkeys(keys, state) if keys else state, path)
    return path


@pytest.fixture
def opt(data):
    return tiny.stock_options(data)


def test_it_is_the_mean_in_float64():
    weights = [
        {"w": torch.rand(3, 4, dtype=dtype), "index": torch.tensor([i])} for i, dtype in enumerate([torch.float16] * 3)
    ]
    found = average(weights)
    expected = sum(w["w"].to(torch.float64) for w in weights) / 3
    assert found["w"].dtype == torch.float16
    assert torch.equal(found["w"], expected.half())
    assert found["index"].tolist() == [2]


def test_without_options_it_is_written(tmp_path):
    files = [save(tmp_path / f"{i}.pth", seed=i) for i in range(3)]
    report = average_files(files, tmp_path / "new/average.pth")
    content = torch.load(tmp_path / "new/average.pth", weights_only=True)
    assert content.keys() == {"params", "params_ema"}
    singles = [torch.load(file, weights_only=True)["params_ema"] for file in files]
    for name, value in content["params_ema"].items():
        torch.testing.assert_close(value, torch.stack([s[name] for s in singles]).mean(dim=0))
    assert report.kept
    assert "nothing was measured" in report.describe()


def test_it_is_kept_if_it_is_better_than_each(opt, data, tmp_path):
    """Two networks whose biases err by as much to both sides of a third: their mean is that one."""
    net = EDSR(**ARGUMENTS).requires_grad_(False)
    for parameter in net.parameters():  # a gray image, from which a bias leads away
        parameter.zero_()
    state = net.state_dict()
    files = []
    for i, change in enumerate((60.0, -60.0)):
        files.append(tmp_path / f"{i}.pth")
        torch.save({"params": {**state, "conv_last.bias": state["conv_last.bias"] + change}}, files[-1])
    report = average_files(files, tmp_path / "average.pth", opt)
    assert report.kept
    assert report.psnr_average > max(report.psnr.values())
    found = torch.load(tmp_path / "average.pth", weights_only=True)["params"]
    assert all(torch.equal(found[name], value) for name, value in state.items())
    benchmark = Benchmark("set", PairSet(data / "HR", data / "LR", 2), data / "HR")
    assert report.psnr_average == pytest.approx(measure(TorchUpscaler(net, 2), benchmark).mean_psnr)
    assert "dB over the best of them" in report.describe()


def test_it_is_not_kept_if_it_is_not_better(opt, tmp_path, capsys):
    """Of one network, and the same network spoilt; the command says so, and its exit code does."""
    files = [save(tmp_path / "good.pth"), save(tmp_path / "bad.pth", change=50.0)]
    options = tiny.write_options(opt, tmp_path / "o.yml")
    arguments = [*map(str, files), "--out", str(tmp_path / "average.pth"), "-opt", str(options), "--device", "cpu"]
    assert main(["average", *arguments]) == 1
    shown = capsys.readouterr().out
    assert "NOT written, as the average is not better" in shown
    assert f"over the best of them, {files[0]}" in shown
    assert not (tmp_path / "average.pth").exists()
    assert main(["average", *map(str, files), "--out", str(tmp_path / "average.pth")]) == 0
    assert (tmp_path / "average.pth").exists()


def test_two_of_one_network_are_no_better_than_it(opt, tmp_path):
    files = [save(tmp_path / "a.pth", keys=("params",)), save(tmp_path / "b.pth", keys=())]
    report = average_files(files, tmp_path / "average.pth", opt)
    assert report.psnr_average == pytest.approx(report.psnr[str(files[0])], abs=1e-9)
    assert not report.kept


def test_a_key_that_not_all_have_is_left_out(tmp_path):
    files = [save(tmp_path / "a.pth"), save(tmp_path / "b.pth", keys=("params",))]
    assert average_files(files, tmp_path / "average.pth").keys == ("params",)
    own = [save(tmp_path / f"{name}.pth", keys=("mine", "params")) for name in "cd"]
    assert average_files(own, tmp_path / "mine.pth", param_key="mine").keys == ("mine",)


def test_files_that_cannot_be_averaged_are_refused_and_nothing_is_written(tmp_path):
    a, b = save(tmp_path / "a.pth"), save(tmp_path / "b.pth", seed=1)
    out = tmp_path / "average.pth"

    def refused(message, files, out=out, **arguments):
        with pytest.raises(InputError, match=message):
            average_files(files, out, **arguments)
        assert not (tmp_path / "average.pth").exists()

    refused("an average is of two or more", [a])
    refused("it is given twice", [a, b, tmp_path / "../" / tmp_path.name / "a.pth"])
    refused("it is one of the files to average", [a, b], out=b)
    refused(r"Give a name that ends with \.pth", [a, b], out=tmp_path / "average")
    refused("there is no such file", [a, tmp_path / "none.pth"])
    refused(r"it has no weights under mine. Give --param-key: .* are: params, params_ema", [a, b], param_key="mine")
    refused(
        "have no key in common", [save(tmp_path / "e.pth", keys=("params_ema",)), save(tmp_path / "p.pth", keys=())]
    )
    refused("has values that are NaN or infinite", [a, save(tmp_path / "nan.pth", change=float("nan"))])
    torch.save({"params": {**torch.load(a)["params"], "conv_last.bias": torch.zeros(4)}}, tmp_path / "other.pth")
    refused(r"other\.pth.*conv_last\.bias is \(4,\) float32 here, and \(3,\)", [a, tmp_path / "other.pth"])
    average_files([a, b], out)
    with pytest.raises(InputError, match=r"it is there\. Give another name, or --force"):
        average_files([a, b], out)
    assert average_files([a, b], out, force=True).kept


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network_g": {**tiny.STUDENT, "num_feat": 9}}, "the weights do not fit network_g"),
        ({"network_g": None}, "a section with a type is expected"),
        ({"network_g": {**tiny.STUDENT, "num_in_ch": 1}}, "images of 1 channels, and here RGB"),
        ({"datasets": {}}, "there is no validation set"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused(opt, tmp_path, changes, message):
    files = [save(tmp_path / f"{i}.pth", seed=i) for i in range(2)]
    with pytest.raises((InputError, OptionsError), match=message):
        average_files(files, tmp_path / "average.pth", {**opt, **changes})
    assert not (tmp_path / "average.pth").exists()
