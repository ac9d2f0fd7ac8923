"""Networks read as steps, with constants folded: the same function; and what is refused."""

import pytest
import quantized
import torch
from torch import nn

from srkd_plugin.errors import InputError
from srkd_plugin.quantization.fold import folded


@pytest.mark.parametrize("name", sorted(quantized.KNOWN))
def test_a_folded_network_is_the_network(name):
    net = quantized.network(quantized.KNOWN[name])
    before = {key: value.clone() for key, value in net.state_dict().items()}
    steps, error = folded(net)
    lq = quantized.images()
    with torch.no_grad():
        assert torch.allclose(steps.run(lq), net(lq), atol=2e-6)
    assert error < 1e-6
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(step.kind == "scale" for step in steps.steps)


def test_the_mean_is_exact_at_the_border():
    net = quantized.network(quantized.EDSR)
    steps, _ = folded(net)
    white = torch.ones(1, 3, 6, 9)
    with torch.no_grad():
        assert torch.allclose(steps.run(white), net(white), atol=2e-6)
    assert [step.kind for step in steps.steps][:3] == ["input", "shift", "conv"]


def test_one_channel():
    steps, error = folded(quantized.network({**quantized.COMPACT, "num_in_ch": 1, "num_out_ch": 1}))
    assert steps.channels == 1 and error < 1e-6


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x):
        return self.conv(x) if x.sum() > 0 else x


class Multiplies(Branches):
    def forward(self, x):
        y = self.conv(x)
        return y * y


class ScaledAfterReLU(Branches):
    def forward(self, x):
        return torch.relu(self.conv(x)) * 0.5


@pytest.mark.parametrize(
    ("net", "problem"),
    [
        (Branches(), "cannot be traced"),
        (Multiplies(), "mul of two feature maps in its forward is no step"),
        (ScaledAfterReLU(), "the constant of scale is not between a convolution and what reads it"),
        (nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")), "padding reflect"),
        (nn.Sequential(nn.Conv2d(3, 3, 1), nn.GELU()), "GELU in 1 is no step"),
    ],
)
def test_what_int8_does_not_know_is_one_line(net, problem):
    with pytest.raises(InputError, match=problem) as error:
        folded(net)
    assert "\n" not in str(error.value)


def test_channel_attention_is_named():
    rcan = {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_group": 1, "num_block": 1}
    with pytest.raises(InputError, match=r"AdaptiveAvgPool2d in body\.0\.residual_group\.0\.rcab\.3\.attention\.0"):
        folded(quantized.network({**rcan, "upscale": 2}))
