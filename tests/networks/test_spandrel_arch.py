"""Teachers of files alone: spandrel recognises their architecture."""

import cached
import pytest
import tiny
import torch
from photos import write_pairs

from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.evaluate.verify_teacher import verify_teacher
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.spandrel_arch import SpandrelModel
from srkd_plugin.networks.teacher import build_teacher, describe_teacher
from srkd_plugin.options import reader
from srkd_plugin.preflight import run_checks
from srkd_plugin.teacher_cache.make import make_cache
from srkd_plugin.teacher_cache.matches_run import teacher_identity

spandrel = pytest.importorskip("spandrel")

COMPACT = {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 2, "upscale": 2, "act_type": "prelu"}


def network(section):
    """A network with weights, biases and slopes that matter."""
    torch.manual_seed(0)
    net = build_described("network_t", section).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return net


def save(net, file):
    torch.save({"params": net.state_dict()}, file)
    return file


@pytest.fixture
def compact(tmp_path):
    net = network(COMPACT)
    return net, save(net, tmp_path / "2x_somebody.pth")


def options(data, file, **path):
    opt = tiny.distill_options(data, file)
    opt["network_t"] = {"type": "SpandrelModel"}
    del opt["path"]["param_key_t"], opt["path"]["strict_load_t"]
    opt["path"].update(path)
    return opt


def teacher(opt):
    return build_teacher(reader.read_plugin_sections(opt), torch.device("cpu"))


def safmn():
    from spandrel.architectures.SAFMN import SAFMN

    torch.manual_seed(0)
    return SAFMN(dim=8, n_blocks=1, upscaling_factor=2).eval().requires_grad_(False)


def test_a_file_is_the_network_that_it_is_of(data, compact):
    net, file = compact
    lq = torch.rand(2, 3, 9, 14)
    found = teacher(options(data, file))
    assert torch.equal(found(lq), net(lq)) and found(lq).max() > 1  # not clipped
    assert found.net.state_dict().keys() == net.state_dict().keys()
    assert (found.net.architecture, found.net.scale) == ("RealESRGAN Compact", 2)


def test_the_options_network_and_the_file_alone_give_one_run(data, compact, tmp_path):
    _, file = compact
    losses = []
    for section in (COMPACT, {"type": "SpandrelModel"}):
        opt = {**options(data, file), "network_t": section}
        model = tiny.model(opt, tmp_path)
        torch.manual_seed(5)
        model.feed_data({"lq": torch.rand(2, 3, 8, 8), "gt": torch.rand(2, 3, 16, 16)})
        model.optimize_parameters(1)
        losses.append(dict(model.log_dict))
    assert losses[0] == losses[1] and losses[0]["l_contrastive"] > 0


def test_the_check_describes_it(data, compact, tmp_path):
    opt = options(data, compact[1])
    run_checks.check(tiny.parsed(opt, tmp_path))
    facts = describe_teacher(reader.read_plugin_sections(opt))
    assert facts["architecture"] == "RealESRGAN Compact, as spandrel recognises it"
    assert facts["parameters"] == sum(p.numel() for p in compact[0].parameters())
    assert (facts["type"], facts["weights"]) == ("SpandrelModel", str(compact[1]))


def test_taps_are_paths_in_its_network(data, compact, tmp_path):
    opt = options(data, compact[1])
    taps = {"student": ["body.0"], "teacher": ["body.3"]}
    opt["train"]["distill_opt"] = {
        "hint": {"type": "FeatureLoss", "criterion": "l2", "taps": taps, "connector": {"kernel_size": 1}}
    }
    run_checks.check(tiny.parsed(opt, tmp_path))
    model = tiny.model(opt, tmp_path)
    model.feed_data({"lq": torch.rand(2, 3, 8, 8), "gt": torch.rand(2, 3, 16, 16)})
    model.optimize_parameters(1)
    assert model.log_dict["l_hint"] > 0
    taps["teacher"] = ["bodi.3"]
    with pytest.raises(OptionsError, match=r"SpandrelModel has no such module. Did you mean 'body.3'"):
        run_checks.check(tiny.parsed(opt, tmp_path))


