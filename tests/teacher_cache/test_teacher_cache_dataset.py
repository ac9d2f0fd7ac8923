"""TeacherCacheDataset: the items of PairedImageDataset, and the teacher's crop that belongs to them."""

import os
import pickle
import random

import cached
import numpy as np
import pytest
import tiny
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.data.paired_image_dataset import PairedImageDataset
from torch.utils.data import DataLoader

from srkd_plugin.errors import OptionsError
from srkd_plugin.teacher_cache.make import make_cache
from srkd_plugin.teacher_cache.store import CacheReader
from srkd_plugin.teacher_cache.teacher_cache_dataset import TeacherCacheDataset
from srkd_plugin.training.train_loader import build_train_loader


def section(data, cache=None, disk=False, **changes):
    """datasets.train as BasicSR's parse_options leaves it."""
    opt = tiny.stock_options(data)["datasets"]["train"]
    if disk:
        opt.update(dataroot_gt=str(data / "HR"), dataroot_lq=str(data / "LR"), io_backend={"type": "disk"})
    if cache is not None:
        opt.update(type="TeacherCacheDataset", dataroot_teacher=str(cache))
    return {**opt, "phase": "train", "scale": 2, **changes}


def drawn(dataset, count=40, seed=0):
    """Items in a random order, as a loader without workers draws them."""
    random.seed(seed)
    order = random.choices(range(len(dataset)), k=count)
    return [dataset[index] for index in order], random.getstate()


