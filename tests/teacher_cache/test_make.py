"""Making a cache: what is stored, stopping and going on, what is refused, and repair."""

import re
import shutil
import signal
import subprocess
import sys
import time

import cached
import lmdb
import numpy as np
import other_process
import pytest
import realesr
import tiny
import torch
from cached import stored

from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.images.decode import ImageFault, read_bgr
from srkd_plugin.tables.runner import TORCHRUN
from srkd_plugin.teacher_cache import make
from srkd_plugin.teacher_cache.encoding import decode
from srkd_plugin.teacher_cache.image_entries import RunningTeacher
from srkd_plugin.teacher_cache.info import Making
from srkd_plugin.teacher_cache.make import make_cache
from srkd_plugin.teacher_cache.matches_run import weights_sha256
from srkd_plugin.teacher_cache.repair import repair_cache
from srkd_plugin.teacher_cache.store import CacheReader, CacheWriter, fingerprint, unfinished

KEYS = {f"im{i}" for i in range(6)}
SCRIPT = tiny.PROJECT / "scripts/cache_teacher.py"


@pytest.fixture
def opt(data, teacher_file):
    return tiny.distill_options(data, teacher_file)


def test_the_values_are_the_teachers(opt, data, cache):
    from basicsr.archs.edsr_arch import EDSR

    net = EDSR(**{k: v for k, v in tiny.TEACHER.items() if k != "type"})
    net.load_state_dict(torch.load(opt["path"]["pretrain_network_t"], weights_only=True)["params"])
    reader = CacheReader("c", cache)
    assert reader.keys("teacher") == KEYS and not reader.keys("hr")
    for key in KEYS:
        lr = read_bgr(data / "LR" / f"{key}.png")
        rgb = torch.from_numpy(lr[..., ::-1].copy()).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            sr = net(rgb[None])[0].permute(1, 2, 0).numpy()[..., ::-1]
        with reader.views() as view:
            assert np.abs(decode(view("teacher", key), "uint16") - sr).max() <= 1.6e-5
        assert reader.check("teacher", key) == fingerprint(lr)


def test_what_it_says_of_itself(opt, cache, teacher_file):
    info = CacheReader("c", cache).info
    assert (info.source.images, info.source.scale, info.making) == (6, 2, Making())
    assert info.teacher.network_t["num_feat"] == 12
    assert info.teacher.network_t["img_range"] == 255.0, "defaults of the class belong to the network"
    assert info.teacher.weights_sha256 == weights_sha256(torch.load(teacher_file, weights_only=True)["params"])
    figures = list(info.measured.values())
    assert 95 < figures[0] < 120 and 50 < figures[1] < 60, info.measured
    assert figures[2] < figures[3], "the crop's border is where live and cached differ"
    assert re.search(r"uint16[\s\S]*one pass[\s\S]*clipped .*: 0[\s\S]*computed again: \d+\.\d+ dB", info.describe())


def test_what_a_foreign_cache_says_cannot_steer_a_terminal(cache):
    info = CacheReader("c", cache).info
    info = info.model_copy(update={"measured": {"\x1b[2Jwiped": 40.0}})
    assert info.describe().endswith("PSNR, ?[2Jwiped: 40.00 dB")
    precise = info.teacher.model_copy(update={"precision": "\x1b]0;title\x07"})
    (line,) = info.differences(info.model_copy(update={"teacher": precise}))
    assert "\x1b" not in str(InputError("--out", "c", line, "Give another."))


def test_weights_saved_again_are_the_same_and_others_are_not(teacher_file, tmp_path):
    states = torch.load(teacher_file, weights_only=True)
    torch.save({"other": 1, "params": dict(reversed(states["params"].items()))}, tmp_path / "again.pth")
    again = torch.load(tmp_path / "again.pth", weights_only=True)["params"]
    assert weights_sha256(again) == weights_sha256(states["params"]) != weights_sha256(states["params_ema"])
    assert weights_sha256({"a": torch.zeros(2, 3)}) != weights_sha256({"a": torch.zeros(3, 2)})
    assert weights_sha256({"a": torch.zeros(2)}) != weights_sha256({"a": torch.zeros(2, dtype=torch.int32)})


def test_folders_and_lmdbs_of_the_same_images_give_the_same_cache(opt, data, cache, tmp_path):
    train_set = opt["datasets"]["train"]
    train_set.update(dataroot_gt=str(data / "HR"), dataroot_lq=str(data / "LR"), io_backend={"type": "disk"})
    info = make_cache(cached.job(opt, tmp_path / "c.lmdb"))
    assert not info.differences(CacheReader("c", cache).info)
    assert stored(tmp_path / "c.lmdb") == stored(cache)


