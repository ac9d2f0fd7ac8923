"""The teacher's images of zoomed inputs in a cache: what is stored, what items have, and steps that learn from them."""

import copy
import random
import re
import shutil
import types

import cached
import numpy as np
import pytest
import tiny
import torch
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY
from cached import stored
from torch import nn

from srkd_plugin.cli import main
from srkd_plugin.distill.targets.cached import OPTION, CachedImages
from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.images.decode import read_bgr
from srkd_plugin.images.matlab_resize import downscale
from srkd_plugin.options import reader
from srkd_plugin.options.teachers import choose_teacher
from srkd_plugin.preflight import run_checks
from srkd_plugin.teacher_cache.encoding import decode
from srkd_plugin.teacher_cache.entry_kinds import is_taken
from srkd_plugin.teacher_cache.image_entries import RunningTeacher
from srkd_plugin.teacher_cache.info import Shard, Zoom
from srkd_plugin.teacher_cache.make import make_cache
from srkd_plugin.teacher_cache.repair import repair_cache
from srkd_plugin.teacher_cache.store import CacheReader, CacheWriter, unfinished
from srkd_plugin.teacher_cache.teacher_cache_dataset import TeacherCacheDataset
from srkd_plugin.utils.files import sha256_of_lines

SAMPLES = {"zoom_in": 2, "zoom_out": True}
KEYS = [f"im{i}" for i in range(6)]
STEP = 1.6e-5
"""More than half a step of uint16."""


@ARCH_REGISTRY.register()
class NearestTeacher(nn.Module):
    """Repeats pixels and adds a bias: what it gives for a pixel does not depend on where the image ends."""

    def __init__(self, upscale=2):
        super().__init__()
        self.upscale, self.bias = upscale, nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return nn.functional.interpolate(x, scale_factor=self.upscale, mode="nearest") + self.bias


def repeated(images):
    """What NearestTeacher gives, of images ``(N, C, h, w)`` or ``(C, h, w)``."""
    return images.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)


@pytest.fixture(scope="module")
def nearest_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("nearest") / "nearest.pth"
    torch.save({"params": {"bias": torch.zeros(1)}}, path)
    return path


@pytest.fixture
def opt(data, nearest_file):
    opt = tiny.distill_options(data, nearest_file)
    opt["network_t"] = {"type": "NearestTeacher"}
    opt["path"]["param_key_t"] = "params"
    return opt


@pytest.fixture
def zoomed(opt, tmp_path):
    """A cache with the teacher's images of all zoomed inputs."""
    return cached.make_with_zooms(opt, tmp_path / "zoomed.lmdb")


def reading(opt, cache, **train):
    """The options of a run that reads a cache, or several by name."""
    opt = copy.deepcopy(opt)
    given = cache if isinstance(cache, (list, dict)) else str(cache)
    opt["datasets"]["train"].update(type="TeacherCacheDataset", dataroot_teacher=given)
    opt["train"].update(train)
    return opt


def items(opt, cache, count=30, **changes):
    section = reading(opt, cache)["datasets"]["train"]
    dataset = TeacherCacheDataset({**section, "phase": "train", "scale": 2, **changes})
    random.seed(0)
    return [dataset[index] for index in random.choices(range(len(dataset)), k=count)]


def test_the_values_are_the_teachers_of_hr_and_of_shrunk_lr(data, teacher_file, tmp_path):
    opt = tiny.distill_options(data, teacher_file)
    out = cached.make_with_zooms(opt, tmp_path / "c.lmdb")
    teacher = RunningTeacher(cached.job(opt, out))
    with CacheReader("c", out / "zoom_in").views() as view_in, CacheReader("c", out / "zoom_out").views() as view:
        for key in KEYS:
            hr, lr = (read_bgr(data / folder / f"{key}.png") for folder in ("HR", "LR"))
            of_hr = decode(view_in("zoom_in_teacher", key), "uint16")
            assert of_hr.shape == (96, 80, 3)
            assert np.abs(of_hr - teacher.live(hr)).max() < STEP
            small = downscale(lr, 2)
            assert np.array_equal(view("zoom_out_lq", key), small)
            assert np.abs(decode(view("zoom_out_teacher", key), "uint16") - teacher.live(small)).max() < STEP


