"""EDSR's weights between the official format and BasicSR's, on synthetic weights of the official form."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from basicsr.archs.edsr_arch import EDSR
from torch import nn

from srkd_plugin.errors import InputError
from srkd_plugin.export.convert import convert_file, equal
from srkd_plugin.export.edsr_format import describe, mean_shifts, read_file, to_basicsr, to_official

SCRIPT = Path(__file__).parents[2] / "scripts/convert_edsr.py"
STEPS = {2: [4], 3: [9], 4: [4, 4]}


class OfficialEDSR(nn.Module):
    """The official network, built after its paper's description with the official names."""

    def __init__(self, channels, blocks, scale, res_scale=1.0):
        super().__init__()
        self.res_scale = res_scale
        self.sub_mean, self.add_mean = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.head = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1))
        last = nn.Conv2d(channels, channels, 3, padding=1)
        self.body = nn.Sequential(*(self.block(channels) for _ in range(blocks)), last)
        steps = []
        for factor in STEPS[scale]:
            steps += [nn.Conv2d(channels, factor * channels, 3, 1, 1), nn.PixelShuffle(int(factor**0.5))]
        self.tail = nn.Sequential(nn.Sequential(*steps), nn.Conv2d(channels, 3, 3, 1, 1))
        self.load_state_dict(mean_shifts(), strict=False)

    @staticmethod
    def block(channels):
        block = nn.Module()
        conv = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)]
        block.body = nn.Sequential(conv[0], nn.ReLU(), conv[1])
        return block

    def forward(self, image):
        x = self.head(self.sub_mean(image))
        res = x
        for block in self.body[:-1]:
            res = res + self.res_scale * block.body(res)
        return self.add_mean(self.tail(x + self.body[-1](res)))


def official(channels=6, blocks=3, scale=2, seed=0, **kwargs):
    torch.manual_seed(seed)
    return OfficialEDSR(channels, blocks, scale, **kwargs)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("blocks", [1, 11])
