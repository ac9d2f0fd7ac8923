"""Models of files in torch and onnxruntime."""

import numpy as np
import pytest
import torch

from srkd_plugin.errors import InputError
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.student_file import StudentFile, write_student
from srkd_plugin.runtimes.onnx_upscaler import OnnxUpscaler
from srkd_plugin.runtimes.opening import open_model
from srkd_plugin.runtimes.tiles import tiles_for
from srkd_plugin.runtimes.torch_upscaler import TorchUpscaler

NETWORK = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "upscale": 2}


@pytest.fixture
def model(tmp_path):
    net = build_described("network_g", NETWORK)
    write_student(tmp_path / "net.safetensors", StudentFile(NETWORK, 2, net.state_dict()))
    return tmp_path / "net.safetensors", net


def test_a_file_upscales_as_its_network(model):
    file, net = model
    lq = np.random.default_rng(0).random((2, 3, 7, 10), np.float32)
    upscaler = open_model(file)
    assert (upscaler.scale, upscaler.channels) == (2, 3)
    assert np.array_equal(upscaler(lq), net(torch.from_numpy(lq)).detach().numpy())


def test_networks_of_fixed_multiples_are_padded():
    swinir = {"type": "SwinIR", "upscale": 2, "img_size": 16, "window_size": 8, "embed_dim": 12, "depths": [2]}
    swinir.update(num_heads=[2], upsampler="pixelshuffledirect", img_range=1.0, mlp_ratio=2)
    upscaler = TorchUpscaler(build_described("network_g", swinir), 2)
    assert upscaler(np.zeros((1, 3, 19, 17), np.float32)).shape == (1, 3, 38, 34)


@pytest.mark.parametrize(
    "lq", [np.zeros((3, 8, 8), np.float32), np.zeros((1, 1, 8, 8), np.float32), np.zeros((1, 3, 8, 8))]
)
def test_what_is_no_batch_of_images_is_refused(model, lq):
    with pytest.raises(InputError, match=r"the model takes \(N, 3, h, w\) float32"):
        open_model(model[0])(lq)


def test_files_that_are_no_models_are_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "a.onnx").write_bytes(b"a")
    with pytest.raises(InputError, match=r"it is no model file\. Give a \.pth"):
        open_model(tmp_path / "a.txt")
    with pytest.raises(InputError, match="onnxruntime cannot load it"):
        OnnxUpscaler(tmp_path / "a.onnx")


def model_of_others(file, shape, *, blocks=1, dtype="FLOAT"):
    """An ONNX file without metadata that enlarges x2, and takes sides of multiples of ``blocks``."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make, kind = onnx.helper, getattr(onnx.TensorProto, dtype)
    size = onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "size")
    nodes = [
        make.make_node("SpaceToDepth", ["my image"], ["deep"], blocksize=blocks),
        make.make_node("DepthToSpace", ["deep"], ["same"], blocksize=blocks),
        make.make_node("Resize", ["same", "", "size"], ["out"], mode="nearest"),
    ]
    given = make.make_tensor_value_info("my image", kind, shape)
    found = make.make_tensor_value_info("out", kind, [None] * 4)
    graph = make.make_graph(nodes, "g", [given], [found], [size])
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), file)
    return file


@pytest.mark.parametrize("dtype", ["FLOAT", "FLOAT16"])
def test_files_of_others_upscale_images_of_any_size(tmp_path, dtype):
    """They state no multiple; it is found."""
    model = open_model(model_of_others(tmp_path / "m.onnx", ["n", 3, "h", "w"], blocks=4, dtype=dtype))
    assert (model.scale, model.channels, model.multiple) == (2, 3, 4)
    lq = np.random.default_rng(0).random((2, 3, 17, 23), np.float32)
    found = tiles_for(model)(lq)
    assert found.dtype == np.float32
    assert np.allclose(found, lq.repeat(2, axis=2).repeat(2, axis=3), atol=0 if dtype == "FLOAT" else 1e-3)


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        (
            [1, 3, "h", 16],
            r"its input is \[1, 3, 'h', 16\], where NCHW is expected, with both sides fixed or both free",
        ),
        ([1, 4, "h", "w"], "it takes images of 4 channels"),
        ([4, 3, "h", "w"], "it fails on an image of 16x16"),
        (["n", "h", "w", 3], "where NCHW is expected"),
    ],
)
def test_files_of_others_that_do_not_take_images(tmp_path, shape, problem, capfd):
    with pytest.raises(InputError, match=problem) as error:
        tiles_for(open_model(model_of_others(tmp_path / "m.onnx", shape)))
    assert error.value.key == "--model" and "\n" not in str(error.value)
    assert capfd.readouterr().err == "", "onnxruntime says nothing besides"