def test_rows_and_columns_that_leave_no_whole_pixel_are_left_out(tmp_path, nearest_file):
    data = tiny.make_pairs(tmp_path / "odd", height=54, width=42)  # LR is 27x21
    opt = tiny.distill_options(data, nearest_file)
    opt["network_t"], opt["path"]["param_key_t"] = {"type": "NearestTeacher"}, "params"
    out = cached.make_with_zooms(opt, tmp_path / "c.lmdb")
    with CacheReader("c", out / "zoom_out").views() as view:
        expected = downscale(read_bgr(data / "LR" / "im3.png")[:26, :20], 2)
        assert np.array_equal(view("zoom_out_lq", "im3"), expected)
        assert view("zoom_out_teacher", "im3").shape == (26, 20, 3)
    for item in items(opt, out):
        assert item["zoom_out_gt"].shape == (3, 8, 8)


@pytest.mark.parametrize("changes", [{}, {"use_hflip": False, "use_rot": False}])
def test_items_have_crops_that_belong_together_and_else_what_they_had(opt, tmp_path, zoomed, changes):
    plain = tmp_path / "plain.lmdb"
    make_cache(cached.job(opt, plain))
    for before, item in zip(items(opt, plain, **changes), items(opt, zoomed, **changes)):
        assert item.keys() - before.keys() == {"zoom_in_teacher", "zoom_out_lq", "zoom_out_gt", "zoom_out_teacher"}
        assert all(torch.equal(before[key], item[key]) for key in ("lq", "gt", "teacher"))
        assert item["zoom_in_teacher"].dtype == torch.float32
        torch.testing.assert_close(item["zoom_in_teacher"], repeated(item["gt"]), rtol=0, atol=STEP)
        torch.testing.assert_close(item["zoom_out_teacher"], repeated(item["zoom_out_lq"]), rtol=0, atol=STEP)
        assert item["zoom_out_lq"].shape == (3, 4, 4) and item["zoom_out_gt"].shape == (3, 8, 8)
        mean = nn.functional.avg_pool2d(item["zoom_out_gt"], 2)
        assert (mean - item["zoom_out_lq"]).abs().mean() < 0.05  # of the same place: another is 0.2 away
        assert any(_contains(item["lq"], item["zoom_out_gt"], y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))


def _contains(lq, other, y, x):
    """Whether another crop of the same size is ``lq`` moved by so many pixels, as far as both reach."""
    size = lq.shape[-1]
    a = lq[:, max(y, 0) : size + min(y, 0), max(x, 0) : size + min(x, 0)]
    b = other[:, max(-y, 0) : size + min(-y, 0), max(-x, 0) : size + min(-x, 0)]
    return torch.equal(a, b)


def test_with_y_alone(opt, tmp_path):
    opt["datasets"]["train"]["color"] = "y"
    opt["network_g"].update(num_in_ch=1, num_out_ch=1, rgb_mean=[0])
    for item in items(opt, cached.make_with_zooms(opt, tmp_path / "c.lmdb"), count=5):
        torch.testing.assert_close(item["zoom_in_teacher"], repeated(item["gt"]), rtol=0, atol=STEP)
        assert item["zoom_out_lq"].shape == (1, 4, 4)
        torch.testing.assert_close(item["zoom_out_teacher"], repeated(item["zoom_out_lq"]), rtol=0, atol=STEP)