@pytest.mark.parametrize("making", [{}, {"tile": 8, "overlap": 8}, {"self_ensemble": True}])
def test_a_cache_of_it_is_that_of_its_network(data, compact, tmp_path, making):
    opt = options(data, compact[1])
    described = {**opt, "network_t": COMPACT}
    infos = [make_cache(cached.job(o, tmp_path / f"{i}.lmdb", **making)) for i, o in enumerate((opt, described))]
    contents = [(tmp_path / f"{i}.lmdb/data.mdb").read_bytes() for i in range(2)]
    assert infos[0].teacher.weights_sha256 == infos[1].teacher.weights_sha256
    assert infos[0].measured == infos[1].measured
    assert "\nteacher RealESRGAN Compact, as spandrel recognises it, weights " in infos[0].describe()
    assert "\nteacher SRVGGNetCompact, weights " in infos[1].describe()
    assert len(contents[0]) == len(contents[1])
    opt["datasets"]["train"].update(type="TeacherCacheDataset", dataroot_teacher=str(tmp_path / "0.lmdb"))
    run_checks.check(tiny.parsed(opt, tmp_path))
    save(network({**COMPACT, "num_conv": 1}), compact[1])
    with pytest.raises(OptionsError, match=r"it is the cache of something else: the teacher's weights \(sha256\)"):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_it_is_measured_as_its_network(data, compact, tmp_path):
    hr, lr = write_pairs(tmp_path / "set", 2, h=20, w=24)
    opt = options(data, compact[1])
    reports = [verify_teacher(o, hr, lr) for o in (opt, {**opt, "network_t": COMPACT})]
    assert reports[0] == reports[1]
    with pytest.raises(OptionsError, match=r"scale = 3: .*, is of RealESRGAN Compact for x2. Write 2"):
        verify_teacher({**opt, "scale": 3}, hr, lr)


def test_where_the_weights_are_in_the_file_is_found(data, compact, tmp_path):
    from safetensors.torch import save_file

    net, file = compact
    lq, other = torch.rand(1, 3, 8, 8), network({**COMPACT, "num_conv": 1})
    torch.save({"params": other.state_dict(), "params_ema": net.state_dict(), "iter": 3}, file)
    assert torch.equal(teacher(options(data, file))(lq), net(lq))
    assert torch.equal(teacher(options(data, file, param_key_t="params"))(lq), other(lq))
    torch.save({f"module.{name}": value for name, value in net.state_dict().items()}, file)
    assert torch.equal(teacher(options(data, file))(lq), net(lq))
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    assert torch.equal(teacher(options(data, tmp_path / "a.safetensors"))(lq), net(lq))
    identities = [
        teacher_identity(reader.read_plugin_sections(options(data, f))) for f in (file, tmp_path / "a.safetensors")
    ]
    assert identities[0] == identities[1]


def test_sides_are_padded_as_spandrel_pads_them(data, tmp_path):
    net = safmn()
    file = save(net, tmp_path / "t.pth")
    found = teacher(options(data, file))
    lq = torch.rand(1, 3, 13, 16)
    expected = spandrel.ModelLoader(device="cpu").load_from_file(file)(lq)
    assert torch.equal(found.upscale(lq, 2).clamp(0, 1), expected)
    assert found.upscale(torch.rand(1, 3, 3, 5), 2).shape == (1, 3, 6, 10)


