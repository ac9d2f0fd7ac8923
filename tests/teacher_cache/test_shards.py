"""A cache in shards: who makes which image, what a run reads, what is refused, going on and repair."""

import random
import re
import shutil

import cached
import pytest
import tiny
import torch
from cached import stored
from torch.utils.data import DataLoader

from srkd_plugin.cli.main import main
from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.images.pairs import ImagePairs
from srkd_plugin.options import reader
from srkd_plugin.teacher_cache import make
from srkd_plugin.teacher_cache.info import Shard
from srkd_plugin.teacher_cache.make import make_cache
from srkd_plugin.teacher_cache.matches_run import check_cache
from srkd_plugin.teacher_cache.shards import OpenCache
from srkd_plugin.teacher_cache.source_pairs import open_pairs
from srkd_plugin.teacher_cache.store import INFO_KEY, CacheReader, CacheWriter, unfinished
from srkd_plugin.teacher_cache.teacher_cache_dataset import TeacherCacheDataset

OPTION = "datasets.train.dataroot_teacher"


@pytest.fixture
def opt(data, teacher_file):
    return tiny.distill_options(data, teacher_file)


@pytest.fixture(scope="module")
def three(data, teacher_file, tmp_path_factory):
    """The shards of a cache in three parts; not to be changed."""
    return cached.make_shards(tiny.distill_options(data, teacher_file), tmp_path_factory.mktemp("shards"), 3)


def pairs_of(opt) -> ImagePairs:
    return open_pairs(opt["datasets"]["train"], 2).images


def check(opt, folders):
    check_cache({**opt, "scale": 2}, reader.read_plugin_sections(opt), folders, pairs_of(opt))


def items(data, given, count=30, **changes):
    opt = tiny.stock_options(data)["datasets"]["train"]
    opt.update(type="TeacherCacheDataset", dataroot_teacher=given, phase="train", scale=2, **changes)
    opt["io_backend"] = dict(opt["io_backend"])  # stock takes its type out
    dataset = TeacherCacheDataset(opt)
    random.seed(0)
    return [dataset[index] for index in random.choices(range(len(dataset)), k=count)]


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_every_image_is_in_one_shard_whatever_the_order(count):
    keys = [f"im{i}" for i in range(6)]
    parts = [[keys[i] for i in Shard(index=index, count=count).indices(keys)] for index in range(1, count + 1)]
    assert sorted(key for part in parts for key in part) == keys
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    turned = keys[::-1]
    again = [[turned[i] for i in Shard(index=index, count=count).indices(turned)] for index in range(1, count + 1)]
    assert [sorted(part) for part in again] == parts


def test_shards_hold_what_the_one_cache_holds(three, cache):
    whole = stored(cache)
    together = [entry for folder in three for entry in stored_entries(folder).items()]
    del whole[INFO_KEY]
    assert len(together) == len(whole) and dict(together) == whole


def stored_entries(folder):
    return {key: value for key, value in stored(folder).items() if key != INFO_KEY}


@pytest.mark.parametrize("with_images", [False, True])
@pytest.mark.parametrize("disk", [False, True], ids=["lmdb", "disk"])
def test_items_of_shards_are_those_of_the_one_cache(opt, data, teacher_file, tmp_path, with_images, disk):
    cached.make(data, teacher_file, tmp_path / "whole.lmdb", with_images=with_images)
    shards = cached.make_shards(opt, tmp_path, 4, with_images=with_images)
    where = {}
    if disk:
        where = {"dataroot_gt": str(data / "HR"), "dataroot_lq": str(data / "LR"), "io_backend": {"type": "disk"}}
    expected = items(data, str(tmp_path / "whole.lmdb"), **where)
    found = items(data, shards[::-1], **where)
    for one, other in zip(expected, found):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in ("lq", "gt", "teacher"))
        assert one["gt_path"] == other["gt_path"]


def test_workers_read_shards(data, three, cache):
    opt = tiny.stock_options(data)["datasets"]["train"]
    opt.update(type="TeacherCacheDataset", phase="train", scale=2, use_hflip=False, use_rot=False, gt_size=40)
    opt.update(dataroot_gt=str(data / "HR"), dataroot_lq=str(data / "LR"), io_backend={"type": "disk"})
    both = []
    for given in (str(cache), three):
        dataset = TeacherCacheDataset({**opt, "dataroot_teacher": given})
        both.append(
            list(DataLoader(dataset, num_workers=1, multiprocessing_context="spawn", worker_init_fn=_same_crops))
        )
    for one, other in zip(*both):
        assert torch.equal(one["teacher"], other["teacher"])


def _same_crops(worker: int) -> None:
    random.seed(worker)