def test_some_hr_images_serve_for_all_items(opt, tmp_path, capsys):
    out = cached.make_with_zooms(opt, tmp_path / "c.lmdb", zoom_in=3, with_images=True)
    taken = {key for key in KEYS if is_taken(Zoom(kind="zoom_in", every=3), key)}
    assert CacheReader("c", out / "zoom_in").keys("zoom_in_teacher") == taken and 0 < len(taken) < 6
    assert f"zoom_in: {len(taken)} images, the teacher's images of HR, about 1 in 3, 0.00 GB" in capsys.readouterr().out
    found = items(opt, out)
    for item in found:
        torch.testing.assert_close(item["zoom_in_teacher"], repeated(item["zoom_in_gt"]), rtol=0, atol=STEP)
    own = [torch.equal(item["zoom_in_gt"], item["gt"]) for item in found]
    assert any(own) and not all(own)


def test_shards_give_the_items_of_the_one_cache(opt, tmp_path):
    whole = cached.make_with_zooms(opt, tmp_path / "whole.lmdb", zoom_in=2)
    shards = [tmp_path / f"{index}.lmdb" for index in (1, 2)]
    for index, out in enumerate(shards, 1):
        cached.make_with_zooms(opt, out, zoom_in=2, shard=Shard(index=index, count=2))
    for one, other in zip(items(opt, whole), items(opt, list(map(str, shards)))):
        assert one.keys() == other.keys() and "zoom_in_gt" in one
        assert all(torch.equal(one[key], other[key]) for key in one if torch.is_tensor(one[key]))


def test_a_complete_cache_stays_as_it_is_while_more_is_added(opt, tmp_path, monkeypatch):
    """Stopped, the addition is not there, and goes on where it was; runs of the cache notice nothing."""
    out = tmp_path / "c.lmdb"
    make_cache(cached.job(opt, out))
    before, calls = (out / "data.mdb").read_bytes(), cached.stop_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        make_cache(cached.job_of(opt, out, "zoom_in"))
    assert unfinished(out / "zoom_in").is_dir()
    assert "zoom_in_teacher" not in items(opt, out, count=1)[0]
    make_cache(cached.job_of(opt, out, "zoom_in"))
    assert calls[3:] == KEYS[2:]
    assert "zoom_in_teacher" in items(opt, out, count=1)[0]
    assert (out / "data.mdb").read_bytes() == before
    with pytest.raises(InputError, match=r"else: inputs: the teacher's images of HR in the cache, .* 1 in 2 he"):
        make_cache(cached.job_of(opt, out, "zoom_in", every=2))


def test_a_disk_that_is_too_small_changes_nothing(opt, tmp_path, monkeypatch):
    out = tmp_path / "c.lmdb"
    make_cache(cached.job(opt, out))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"the cache takes .* a larger number to --zoom-in"):
        cached.make_with_zooms(opt, out)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_run_resumes_with_a_cache_that_more_was_added_to(opt, tmp_path):
    """What a run does not read does not make its cache another one; what it reads does."""
    out = tmp_path / "c.lmdb"
    make_cache(cached.job(opt, out))

    def content(**train):
        return CachedImages(reader.read(tiny.parsed(reading(opt, out, **train), tmp_path))).files_sha256()

    plain = content()
    info = CacheReader("c", out).info
    earlier = info.model_dump_json(include={"teacher", "source", "making"})
    assert plain == {OPTION: sha256_of_lines([earlier])} and "zoom" not in earlier
    make_cache(cached.job_of(opt, out, "zoom_in", every=2))
    assert content() == plain
    of_some = content(samples={"zoom_in": 1})
    assert of_some != plain
    shutil.rmtree(out / "zoom_in")
    make_cache(cached.job_of(opt, out, "zoom_in"))
    assert content(samples={"zoom_in": 1}) not in (plain, of_some)


def test_what_an_earlier_version_reads_is_as_it_was(zoomed):
    assert b"zoom" not in stored(zoomed)[b"\x00info"]


