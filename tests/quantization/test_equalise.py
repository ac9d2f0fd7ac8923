"""Equalisation: the same network, with channels of equal ranges."""

import pytest
import quantized
import torch

from srkd_plugin.quantization.equalise import equalise
from srkd_plugin.quantization.fold import folded
from srkd_plugin.quantization.network import Int8Network
from srkd_plugin.quantization.ranges import in_float, observe


@pytest.mark.parametrize("name", sorted(quantized.KNOWN))
def test_the_network_in_float_is_unchanged(name):
    steps, _ = folded(quantized.network(quantized.KNOWN[name]))
    net = Int8Network(steps).eval()
    lq = quantized.images()
    with torch.no_grad(), in_float(net):
        before = net(lq)
        equalise(net, {key: one.largest for key, one in observe(net, lq).items()}, 1.0)
        assert torch.allclose(net(lq), before, atol=1e-5)


def test_channels_get_one_range():
    net = quantized.network(quantized.EDSR)
    with torch.no_grad():
        net.body[0].conv1.weight[3] *= 30
        net.body[0].conv1.bias[3] = 1
    steps, _ = folded(net)
    found = Int8Network(steps).eval()
    lq = quantized.images()

    def spread():
        largest = observe(found, lq)["body.0.relu"].largest
        return float(largest.max() / largest[largest > 0].min())

    before = spread()
    equalise(found, {key: one.largest for key, one in observe(found, lq).items()}, 1.0)
    assert before > 10 and spread() < before / 5