@pytest.fixture(scope="module")
def cache_with_images(data, teacher_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("images") / "teacher.lmdb"
    cached.make(data, teacher_file, out, with_images=True)
    return out


@pytest.mark.parametrize("disk", [False, True], ids=["lmdb", "disk"])
@pytest.mark.parametrize("raw", [False, True], ids=["own sets", "images in the cache"])
@pytest.mark.parametrize("flips", [{}, {"use_rot": False}, {"use_hflip": False, "use_rot": False}, {"color": "y"}])
def test_items_are_those_of_paired_image_dataset(data, cache, cache_with_images, tmp_path, disk, raw, flips):
    if "color" in flips:
        opt = tiny.distill_options(data, None)
        cache = _gray_cache(opt, tmp_path, raw)
    elif raw:
        cache = cache_with_images
    stock, stock_state = drawn(PairedImageDataset(section(data, disk=disk, **flips)))
    ours, state = drawn(TeacherCacheDataset(section(data, cache, disk=disk, **flips)))
    assert state == stock_state, "another number of draws: the next item would differ"
    for item, expected in zip(ours, stock):
        assert item.keys() == expected.keys() | {"teacher"}
        for name in ("lq", "gt"):
            assert item[name].dtype == expected[name].dtype
            assert torch.equal(item[name], expected[name])
        assert (item["lq_path"], item["gt_path"]) == (expected["lq_path"], expected["gt_path"])
        assert item["teacher"].shape == item["gt"].shape


def test_with_exact_resume_too(data, cache):
    """Each sample has a random stream of its own; the crops are still those of a run without the cache."""
    epochs = []
    for dataset in (PairedImageDataset(section(data, disk=True)), TeacherCacheDataset(section(data, cache, disk=True))):
        sampler = EnlargedSampler(dataset, 1, 0, 3)
        loader = build_train_loader(build_dataloader, dataset, dict(dataset.opt), sampler, 5, exact=True, dist=False)
        batches = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            batches += loader
        epochs.append(batches)
    assert len(epochs[0]) == len(epochs[1]) > 2
    for stock, ours in zip(*epochs):
        assert torch.equal(stock["lq"], ours["lq"]) and torch.equal(stock["gt"], ours["gt"])
        assert "teacher" in ours and stock["lq_path"] == ours["lq_path"]


def _gray_cache(opt, tmp_path, raw):
    """A cache of a teacher of the Y channel."""
    network = {"type": "SRVGGNetCompact", "num_in_ch": 1, "num_out_ch": 1, "num_feat": 8, "num_conv": 1, "upscale": 2}
    file = tmp_path / "gray.pth"
    torch.save({"params": build_network(dict(network)).state_dict()}, file)
    opt["network_t"], opt["teacher"] = network, {}
    opt["path"]["pretrain_network_t"] = str(file)
    opt["datasets"]["train"]["color"] = "y"
    make_cache(cached.job(opt, tmp_path / "gray.lmdb", with_images=raw, storage="float16"))
    return tmp_path / "gray.lmdb"


@pytest.mark.parametrize("storage", ["uint16", "float16", "uint8"])
def test_the_teachers_crop_is_the_crop_of_its_whole_image(data, teacher_file, tmp_path, storage):
    """Found by cutting every crop and turn of the whole output, computed here, that fits gt's place in HR."""
    from srkd_plugin.networks.teacher import build_teacher
    from srkd_plugin.options import reader

    cached.make(data, teacher_file, tmp_path / "c.lmdb", storage=storage)
    teacher = build_teacher(reader.read_plugin_sections(tiny.distill_options(data, teacher_file)), torch.device("cpu"))
    tolerance = {"uint16": 1.6e-5, "float16": 3e-4, "uint8": 2e-3}[storage]
    whole = PairedImageDataset({**section(data, disk=True), "phase": "val"})
    images = {os.path.basename(pair["gt_path"])[:-4]: pair for pair in whole}
    items, _ = drawn(TeacherCacheDataset(section(data, tmp_path / "c.lmdb")), count=12)
    for item in items:
        pair = images[item["gt_path"]]
        sr = teacher(pair["lq"][None])[0]
        found = [sr_crop for gt_crop, sr_crop in crops(pair["gt"], sr, 16) if torch.equal(gt_crop, item["gt"])]
        assert len(found) == 1
        if storage == "uint8":
            found = [found[0].clamp(0, 1)]
        assert (found[0] - item["teacher"]).abs().max() <= tolerance


def crops(gt, sr, size):
    for top in range(0, gt.shape[1] - size + 1, 2):
        for left in range(0, gt.shape[2] - size + 1, 2):
            pair = [image[:, top : top + size, left : left + size] for image in (gt, sr)]
            for flips in ((), (1,), (2,), (1, 2)):
                for transposed in (False, True):
                    turned = [image.flip(flips) for image in pair]
                    yield [image.transpose(1, 2) for image in turned] if transposed else turned


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_read_what_this_process_reads(data, cache, workers):
    dataset = build_dataset({**section(data, cache), "use_hflip": False, "use_rot": False, "gt_size": 40})
    _ = dataset[0]  # the cache is open here when the workers are forked
    dataset.file_client, dataset.io_backend_opt["type"] = None, "lmdb"  # BasicSR's own clients do not survive that
    batches = list(DataLoader(dataset, batch_size=2, num_workers=workers))
    assert sum(len(batch["teacher"]) for batch in batches) == len(dataset) == 6


def test_it_can_be_sent_to_spawned_workers(data, cache):
    dataset = TeacherCacheDataset(section(data, cache))
    copy = pickle.loads(pickle.dumps(dataset))
    random.seed(1)
    expected = dataset[3]["teacher"]
    dataset.file_client = None
    random.seed(1)
    assert torch.equal(copy[3]["teacher"], expected)


def test_two_data_sets_may_read_one_cache(data, cache):
    first, second = (TeacherCacheDataset(section(data, cache, disk=True)) for _ in range(2))
    assert torch.equal(drawn(first, 3)[0][2]["teacher"], drawn(second, 3)[0][2]["teacher"])


def test_a_crop_reads_its_rows_and_not_the_image(cache):
    reader = CacheReader("c", cache)
    with reader.views() as view:
        image = view("teacher", "im0")
        assert not image.flags.owndata and not image.flags.writeable
        assert image.shape == (48, 40, 3) and image.dtype == np.uint16


def other_pairs(root, count=6, height=48):
    return tiny.make_pairs(root / f"{count}_{height}", count=count, height=height)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d, r: section(other_pairs(r, count=5)), "the number of images: 6 in the cache, 5 here; keys and sizes"),
        (lambda d, r: section(other_pairs(r, height=60)), r"keys and sizes of HR \(sha256\): \w{12} in the cache"),
        (lambda d, r: section(d, scale=3, gt_size=15), "scale: 2 in the cache, 3 here"),
        (lambda d, r: section(d, color="y"), "color: none in the cache, y here"),
    ],
)
def test_a_cache_of_other_images_is_refused(data, cache, tmp_path, change, says):
    opt = change(data, tmp_path)
    opt.update(type="TeacherCacheDataset", dataroot_teacher=str(cache))
    with pytest.raises(OptionsError, match=f"dataroot_teacher = .*it is of other images: {says}"):
        TeacherCacheDataset(opt)
