"""Bad options: one line that names the key, the value and the remedy. Good ones: nothing changed by the check."""

import copy
import logging
import random
import re
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import yaml
from basicsr.utils.logger import initialized_logger
from torch import nn

from srkd_plugin.errors import OptionsError
from srkd_plugin.options import reader, sections
from srkd_plugin.preflight import run_checks

DELETE = "<no such key>"


def changed(opt, path, value):
    opt = copy.deepcopy(opt)
    section = opt
    *parents, key = path.split("/")
    for parent in parents:
        section = section.setdefault(parent, {})
    if value is DELETE:
        del section[key]
    else:
        section[key] = value
    return opt


@pytest.fixture
def good(tmp_path, data, teacher_file):
    return tiny.parsed(tiny.distill_options(data, teacher_file), tmp_path)


TERM = "train/distill_opt/contrastive"
BAD = [
    # path of the key, its value, what the line must say
    ("model_type", "SRModel", "model_type = 'SRModel': the options have distillation sections"),
    ("model_type", "DistilModel", "Write model_type: DistillModel"),
    ("network_t", DELETE, "network_t is missing: DistillModel needs it"),
    ("network_t", "EDSR", "network_t = 'EDSR': a section of keys is expected"),
    (
        "network_t/type",
        "EDRS",
        "network_t.type = 'EDRS': nothing is registered under this name. Did you mean 'EDSR' or 'EDVR'?",
    ),
    ("network_t/type", DELETE, "network_t.type is missing: the name of an architecture is expected"),
    ("network_t/num_feats", 8, "network_t.num_feats = 8: unknown key. Did you mean 'num_feat'?"),
    ("network_t/num_in_ch", DELETE, "network_t.num_in_ch is missing: it is required"),
    ("network_t/num_feat", 16, "the weights do not fit network_t: conv_first.weight is (12, 3, 3, 3) in the file"),
    ("network_t/num_block", 1, "body.1.conv1.weight is not in the network (4 differences in all)"),
    ("network_g/type", "EDS", "network_g.type = 'EDS': nothing is registered"),
    ("network_g/num_blok", 1, "network_g.num_blok = 1: unknown key. Did you mean 'num_block'?"),
    ("network_g/upscale", 4, "network_g = 'EDSR': its output for an input of (2, 3, 8, 8) is (2, 3, 32, 32)"),
    ("network_g/num_in_ch", 1, "network_g = 'EDSR': the network fails on an input of (2, 3, 8, 8)"),
    ("networks_t", {}, "networks_t = {}: unknown key. Did you mean 'network_t'?"),
    ("teacher/precison", "bf16", "teacher.precison = 'bf16': unknown key. Did you mean 'precision'?"),
    ("teacher/precision", "fp8", "teacher.precision = 'fp8': Input should be 'fp32', 'fp16' or 'bf16'"),
    ("teacher/random_init", "yes", "teacher.random_init = 'yes': Input should be a valid boolean"),
    ("teacher/random_init", True, "teacher.random_init = True: path.pretrain_network_t gives the teacher weights"),
    ("path/pretrain_network_t", None, "path.pretrain_network_t = None: the teacher has no weights"),
    ("path/pretrain_network_t", "no/such.pth", "path.pretrain_network_t = 'no/such.pth': there is no such file"),
    ("path/pretrain_network_t", "/", "path.pretrain_network_t = '/': there is a folder of this name, but no file"),
    ("path/pretrain_network_t", __file__, "it cannot be read as PyTorch weights"),
    ("path/pretrain_netwrok_t", "x", "path.pretrain_netwrok_t = 'x': unknown key. Did you mean 'pretrain_network_t'?"),
    ("path/param_key_t", "param", "has no weights under this key. The file has: params, params_ema."),
    ("path/param_key_t", 1, "path.param_key_t = 1: Input should be a valid string"),
    ("path/strict_load_t", "true", "path.strict_load_t = 'true': Input should be a valid boolean"),
    ("train/nan_policy", "ignore", "train.nan_policy = 'ignore': Input should be 'raise' or 'skip'"),
    ("train/nan_polcy", "skip", "train.nan_polcy = 'skip': unknown key. Did you mean 'nan_policy'?"),
    ("train/max_skipped", 0, "train.max_skipped = 0: Input should be greater than or equal to 1"),
    ("checkpoints/keep_lsat", 3, "checkpoints.keep_lsat = 3: unknown key. Did you mean 'keep_last'?"),
    ("checkpoints/keep_last", 0, "checkpoints.keep_last = 0: Input should be greater than or equal to 1"),
    ("checkpoints", {"keep_last": 2, "keep_best": "psrn"}, "checkpoints.keep_best = 'psrn': it is no metric of val"),
    ("checkpoints/keep_best", "psnr", "checkpoints.keep_best = 'psnr': all checkpoints stay unless keep_last is given"),
    ("train/distill_opt", DELETE, "train.distill_opt is missing: DistillModel needs it"),
    ("train/distill_opt", {}, "train.distill_opt = {}: DistillModel needs it"),
    ("train/distill_op", {}, "train.distill_op = {}: unknown key. Did you mean 'distill_opt'?"),
    ("train/distill_opt/contrastive", 10.0, "train.distill_opt.contrastive = 10.0: a named term is expected"),
    ("train/distill_opt/pix", {"type": "L1Loss"}, "train.distill_opt.pix = {'type': 'L1Loss'}: l_pix is the log name"),
    ("train/distill_opt/output", {"type": "L1"}, "train.distill_opt.output.type = 'L1': nothing is registered"),
    ("train/distill_opt/output", {"loss_weight": 1.0}, "train.distill_opt.output.type is missing: it is required"),
    (f"{TERM}/type", "ContrastivLoss", "Did you mean 'ContrastiveLoss'?"),
    (f"{TERM}/similarity", "l2", "contrastive.similarity = 'l2': Input should be 'l1' or 'cosine'"),
    (f"{TERM}/similarity", "cosin", "Did you mean 'cosine'?"),
    (
        f"{TERM}/loss_weight",
        "1e-4",
        "contrastive.loss_weight = '1e-4': Input should be a valid number. YAML reads this",
    ),
    (f"{TERM}/loss_weight", [1], "contrastive.loss_weight = [1]: Input should be a valid number"),
    (f"{TERM}/center", 1, "contrastive.center = 1: Input should be a valid boolean"),
    (f"{TERM}/temprature", 0.1, "contrastive.temprature = 0.1: unknown key. Did you mean 'temperature'?"),
    (f"{TERM}/temperature", 0.1, "temperature=0.1 applies to similarity: cosine only; remove it"),
    (f"{TERM}/eps", -1.0, "contrastive.eps = -1.0: Input should be greater than 0"),
    (
        "train/distill_opt/csd",
        {"type": "VGGContrastiveLoss", "vgg_weights": "no/vgg.pth"},
        "train.distill_opt.csd.vgg_weights = 'no/vgg.pth': there is no such file. Relative paths start at",
    ),
    ("train/grad_norm_log/first", -1, "train.grad_norm_log.first = -1: Input should be greater than or equal to 0"),
    ("train/grad_norm_log/evry", 5, "train.grad_norm_log.evry = 5: unknown key. Did you mean 'every'?"),
    ("train/grad_norm_log", 3, "train.grad_norm_log = 3: a section of keys is expected"),
    ("train/pixel_opt/type", "L1Los", "train.pixel_opt.type = 'L1Los': nothing is registered"),
    ("train/pixel_opt/weight", 1.0, "train.pixel_opt.weight = 1.0: unknown key"),
    ("datasets/train/batch_size_per_gpu", 1, "batch_size_per_gpu = 1: train.distill_opt.contrastive needs 2 images"),
    (
        "datasets/train/batch_size_per_gpu",
        "16",
        "batch_size_per_gpu = '16': Input should be a valid integer. YAML",
    ),
    ("datasets/train/gt_size", DELETE, "datasets.train.gt_size is missing: it is required"),
    ("scale", DELETE, "scale is missing: it is required"),
    ("datasets/train", DELETE, "datasets.train is missing: training needs it"),
    ("datasets/train/type", "PairedDataset", "datasets.train.type = 'PairedDataset': nothing is registered"),
    ("datasets/train/dataroot_gt", "no/where", "datasets.train.dataroot_gt = 'no/where': there is no such folder"),
    ("datasets/val/dataroot_lq", __file__, "it is a file, not a folder. Relative paths start at the working directory"),
    ("scale", 3, "datasets.train.gt_size = 16: it is not a multiple of the scale, 3"),
]


