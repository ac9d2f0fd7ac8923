"""Post-training quantisation of tiny networks."""

import pytest
import quantized
import torch

from srkd_plugin.errors import InputError
from srkd_plugin.quantization import costs
from srkd_plugin.quantization.ptq import Int8Settings, calibrate
from srkd_plugin.quantization.ranges import in_float


def psnr(a, b):
    return float(-10 * torch.log10((a.clamp(0, 1) - b.clamp(0, 1)).double().square().mean()))


@pytest.mark.parametrize("name", sorted(quantized.KNOWN))
def test_the_int8_network_is_close_to_the_network(name):
    net = quantized.network(quantized.KNOWN[name])
    found = calibrate(net, quantized.images())
    lq = quantized.images(seed=1)
    with torch.no_grad():
        expected, out = net(lq), found.net(lq)
        with in_float(found.net):
            assert torch.allclose(found.net(lq), expected, atol=1e-5)
    assert psnr(out, expected) > 38  # 8 bits of the output alone: 59 dB
    levels = out * 255
    assert torch.allclose(levels, levels.round(), atol=1e-3) and out.min() >= 0 and out.max() <= 1
    assert list(found.layer_costs) == sorted(found.layer_costs, key=found.layer_costs.get, reverse=True)
    assert set(found.layer_costs) == set(costs.layers(found.net))
    assert found.float_layers == [] and 0 < found.cost < 3


def test_equalisation_and_search_make_it_better():
    net = quantized.network(quantized.EDSR)
    with torch.no_grad():
        for block in net.body:
            block.conv1.weight[0] *= 20  # one channel sets the range of all
            block.conv2.weight[:, 0] /= 20
    found = calibrate(net, quantized.images())
    assert found.strength > 0


def test_the_same_images_give_the_same_network():
    net = quantized.network(quantized.EDSR)
    one, other = (calibrate(net, quantized.images()).net.state_dict() for _ in range(2))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_layers_stay_float_by_name_and_by_bar():
    net = quantized.network(quantized.EDSR)
    all_int8 = calibrate(net, quantized.images())
    costly = next(iter(all_int8.layer_costs))
    named = calibrate(net, quantized.images(), Int8Settings(float_layers=[costly]))
    assert named.float_layers == [costly] and costly not in named.layer_costs
    assert named.cost < all_int8.cost
    bar = all_int8.cost / 2
    barred = calibrate(net, quantized.images(), Int8Settings(float_bar=bar))
    assert barred.float_layers and barred.cost <= bar
    assert barred.float_layers == list(barred.layer_costs)[: len(barred.float_layers)]
    whole = calibrate(net, quantized.images(), Int8Settings(float_bar=0.0))
    assert len(whole.float_layers) == len(all_int8.layer_costs) and whole.cost < 1e-6
    with torch.no_grad():
        assert torch.allclose(whole.net(quantized.images()), net(quantized.images()), atol=1e-5)


def test_a_layer_that_is_not_there():
    with pytest.raises(InputError, match=r"conv_frist.*Did you mean .conv_first"):
        calibrate(quantized.network(quantized.EDSR), quantized.images(), Int8Settings(float_layers=["conv_frist"]))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_images_and_dead_layers(value):
    net = quantized.network(quantized.EDSR)
    with torch.no_grad():
        net.body[0].conv1.bias.fill_(-1e6)  # its ReLU is always zero
    found = calibrate(net, torch.full((4, 3, 16, 17), value))
    with torch.no_grad():
        assert torch.isfinite(found.net(quantized.images())).all()


def test_a_network_that_computes_nan_is_refused():
    net = quantized.network(quantized.EDSR)
    with torch.no_grad():
        net.conv_last.bias[0] = float("nan")
    with pytest.raises(InputError, match="NaN or infinite"):
        calibrate(net, quantized.images())


def test_weights_of_7_bits():
    found = calibrate(quantized.network(quantized.EDSR), quantized.images(), Int8Settings(weight_bits=7))
    step = found.net.convs()[0]
    own = found.net.own(step)
    weight, _ = found.net.round_kernel(step, own["weight"] * own["in_factor"][None, :, None, None], own["bias"])
    assert (weight / own["weight_scale"].view(-1, 1, 1, 1)).abs().max() <= 63.01
