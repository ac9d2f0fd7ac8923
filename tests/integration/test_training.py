"""Runs of BasicSR's own scripts on tiny options: what comes out, resuming, distribution, and stock runs."""

import copy
import re

import pytest
import tiny
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from srkd_plugin.tables.runner import TORCHRUN

pytestmark = pytest.mark.integration


def experiment(checkout, name):
    return checkout / "experiments" / name


@tiny.needs_autoload
def test_the_checkpoint_is_a_plain_basicsr_file_with_the_psnr_of_validation(checkout, elsewhere, data, teacher_file):
    options = tiny.distill_options(data, teacher_file)
    options["logger"]["use_tb_logger"] = True
    log = tiny.run_ok(
        checkout / "basicsr/train.py", "-opt", tiny.write_options(options, elsewhere / "d.yml"), cwd=elsewhere
    )
    assert len(re.findall(r"Gradient norms over the student, iter [123]:.*l_contrastive: .* x l_pix\)", log)) == 3
    assert re.search(r"Teacher \[EDSR\], with parameters: 12,435", log)

    weights = experiment(checkout, "tiny_distill") / "models/net_g_latest.pth"
    content = torch.load(weights, weights_only=True)
    assert set(content) == {"params", "params_ema"}
    assert set(content["params"]) == set(content["params_ema"]) == set(student_keys())
    logs = list(experiment(checkout, "tiny_distill").glob("train_*.log"))
    assert len(logs) == 1 and "l_contrastive" in logs[0].read_text(), "BasicSR's log file was not written"
    assert list((checkout / "tb_logger/tiny_distill").glob("events*"))

    test = tiny.stock_options(data, "tiny_test")
    test["datasets"] = {"test_1": test["datasets"]["val"]}
    test["path"].update(pretrain_network_g=str(weights), param_key_g="params_ema")
    tested = tiny.run_ok(
        checkout / "basicsr/test.py", "-opt", tiny.write_options(test, elsewhere / "t.yml"), cwd=elsewhere
    )
    assert tiny.psnr_of(tested) == tiny.psnr_of(log)


def student_keys():
    from basicsr.archs.edsr_arch import EDSR

    return EDSR(**{k: v for k, v in tiny.STUDENT.items() if k != "type"}).state_dict()


@tiny.needs_autoload
def test_a_distill_options_file_can_be_tested_without_its_teacher(checkout, data, tmp_path):
    options = tiny.distill_options(data, tmp_path / "never_there.pth")
    options["datasets"] = {"test_1": options["datasets"]["val"]}
    log = tiny.run_ok(
        checkout / "basicsr/test.py", "-opt", tiny.write_options(options, tmp_path / "t.yml"), cwd=tmp_path
    )
    assert "Model [DistillModel] is created" in log
    assert "Teacher" not in log


@tiny.needs_autoload
def test_resume_keeps_the_teachers_own_file_and_key(checkout, elsewhere, data, tmp_path):
    """The teacher's file has weights under params_ema only: stock would look for net_t_2.pth, and under params."""
    ema_only = tmp_path / "ema_only.pth"
    states = torch.load(tiny.save_teacher(tmp_path / "teacher.pth"), weights_only=True)
    torch.save({"params": {"not": torch.zeros(1)}, "params_ema": states["params_ema"]}, ema_only)
    options = tiny.distill_options(data, ema_only, iters=2)
    options["path"]["param_key_t"] = "params_ema"
    script = checkout / "basicsr/train.py"
    tiny.run_ok(script, "-opt", tiny.write_options(options, elsewhere / "d.yml"), cwd=elsewhere)
    (experiment(checkout, "tiny_distill") / "models/net_g_latest.pth").unlink()

    options["train"]["total_iter"] = 4
    file = tiny.write_options(options, elsewhere / "d.yml")
    log = tiny.run_ok(script, "-opt", file, "--auto_resume", cwd=elsewhere)
    assert "Resuming training from epoch: 0, iter: 2." in log
    assert f"from {ema_only}" in log
    assert "archived" not in log
    assert (experiment(checkout, "tiny_distill") / "models/net_g_4.pth").exists()