@pytest.mark.parametrize(("path", "value", "says"), BAD, ids=[f"{path}={value}"[:60] for path, value, _ in BAD])
def test_one_line_names_key_value_and_remedy(good, path, value, says):
    opt = changed(good, path, value)
    before = copy.deepcopy(opt)
    with pytest.raises(OptionsError) as caught:
        run_checks.check(opt)
    line = str(caught.value)
    assert says in line
    assert "\n" not in line
    assert caught.value.remedy
    assert opt == before


def test_teacher_of_another_scale(good, tmp_path):
    from basicsr.archs.edsr_arch import EDSR

    four = {**tiny.TEACHER, "upscale": 4}
    torch.save({"params": EDSR(**{k: v for k, v in four.items() if k != "type"}).state_dict()}, tmp_path / "x4.pth")
    opt = changed(changed(good, "network_t", four), "path/pretrain_network_t", str(tmp_path / "x4.pth"))
    with pytest.raises(OptionsError, match=r"network_t = 'EDSR': its output .* is \(2, 3, 32, 32\), where scale asks"):
        run_checks.check(opt)


def test_one_image_a_rank_is_enough_if_negatives_are_gathered(good):
    opt = changed(changed(good, f"{TERM}/gather_negatives", True), "datasets/train/batch_size_per_gpu", 1)
    assert run_checks.check(changed(opt, "world_size", 2)).ours.terms
    with pytest.raises(OptionsError, match=r"train.distill_opt.contrastive needs 2 images"):
        run_checks.check(opt)