def test_a_stopped_run_goes_on_and_ends_as_if_never_stopped(opt, cache, tmp_path, monkeypatch):
    out, calls = tmp_path / "c.lmdb", cached.stop_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        make_cache(cached.job(opt, out))
    assert not out.exists()
    with pytest.raises(InputError, match=r"not complete: there is c\.lmdb\.unfinished\. Rerun srkd cache make"):
        CacheReader("datasets.train.dataroot_teacher", out)
    with pytest.raises(InputError, match=r"the cache of something else: storage: uint16 in the cache, uint8 here"):
        make_cache(cached.job(opt, out, storage="uint8"))
    make_cache(cached.job(opt, out))
    assert calls == [f"im{i}" for i in (0, 1, 2, 2, 3, 4, 5)]
    assert not unfinished(out).exists()
    assert stored(out) == stored(cache)


@pytest.mark.integration
def test_kill_9_costs_the_image_in_work_at_most(opt, cache, tmp_path):
    out = tmp_path / "c.lmdb"
    slow = "import time; from srkd_plugin.teacher_cache import make as c; real = c.entries_of\n"
    slow += "def entries_of(*a):\n    print('image', a[2], flush=True); time.sleep(0.3); return real(*a)\n"
    slow += f"c.entries_of = entries_of\nimport runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    command = [sys.executable, "-c", slow, "-opt", tiny.write_options(opt, tmp_path / "o.yml"), "--out", out]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=tiny.child_environment(),
    )
    for line in process.stdout:
        if line == "image 3\n":
            time.sleep(0.1)
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    writer = CacheWriter(unfinished(out), 1 << 20)
    assert writer.keys("teacher") == {"im0", "im1", "im2"}
    writer.close()
    log = tiny.run_ok(*command[1:], cwd=tmp_path)
    assert re.findall(r"image (\d)", log) == ["3", "4", "5"]
    assert stored(out) == stored(cache)


@pytest.mark.integration
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_torchruns_processes_share_the_images(opt, cache, tmp_path):
    file = tiny.write_options(opt, tmp_path / "o.yml")
    run = [*TORCHRUN, "--nproc_per_node=2", SCRIPT, "-opt", file]
    log = tiny.run_ok(*run, "--out", tmp_path / "c.lmdb", cwd=tmp_path)
    assert log.count("clipped to the storage's range") == 1
    assert re.search(r"3/3", log), "the first process had half of the images"
    assert stored(tmp_path / "c.lmdb") == stored(cache)


def test_a_complete_cache_is_left_alone_and_another_one_refused(opt, cache):
    before = (cache / "data.mdb").stat().st_mtime_ns
    assert make_cache(cached.job(opt, cache)) == CacheReader("c", cache).info
    assert (cache / "data.mdb").stat().st_mtime_ns == before
    opt["path"]["param_key_t"] = "params_ema"
    with pytest.raises(InputError, match=r"the teacher's weights \(sha256\): \w{12} in the cache.*Give another --out"):
        make_cache(cached.job(opt, cache))