@pytest.mark.parametrize("kind", ["zoom_in_teacher", "zoom_out_lq", "zoom_out_teacher"])
def test_damage_is_found_before_a_run_and_repaired(opt, tmp_path, zoomed, kind):
    folder = zoomed / kind[: kind.rindex("_")]
    good = stored(folder)
    writer, name = CacheWriter(folder, 1 << 20), f"{kind}/im2".encode()
    with writer._env.begin(write=True) as transaction:
        transaction.put(name, good[name][:-1] + bytes([good[name][-1] ^ 1]))
    writer.close()
    run_checks.check(tiny.parsed(reading(opt, zoomed), tmp_path))  # a run that does not read it
    with pytest.raises(OptionsError, match=rf"image im2 \({kind}\): it is damaged: .* Run srkd cache repair"):
        run_checks.check(tiny.parsed(reading(opt, zoomed, samples=SAMPLES), tmp_path))
    assert [fault.name for fault in repair_cache(cached.job_of(opt, zoomed, folder.name))] == ["im2"]
    assert stored(folder) == good


def test_numbers_and_crops_that_cannot_be(opt, tmp_path):
    with pytest.raises(InputError, match=r"--zoom-in = .*of 6 images none is chosen"):
        cached.job_of(opt, tmp_path / "c.lmdb", "zoom_in", every=10**9 + 7)
    opt["datasets"]["train"]["gt_size"] = 18
    with pytest.raises(InputError, match=r"--zoom-out = True: .* crops of 9 LQ pixels .* a multiple of 4"):
        cached.job_of(opt, tmp_path / "c.lmdb", "zoom_out")


@pytest.mark.parametrize("making", [[], ["--storage", "float16", "--tile", "8", "--self-ensemble"]], ids=["", "flags"])
@pytest.mark.parametrize("there", [[], ["--zoom-in", "2"], ["--zoom-out"]], ids=["", "zoom in", "zoom out"])
def test_what_the_cache_lacks_is_named_and_the_remedy_works_as_it_is_printed(opt, tmp_path, making, there):
    out, file = tmp_path / "c.lmdb", tiny.write_options(opt, tmp_path / "o.yml")
    command = ["cache", "make", "-opt", str(file), "--out", str(out)]
    assert main.main([*command, *making, *there]) == 0
    parsed = tiny.parsed(reading(opt, out, samples=SAMPLES), tmp_path)
    with pytest.raises(OptionsError, match=r"^train.samples = .* Run srkd cache make with") as caught:
        run_checks.check(parsed)
    flags = re.search(r"cache make with ((?:--[a-z-]+ )+)for it", str(caught.value))[1].split()
    assert set(flags) == {"--zoom-in", "--zoom-out"} - set(there)
    assert main.main([*command, *flags]) == 0
    run_checks.check(parsed)
    assert main.main(["cache", "repair", *command[2:]]) == 0


def test_flags_that_differ_from_the_cache_are_named(opt, tmp_path, capsys):
    out, file = tmp_path / "c.lmdb", tiny.write_options(opt, tmp_path / "o.yml")
    command = ["cache", "make", "-opt", str(file), "--out", str(out)]
    assert main.main([*command, "--storage", "float16"]) == 0
    assert main.main([*command, "--storage", "uint8", "--zoom-in"]) == 2
    assert "--storage = 'uint8': the cache in" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["data.mdb", "lock.mdb"]


def test_an_addition_is_no_cache_of_lr(opt, tmp_path, zoomed):
    with pytest.raises(OptionsError, match=r"it holds the teacher's images of HR\. Name the folder that it"):
        run_checks.check(tiny.parsed(reading(opt, zoomed / "zoom_in"), tmp_path))


def step(opt, batch):
    torch.manual_seed(1)
    random.seed(1)
    model = build_model(copy.deepcopy(opt))
    torch.manual_seed(2)
    model.feed_data(batch)
    model.optimize_parameters(1)
    return model


def batch_of(found):
    return {key: torch.stack([item[key] for item in found]) for key in found[0] if torch.is_tensor(found[0][key])}


def live_and_cached(opt, tmp_path, samples):
    """A batch, and a run for it with a live teacher and one with a cache."""
    cache = cached.make_with_zooms(opt, tmp_path / "c.lmdb")
    batch = batch_of(items(opt, cache, count=4))
    live = copy.deepcopy(opt)
    live["train"]["samples"] = samples
    with_cache = reading(opt, cache, samples=samples)
    return batch, [tiny.parsed(given, tmp_path / name) for name, given in (("a", live), ("b", with_cache))]


