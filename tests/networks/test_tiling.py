"""Tiles and the self-ensemble, against one pass over the whole image."""

import pytest
import torch
from basicsr.archs.edsr_arch import EDSR

from srkd_plugin.errors import InputError
from srkd_plugin.networks.tiling import WholeImages

RADIUS = 8
"""LQ pixels that an output pixel of the network below can see in each direction: 3x3 convolutions, 2 of 2 blocks."""


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = EDSR(3, 3, num_feat=6, num_block=2, upscale=2).eval()
    return torch.no_grad()(net)


@pytest.fixture
def lq():
    return torch.rand(1, 3, 37, 50, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("tile", [8, 16, 23, 37, 64])
def test_tiles_with_the_receptive_field_as_overlap_give_the_whole_image(network, lq, tile):
    whole = network(lq)
    tiled = WholeImages(network, 2, tile, RADIUS, False)(lq)
    assert tiled.shape == (1, 3, 74, 100)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-6)


def test_tiles_without_overlap_do_not(network, lq):
    assert (WholeImages(network, 2, 16, 0, False)(lq) - network(lq)).abs().max() > 1e-4


def test_tiles_are_no_larger_than_asked_for(lq):
    seen = []

    def network(tile):
        seen.append(tuple(tile.shape[-2:]))
        return torch.nn.functional.interpolate(tile, scale_factor=2)

    out = WholeImages(network, 2, 16, 4, False)(lq)
    assert torch.equal(out, torch.nn.functional.interpolate(lq, scale_factor=2))
    assert max(max(shape) for shape in seen) <= 16 + 2 * 4
    assert len(seen) == 3 * 4


def turns():
    for flips in ((), (-1,), (-2,), (-2, -1)):
        yield lambda x, flips=flips: x.flip(flips).contiguous()
        yield lambda x, flips=flips: x.flip(flips).transpose(-2, -1).contiguous()


def test_the_self_ensemble_is_the_mean_of_the_eight(network, lq):
    """Written out with rotations by 90 degrees, as EDSR+ is described, in float64."""
    expected = 0
    for mirrored in (False, True):
        for quarters in range(4):
            turned = torch.rot90(lq.flip(-1) if mirrored else lq, quarters, (-2, -1)).contiguous()
            back = torch.rot90(network(turned), -quarters, (-2, -1))
            expected = expected + (back.flip(-1) if mirrored else back).double()
    found = WholeImages(network, 2, None, 0, True)(lq)
    assert found.dtype == lq.dtype
    torch.testing.assert_close(found.double(), expected / 8, rtol=0, atol=1e-7)


@pytest.mark.parametrize("tile", [None, 16])
def test_the_self_ensemble_is_exactly_equivariant_and_one_pass_is_not(network, lq, tile):
    ensemble, single = (WholeImages(network, 2, tile, 3, ensemble) for ensemble in (True, False))
    together, alone = ensemble(lq), single(lq)
    for number, turn in enumerate(turns()):
        assert torch.equal(ensemble(turn(lq)), turn(together)), number
        if number:
            assert not torch.equal(single(turn(lq)), turn(alone))


def test_a_gpu_that_is_too_small(lq):
    def network(_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(InputError, match=r"--tile = None: the GPU's memory is too small .*Write e.g. --tile 25"):
        WholeImages(network, 2, None, 0, False)(lq)
