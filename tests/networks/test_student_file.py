"""Files that hold a network with what its state dict does not show."""

import pytest
import torch

from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.student_file import StudentFile, read_student, write_student

NETWORK = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "upscale": 3}
NETWORK.update(res_scale=0.5, img_range=1.0, rgb_mean=[0.1, 0.2, 0.3])


def student(**changes):
    net = build_described("network_g", NETWORK)
    return StudentFile(
        **{"network": NETWORK, "scale": 3, "weights": net.state_dict(), "facts": {"run": "a"}, **changes}
    )


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_written_is_read_with_every_argument(tmp_path, suffix):
    file, written = tmp_path / f"net{suffix}", student()
    write_student(file, written)
    read = read_student(file)
    assert (read.network, read.scale, read.facts, read.channels) == (NETWORK, 3, {"run": "a"}, 3)
    lq = torch.rand(1, 3, 7, 9)
    expected = build_described("network_g", NETWORK)
    expected.load_state_dict(written.weights)
    assert torch.equal(read.build()(lq), expected(lq))
    first = file.read_bytes()
    write_student(file, written)
    assert file.read_bytes() == first


def test_basicsr_finds_the_weights_in_a_pth_file(tmp_path):
    write_student(tmp_path / "net.pth", written := student())
    found = torch.load(tmp_path / "net.pth", weights_only=True)["params"]
    assert found.keys() == written.weights.keys()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_say_nothing_of_their_network_are_refused(tmp_path, suffix):
    file = tmp_path / f"net{suffix}"
    if suffix == ".pth":
        torch.save({"params": student().weights}, file)
    else:
        from safetensors.torch import save_file

        save_file(dict(student().weights), file)
    with pytest.raises(InputError, match=r"does not say what network it is of\. .*srkd export"):
        read_student(file)


def test_broken_students_are_refused(tmp_path):
    weights = {name: value.clone() for name, value in student().weights.items()}
    weights["conv_first.bias"][0] = float("nan")
    write_student(tmp_path / "nan.pth", student(weights=weights))
    with pytest.raises(InputError, match=r"conv_first\.bias has values that are NaN"):
        read_student(tmp_path / "nan.pth")
    with pytest.raises(OptionsError, match="the weights do not fit it"):
        student(network={**NETWORK, "num_feat": 8}).build()
    with pytest.raises(InputError, match=r"none of \.pth and \.safetensors"):
        write_student(tmp_path / "net.bin", student())