def test_the_disk_is_too_small(opt, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(InputError, match=r"the cache takes \S+ GB more, and \S+ GB are free"):
        make_cache(cached.job(opt, tmp_path / "c.lmdb"))
    assert "6 images" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_announced_size_is_what_it_takes(data, teacher_file, tmp_path):
    big = tiny.make_pairs(tmp_path / "big", count=8, height=480, width=400)
    job = cached.job(tiny.distill_options(big, teacher_file), tmp_path / "c.lmdb", with_images=True)
    make_cache(job)
    assert (tmp_path / "c.lmdb/data.mdb").stat().st_size == pytest.approx(job.bytes, rel=0.03)


@pytest.mark.parametrize(
    ("section", "changes", "says"),
    [
        (
            "path",
            {"pretrain_network_t": None},
            "path.pretrain_network_t = None: a cache is made of a teacher with weights",
        ),
        ("path", {"pretrain_network_t": "no.pth"}, "there is no such file"),
        ("network_t", {"num_feat": 10}, "the weights do not fit network_t"),
        ("datasets", {"dataroot_lq": "HR.lmdb"}, "image = 'im0': HR is 48x40 and LR 48x40, which is not x2"),
        ("datasets", {"dataroot_lq": "nowhere.lmdb"}, "datasets.train.dataroot_lq = .*there is no such folder"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(opt, data, tmp_path, section, changes, says):
    target = opt["datasets"]["train"] if section == "datasets" else opt[section]
    target.update({k: str(data / v) if k == "dataroot_lq" else v for k, v in changes.items()})
    with pytest.raises(OptionsError, match=says):
        make_cache(cached.job(opt, tmp_path / "c.lmdb"))
    assert not (tmp_path / "c.lmdb").exists()


def test_an_output_that_is_no_image_is_named_and_what_was_done_is_kept(opt, tmp_path, monkeypatch):
    real = RunningTeacher.as_cached
    monkeypatch.setattr(RunningTeacher, "as_cached", lambda self, lr: real(self, lr) * 255)
    with pytest.raises(InputError, match=r"output for image = 'im0': .*not in 0..1.*Use --storage float16"):
        make_cache(cached.job(opt, tmp_path / "c.lmdb"))


def test_a_target_of_another_image_is_an_error(opt, tmp_path, monkeypatch):
    """Here an entry is stored under another image's key; it is among those that are measured."""
    real = make.entries_of

    def exchanged(job, teacher, index):
        entries = real(job, teacher, 4 if index == 5 else index)
        return [entry._replace(key=job.source.keys[index]) for entry in entries]

    monkeypatch.setattr(make, "entries_of", exchanged)
    with pytest.raises(InputError, match=r"image im5 is stored with \d\d\.\d dB PSNR .* where at least 52 is expected"):
        make_cache(cached.job(opt, tmp_path / "c.lmdb"))
    assert not (tmp_path / "c.lmdb").exists()


@pytest.mark.parametrize("storage", ["uint16", "float16", "uint8"])
def test_what_storing_costs_is_no_error(opt, tmp_path, storage, monkeypatch):
    """Also that of a teacher whose images go far beyond 0 and 1, which uint8 clips."""
    real = RunningTeacher.as_cached
    monkeypatch.setattr(RunningTeacher, "as_cached", lambda self, lr: real(self, lr) * 1.4 - 0.2)
    assert make_cache(cached.job(opt, tmp_path / "c.lmdb", storage=storage)).source.images == 6


def damage(folder, key, kind="teacher", offset=1000):
    """Flip a bit of a stored value, in the file."""
    value = stored(folder)[f"{kind}/{key}".encode()]
    path = folder / "data.mdb"
    content = bytearray(path.read_bytes())
    start = content.index(value)
    content[start + offset] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["teacher", "hr", "lr"])
def test_a_damaged_entry_is_named_and_repaired_alone(opt, data, teacher_file, tmp_path, kind):
    out = tmp_path / "c.lmdb"
    make_cache(cached.job(opt, out, with_images=True))
    good = stored(out)
    assert repair_cache(cached.job(opt, out, with_images=True)) == []
    damage(out, "im4", kind)
    with pytest.raises(ImageFault, match="its checksum is wrong"):
        CacheReader("c", out).check(kind, "im4")
    faults = repair_cache(cached.job(opt, out, with_images=True))
    assert [str(fault) for fault in faults] == [f"im4: {kind}: it is damaged: its checksum is wrong"]
    assert stored(out) == good


def test_missing_cut_and_foreign_entries_are_repaired(opt, cache, tmp_path):
    out = tmp_path / "c.lmdb"
    shutil.copytree(cache, out)
    good = stored(out)
    env = lmdb.open(str(out))
    with env.begin(write=True) as transaction:
        transaction.delete(b"teacher/im0")
        transaction.put(b"teacher/im1", good[b"teacher/im1"][:-5])
        transaction.put(b"teacher/im2", good[b"teacher/im3"])
    env.close()
    problems = {fault.name: fault.problem for fault in repair_cache(cached.job(opt, out))}
    assert problems.keys() == {"im0", "im1", "im2"}
    assert "not in the cache" in problems["im0"] and "bytes, which is not a 48x40x3" in problems["im1"]
    assert "another image" in problems["im2"]
    assert stored(out) == good


OTHER = """
from pathlib import Path
import cached, tiny
from srkd_plugin.teacher_cache import make
make._fill = wait
cached.make(*map(Path, sys.argv[1:]))
"""


def test_a_cache_that_another_process_makes(opt, data, teacher_file, cache, tmp_path):
    out = tmp_path / "c.lmdb"
    with other_process.waiting(OTHER, data, teacher_file, out) as other, other_process.is_named(other):
        make_cache(cached.job(opt, out))
    make_cache(cached.job(opt, out))
    assert stored(out) == stored(cache)


def test_a_model_that_makes_its_lq_images_has_no_cache(data, teacher_file, tmp_path):
    with pytest.raises(OptionsError, match="model_type = 'RealESRDistillModel': it makes LQ images anew"):
        cached.job(realesr.options(data, teacher_file), tmp_path / "t.lmdb")
