"""Multiply-adds and memory, against formulas written out by hand."""

import pytest
import torch
from tiny import SWINIR
from torch import nn

from srkd_plugin.networks.build import build_described
from srkd_plugin.profiling.network_cost import Cost, cost_of, parameter_count

H, W = 36, 50


def edsr(features, blocks, scale):
    described = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": features, "num_block": blocks}
    return build_described("network_g", {**described, "upscale": scale})


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("features", "blocks"), [(4, 1), (16, 4)])
def test_edsr_costs_what_its_layers_say(features, blocks, scale):
    """conv_first, 2 per block, conv_after_body at the LQ size; the upsampler before its shuffle; conv_last after it."""
    per_pixel = 9 * (3 * features + (2 * blocks + 1) * features**2)
    steps, factor = {2: [2], 3: [3], 4: [2, 2]}[scale], 1
    for step in steps:
        per_pixel += 9 * features * step**2 * features * factor**2
        factor *= step
    per_pixel += 9 * features * 3 * scale**2
    found = cost_of(edsr(features, blocks, scale), 3, (H, W))
    assert (found.lq_height, found.lq_width, found.scaled) == (H, W, False)
    assert found.macs == per_pixel * H * W
    assert found.flops == 2 * found.macs


@pytest.mark.parametrize("features", [4, 16])
def test_edsrs_memory_peaks_where_the_upsampler_shuffles(features):
    """Alive then: the image; conv_first's maps and the body's; the shuffle's input and output, 4 maps of each."""
    found = cost_of(edsr(features, 2, 2), 3, (H, W))
    assert found.peak_bytes == 4 * H * W * (3 + 2 * features + 4 * features + 4 * features)


def test_in_place_operations_and_views_take_no_memory():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Unflatten(1, (3, H, W)))
    assert cost_of(net, 3, (H, W)).peak_bytes == 4 * H * W * (3 + 3)


def test_a_network_that_asks_for_values_is_counted_on_a_small_image():
    class AsksForValues(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3, padding=1)

        def forward(self, x):
            return self.conv(x) if x.mean().item() < 9 else x

    plain, asking = cost_of(nn.Conv2d(3, 5, 3, padding=1), 3, (H, W)), cost_of(AsksForValues(), 3, (H, W))
    assert (asking.scaled, plain.scaled) == (True, False)
    assert asking.macs == plain.macs == 9 * 3 * 5 * H * W
    assert asking.peak_bytes == pytest.approx(plain.peak_bytes, rel=1e-3)


def test_sides_are_padded_to_the_networks_multiple_and_the_network_is_left_alone():
    net = build_described("network_g", SWINIR).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = cost_of(net, 3, (17, 30), 8)
    assert (found.lq_height, found.lq_width) == (24, 32)
    assert found.macs > 9 * 3 * 12 * 24 * 32  # its first convolution alone
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net(torch.zeros(1, 3, 16, 16)).device.type == "cpu"


def test_flops_are_two_per_multiply_add():
    assert Cost(1, 1, 21, 0).flops == 42
    assert parameter_count(edsr(4, 1, 2)) == (27 * 4 + 4) + 3 * (36 * 4 + 4) + (36 * 16 + 16) + (36 * 3 + 3)