def test_round_trip_is_bit_exact(scale, blocks):
    weights = official(blocks=blocks, scale=scale).state_dict()
    back = to_official(to_basicsr(weights))
    assert equal(back, weights)
    assert list(back) == list(weights), "in the same order, too"


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("res_scale", [1.0, 0.1])
@torch.no_grad()
def test_both_networks_give_the_same_image(scale, res_scale):
    net = official(scale=scale, res_scale=res_scale)
    other = EDSR(3, 3, num_feat=6, num_block=3, upscale=scale, res_scale=res_scale)
    other.load_state_dict(to_basicsr(net.state_dict()))
    image = torch.rand(1, 3, 9, 11)
    torch.testing.assert_close(other(image), net(255 * image) / 255, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_architecture_from_the_weights_alone(scale):
    weights = official(channels=8, blocks=5, scale=scale).state_dict()
    for form in (weights, to_basicsr(weights)):
        found = describe(form)
        assert (found.blocks, found.channels, found.scale) == (5, 8, scale)
        net = EDSR(**{key: value for key, value in found.as_options().items() if key != "type"})
        assert found.parameters == sum(p.numel() for p in net.parameters())
        net.load_state_dict(to_basicsr(weights))


@pytest.mark.parametrize(
    ("channels", "blocks", "scale", "res_scale", "parameters"),
    [(64, 16, 2, 1.0, 1_369_859), (64, 16, 4, 1.0, 1_517_571), (256, 32, 2, 0.1, 40_729_603)],
)
def test_the_official_sizes(channels, blocks, scale, res_scale, parameters):
    with torch.device("meta"):
        net = EDSR(3, 3, num_feat=channels, num_block=blocks, upscale=scale)
    found = describe(net.state_dict())
    assert (found.usual_res_scale, found.parameters) == (res_scale, parameters)


def test_files_there_and_back(tmp_path):
    source = tmp_path / "edsr.pt"
    torch.save(official().state_dict(), source)
    there = convert_file(source, tmp_path / "edsr.pth")
    assert (there.official, there.written, there.exact_round_trip, there.as_named) == (True, True, True, True)
    assert torch.load(tmp_path / "edsr.pth", weights_only=True).keys() == {"params"}
    back = convert_file(tmp_path / "edsr.pth", tmp_path / "back.pt")
    assert not back.official
    assert equal(read_file(tmp_path / "back.pt")[0], read_file(source)[0])
    assert convert_file(source, tmp_path / "again.pth").out_sha256 == there.out_sha256


def test_existing_output(tmp_path):
    for seed in (0, 1):
        torch.save(official(seed=seed).state_dict(), tmp_path / f"{seed}.pt")
    out = tmp_path / "out.pth"
    assert convert_file(tmp_path / "0.pt", out).written
    assert not convert_file(tmp_path / "0.pt", out).written
    before = out.read_bytes()
    with pytest.raises(InputError, match=r"--out = .*other weights.*--force"):
        convert_file(tmp_path / "1.pt", out)
    assert out.read_bytes() == before
    assert convert_file(tmp_path / "1.pt", out, force=True).written
    assert equal(to_official(read_file(out)[0]), read_file(tmp_path / "1.pt")[0])


def test_the_hash_in_the_name(tmp_path):
    path = tmp_path / "edsr_x2-0edfb8a3.pt"
    torch.save(official().state_dict(), path)
    found = convert_file(path)
    assert (found.named_sha256, found.as_named) == ("0edfb8a3", False)
    renamed = path.rename(tmp_path / f"edsr_x2-{found.sha256[:8]}.pt")
    assert convert_file(renamed).as_named


def test_means_that_would_be_lost_are_refused():
    weights = official().state_dict()
    weights["sub_mean.bias"] = weights["sub_mean.bias"] / 255
    with pytest.raises(InputError, match=r"sub_mean\.bias.*rgb_mean"):
        to_basicsr(weights)


@pytest.mark.parametrize("name", ["head.1.weight", "tail.2.bias", "body.0.body.1.weight", "model.head.0.weight"])
def test_foreign_entries_are_refused(name):
    weights = {**official().state_dict(), name: torch.zeros(1)}
    with pytest.raises(InputError, match="no such entry"):
        to_basicsr(weights)


def test_several_param_keys(tmp_path):
    nets = {key: to_basicsr(official(seed=seed).state_dict()) for seed, key in enumerate(("params", "params_ema"))}
    path = tmp_path / "net_g_latest.pth"
    torch.save(nets, path)
    with pytest.raises(InputError, match="has params, params_ema"):
        read_file(path)
    assert equal(read_file(path, "params_ema")[0], nets["params_ema"])
    with pytest.raises(InputError, match="--param-key = 'other'"):
        read_file(path, "other")


def test_bad_files(tmp_path):
    path = tmp_path / "weights.pt"
    with pytest.raises(InputError, match="no such file"):
        read_file(path)
    torch.save(official().state_dict(), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="download complete"):
        read_file(path)
    path.write_bytes(pickle.dumps({"head.0.weight": Path("x")}))
    with pytest.raises(InputError, match="cannot be read"):
        read_file(path)
    torch.save({"fc.weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=r"neither head\.0\.weight"):
        read_file(path)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="no dictionary"):
        read_file(path)
    torch.save({"params": {"epoch": 3}}, path)
    with pytest.raises(InputError, match="other things than tensors"):
        read_file(path)


def test_the_command(tmp_path):
    path = tmp_path / "edsr.pt"
    torch.save(official().state_dict(), path)

    def command(*arguments):
        return subprocess.run(
            [sys.executable, SCRIPT, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=tiny.child_environment(),
        )

    shown = command(path, "--out", tmp_path / "edsr.pth")
    assert shown.returncode == 0, shown.stderr
    assert "3 blocks, 6 channels, x2" in shown.stdout
    assert "the same, bit for bit" in shown.stdout
    failed = command(tmp_path / "none.pt")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("error: weights = ")
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize("prefix", ["net.", "model.sr."])
def test_a_prefix_is_named_and_the_named_flag_converts_the_file(tmp_path, prefix):
    net = EDSR(**{k: v for k, v in tiny.STUDENT.items() if k != "type"})
    torch.save({f"module.{prefix}{k}": v for k, v in net.state_dict().items()}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=f"Give --prefix {prefix}$"):
        convert_file(tmp_path / "w.pth")
    assert convert_file(tmp_path / "w.pth", tmp_path / "o.pt", prefix=prefix).exact_round_trip
    with pytest.raises(InputError, match=r"--prefix = 'no.': no name in w.pth begins with it"):
        convert_file(tmp_path / "w.pth", prefix="no.")


def test_weights_that_are_not_finite_are_not_converted(tmp_path):
    weights = EDSR(**{k: v for k, v in tiny.STUDENT.items() if k != "type"}).state_dict()
    weights["conv_last.bias"][0] = float("nan")
    torch.save({"params": weights}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"conv_last.bias has values that are NaN"):
        convert_file(tmp_path / "w.pth", tmp_path / "o.pt")
    assert not (tmp_path / "o.pt").exists()
