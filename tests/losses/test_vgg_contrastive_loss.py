"""vgg_contrastive_loss against CSD's formula in float64; VGG19's features against torchvision's own network."""

import hashlib
import io
import socket
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from srkd_plugin.errors import OptionsError
from srkd_plugin.losses import VGGContrastiveLoss, vgg, vgg_contrastive_loss, vgg_weights
from srkd_plugin.losses.vgg import VGG19Features


def images(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def batch(n=3, c=3, h=6, w=8, dtype=torch.float64):
    sr = (n, c, h, w)
    return images(*sr, seed=1, dtype=dtype), images(*sr, seed=2, dtype=dtype), images(n, c, h // 2, w // 2, dtype=dtype)


class TwoLayers:
    """Two feature maps of different size: a convolution with tanh, and another on its pooled output."""

    def __init__(self, channels=3):
        self.first, self.second = images(4, channels, 3, 3, seed=5) - 0.5, images(2, 4, 3, 3, seed=6) - 0.5

    def __call__(self, x):
        one = torch.tanh(F.conv2d(x, self.first.to(x.dtype), padding=1))
        return [one, torch.tanh(F.conv2d(F.avg_pool2d(one, 2), self.second.to(x.dtype)))]


def reference(student, teacher, lq, extract, weights, k, eps=1e-7):
    """Wang et al. 2021 in numpy float64: loops over layers, images and negatives."""
    upscaled = F.interpolate(lq, size=student.shape[-2:], mode="bicubic", align_corners=False)
    n = len(student)
    maps = [[m.numpy() for m in extract(x)] for x in (student, teacher, upscaled)]
    total = 0.0
    for weight, s, t, b in zip(weights, *maps):
        pull = np.abs(s - t).mean()
        pushed = np.zeros_like(s)
        for i in range(n):
            for step in range(1, min(k, n - 1) + 1):
                pushed[i] += np.abs(s[i] - b[(i + step) % n])
        total += weight * pull / (pushed.mean() + eps)
    return total


@pytest.mark.parametrize(("n", "k"), [(2, 10), (5, 1), (5, 3), (5, 4), (5, 10)])
def test_equals_the_formula(n, k):
    data, extract, weights = batch(n=n), TwoLayers(), (0.25, 1.0)
    found = vgg_contrastive_loss(*data, extract, layer_weights=weights, num_negatives=k)
    assert found.item() == pytest.approx(reference(*data, extract, weights, k), rel=1e-10)


def test_value_worked_out_by_hand():
    """Two images of one colour, features the images themselves: |0.5 - 0.6| / (|0.5 - 0.9| + |0.5 - 0.1|) / 2."""
    student, teacher = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), 0.6)
    lq = torch.stack([torch.full((3, 2, 2), 0.1), torch.full((3, 2, 2), 0.9)])
    found = vgg_contrastive_loss(student, teacher, lq, lambda x: [x], layer_weights=[1.0])
    assert found.item() == pytest.approx(0.25, rel=1e-5)


def test_gradcheck_and_only_the_student_gets_a_gradient():
    data = [x.requires_grad_() for x in batch(n=2)]
    settings = {"layer_weights": (0.5, 2.0), "num_negatives": 1}
    assert torch.autograd.gradcheck(lambda s: vgg_contrastive_loss(s, *data[1:], TwoLayers(), **settings), data[:1])
    vgg_contrastive_loss(*data, TwoLayers(), **settings).backward()
    assert data[0].grad.abs().sum() > 0
    assert data[1].grad is None
    assert data[2].grad is None


def test_the_features_of_n_negatives_are_computed_once_and_n_times_k_are_not_held():
    student, teacher, lq = batch(n=6)
    student.requires_grad_()
    calls, sizes = [], []

    def extract(x):
        calls.append(len(x))
        return TwoLayers()(x)

    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        vgg_contrastive_loss(student, teacher, lq, extract, layer_weights=(1.0, 1.0))
    assert calls == [6, 6, 6]
    assert max(sizes) <= 6 * 4 * 6 * 8, "more than one batch of the largest feature maps"