def test_crops_that_it_would_pad_are_refused(data, tmp_path):
    opt = options(data, save(safmn(), tmp_path / "t.pth"))
    opt["datasets"]["train"]["gt_size"] = 24
    with pytest.raises(OptionsError, match="12 LQ pixels per side, and network_t takes multiples of 8"):
        run_checks.check(tiny.parsed(opt, tmp_path))
    opt["datasets"]["train"]["gt_size"] = 32
    run_checks.check(tiny.parsed(opt, tmp_path))
    opt = options(data, save(network(tiny.SWINIR), tmp_path / "s.pth"))
    opt["datasets"]["train"]["gt_size"] = 16
    with pytest.raises(OptionsError, match=r"SwinIR takes 16 LQ pixels per side or more\. Write 32 or more"):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_another_scale_and_other_channels_are_refused(data, tmp_path):
    opt = options(data, save(network({**COMPACT, "upscale": 4}), tmp_path / "t.pth"))
    with pytest.raises(OptionsError, match=r"scale = 2: .*, is of RealESRGAN Compact for x4. Write 4"):
        run_checks.check(tiny.parsed(opt, tmp_path))
    with pytest.raises(OptionsError, match="for x4"):
        make_cache(cached.job(opt, tmp_path / "c.lmdb"))
    opt = options(data, save(network({**COMPACT, "num_in_ch": 1, "num_out_ch": 1}), tmp_path / "y.pth"))
    with pytest.raises(OptionsError, match=r"network_t \(SpandrelModel\) takes images of 1 channel, and these have 3"):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_weights_that_spandrel_does_not_know_are_one_line(data, teacher_file, tmp_path):
    with pytest.raises(OptionsError, match=r"does not recognise the network of these weights. If BasicSR has"):
        teacher(options(data, teacher_file))
    weights = network(COMPACT).state_dict()
    del weights["body.2.bias"]
    torch.save({"params": weights}, tmp_path / "t.pth")
    with pytest.raises(OptionsError, match=r"cannot build the network of these weights \(.*\)"):
        teacher(options(data, tmp_path / "t.pth"))


def test_a_pickle_that_runs_code_is_refused_and_spandrel_opens_no_file(data, compact, tmp_path, monkeypatch):
    class Runs:
        def __reduce__(self):
            return print, ("run",)

    monkeypatch.setattr(spandrel.ModelLoader, "load_state_dict_from_file", None)
    teacher(options(data, compact[1]))
    torch.save({"params": network(COMPACT).state_dict(), "other": Runs()}, tmp_path / "t.pth")
    with pytest.raises(InputError, match="it holds more than tensors"):
        teacher(options(data, tmp_path / "t.pth"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"path": {"pretrain_network_t": None}}, "SpandrelModel is built from its weights"),
        ({"teacher": {"random_init": True}}, "SpandrelModel is built from its weights"),
        ({"path": {"strict_load_t": False}}, r"path.strict_load_t = False: .* Remove it"),
        ({"path": {"param_key_t": "wrong"}}, r"param_key_t = 'wrong': .* The file has: params"),
        ({"network_t": {"type": "SpandrelModel", "upscale": 2}}, r"network_t.upscale = 2: unknown key"),
        ({"network_g": {"type": "SpandrelModel"}}, "it is built from a weights file, and that is the teacher's"),
        ({"student": {"init": "teacher_slice"}}, "the student is EDSR and the teacher SpandrelModel"),
    ],
)
def test_what_it_cannot_be_is_one_line(data, compact, tmp_path, changes, says):
    opt = options(data, compact[1])
    for key, values in changes.items():
        opt[key] = {**opt.get(key, {}), **values} if key == "path" else values
    with pytest.raises(OptionsError, match=says):
        run_checks.check(tiny.parsed(opt, tmp_path))


def test_without_spandrel_one_line_says_what_to_install(data, compact, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(InputError, match=r"pip install 'srkd-plugin\[teachers\]'"):
        teacher(options(data, compact[1]))


def test_evaluation_mode_is_that_of_all_its_modules(compact):
    net = SpandrelModel.of(compact[0].state_dict(), "file")
    assert not any(module.training for module in net.modules())
    assert net.train()._found.model.training and not net.eval()._found.model.training
