"""SR architectures of BasicSR's registry at tiny size: the formats they can be exported to, as docs/export.md says."""

import re

import pytest
import tiny
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from srkd_plugin.errors import InputError
from srkd_plugin.export.formats import FORMATS
from srkd_plugin.export.job import ExportJob, Wishes
from srkd_plugin.export.student import check_student
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.student_file import StudentFile

RGB = {"num_in_ch": 3, "num_out_ch": 3}
TINY = {
    "EDSR": (2, {**RGB, "num_feat": 4, "num_block": 1, "upscale": 2}),
    "RCAN": (2, {**RGB, "num_feat": 8, "num_group": 1, "num_block": 1, "squeeze_factor": 4, "upscale": 2}),
    "RRDBNet": (4, {**RGB, "num_feat": 4, "num_block": 1, "num_grow_ch": 4, "scale": 4}),
    "RRDBNet x2": (2, {**RGB, "num_feat": 4, "num_block": 1, "num_grow_ch": 4, "scale": 2}),
    "MSRResNet": (4, {**RGB, "num_feat": 4, "num_block": 1, "upscale": 4}),
    "SRVGGNetCompact": (2, {**RGB, "num_feat": 4, "num_conv": 1, "upscale": 2}),
    "ECBSR": (2, {**RGB, "num_block": 1, "num_channel": 4, "with_idt": False, "act_type": "prelu", "scale": 2}),
    "RIDNet": (1, {"in_channels": 3, "mid_channels": 16, "out_channels": 3, "num_block": 1}),
    "SwinIR": (2, {key: value for key, value in tiny.SWINIR.items() if key != "type"}),
}
"""Scale and arguments."""
NOT_SR = {
    "videos": {"BasicVSR", "BasicVSRPlusPlus", "DUF", "EDVR", "IconVSR", "SpyNet", "TOFlow"},
    "faces": {"DFDNet", "HiFaceGAN", "HiFaceGANDiscriminator", "StyleGAN2Discriminator", "StyleGAN2Generator"},
    "losses": {"UNetDiscriminatorSN", "VGGFeatureExtractor", "VGGStyleDiscriminator"},
}
ROW = re.compile(r"^\| `(\w+)(?: (x2))?` \| (yes|no)[^|]* \| (yes|no)[^|]* \| (yes|no)[^|]* \|", re.MULTILINE)
ROWS = {
    " ".join(filter(None, found[:2])): dict(zip(("onnx", "fp16", "ncnn"), found[2:]))
    for found in ROW.findall((tiny.PROJECT / "docs/export.md").read_text("utf-8"))
}


def test_the_table_has_every_sr_architecture_of_the_registry():
    assert ROWS.keys() == TINY.keys()
    registered = {name.replace("_basicsr", "") for name, _ in ARCH_REGISTRY if _.__module__.startswith("basicsr.")}
    assert registered == {name.split()[0] for name in TINY}.union(*NOT_SR.values())


@pytest.mark.parametrize("name", TINY)
def test_an_architecture_can_be_exported_as_the_table_says(name, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    scale, arguments = TINY[name]
    network = {"type": name.split()[0], **arguments}
    torch.manual_seed(0)
    net = build_described("network_g", network).eval()
    student = StudentFile(network, scale, net.state_dict())
    job = ExportJob(student, "net", tmp_path, check_student(net, student), Wishes(fp16=True))
    found = {}
    for one in ("onnx", "fp16", "ncnn"):
        try:
            found[one] = "yes" if all(written.files[0].is_file() for written in FORMATS[one].write(job)) else "no"
        except InputError as error:
            assert str(error).startswith("network_g"), "an error that names the network"
            found[one] = "no"
    assert found == ROWS[name]


def test_what_does_not_depend_on_the_image_is_computed_once(tmp_path):
    onnx = pytest.importorskip("onnx")
    scale, arguments = TINY["ECBSR"]
    net = build_described("network_g", {"type": "ECBSR", **arguments})
    job = ExportJob(StudentFile({"type": "ECBSR", **arguments}, scale, net.state_dict()), "net", tmp_path)
    list(FORMATS["onnx"].write(job))
    operators = [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert operators.count("Conv") == 3 and len(operators) < 30, "a kernel per layer, and no arithmetic that makes it"