def test_degenerate_inputs():
    student, teacher, lq = batch(dtype=torch.float32)
    settings = {"layer_weights": (1.0, 1.0)}
    assert vgg_contrastive_loss(student, student, lq, TwoLayers(), **settings).item() == 0.0
    black = torch.zeros(3, 3, 6, 8, requires_grad=True)
    loss = vgg_contrastive_loss(black, black.detach(), torch.zeros(3, 3, 3, 4), TwoLayers(), **settings)
    loss.backward()
    assert loss.item() == 0.0
    assert black.grad.isfinite().all()
    broken = student.clone()
    broken[0, 0, 0, 0] = float("nan")
    assert vgg_contrastive_loss(broken, teacher, lq, TwoLayers(), **settings).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    data = [x.to(dtype) for x in batch()]
    settings = {"layer_weights": (1.0, 1.0)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = vgg_contrastive_loss(data[0].requires_grad_(), *data[1:], TwoLayers(), **settings)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, vgg_contrastive_loss(*[x.float() for x in data], TwoLayers(), **settings))
    loss.backward()
    assert data[0].grad.isfinite().all()


@pytest.mark.parametrize(
    ("student", "teacher", "lq", "message"),
    [
        ((1, 3, 4, 4), (1, 3, 4, 4), (1, 3, 2, 2), "a batch of 1 image has no negatives"),
        ((2, 3, 4, 4), (2, 3, 4, 6), (2, 3, 2, 2), r"of equal shape; got \(2, 3, 4, 4\) and \(2, 3, 4, 6\)"),
        ((2, 3, 4, 4), (2, 3, 4, 4), (3, 3, 2, 2), r"lq must have N and C of the outputs, \(2, 3\)"),
    ],
)
def test_bad_images_are_named(student, teacher, lq, message):
    with pytest.raises(ValueError, match=message):
        vgg_contrastive_loss(*(torch.rand(s) for s in (student, teacher, lq)), TwoLayers(), layer_weights=(1.0, 1.0))
    with pytest.raises(ValueError, match="there are 2 feature maps and 5 layer_weights"):
        vgg_contrastive_loss(*batch(), TwoLayers())


@pytest.fixture(scope="module")
def loss(vgg_file):
    return VGGContrastiveLoss(loss_weight=2.0, vgg_weights=str(vgg_file), num_negatives=2)


def test_features_are_torchvisions_after_each_relu(loss, vgg_file):
    """Against the whole VGG of torchvision, with a hook on a copy that has no operations in place."""
    from torchvision.models.vgg import cfgs, make_layers

    features = make_layers(cfgs["E"])[:30]
    state = torch.load(vgg_file, weights_only=True)
    features.load_state_dict({k[9:]: v for k, v in state.items() if k.startswith("features.")})
    x = images(2, 3, 20, 35, dtype=torch.float32)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    y, expected = (x - mean.view(3, 1, 1)) / std.view(3, 1, 1), []
    for i, layer in enumerate(features):
        y = torch.relu(y) if isinstance(layer, torch.nn.ReLU) else layer(y)
        if i in (1, 6, 11, 20, 29):
            expected.append(y)
    found = loss.vgg(x)
    assert [tuple(m.shape[1:]) for m in found] == [(64, 20, 35), (128, 10, 17), (256, 5, 8), (512, 2, 4), (512, 1, 2)]
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b)


def test_the_loss_is_the_formula_on_vggs_features(loss):
    student, teacher, lq = batch(n=4, h=16, w=20, dtype=torch.float32)
    found = loss(student.requires_grad_(), teacher, lq)
    with torch.no_grad():
        expected = 2.0 * reference(student, teacher, lq, loss.vgg, (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1), k=2)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    found.backward()
    assert student.grad.abs().sum() > 0
    assert not any(p.requires_grad or p.grad is not None for p in loss.parameters())
    assert not loss.vgg.training


def test_gray_images_are_repeated_and_small_ones_refused(loss):
    gray = images(2, 1, 16, 20, dtype=torch.float32)
    for a, b in zip(loss.vgg(gray), loss.vgg(gray.repeat(1, 3, 1, 1))):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match=r"at least 16x16 pixels; got \(2, 3, 15, 20\)"):
        loss.vgg(torch.rand(2, 3, 15, 20))


def test_building_it_leaves_the_random_state_alone(vgg_file):
    before = torch.get_rng_state()
    VGG19Features(str(vgg_file))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_negatives": 0}, ">= 1; got 0"),
        ({"eps": 0.0}, "> 0; got"),
        ({"negatives": "teacher"}, "must be one of lq_bicubic, history; got 'teacher'"),
        ({"negatives": "history", "num_negatives": 3}, "num_negatives=3 applies to negatives: lq_bicubic only"),
    ],
)
def test_bad_settings_are_named_before_weights_are_read(arguments, message):
    with pytest.raises(ValueError, match=message):
        VGGContrastiveLoss(vgg_weights="no/such.pth", **arguments)


