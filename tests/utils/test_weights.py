"""Reading weights files: what is no weights file is named, and torch's advice to run it is not passed on."""

import pytest
import torch
from safetensors.torch import save_file

from srkd_plugin.errors import InputError
from srkd_plugin.utils.weights import first_nonfinite, load_weights_file, without_prefix


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n  <html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b'{"error": "not found"}', "JSON"),
        (b"", "cannot be read"),
        (b"no weights at all", "cannot be read"),
        (b"PK\x03\x04 cut off", "cannot be read"),
    ],
)
@pytest.mark.parametrize("trust", [None, False, True])
def test_what_is_no_weights_file_is_named(tmp_path, content, says, trust):
    file = tmp_path / "w.pth"
    file.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_weights_file("path.pretrain_network_t", file, trust)
    assert says in str(error.value)
    assert "weights_only" not in str(error.value) and "\n" not in str(error.value)


def test_safetensors_are_read(tmp_path):
    weights = {"a.weight": torch.randn(2, 3), "a.bias": torch.zeros(2, dtype=torch.float16)}
    save_file(weights, tmp_path / "w.safetensors")
    read = load_weights_file("x", tmp_path / "w.safetensors")
    assert read.keys() == weights.keys() and all(torch.equal(read[k], v) for k, v in weights.items())
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:50])
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_weights_file("x", tmp_path / "cut.safetensors")


def test_prefix_and_nonfinite():
    weights = {"net.a": torch.ones(2), "other.a": torch.zeros(1), "net.b": torch.tensor([1, 2])}
    assert list(without_prefix(weights, "net.")) == ["a", "b"]
    assert first_nonfinite(weights) is None
    weights["net.c"] = torch.tensor([0.0, float("-inf")])
    assert first_nonfinite(weights) == "net.c"