def test_named_teachers_may_have_shards(data, three, cache):
    mixed = items(data, {"edsr": three, "other": str(cache)})
    assert all(torch.equal(item["teacher_edsr"], item["teacher_other"]) for item in mixed)


def test_a_run_trains_the_same_from_shards(opt, data, teacher_file, three, cache, tmp_path):
    for name, given in (("whole", cache), ("shards", three)):
        tiny.write_options(cached.options(data, teacher_file, given, name), tmp_path / f"{name}.yml")
        tiny.run_ok("-m", "srkd_plugin", "train", "-opt", f"{name}.yml", cwd=tmp_path)
    weights = [
        torch.load(tmp_path / f"experiments/{name}/models/net_g_latest.pth", weights_only=True)["params"]
        for name in ("whole", "shards")
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_the_check_before_a_run_takes_all_shards_in_any_order(opt, three):
    check(opt, three)
    check(opt, [three[1], three[0], three[2]])


def test_missing_and_doubled_shards_are_named(opt, three):
    with pytest.raises(OptionsError, match=r"of 3 shards 2 are missing \(1/3, 3/3\)\. List each"):
        check(opt, [three[1]])
    with pytest.raises(OptionsError, match=r"1 are missing \(3/3\); 1 shards are listed more than once \(2/3\)"):
        check(opt, [three[0], three[1], three[1]])


def test_shards_of_different_numbers_are_refused(opt, three, tmp_path):
    two = cached.make_shards(opt, tmp_path, 2)
    with pytest.raises(OptionsError, match=r"they are shards of 2 and of 3"):
        check(opt, [three[0], two[1]])


def test_missing_doubled_and_strange_images_are_counted_and_named(opt, data, three, tmp_path):
    folders = [shutil.copytree(folder, tmp_path / f"{i}.lmdb") for i, folder in enumerate(three)]
    entries = stored_entries(folders[0])
    writer = CacheWriter(folders[0], 1 << 20)
    writer.remove(["im0", "im3"])
    writer.close()
    _put(folders[1], {b"teacher/im3": entries[b"teacher/im3"], b"teacher/zz": entries[b"teacher/im3"]})
    given = list(map(str, folders))
    words = r"1 images are in none of the shards \(im0\); 1 images are not of the training set \(zz\)"
    with pytest.raises(OptionsError, match=words):
        check(opt, given)
    _put(folders[0], {b"teacher/im3": entries[b"teacher/im3"]})
    with pytest.raises(OptionsError, match=r"1 images are in several shards \(im3\)"):
        items(data, given)


def _put(folder, entries):
    import lmdb

    with lmdb.open(str(folder), map_size=1 << 27) as env, env.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key, value)


def test_a_shard_is_no_whole_cache_and_a_whole_cache_no_shard(opt, data, three, cache):
    with pytest.raises(
        OptionsError, match=r"it is shard 2/3 of a cache, which has 2 of its images\. List all 3 shards"
    ):
        check(opt, three[1])
    with pytest.raises(OptionsError, match="it is shard 1/3"):
        items(data, three[0])
    with pytest.raises(OptionsError, match=r"it is a whole cache, and no shard of one\. Write it alone"):
        check(opt, [three[0], str(cache), three[2]])
    with pytest.raises(InputError, match=r"the cache of something else: shard: 1/3 in the cache, none here"):
        make_cache(cached.job(opt, make.Path(three[0])))


def test_shards_that_differ_in_anything_are_refused(opt, three, tmp_path, teacher_file):
    other = [*three[:2], str(tmp_path / "float.lmdb")]
    make_cache(cached.job(opt, tmp_path / "float.lmdb", Shard(index=3, count=3), storage="float16"))
    with pytest.raises(
        OptionsError, match=r"not of one cache: storage: uint16 in \S+_1.lmdb, float16 in \S+float.lmdb"
    ):
        check(opt, other)
    opt["path"]["param_key_t"] = "params_ema"
    make_cache(cached.job(opt, tmp_path / "ema.lmdb", Shard(index=3, count=3)))
    with pytest.raises(OptionsError, match=r"not of one cache: the teacher's weights"):
        check(opt, [*three[:2], str(tmp_path / "ema.lmdb")])
    with pytest.raises(OptionsError, match=r"the cache of something else: the teacher's weights"):
        check(opt, three)


