"""Levels of int8, against quantising and dequantising written out in float64."""

import numpy as np
import pytest
import torch

from srkd_plugin.quantization import fake_quant


def round_trip(x, scale, zero, low, high):
    """Quantise and dequantise as ONNX defines it: half to even, saturated."""
    levels = np.clip(np.rint(np.asarray(x, np.float64) / scale) + zero, low, high)
    return (levels - zero) * scale


@pytest.mark.parametrize(("lo", "hi"), [(-1.5, 2.3), (0.0, 1.0), (-3.0, 0.0), (0.2, 0.9), (-1e-3, 200.0)])
def test_activations_are_at_u8_levels(lo, hi):
    x = torch.randn(2, 3, 7, 5, generator=torch.Generator().manual_seed(0)) * max(abs(lo), hi) * 1.3
    lo, hi = torch.tensor(lo), torch.tensor(hi)
    scale, zero = fake_quant.scale_and_zero(lo, hi)
    width = max(float(hi), 0) - min(float(lo), 0)
    assert float(scale) == pytest.approx(width / 255, rel=1e-6)
    assert 0 <= int(zero) <= 255
    found = fake_quant.quantise_activation(x, lo, hi)
    expected = round_trip(x.numpy(), float(scale), int(zero), 0, 255)
    assert np.abs(found.numpy() - expected).max() <= float(scale) * 1.001  # between two levels float32 may take either
    assert np.mean(np.abs(found.numpy() - expected) > float(scale) / 2) < 0.01
    assert float(fake_quant.quantise_activation(torch.zeros(1), lo, hi)) == 0


def test_an_image_of_8_bits_is_unchanged():
    image = torch.arange(256) / 255
    found = fake_quant.quantise_activation(image, torch.tensor(0.0), torch.tensor(1.0))
    assert torch.allclose(found, image, rtol=0, atol=1e-7)


def test_a_tensor_that_is_always_zero_has_a_range():
    scale, zero = fake_quant.scale_and_zero(torch.tensor(0.0), torch.tensor(0.0))
    assert float(scale) > 0 and int(zero) == 0


@pytest.mark.parametrize("bits", [8, 7])
def test_weights_are_at_symmetric_levels_of_their_channel(bits):
    weight = torch.randn(4, 3, 3, 1, generator=torch.Generator().manual_seed(0))
    weight[2] = 0
    scales = fake_quant.weight_scales(weight, torch.zeros(4), torch.tensor(0.01), bits)
    most = 2 ** (bits - 1) - 1
    found = fake_quant.quantise_weight(weight, scales, bits).numpy()
    for channel in range(4):
        expected = round_trip(weight[channel].numpy(), float(scales[channel]), 0, -most, most)
        assert np.abs(found[channel] - expected).max() < 1e-6
    assert np.abs(found[0]).max() == pytest.approx(float(weight[0].abs().max()), rel=1e-6)


def test_a_bias_is_an_integer_that_float32_holds():
    weight, bias, in_scale = torch.zeros(2, 1, 1, 1), torch.tensor([0.7, -1e6]), torch.tensor(0.01)
    scales = fake_quant.weight_scales(weight, bias, in_scale)
    levels = fake_quant.quantise_bias(bias, scales * in_scale) / (scales * in_scale)
    assert torch.allclose(levels, levels.round(), atol=1) and levels.abs().max() <= fake_quant.LARGEST_BIAS * 1.01
    assert torch.allclose(fake_quant.quantise_bias(bias, scales * in_scale), bias, rtol=1e-6)


def test_gradients_pass_within_the_range_and_stop_beyond():
    x = torch.tensor([-2.0, -0.5, 0.3, 5.0], requires_grad=True)
    fake_quant.quantise_activation(x, torch.tensor(-1.0), torch.tensor(1.0)).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]
    bias = torch.tensor([0.123], requires_grad=True)
    fake_quant.quantise_bias(bias, torch.tensor([0.1])).sum().backward()
    assert bias.grad.tolist() == [1]
