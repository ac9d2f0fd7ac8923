"""Weights that do not fit, or must not be used: one line that names the way out, and the way out works."""

import pytest
import tiny
import torch
from basicsr.archs import build_network
from safetensors.torch import save_file

from srkd_plugin.errors import OptionsError
from srkd_plugin.export.edsr_format import to_official
from srkd_plugin.networks.weights_file import WeightsFile


@pytest.fixture
def net():
    torch.manual_seed(0)
    return build_network(dict(tiny.TEACHER))


def same(net, weights):
    return all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("prefix", ["net.", "generator.", "student."])
def test_a_prefix_is_named_and_the_named_option_loads_the_file(net, tmp_path, prefix):
    weights = net.state_dict()
    others = {"disc.weight": torch.ones(1)} if prefix == "net." else {}
    torch.save({prefix + k: v for k, v in weights.items()} | others, tmp_path / "w.pth")
    file = WeightsFile("t", str(tmp_path / "w.pth"), None)
    fresh = build_network(dict(tiny.TEACHER))
    with pytest.raises(OptionsError, match=rf"write path.param_key_prefix_t: {prefix}$"):
        file.load_into(fresh)
    file._replace(prefix=prefix).load_into(fresh)
    assert same(fresh, weights)


def test_the_official_format_names_the_converter(net, tmp_path):
    torch.save(to_official(net.state_dict()), tmp_path / "edsr.pt")
    with pytest.raises(OptionsError, match=r"official format: srkd teacher convert .*edsr.pt --out edsr.pth"):
        WeightsFile("t", str(tmp_path / "edsr.pt"), None).load_into(net)


def test_safetensors_need_no_param_key(net, tmp_path):
    weights = {k: v.clone() for k, v in net.state_dict().items()}
    save_file(weights, tmp_path / "w.safetensors")
    torch.manual_seed(1)
    fresh = build_network(dict(tiny.TEACHER))
    WeightsFile("t", str(tmp_path / "w.safetensors"), "params").load_into(fresh)
    assert same(fresh, weights)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("role", ["t", "g"])
def test_weights_that_are_not_finite_are_refused(net, tmp_path, value, role):
    weights = net.state_dict()
    weights["conv_last.bias"][1] = value
    torch.save({"params": weights}, tmp_path / "w.pth")
    with pytest.raises(OptionsError, match=rf"path.pretrain_network_{role} = .*conv_last.bias has values that are NaN"):
        WeightsFile(role, str(tmp_path / "w.pth"), "params").load_into(net)
