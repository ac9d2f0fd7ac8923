"""The receptive field, against gradients in float64 and against sums by hand."""

import copy

import pytest
import tiny
import torch
from torch import nn

from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.receptive_field import field_of_run, field_of_size, receptive_field

EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4}
COMPACT = {"type": "SRVGGNetCompact", "num_feat": 4, "num_conv": 5, "upscale": 2, "act_type": "prelu"}
RRDB = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "num_grow_ch": 2, "scale": 2}
RCAN = {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_group": 1, "num_block": 1, "upscale": 2}
RCAN["squeeze_factor"] = 2


def built(network):
    torch.manual_seed(0)
    return build_described("network_g", network).eval()


def by_gradient(net, scale, multiple=1, side=96):
    """Reach of the gradient of one block's SR pixels, with weights and images that no ReLU and no sum can cancel."""
    net = copy.deepcopy(net).double()
    for parameter in net.parameters():
        parameter.data = 1e-2 * torch.rand_like(parameter) + 1e-3
    lq = (1 + torch.rand(1, 3, side, side, dtype=torch.float64)).requires_grad_(True)
    at = side // 2 // multiple * multiple
    block = slice(at * scale, (at + multiple) * scale)
    (gradient,) = torch.autograd.grad(net(lq)[..., block, block].sum(), lq)
    rows, columns = (gradient[0].abs().sum(0).sum(dim).nonzero()[:, 0] for dim in (1, 0))
    return int(max(at - min(rows[0], columns[0]), max(rows[-1], columns[-1]) - (at + multiple - 1)))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_edsr_of_16_blocks_sees_36_pixels(scale):
    """3x3 convolutions: 1 + 2 per block + 1 in LQ, 1 before the last shuffle, and a part of a pixel after it."""
    assert receptive_field(built({**EDSR, "num_block": 16, "upscale": scale}), 3, scale) == 1 + 2 * 16 + 1 + 1 + 1


@pytest.mark.parametrize(
    ("network", "scale", "multiple"),
    [
        ({**EDSR, "num_block": 2, "upscale": 2}, 2, 1),
        ({**EDSR, "num_block": 1, "upscale": 4}, 4, 1),
        (COMPACT, 2, 1),
        (RRDB, 2, 2),
    ],
)
def test_it_is_that_of_gradients(network, scale, multiple):
    net = built(network)
    assert receptive_field(net, 3, scale) == by_gradient(net, scale, multiple)


@pytest.mark.parametrize("kernel", [(1, 7), (7, 1), (3, 5)])
def test_the_larger_of_both_directions(kernel):
    net = nn.Conv2d(1, 1, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
    assert receptive_field(net, 1, 1) == max(kernel) // 2


def test_zero_weights_count():
    net = nn.Conv2d(1, 1, 5, padding=2)
    nn.init.zeros_(net.weight)
    assert receptive_field(net, 1, 1) == 2


def test_what_drops_nan_is_seen_all_the_same():
    net = nn.Sequential(nn.Conv2d(1, 1, 5, padding=2), nn.Identity())
    net.forward = lambda x: torch.nan_to_num(net[0](torch.nan_to_num(x)))
    assert receptive_field(net, 1, 1) == 2


def test_no_field_where_the_whole_image_counts_or_nothing_works():
    assert receptive_field(built(RCAN), 3, 2) is None
    assert receptive_field(nn.Conv2d(1, 1, (257, 1), padding=(128, 0)), 1, 1) is None
    assert receptive_field(nn.Conv2d(5, 1, 3), 3, 1) is None


def test_windows_count_as_blocks():
    """Of SwinIR's two layers, the second's windows are shifted by half: 3 blocks of 8 at most, and convolutions."""
    assert receptive_field(built(tiny.SWINIR), 3, 2) == 16


def test_of_one_size_only():
    net = built({**EDSR, "num_block": 1, "upscale": 2})
    free, run = receptive_field(net, 3, 2), lambda lq: net(torch.from_numpy(lq)).detach().numpy()
    assert field_of_run(run, 3, 2) == field_of_size(run, 3, 2, (20, 31)) == free == 6
    assert field_of_size(run, 3, 2, (12, 40)) is None
