"""Training with a teacher cache: the batch's teacher images are used, no teacher is built, wrong caches are refused."""

import copy
import random
import shutil

import cached
import cv2
import lmdb
import pytest
import tiny
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model

from srkd_plugin.distill.targets import cached as cached_images
from srkd_plugin.distill.targets import live
from srkd_plugin.errors import OptionsError
from srkd_plugin.losses import contrastive_loss
from srkd_plugin.options import reader
from srkd_plugin.preflight import run_checks

TRAIN_SET = ("datasets", "train")


@pytest.fixture
def opt(data, teacher_file, cache, tmp_path):
    return tiny.parsed(cached.options(data, teacher_file, cache), tmp_path)


def changed(opt, *path, value):
    opt = copy.deepcopy(opt)
    section = opt
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    return opt


def losses_of(opt, steps=3):
    """Train some steps in this process; the logs, and the model."""
    torch.manual_seed(1)
    random.seed(1)
    loader = build_dataloader(build_dataset(opt["datasets"]["train"]), opt["datasets"]["train"], num_gpu=0, seed=1)
    model = build_model(copy.deepcopy(opt))
    torch.manual_seed(2)
    logs = []
    for iteration, batch in enumerate(loader, start=1):
        if iteration > steps:
            break
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        logs.append(model.log_dict)
    return logs, model


def test_no_teacher_is_built_and_the_step_uses_the_batchs_images(opt, monkeypatch):
    def refuse(*_):
        raise AssertionError("the teacher was built")

    for module in (live, cached_images):
        monkeypatch.setattr(module, "build_teacher", refuse)
    run_checks.check(opt)
    model = build_model(copy.deepcopy(opt))
    assert not hasattr(model.step_losses.source, "teacher")
    batch = {"lq": torch.rand(2, 3, 8, 8), "gt": torch.rand(2, 3, 16, 16), "teacher": torch.rand(2, 3, 16, 16)}
    expected = 10 * contrastive_loss(model.net_g(batch["lq"]), batch["teacher"])
    model.feed_data(batch)
    model.optimize_parameters(1)
    assert model.log_dict["l_contrastive"] == pytest.approx(expected.item(), rel=1e-6)


def test_a_cached_run_is_a_live_run_but_for_what_the_crops_border_hides(data, teacher_file, tmp_path):
    """With crops as large as the images there is no border: live and cached losses agree to the storage's precision."""
    square = tiny.make_pairs(tmp_path / "square", height=40, width=40)
    cached.make(square, teacher_file, tmp_path / "c.lmdb")
    with_cache = tiny.parsed(cached.options(square, teacher_file, tmp_path / "c.lmdb"), tmp_path)
    live = tiny.parsed(tiny.distill_options(square, teacher_file), tmp_path)
    for opt in (with_cache, live):
        opt["datasets"]["train"].update(gt_size=40, use_hflip=False, use_rot=False)
    for ours, theirs in zip(losses_of(with_cache)[0], losses_of(live)[0]):
        assert ours["l_pix"] == pytest.approx(theirs["l_pix"], rel=1e-4)
        assert ours["l_contrastive"] == pytest.approx(theirs["l_contrastive"], rel=1e-4)


def test_a_batch_with_teacher_images_is_used_by_a_model_with_a_teacher_too(data, teacher_file, tmp_path):
    model = build_model(tiny.parsed(tiny.distill_options(data, teacher_file), tmp_path))
    batch = {"lq": torch.rand(2, 3, 8, 8), "gt": torch.rand(2, 3, 16, 16), "teacher": torch.rand(2, 3, 16, 16)}
    expected = 10 * contrastive_loss(model.net_g(batch["lq"]), batch["teacher"])
    model.feed_data(batch)
    model.optimize_parameters(1)
    assert model.log_dict["l_contrastive"] == pytest.approx(expected.item(), rel=1e-6)
    model.feed_data({"lq": batch["lq"], "gt": batch["gt"]})  # the next batch has none: the last one's are not used
    expected = 10 * contrastive_loss(model.net_g(batch["lq"]), model.step_losses.source.teacher(batch["lq"]))
    model.optimize_parameters(2)
    assert model.log_dict["l_contrastive"] == pytest.approx(expected.item(), rel=1e-6)


def test_a_batch_without_teacher_images_and_no_teacher(opt):
    model = build_model(copy.deepcopy(opt))
    model.feed_data({"lq": torch.rand(2, 3, 8, 8), "gt": torch.rand(2, 3, 16, 16)})
    with pytest.raises(OptionsError, match="the batch has no teacher image, and there is no teacher"):
        model.optimize_parameters(1)


