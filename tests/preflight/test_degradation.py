"""Checks of runs that make their LQ images themselves."""

import pytest
import realesr
import tiny
import torch
from basicsr.utils.registry import DATASET_REGISTRY

from srkd_plugin.errors import OptionsError
from srkd_plugin.preflight import degradation, describe_run, run_checks


@pytest.fixture
def opt(data, teacher_file, tmp_path):
    return tiny.parsed(realesr.options(data, teacher_file), tmp_path)


def test_the_options_are_accepted_without_a_warning_and_the_random_state_stays(opt):
    before = torch.get_rng_state()
    checked = run_checks.check(opt)
    assert torch.equal(torch.get_rng_state(), before)
    assert checked.warnings == []
    assert checked.data["train"].pairs == 6


def test_the_check_says_how_lq_is_made_and_what_the_pool_takes(opt):
    opt["datasets"]["train"]["exact_resume"] = True
    facts = describe_run.describe(opt)
    assert any("pool of 4 pairs" in line for line in describe_run.lines(facts))
    opt["datasets"]["train"]["exact_resume"] = False
    pool = 4 * 3 * (8 * 8 + 16 * 16)
    assert facts["disk"]["checkpoint"] - describe_run.describe(opt)["disk"]["checkpoint"] == pool


def test_images_may_be_listed_in_a_file(opt, data, tmp_path):
    listed = tmp_path / "images.txt"
    listed.write_text("im0.png (48,40,3)\nim1.png\n")
    section = opt["datasets"]["train"]
    section.update(dataroot_gt=str(data / "HR"), io_backend={"type": "disk"}, meta_info=str(listed))
    assert run_checks.check(opt).data["train"].pairs == 2
    listed.write_text("im0.png\nim7.png\n")
    with pytest.raises(OptionsError, match=r"datasets.train.dataroot_gt = .*: there is no im7.png in it"):
        run_checks.check(opt)
    del section["meta_info"]
    with pytest.raises(OptionsError, match=r"datasets.train.meta_info is missing"):
        run_checks.check(opt)


@pytest.fixture
def without_kernels():
    class ImagesAlone(torch.utils.data.Dataset):
        def __init__(self, opt):
            pass

        def __getitem__(self, index):
            return {"gt": torch.rand(3, 96, 96)}

        def __len__(self):
            return 40

    DATASET_REGISTRY.register()(ImagesAlone)
    yield "ImagesAlone"
    del DATASET_REGISTRY._obj_map["ImagesAlone"]


def test_a_data_set_of_ones_own_is_tried(opt, without_kernels):
    opt["datasets"]["train"]["type"] = without_kernels
    with pytest.raises(OptionsError, match=r"datasets.train.type = 'ImagesAlone': its items have no kernel1"):
        run_checks.check(opt)


def test_what_only_a_trial_shows_is_one_line(opt, monkeypatch):
    def fail(opt, batch):
        raise RuntimeError("too small")

    monkeypatch.setattr(degradation, "degrade", fail)
    with pytest.raises(OptionsError, match=r"resize_range = .*: RealESRDistillModel cannot degrade a batch"):
        run_checks.check(opt)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "DistillModel"}, "have no lq image. Write model_type: RealESRDistillModel"),
        ({"gt_size": 32}, "gt_size = 32: datasets.train.gt_size is 16, and both are the side"),
        ({"queue_size": 5}, "queue_size = 5: the training pair pool must hold a whole number of batches"),
        ({"gt_usm": None}, "gt_usm = None: RealESRDistillModel needs it"),
        ({"jpeg_range": [95, 30]}, "jpeg_range = [95, 30]: the first of the two must not be the larger one"),
        ({"jpeg_range": [0, 30]}, "jpeg_range = [0, 30]: "),
        ({"resize_prob": [0, 0, 0]}, "resize_prob = [0, 0, 0]: one of them must be greater than 0"),
        ({"resize_range": [0.01, 1.5]}, "shrunk to 4, and BasicSR needs 11. Write 0.0275 or more"),
        ({"resize_range2": [0.001, 1.2]}, "shrunk to 0, and BasicSR needs 1. Write 0.005 or more"),
        ({"l1_gt_usm": True}, "l1_gt_usm = True: RealESRGANModel reads it"),
        ({"high_order_degradation": False}, "write model_type: DistillModel"),
        ({"datasets.train.kernel_prob": [0.5, 0.5]}, "there are 2 chances for 6 kinds of kernel_list"),
        ({"datasets.train.kernel_list2": ["iso", "anis"]}, "datasets.train.kernel_list2 = "),
        ({"datasets.train.dataroot_lq": "x"}, "datasets.train.dataroot_lq = 'x': RealESRGANDataset does not read it"),
        ({"datasets.train.blur_sigma": None}, "datasets.train.blur_sigma = None: RealESRDistillModel needs it"),
        ({"datasets.train.type": "PairedImageDataset"}, "type = 'PairedImageDataset': RealESRDistillModel makes LQ"),
        (
            {"datasets.train.type": "TeacherCacheDataset", "datasets.train.dataroot_teacher": "x.lmdb"},
            "Write RealESRGANDataset without a cache (dataroot_teacher; cache of a table's row);",
        ),
        (
            {"train.accumulate": 2, "train.distill_opt": {"pushed": {"type": "ContrastiveLoss"}}},
            "train.accumulate_negatives is missing",
        ),
        ({"train.quantize": {"bits": 8}}, "train.quantize = {'bits': 8}: it is calibrated on the training set's LQ"),
        (
            {"train.gan_opt": {"type": "GANLoss"}},
            "adversarial training is not supported by RealESRDistillModel: it has no discriminator. Remove it; let "
            "BasicSR's RealESRGANModel go on from the finished student (path.pretrain_network_g).",
        ),
        ({"path.param_key_d": "params"}, "path.param_key_d = 'params': adversarial training is not supported by"),
    ],
)
def test_what_is_wrong_is_one_line(opt, change, says):
    for path, value in change.items():
        *parents, key = path.split(".")
        section = opt
        for parent in parents:
            section = section[parent]
        section[key] = value
    with pytest.raises(OptionsError) as found:
        run_checks.check(opt)
    assert says in " ".join(str(found.value).split())