@tiny.needs_autoload
def test_a_stock_run_resumes_on_a_machine_without_cuda(checkout, data):
    options = tiny.stock_options(data, iters=2)
    script = checkout / "basicsr/train.py"
    tiny.run_ok(script, "-opt", tiny.write_options(options, checkout / "s.yml"), cwd=checkout)
    options["train"]["total_iter"] = 4
    log = tiny.run_ok(script, "-opt", tiny.write_options(options, checkout / "s.yml"), "--auto_resume", cwd=checkout)
    assert "Resuming training from epoch: 0, iter: 2." in log


@tiny.needs_autoload
def test_a_stock_run_is_as_if_the_plugin_were_not_installed(tmp_path, data):
    """The same options with the plugin and with it switched off: the same files, the same weights bit for bit."""
    (tmp_path / "hand").mkdir()
    (tmp_path / "hand/sitecustomize.py").write_text(tiny.FUNCTIONAL_TENSOR_BY_HAND)
    weights, files = {}, {}
    for switch in ("1", "0"):
        root = tiny.copy_basicsr(tmp_path / switch)
        file = tiny.write_options(tiny.stock_options(data), root / "s.yml")
        environment = {"SRKD_PLUGIN_AUTOLOAD": switch, "PYTHONPATH": str(tmp_path / "hand")}
        log = tiny.run_ok("basicsr/train.py", "-opt", file, cwd=root, **environment)
        assert "srkd" not in log
        found = experiment(root, "tiny")
        weights[switch] = torch.load(found / "models/net_g_4.pth", weights_only=True)
        files[switch] = {re.sub(r"\d{8}_\d{6}", "TIME", name) for name in tiny.tree(found)}
    assert files["1"] == files["0"]
    for key in ("params", "params_ema"):
        assert weights["1"][key].keys() == weights["0"][key].keys()
        assert all(torch.equal(weights["1"][key][k], weights["0"][key][k]) for k in weights["1"][key])


def test_the_launcher_of_ours_writes_below_the_working_directory(elsewhere, data, teacher_file):
    file = tiny.write_options(tiny.distill_options(data, teacher_file, iters=2), elsewhere / "d.yml")
    tiny.run_ok("-m", "srkd_plugin.train", "-opt", file, cwd=elsewhere, SRKD_PLUGIN_AUTOLOAD="0")
    weights = elsewhere / "experiments/tiny_distill/models/net_g_latest.pth"
    test = tiny.stock_options(data, "tiny_test")
    test["datasets"] = {"test_1": test["datasets"]["val"]}
    test["path"]["pretrain_network_g"] = str(weights)
    file = tiny.write_options(test, elsewhere / "t.yml")
    tiny.run_ok("-m", "srkd_plugin.test", "-opt", file, cwd=elsewhere)
    assert list((elsewhere / "results/tiny_test").glob("test_*.log"))


@tiny.needs_autoload
def test_two_processes_train_with_gloo(checkout, elsewhere, data, teacher_file):
    options = tiny.distill_options(data, teacher_file)
    options["datasets"]["train"]["num_worker_per_gpu"] = 1  # init_dist sets the start method to spawn
    options["train"]["distill_opt"]["contrastive"]["gather_negatives"] = True
    options["train"]["ema_decay"] = 0  # the samples are then those of the student that DDP wraps
    options["val"]["val_freq"] = 3
    options["logger"].update(use_tb_logger=True, image_samples=2)
    file = tiny.write_options(options, elsewhere / "d.yml")
    launch = [*TORCHRUN, "--nproc_per_node=2"]
    script = checkout / "basicsr/train.py"
    log = tiny.run_ok(*launch, script, "-opt", file, "--launcher", "pytorch", cwd=elsewhere)
    assert "World size (gpu number): 2" in log
    assert len(re.findall(r"# psnr: \d+\.\d+", log)) == 2, (
        "both ranks validate, and one tells, in the middle and at the end"
    )
    (events,) = (checkout / "tb_logger/tiny_distill").glob("events*")  # of one rank
    board = EventAccumulator(str(events), size_guidance={"images": 0}).Reload()
    assert sorted(board.Tags()["images"]) == ["samples/tiny_val/im0", "samples/tiny_val/im1"]
    assert next(event.step for event in board.Images("samples/tiny_val/im1")) == 3
    assert (experiment(checkout, "tiny_distill") / "models/net_g_4.pth").exists()