FAKD = {"type": "SpatialAffinityLoss", "taps": {"student": ["body.0"], "teacher": ["body.1"]}}
BAD = [
    (("network_t", "num_feat"), 16, "it is the cache of something else: network_t.num_feat: 12 in the cache, 16 here"),
    (("network_t", "res_scale"), 0.1, r"network_t.res_scale: 1 in the cache, 0.1 here"),
    (("path", "param_key_t"), "params_ema", r"the teacher's weights \(sha256\): \w{12} in the cache, \w{12} here"),
    (("path", "pretrain_network_t"), "no.pth", "there is no such file"),
    (("teacher", "precision"), "bf16", "teacher.precision: fp32 in the cache, bf16 here"),
    ((*TRAIN_SET, "dataroot_teacher"), "nowhere.lmdb", "there is no such folder. Make the cache with srkd cache make"),
    ((*TRAIN_SET, "dataroot_teacher"), None, "dataroot_teacher = None: Input should be a valid string"),
    ((*TRAIN_SET, "dataroot_teahcer"), "x", "unknown key. Did you mean 'dataroot_teacher'"),
    ((*TRAIN_SET, "mean"), [0.5, 0.5, 0.5], "a cache holds the teacher's images for inputs that are not normalised"),
    ((*TRAIN_SET, "type"), "PairedImageDataset", "dataroot_teacher = .*PairedImageDataset does not read it"),
    (("datasets", "val", "type"), "TeacherCacheDataset", "datasets.val.type = .*: a teacher cache is for training"),
    (("train", "distill_opt", "fakd"), FAKD, "holds the teacher's images, and not its feature maps"),
    (("model_type",), "SRModel", "which only DistillModel reads"),
]


@pytest.mark.parametrize(("path", "value", "says"), BAD, ids=[f"{'.'.join(p)}={v}"[:60] for p, v, _ in BAD])
def test_wrong_use_is_one_line(opt, path, value, says):
    run_checks.check(opt)
    with pytest.raises(OptionsError, match=says) as caught:
        run_checks.check(changed(opt, *path, value=value))
    assert "\n" not in str(caught.value) and caught.value.remedy


def test_all_differences_are_in_one_line(opt, tmp_path):
    other = tiny.make_pairs(tmp_path / "other", count=5)
    opt = changed(opt, "path", "param_key_t", value="params_ema")
    opt["datasets"]["train"].update(dataroot_gt=str(other / "HR.lmdb"), dataroot_lq=str(other / "LR.lmdb"))
    with pytest.raises(
        OptionsError, match=r"weights .*; the number of images: 6 in .*5 here; keys .* HR .*; keys .* LR"
    ):
        run_checks.check(opt)


def test_lr_images_made_anew_with_the_same_names_and_sizes_are_noticed(opt, data, tmp_path):
    shutil.copytree(data / "HR", tmp_path / "HR")
    shutil.copytree(data / "LR", tmp_path / "LR")
    images = {"dataroot_gt": str(tmp_path / "HR"), "dataroot_lq": str(tmp_path / "LR"), "io_backend": {"type": "disk"}}
    opt["datasets"]["train"].update(images)
    run_checks.check(opt)
    file = tmp_path / "LR/im2.png"
    cv2.imwrite(str(file), cv2.GaussianBlur(cv2.imread(str(file)), (3, 3), 1))
    with pytest.raises(OptionsError, match="image im2 was made from another LR image of its name and size"):
        run_checks.check(opt)


@pytest.mark.parametrize("whole", [True, False], ids=["small cache", "large cache"])
def test_a_damaged_entry_is_named(opt, cache, tmp_path, monkeypatch, whole):
    from srkd_plugin.teacher_cache import matches_run

    if not whole:
        monkeypatch.setattr(matches_run, "CHECKED_WHOLE", 0)
    shutil.copytree(cache, tmp_path / "c.lmdb")
    env = lmdb.open(str(tmp_path / "c.lmdb"))
    with env.begin(write=True) as transaction:
        value = bytearray(transaction.get(b"teacher/im5"))
        value[100] ^= 4
        transaction.put(b"teacher/im5", bytes(value))
    env.close()
    opt = changed(opt, *TRAIN_SET, "dataroot_teacher", value=str(tmp_path / "c.lmdb"))
    with pytest.raises(OptionsError, match=r"image im5 \(teacher\): it is damaged.* Run srkd cache repair"):
        run_checks.check(opt)


def test_the_data_set_alone_makes_a_run_ours(data, cache):
    opt = tiny.stock_options(data)
    assert not reader.is_ours(opt)
    opt["datasets"]["train"]["type"] = "TeacherCacheDataset"
    assert reader.is_ours(opt)


def test_a_student_cut_from_the_teacher_needs_it_for_that_alone(opt):
    opt["network_g"]["num_feat"], opt["network_g"]["num_block"] = 6, 1
    opt["student"] = {"init": "teacher_slice"}
    run_checks.check(opt)
    model = build_model(copy.deepcopy(opt))
    weights = torch.load(opt["path"]["pretrain_network_t"], weights_only=True)["params"]
    assert torch.equal(model.net_g.conv_first.weight, weights["conv_first.weight"][:6])
    assert not hasattr(model.step_losses.source, "teacher")