def test_a_stopped_shard_goes_on_and_is_not_complete_before(opt, three, tmp_path, monkeypatch):
    out, shard = tmp_path / "c.lmdb", Shard(index=1, count=3)
    calls = cached.stop_at(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        make_cache(cached.job(opt, out, shard))
    with pytest.raises(OptionsError, match=r"not complete: there is c\.lmdb\.unfinished"):
        check(opt, [str(out), *three[1:]])
    with pytest.raises(InputError, match=r"something else: shard: 1/3 in the cache, 2/3 here"):
        make_cache(cached.job(opt, out, Shard(index=2, count=3)))
    make_cache(cached.job(opt, out, shard))
    assert calls == ["im0", "im3", "im3"]
    assert not unfinished(out).exists() and stored(out) == stored(three[0])


def test_a_damaged_image_of_a_shard_is_named_and_mended(opt, three, tmp_path, capsys):
    folder = tmp_path / "2.lmdb"
    shutil.copytree(three[1], folder)
    value = bytearray(stored(folder)[b"teacher/im4"])
    value[-1] ^= 1
    _put(folder, {b"teacher/im4": bytes(value)})
    with pytest.raises(OptionsError, match=r"2\.lmdb': image im4 \(teacher\): it is damaged.*srkd cache repair"):
        check(opt, [three[0], str(folder), three[2]])
    file = tiny.write_options(opt, tmp_path / "o.yml")
    assert main(["cache", "repair", "-opt", str(file), "--out", str(folder), "--shard", "1/3"]) == 2
    assert "it is shard 2/3" in capsys.readouterr().err
    assert main(["cache", "repair", "-opt", str(file), "--out", str(folder)]) == 0
    assert "1 images mended" in capsys.readouterr().out
    assert stored(folder) == stored(three[1])


def test_info_says_which_shard_it_is(three, capsys):
    assert main(["cache", "info", three[1]]) == 0
    assert capsys.readouterr().out.startswith("shard 2/3: 2 of 6 images x2, uint16")
    assert main(["cache", "info", three[1], "--json"]) == 0
    assert re.search(r'"shard": {\s*"index": 2,\s*"count": 3', capsys.readouterr().out)


@pytest.mark.parametrize("given", ["0/4", "5/4", "a/b", "1", "1/0", "-1/4", "1/4/2", "\u0661/4"])
def test_what_is_no_shard_is_refused_in_one_line(opt, tmp_path, capsys, given):
    file = tiny.write_options(opt, tmp_path / "o.yml")
    before = tiny.tree(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["cache", "make", "-opt", str(file), "--out", str(tmp_path / "c.lmdb"), f"--shard={given}"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and f"'{given}' is no shard" in said
    assert tiny.tree(tmp_path) == before


def test_more_shards_than_images_are_refused_before_anything_is_written(opt, tmp_path, capsys):
    file = tiny.write_options(opt, tmp_path / "o.yml")
    before = tiny.tree(tmp_path)
    assert main(["cache", "make", "-opt", str(file), "--out", str(tmp_path / "c.lmdb"), "--shard", "2/7"]) == 2
    assert "--shard = '2/7': the set has 6 images" in capsys.readouterr().err
    assert tiny.tree(tmp_path) == before


def test_the_options_say_where_each_shard_belongs(data, teacher_file, tmp_path, capsys, three):
    folders = [str(tmp_path / f"{i}.lmdb") for i in range(3)]
    file = tiny.write_options(cached.options(data, teacher_file, folders), tmp_path / "o.yml")
    assert main(["cache", "make", "-opt", str(file), "--shard", "2/3"]) == 0
    assert stored(folders[1]) == stored(three[1])
    assert main(["cache", "repair", "-opt", str(file), "--shard", "2/3"]) == 0
    capsys.readouterr()
    for flags, says in (
        (["--shard", "1/4"], "--shard = '1/4': dataroot_teacher of the options lists 3 shards"),
        ([], "--shard is missing: dataroot_teacher of the options lists 3 shards"),
    ):
        assert main(["cache", "make", "-opt", str(file), *flags]) == 2
        assert says in capsys.readouterr().err
    file = tiny.write_options(cached.options(data, teacher_file, tmp_path / "one.lmdb"), tmp_path / "one.yml")
    assert main(["cache", "make", "-opt", str(file), "--shard", "1/3"]) == 2
    assert "dataroot_teacher of the options is one cache" in capsys.readouterr().err


def test_a_cache_open_for_a_shard_that_is_missing_says_so(three):
    gone = OpenCache(OPTION, three)
    with pytest.raises(OptionsError, match=r"6 images are in none of the shards \(a0, a1, a2 and 3 more\)"):
        gone.require_keys([f"a{i}" for i in range(6)])
    assert gone.info == CacheReader(OPTION, make.Path(three[0])).info.model_copy(update={"shard": None})


@pytest.mark.parametrize("given", [[], [""], [1], {"a": []}])
def test_a_list_that_is_no_list_of_paths_is_refused(data, given):
    with pytest.raises(OptionsError, match="a list holds the paths of all shards"):
        reader.read_cache_section({"type": "TeacherCacheDataset", "dataroot_teacher": given})