@pytest.mark.parametrize(("start", "stop", "gap"), [(2, None, 1), (1, 3, 4)])
def test_an_iteration_without_a_loss(good, start, stop, gap):
    opt = changed(changed(good, f"{TERM}/start", start), f"{TERM}/stop", stop)
    run_checks.check(opt)
    with pytest.raises(OptionsError, match=f"no loss counts in iteration {gap}"):
        run_checks.check(changed(opt, "train/pixel_opt", None))
    other = {"type": "L1Loss", "start": 1 if gap == 1 else 3, "stop": 2 if gap == 1 else 4}
    run_checks.check(changed(changed(opt, "train/pixel_opt", None), "train/distill_opt/output", other))


def test_taps_need_one_process_a_gpu(good, monkeypatch):
    term = {"type": "SpatialAffinityLoss", "taps": {"student": ["body.0"], "teacher": ["body.1"]}}
    opt = changed(changed(good, "train/distill_opt/fakd", term), "num_gpu", 2)
    monkeypatch.setattr(run_checks, "has_cuda", lambda: True)
    with pytest.raises(OptionsError, match="num_gpu = 2: terms with taps need one process per GPU"):
        run_checks.check(opt)
    run_checks.check(changed(changed(opt, "dist", True), "world_size", 2))


def test_a_gpu_that_is_not_there(good, monkeypatch):
    monkeypatch.setattr(run_checks, "has_cuda", lambda: False)
    with pytest.raises(OptionsError, match=r"num_gpu = 2: there is no CUDA device\. Write num_gpu: 0 for the CPU"):
        run_checks.check(changed(good, "num_gpu", 2))