GRADIENTS_OF_RANK = """
import copy, os, sys, torch
import tiny
import srkd_plugin.registration
from basicsr.models import build_model
from basicsr.utils.dist_util import get_dist_info, init_dist
from pathlib import Path

opt = tiny.parsed(torch.load(sys.argv[1], weights_only=False), Path(sys.argv[2]))
if "RANK" in os.environ:
    init_dist("pytorch")
    opt["dist"] = True
rank, world = get_dist_info()
opt.update(rank=rank, world_size=world)
torch.manual_seed(7)
model = build_model(opt)
torch.manual_seed(8)
batch = {"lq": torch.rand(4, 3, 8, 10), "gt": torch.rand(4, 3, 16, 20)}
model.feed_data({k: v[rank * 4 // world:(rank + 1) * 4 // world] for k, v in batch.items()})
model.optimize_parameters(1)
if rank == 0:
    nets = {"net_g": model.net_g, "connectors": model.step_losses.connectors}
    parameters = {f"{name}.{k}": p for name, net in nets.items() for k, p in net.named_parameters()}
    gradients = {k.replace("module.", ""): p.grad for k, p in parameters.items()}
    torch.save({"gradients": gradients, "log": dict(model.log_dict)}, sys.argv[3])
"""


def test_gradients_of_two_processes_equal_those_of_one(tmp_path, data, teacher_file):
    """For terms without coupling between samples: L_rec, output distillation, and features through connectors."""
    options = tiny.distill_options(data, teacher_file)
    options["train"]["distill_opt"] = {
        "output": {"type": "L1Loss", "loss_weight": 2.0},
        "fitnet": {
            "type": "FeatureLoss",
            "taps": {"student": ["body.0"], "teacher": ["body.1"]},
            "connector": {"kernel_size": 3},
        },
    }
    torch.save(options, tmp_path / "options.pt")
    (tmp_path / "gradients.py").write_text(GRADIENTS_OF_RANK)
    environment = {"PYTHONPATH": str(tiny.PROJECT / "tests")}
    arguments = ["gradients.py", "options.pt", tmp_path]
    tiny.run_ok(*arguments, tmp_path / "one.pt", cwd=tmp_path, **environment)
    launch = [*TORCHRUN, "--nproc_per_node=2"]
    tiny.run_ok(*launch, *arguments, tmp_path / "two.pt", cwd=tmp_path, **environment)
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "two.pt"))
    assert one["gradients"].keys() == two["gradients"].keys() >= {"connectors.by_term.fitnet.0.weight"}
    for key, gradient in one["gradients"].items():
        assert gradient.abs().sum() > 0
        largest = gradient.abs().max().item()  # float32 sums in another order: elements near 0 by cancellation differ
        torch.testing.assert_close(two["gradients"][key], gradient, rtol=1e-4, atol=1e-5 * largest)
    for name in ("l_pix", "l_output", "l_fitnet"):
        assert two["log"][name] == pytest.approx(one["log"][name], rel=1e-5)


@tiny.needs_autoload
def test_a_bad_option_is_one_line_and_nothing_on_disk_changes(checkout, elsewhere, data, teacher_file):
    """An earlier experiment of the same name, which stock would archive before it found anything wrong."""
    options = tiny.distill_options(data, teacher_file)
    earlier = experiment(checkout, options["name"]) / "models"
    earlier.mkdir(parents=True)
    (earlier / "net_g_latest.pth").write_bytes(b"precious")
    options = copy.deepcopy(options)
    options["train"]["distill_opt"]["contrastive"]["simularity"] = "l1"
    file = tiny.write_options(options, elsewhere / "d.yml")
    before = tiny.tree(checkout), tiny.tree(elsewhere)
    done = tiny.run(checkout / "basicsr/train.py", "-opt", file, cwd=elsewhere)
    assert done.returncode == 2
    lines = [line for line in done.stdout.splitlines() if "options error" in line]
    expected = "train.distill_opt.contrastive.simularity = 'l1': unknown key. Did you mean 'similarity'?"
    assert lines == [f"srkd_plugin: options error: {expected}"]
    assert "Traceback" not in done.stdout
    assert (tiny.tree(checkout), tiny.tree(elsewhere)) == before
    asked_for = tiny.run(checkout / "basicsr/train.py", "-opt", file, cwd=elsewhere, SRKD_TRACEBACK="1")
    assert "Traceback" in asked_for.stdout and expected in asked_for.stdout
