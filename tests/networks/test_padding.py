"""Networks that need sides of a multiple: found by trying, and run on any size as BasicSR's SwinIRModel does."""

import cached
import pytest
import tiny
import torch
from basicsr.archs.edsr_arch import EDSR
from basicsr.archs.swinir_arch import SwinIR
from basicsr.models.swinir_model import SwinIRModel
from torch import nn

from srkd_plugin.errors import OptionsError
from srkd_plugin.images.decode import read_bgr
from srkd_plugin.networks.padding import run_padded, size_multiple
from srkd_plugin.networks.teacher import Teacher
from srkd_plugin.options.sections import TeacherSection
from srkd_plugin.preflight import run_checks
from srkd_plugin.teacher_cache.encoding import decode
from srkd_plugin.teacher_cache.make import make_cache
from srkd_plugin.teacher_cache.store import CacheReader


class Needs(nn.Module):
    """An SR network of factor 2 that takes sides of a multiple only."""

    def __init__(self, multiple, scale=2):
        super().__init__()
        self.multiple, self.scale = multiple, scale

    def forward(self, x):
        if x.shape[-1] % self.multiple or x.shape[-2] % self.multiple:
            raise RuntimeError("shape mismatch")
        return nn.functional.interpolate(x, scale_factor=self.scale)


def swinir(window=8):
    torch.manual_seed(0)
    arguments = {**tiny.SWINIR, "window_size": window}
    del arguments["type"]
    return SwinIR(**arguments).eval()


def as_stock(net, lq):
    """What BasicSR's SwinIRModel gives."""
    stock = SwinIRModel.__new__(SwinIRModel)
    stock.opt, stock.lq, stock.net_g = {"network_g": {"window_size": 8}, "scale": 2}, lq, net
    stock.test()
    net.eval()
    return stock.output


@pytest.mark.parametrize("multiple", [1, 2, 3, 4, 6, 7, 8, 12, 16, 30, 64])
def test_the_multiple_is_found(multiple):
    assert size_multiple(Needs(multiple), 3, 2) == multiple


def test_a_network_of_another_scale_is_not_tried_on_every_size():
    tried = []
    net = Needs(1, scale=4)
    net.register_forward_pre_hook(lambda net, inputs: tried.append(inputs[0].shape[-1]))
    assert size_multiple(net, 3, 2) is None
    assert tried == [17, 18]


def test_a_network_that_gives_no_image_takes_no_size():
    assert size_multiple(nn.Flatten(0), 3, 2) is None


def test_of_basicsrs_networks():
    assert size_multiple(EDSR(3, 3, num_feat=4, num_block=1, upscale=2).eval(), 3, 2) == 1
    assert size_multiple(swinir(8), 3, 2) == 8
    assert size_multiple(swinir(4), 3, 2) == 4


@pytest.mark.parametrize("net", [Needs(1, scale=3), Needs(65), EDSR(1, 1, num_feat=4, num_block=1, upscale=2)])
def test_a_network_that_never_works_has_none(net):
    assert size_multiple(net, 3, 2) is None


@pytest.mark.parametrize("size", [(21, 34), (16, 24), (8, 9)])
def test_padded_as_basicsrs_swinir_model(size):
    net, lq = swinir(), torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = as_stock(net, lq)
    with torch.no_grad():
        assert torch.equal(run_padded(net, lq, 8, 2), expected)
    assert torch.equal(Teacher(net, torch.device("cpu"), TeacherSection()).upscale(lq, 2), expected)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (5, 2)])
def test_images_too_small_to_be_reflected_are_repeated(size):
    lq = torch.rand(2, 3, *size)
    out = run_padded(Needs(8), lq, 8, 2)
    assert torch.equal(out, nn.functional.interpolate(lq, scale_factor=2))


def test_a_size_that_fits_is_handed_on_as_it_is():
    seen = []
    lq = torch.rand(1, 3, 16, 24)
    run_padded(lambda x: seen.append(x) or x, lq, 8, 1)
    assert seen[0] is lq
    with pytest.raises(ValueError, match="a number from 1"):
        run_padded(lambda x: x, lq, 0, 1)


def test_a_cache_of_such_a_teacher_has_whole_images(data, tmp_path):
    net = swinir()
    torch.save({"params": net.state_dict()}, tmp_path / "t.pth")
    opt = tiny.distill_options(data, tmp_path / "t.pth")
    opt["network_t"] = tiny.SWINIR
    make_cache(cached.job(opt, tmp_path / "c.lmdb", storage="float16"))  # LQ images are 24 x 20
    reader = CacheReader("c", tmp_path / "c.lmdb")
    lq = torch.from_numpy(read_bgr(data / "LR/im0.png")[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    expected = as_stock(net, lq)[0].permute(1, 2, 0).numpy()[..., ::-1]
    with reader.views() as view:
        assert abs(decode(view("teacher", "im0"), "float16") - expected).max() < 1e-3


@pytest.mark.parametrize("ema", [0, 0.9])
def test_such_a_student_is_validated_as_basicsrs_swinir_model(data, teacher_file, tmp_path, ema):
    opt = tiny.distill_options(data, teacher_file)
    opt["network_g"], opt["train"]["ema_decay"] = tiny.SWINIR, ema
    model = tiny.model(opt, tmp_path)
    lq = torch.rand(1, 3, 20, 27)
    model.lq = lq
    model.test()
    net = model.net_g_ema if ema else model.net_g
    assert model.lq is lq and model.net_g.training
    assert torch.equal(model.output, as_stock(net.eval(), lq))


@pytest.mark.parametrize("which", ["network_g", "network_t"])
def test_crops_that_such_a_network_cannot_take_are_refused_before_the_run(data, tmp_path, which):
    torch.save({"params": swinir().state_dict()}, tmp_path / "t.pth")
    opt = tiny.distill_options(data, tmp_path / "t.pth")
    opt["network_t"] = tiny.SWINIR
    if which == "network_g":
        opt["network_g"] = tiny.SWINIR
    opt["datasets"]["train"]["gt_size"] = 40
    with pytest.raises(
        OptionsError, match=rf"gt_size = 40: .* 20 LQ pixels.* {which} takes multiples of 8. Write .* 32"
    ):
        run_checks.check(tiny.parsed(opt, tmp_path))
    opt["datasets"]["train"]["gt_size"] = 32
    run_checks.check(tiny.parsed(opt, tmp_path))