def test_a_precision_that_this_torch_does_not_have(good, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("only bfloat16")

    monkeypatch.setattr(torch, "autocast", refuse)
    with pytest.raises(OptionsError, match=r"teacher.precision = 'fp16': torch .* has no autocast to it on cpu"):
        run_checks.check(changed(good, "teacher/precision", "fp16"))


def test_a_folder_that_cannot_be_written(good, tmp_path, monkeypatch):
    """As root nothing is read-only but a disk; scripts/soak.py has one."""
    asked = []
    monkeypatch.setattr(run_checks.os, "access", lambda path, mode: asked.append(path))
    with pytest.raises(
        OptionsError, match=rf"^name = 'tiny_distill': its folder .* {re.escape(str(tmp_path))} is read-"
    ):
        run_checks.check(good)
    assert asked == [tmp_path]
    good["rank"] = 1  # it writes nothing
    run_checks.check(good)


@pytest.mark.parametrize("name", ["experiments", "tb_logger"])
def test_a_file_where_a_folder_must_be(good, tmp_path, name):
    (tmp_path / name).write_text("")
    good["logger"]["use_tb_logger"] = True
    with pytest.raises(
        OptionsError, match=rf"^name = 'tiny_distill': its folder .* cannot be made: .*/{name} is a file"
    ):
        run_checks.check(good)


def test_a_link_to_nothing_where_the_folder_must_be(good, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/tiny_distill").symlink_to(tmp_path / "gone")
    with pytest.raises(OptionsError, match=r"its folder .* cannot be made: .*/tiny_distill is a file, or a link"):
        run_checks.check(good)


def test_nothing_is_compiled_or_lowered_by_the_check(good, monkeypatch):
    """Compiling takes a minute, and the check runs on the CPU, which may not have the GPU's precision."""
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda net, **keywords: compiled.append(type(net).__name__) or net)
    dtypes = set()
    run = nn.Conv2d.forward

    def forward(self, x):
        output = run(self, x)
        dtypes.add(output.dtype)
        return output

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    good["teacher"] = {"compile": True, "precision": "bf16"}
    good["student"] = {"compile": True}
    run_checks.check(good)
    assert set(compiled) <= {"Identity"}  # whether torch can compile here at all
    assert dtypes == {torch.float32}


def test_bare_state_dict_is_recognised(good, tmp_path):
    states = torch.load(good["path"]["pretrain_network_t"], weights_only=True)
    torch.save(states["params"], tmp_path / "bare.pth")
    opt = changed(good, "path/pretrain_network_t", str(tmp_path / "bare.pth"))
    with pytest.raises(OptionsError, match="The file is a bare state dict: write param_key_t: ~"):
        run_checks.check(opt)
    run_checks.check(changed(opt, "path/param_key_t", None))


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_weights_of_a_wrapped_network_are_those_of_the_network(good, tmp_path, wrapper):
    states = torch.load(good["path"]["pretrain_network_t"], weights_only=True)
    torch.save({"params": {wrapper + k: v for k, v in states["params"].items()}}, tmp_path / "wrapped.pth")
    run_checks.check(changed(good, "path/pretrain_network_t", str(tmp_path / "wrapped.pth")))


class Payload:
    """What a hostile weights file would hold: an object whose unpickling runs code."""

    def __reduce__(self):
        return (Path.touch, (Path("pwned"),))


def test_a_weights_file_that_would_run_code_is_refused(good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"params": Payload()}, tmp_path / "evil.pth")
    for role in "tg":
        with pytest.raises(OptionsError, match=rf"path.pretrain_network_{role} = .* it holds more than tensors"):
            run_checks.check(changed(good, f"path/pretrain_network_{role}", str(tmp_path / "evil.pth")))
    assert not (tmp_path / "pwned").exists()


def test_the_check_leaves_random_states_and_basicsrs_logger_alone(good):
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    initialized_logger.pop("basicsr", None)
    handlers = list(logging.getLogger("basicsr").handlers)
    run_checks.check(good)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]
    assert "basicsr" not in initialized_logger
    assert logging.getLogger("basicsr").handlers == handlers


def test_defaults_and_what_is_read(good):
    found = run_checks.check(good).ours
    assert found.teacher == sections.TeacherSection(random_init=False, precision="fp32", channels_last=False)
    assert found.path.param_key_t == "params"
    assert found.terms["contrastive"].loss_options() == good["train"]["distill_opt"]["contrastive"]
    assert (found.grad_norm_log.first, found.grad_norm_log.every) == (3, 0)


@pytest.mark.parametrize(
    ("opt", "ours"),
    [
        ({"model_type": "SRModel", "train": {"pixel_opt": {}}}, False),
        ({"model_type": "SRModel"}, False),
        ({"model_type": "DistillModel"}, True),
        ({"model_type": "TeacherStudent", "network_t": {}}, False),
        ({"model_type": "SRModel", "teacher": "x.pth", "checkpoints": {"dir": "x"}}, False),
        ({"model_type": "SRModel", "train": {"amp": True}}, False),
        ({"model_type": "SRModel", "datasets": {"train": {"type": "TeacherCacheDataset"}}}, True),
        ({"model_type": "SRModel", "train": None}, False),
    ],
)
def test_is_ours(opt, ours):
    assert reader.is_ours(opt) is ours


