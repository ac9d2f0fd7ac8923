"""What ``srkd check`` says opens a student's file: tried with spandrel, for every SR architecture of BasicSR."""

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.student_file import StudentFile, write_student
from srkd_plugin.preflight.opened_by import NEEDED, REFUSED, missing_argument, opened_by

EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2, "upscale": 2}
COMPACT = {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 2, "upscale": 2}
RRDB = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "scale": 2, "num_feat": 16, "num_block": 1}
SWINIR = {"type": "SwinIR", "upscale": 2, "img_size": 16, "window_size": 8, "embed_dim": 12, "depths": [2, 2]}
SWINIR.update(num_heads=[2, 2], upsampler="pixelshuffle", mlp_ratio=2)
ECBSR = {"type": "ECBSR", "num_in_ch": 3, "num_out_ch": 3, "num_block": 2, "num_channel": 8, "with_idt": False}
OPENED = [
    COMPACT,
    {**COMPACT, "upscale": 4},
    {**COMPACT, "num_in_ch": 1, "num_out_ch": 1, "upscale": 3, "act_type": "prelu"},
    RRDB,
    {**RRDB, "scale": 4, "num_feat": 8},
    SWINIR,
    {**SWINIR, "img_range": 1.0, "upsampler": "pixelshuffledirect", "window_size": 4, "mlp_ratio": 4},
    {**SWINIR, "upsampler": "nearest+conv", "upscale": 4, "resi_connection": "3conv"},
]
NOT_OPENED = [
    EDSR,
    {**EDSR, "upscale": 4, "res_scale": 0.1},
    {**EDSR, "type": "RCAN", "num_group": 2, "squeeze_factor": 4},
    {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2},
    {**ECBSR, "act_type": "prelu", "scale": 2},
    {"type": "RIDNet", "in_channels": 3, "mid_channels": 8, "out_channels": 3, "num_block": 1},
    {"type": "DUF", "scale": 2, "num_layer": 16},
    {**COMPACT, "act_type": "relu"},
    {**COMPACT, "act_type": "leakyrelu"},
    {**RRDB, "num_grow_ch": 8},
    {**SWINIR, "ape": True},
    {**SWINIR, "patch_norm": False},
    {**SWINIR, "img_range": 255.0},
    {**SWINIR, "qk_scale": 1.0},
]


def ids(network):
    return f"{network['type']} {list(network.items())[-1]}"


def file_of(network, path):
    """A student's checkpoint of BasicSR's, with weights, biases and slopes that matter."""
    torch.manual_seed(0)
    net = build_described("network_g", network).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    torch.save({"params": net.state_dict()}, path)
    return net, path


def as_spandrel_does(path, lq):
    """The unclipped images of the network that spandrel makes of a file; None where it makes none."""
    spandrel = pytest.importorskip("spandrel")
    try:
        found = spandrel.ModelLoader(device="cpu").load_from_file(path)
    except (spandrel.UnsupportedModelError, RuntimeError):
        return None
    with torch.no_grad():
        return found.model.eval()(lq)


@pytest.mark.parametrize("network", OPENED, ids=ids)
def test_what_is_said_to_open_opens_with_the_same_images(network, tmp_path):
    net, path = file_of(network, tmp_path / "net_g_latest.pth")
    lq = torch.rand(1, network.get("num_in_ch", 3), 16, 24)
    assert torch.equal(as_spandrel_does(path, lq), net(lq))
    assert missing_argument(network) is None
    assert opened_by(network).startswith("BasicSR, and as it is by spandrel (chaiNNer, ComfyUI)")


@pytest.mark.parametrize("network", NOT_OPENED, ids=ids)
def test_what_is_said_not_to_open_is_refused_or_gives_other_images(network, tmp_path):
    net, path = file_of(network, tmp_path / "net_g_latest.pth")
    lq = torch.rand(1, 3, 16, 24)
    found = as_spandrel_does(path, lq)
    assert found is None or found.shape != net(lq).shape or not torch.allclose(found, net(lq), atol=1e-3)
    said = opened_by(network)
    assert said.startswith("BasicSR; spandrel") and "srkd export" in said


def test_every_super_resolution_network_of_basicsr_is_in_the_table():
    others = {"EDVR", "BasicVSR", "BasicVSRPlusPlus", "IconVSR", "TOFlow", "SpyNet"}  # video
    others |= {"HiFaceGAN", "HiFaceGANDiscriminator", "DFDNet", "StyleGAN2Generator"}  # faces
    others |= {"VGGStyleDiscriminator", "UNetDiscriminatorSN", "StyleGAN2Discriminator", "VGGFeatureExtractor"}
    theirs = {name.replace("_basicsr", "") for name, cls in ARCH_REGISTRY if cls.__module__.startswith("basicsr.")}
    assert theirs - others == NEEDED.keys() | REFUSED.keys()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_student_file_opens_too(tmp_path, suffix):
    net, _ = file_of(COMPACT, tmp_path / "a.pth")
    write_student(tmp_path / f"2x_student{suffix}", StudentFile(COMPACT, 2, net.state_dict()))
    lq = torch.rand(1, 3, 9, 14)
    assert torch.equal(as_spandrel_does(tmp_path / f"2x_student{suffix}", lq), net(lq))


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (
            {**COMPACT, "act_type": "relu"},
            "opens a SRVGGNetCompact with act_type: prelu only: write that, or srkd export",
        ),
        ({**SWINIR, "img_range": 255.0}, "opens a SwinIR with img_range: 1.0 only"),
        ({**SWINIR, "ape": True}, "with ape: false only"),
        (EDSR, "does not know its EDSR: srkd export writes ONNX, ncnn and a file that names its network; an SRVGGNet"),
        ({"type": "SomebodysNet"}, "whether spandrel (chaiNNer, ComfyUI) knows SomebodysNet is not known here"),
    ],
)
def test_the_line_says_what_to_do_instead(network, says):
    assert says in opened_by(network)