def test_zoomed_in_a_step_has_the_losses_that_a_live_teacher_would_give(opt, tmp_path):
    """The live teacher repeats pixels, so that the end of a crop makes no difference to it."""
    batch, runs = live_and_cached(opt, tmp_path, {"zoom_in": 2})
    logs = [step(run, batch).log_dict for run in runs]
    assert logs[0].keys() == logs[1].keys() and len(logs[0]) > 1
    for name in logs[0]:
        assert logs[0][name] == pytest.approx(logs[1][name], rel=1e-3)


def test_zoomed_out_the_target_is_what_a_live_teacher_would_give_for_that_input(opt, tmp_path):
    batch, runs = live_and_cached(opt, tmp_path, {"zoom_out": True})
    live, with_cache = (step(run, batch) for run in runs)
    given = {"lq": with_cache.lq, "gt": with_cache.gt, **with_cache._for_source}
    _, small = with_cache.step_inputs.parts(given, 1, None)
    assert torch.equal(small.batch["lq"], batch["zoom_out_lq"]) and torch.equal(small.batch["gt"], batch["zoom_out_gt"])
    found = with_cache.step_losses.source.targets(small.batch, False).images
    expected = live.step_losses.source.targets({"lq": small.batch["lq"]}, False).images
    torch.testing.assert_close(found, expected, rtol=0, atol=STEP)


def test_a_check_says_what_the_run_loads_and_does_not_use(opt, tmp_path, zoomed):
    unused = tiny.parsed(reading(opt, zoomed), tmp_path)
    said = "The cache has the teacher's images of zoomed-in and zoomed-out inputs, which are loaded and not used: "
    assert [line for line in run_checks.check(unused).warnings if line.startswith(said)]
    model = step(unused, batch_of(items(opt, zoomed, count=2)))
    assert "zoom_in_teacher" not in model._for_source
    used = run_checks.check(tiny.parsed(reading(opt, zoomed, samples=SAMPLES), tmp_path))
    assert not [line for line in used.warnings if "not used" in line]


def test_several_caches_must_have_taken_the_same_hr_images(opt, tmp_path, nearest_file):
    opt = copy.deepcopy(opt)
    teacher = {"network_t": opt.pop("network_t"), "pretrain_network_t": str(nearest_file)}
    for key in ("pretrain_network_t", "param_key_t"):
        opt["path"].pop(key)
    opt["teachers"] = {name: {**teacher, "param_key_t": "params"} for name in ("a", "b")}
    of = {name: choose_teacher(opt, reader.read_plugin_sections(opt).teachers, name) for name in ("a", "b")}
    caches = {name: tmp_path / f"{name}.lmdb" for name in of}
    for name, cache in caches.items():
        make_cache(cached.job(of[name], cache))
    parsed = tiny.parsed(reading(opt, {k: str(v) for k, v in caches.items()}, samples={"zoom_in": 2}), tmp_path)
    make_cache(cached.job_of(of["a"], caches["a"], "zoom_in"))
    with pytest.raises(OptionsError, match=r"the cache .*b\.lmdb lacks the teacher's images of these inputs"):
        run_checks.check(parsed)
    make_cache(cached.job_of(of["b"], caches["b"], "zoom_in", every=3))
    with pytest.raises(OptionsError, match=r"took other HR: the teacher's images of HR in a, .*, about 1 in 3 in b\."):
        run_checks.check(parsed)
    shutil.rmtree(caches["b"] / "zoom_in")
    make_cache(cached.job_of(of["b"], caches["b"], "zoom_in"))
    run_checks.check(parsed)
    item = items(opt, {k: str(v) for k, v in caches.items()}, count=1)[0]
    assert {"zoom_in_teacher_a", "zoom_in_teacher_b"} < item.keys()