def test_yaml_numbers_without_a_dot_are_text():
    """The reason for the remedy about 1e-4: YAML 1.1, which BasicSR's files are, wants a dot."""
    assert yaml.safe_load("a: 1e-4")["a"] == "1e-4"
    assert yaml.safe_load("a: !!float 1e-4")["a"] == yaml.safe_load("a: 1.0e-4")["a"] == 1e-4


def test_the_best_checkpoint_must_be_one_that_is_saved(good):
    opt = changed(good, "checkpoints", {"keep_last": 2, "keep_best": "psnr"})
    opt["val"]["val_freq"] = 4
    assert run_checks.check(opt).ours.checkpoints.keep_best == "psnr"
    opt["val"]["val_freq"] = 3
    with pytest.raises(OptionsError, match=r"val\.val_freq = 3: .*multiple of logger\.save_checkpoint_freq, 2"):
        run_checks.check(opt)


def test_trust_weights_is_the_way_out(good, tmp_path):
    """A file that holds a whole object beside the weights, as training scripts of others save them."""
    states = torch.load(good["path"]["pretrain_network_t"], weights_only=True)
    torch.save({**states, "settings": Path("of/its/training")}, tmp_path / "with_more.pth")
    opt = changed(good, "path/pretrain_network_t", str(tmp_path / "with_more.pth"))
    with pytest.raises(OptionsError, match=r"it holds more than tensors .* write trust_weights: true"):
        run_checks.check(opt)
    assert run_checks.check(changed(opt, "trust_weights", True)).ours.run.trust_weights


FORKS = {
    "train/ema_decy": "train.ema_decy = 1: unknown key, which is left to BasicSR. Did you mean 'ema_decay'?",
    "logger/print_frequ": "logger.print_frequ = 1: unknown key, which is left to BasicSR. Did you mean 'print_freq'?",
    "network_gs": "network_gs = 1: unknown key, which is left to BasicSR. Did you mean 'network_g'?",
    "datasets/val/dataroot_gts": "datasets.val.dataroot_gts = 1: unknown key, which is left to BasicSR. Did you mean",
    "val/metrics/psnr/test_y_chanel": "val.metrics.psnr.test_y_chanel = 1: unknown key, which is left to BasicSR. Did ",
}


@pytest.mark.parametrize("path", FORKS)
def test_a_key_that_looks_like_one_of_basicsrs_may_be_a_forks(good, path):
    (warning,) = run_checks.check(changed(good, path, 1)).warnings
    assert warning.startswith(FORKS[path])


def test_a_key_that_looks_like_nothing_is_nobodys_business(good):
    assert run_checks.check(changed(good, "train/mixup", True)).warnings == []


def test_a_key_that_looks_like_exact_resume_is_refused(good):
    with pytest.raises(OptionsError, match=r"datasets\.train\.exact_resum = True: unknown key\. Did you mean 'exact_r"):
        run_checks.check(changed(good, "datasets/train/exact_resum", True))


def test_a_world_size_that_num_gpu_does_not_say(good, monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    opt = changed(changed(changed(good, "dist", True), "world_size", 2), "num_gpu", 3)
    with pytest.raises(OptionsError, match="num_gpu = 3: the launcher has started 2 processes, one per GPU"):
        run_checks.check(opt)


ODD = {
    "train/pixel_opt/loss_weight": (0, "train.pixel_opt: its weight is 0: it is computed and adds nothing"),
    "train/optim_g/lr": (2, "train.optim_g.lr = 2.0: a learning rate above 1 is rare."),
    "train/optim_g/weight_decay": (3, "train.optim_g.weight_decay = 3.0: a weight decay above 1 is rare."),
    "logger/image_samples": (4, "logger.image_samples = 4: there will be none, as TensorBoard is off"),
}


@pytest.mark.parametrize("path", ODD)
def test_what_is_merely_odd_is_a_warning(good, path):
    value, line = ODD[path]
    (warning,) = run_checks.check(changed(good, path, value)).warnings
    assert warning.startswith(line)