def test_weights_that_are_not_vgg19s_are_named(tmp_path, vgg_file):
    with pytest.raises(OptionsError, match=r"vgg_weights = 'no/such\.pth': there is no such file"):
        VGG19Features("no/such.pth")
    state = torch.load(vgg_file, weights_only=True)
    torch.save({**state, "features.28.bias": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(OptionsError, match=r"features\.28\.bias is \(3,\), and \(512,\) in VGG19"):
        VGG19Features(str(tmp_path / "other.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(OptionsError, match=r"features\.0\.weight is not there"):
        VGG19Features(str(tmp_path / "list.pth"))


def test_torchvisions_own_weights_come_from_torchs_cache(tmp_path, vgg_file, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("it is in the cache"))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/vgg19-dcbb9e9d.pth").symlink_to(vgg_file)
    expected = VGG19Features(str(vgg_file)).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in VGG19Features().state_dict().items())


class Response(io.BytesIO):
    headers: ClassVar = {}


@pytest.fixture
def server(tmp_path, vgg_file, monkeypatch):
    """Gives the weights at their address, and notes the timeout of each connection; the cache is empty."""
    timeouts = []

    def urlopen(url, timeout=None):
        assert url == vgg.VGG19_Weights.IMAGENET1K_V1.url
        assert socket.getdefaulttimeout() is None, "that of the whole process"
        timeouts.append(timeout)
        return Response(vgg_file.read_bytes())

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(vgg_weights, "urlopen", urlopen)
    return timeouts


def test_or_are_downloaded_once_with_a_timeout_of_the_connection(server, vgg_file, monkeypatch):
    url = f"https://example.org/vgg19-{hashlib.sha256(vgg_file.read_bytes()).hexdigest()[:8]}.pth"
    monkeypatch.setattr(vgg, "VGG19_Weights", SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=url)))
    for _ in range(2):
        assert len(VGG19Features()(torch.rand(1, 3, 16, 16))) == 5
    assert server == [vgg_weights.CONNECT_SECONDS]


def test_a_download_of_another_hash_is_refused_and_leaves_nothing(server, tmp_path):
    with pytest.raises(OptionsError, match=r"has the sha256 .* and must begin with dcbb9e9d"):
        VGG19Features()
    assert not list((tmp_path / "hub/checkpoints").iterdir())


def test_offline_the_error_says_what_to_do(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    with pytest.raises(OptionsError) as caught:
        VGG19Features()
    assert "vgg19-dcbb9e9d.pth and cannot be downloaded from https://download.pytorch.org" in str(caught.value)
    assert "write vgg_weights: <path of the file>" in str(caught.value)
    assert not list((tmp_path / "hub/checkpoints").iterdir()), "a half file was left"


def test_history_equals_the_formula():
    """DCKD in numpy float64: one ratio per layer, all images of the earlier student in its denominator."""
    (student, teacher, lq), extract, weights = batch(n=3), TwoLayers(), (0.25, 1.0)
    history = torch.stack([images(*student.shape, seed=20 + k) for k in range(4)])
    s, t = ([m.numpy() for m in extract(x)] for x in (student, teacher))
    h = [[m.numpy() for m in extract(x)] for x in history]
    expected = sum(
        weight * np.abs(s[j] - t[j]).mean() / (sum(np.abs(s[j] - maps[j]).mean() for maps in h) + 1e-7)
        for j, weight in enumerate(weights)
    )
    found = vgg_contrastive_loss(student, teacher, lq, extract, history=history, layer_weights=weights)
    assert found.item() == pytest.approx(expected, rel=1e-10)
    one = [x[:1] for x in (student, teacher, lq)]
    assert vgg_contrastive_loss(*one, extract, history=history[:, :1], layer_weights=weights).item() > 0


def test_gradients_with_history_reach_the_student_only():
    student, teacher, lq = (x.requires_grad_() for x in batch(n=2))
    history = torch.stack([images(*student.shape, seed=20 + k) for k in range(2)]).requires_grad_()

    def loss(s):
        return vgg_contrastive_loss(s, teacher, lq, TwoLayers(), history=history, layer_weights=(0.5, 2.0))

    assert torch.autograd.gradcheck(loss, (student,))
    loss(student).backward()
    assert teacher.grad is None
    assert history.grad is None
