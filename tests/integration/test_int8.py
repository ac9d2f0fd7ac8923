"""A student fine-tuned in INT8 by BasicSR's own scripts: resumed, tested, exported, and refused as what it is not."""

import copy

import pytest
import quantized
import tiny
import torch
import yaml

from srkd_plugin.tables.runner import TORCHRUN

pytestmark = pytest.mark.integration


@pytest.fixture
def opt(data, tmp_path):
    torch.save({"params": quantized.network(tiny.STUDENT).state_dict()}, tmp_path / "float.pth")
    opt = tiny.stock_options(data, "int8", iters=4)
    opt["model_type"] = "DistillModel"
    opt["path"].update(pretrain_network_g=str(tmp_path / "float.pth"))
    opt["datasets"]["train"]["exact_resume"] = True
    opt["train"]["quantize"] = {"crops": 4, "observe": 1, "freeze": 2}
    return opt


def train(checkout, opt, *more):
    file = tiny.write_options(opt, checkout / f"{opt['name']}.yml")
    return tiny.run_ok(checkout / "basicsr/train.py", "-opt", file, *more, cwd=checkout)


@tiny.needs_autoload
def test_an_int8_run_is_resumed(checkout, opt):
    log = train(checkout, opt)
    assert "The student is INT8 (train.quantize)" in log
    models = checkout / "experiments/int8/models"
    half = {**copy.deepcopy(opt), "name": "half"}
    train(checkout, {**half, "train": {**half["train"], "total_iter": 2}})
    train(checkout, half, "--auto_resume")
    whole, resumed = (
        torch.load(folder / "net_g_latest.pth") for folder in (models, checkout / "experiments/half/models")
    )
    for key in ("params", "params_ema"):
        assert all(torch.equal(value, resumed[key][name]) for name, value in whole[key].items())


@tiny.needs_autoload
def test_an_int8_student_is_tested_and_exported(checkout, opt):
    log = train(checkout, opt)
    weights = checkout / "experiments/int8/models/net_g_latest.pth"
    test = {k: v for k, v in copy.deepcopy(opt).items() if k != "train"}
    test.update(name="test", model_type="SRModel", datasets={"test_1": test["datasets"]["val"]})
    test["network_g"] = {"type": "Int8Student", "network": opt["network_g"]}
    test["path"].update(pretrain_network_g=str(weights), param_key_g="params_ema")
    script = checkout / "basicsr/test.py"
    tested = tiny.run_ok(script, "-opt", tiny.write_options(test, checkout / "t.yml"), cwd=checkout)
    assert tiny.psnr_of(tested) == tiny.psnr_of(log)

    as_it_is = {**copy.deepcopy(opt), "name": "test_2", "datasets": test["datasets"]}
    as_it_is["path"] = test["path"]
    tested = tiny.run_ok(script, "-opt", tiny.write_options(as_it_is, checkout / "t2.yml"), cwd=checkout)
    assert tiny.psnr_of(tested) == tiny.psnr_of(log)

    plain = {**test, "network_g": opt["network_g"]}
    plain_file = tiny.write_options(plain, checkout / "t3.yml")  # BasicSR's own script says it in its own words
    refused = tiny.run("-m", "srkd_plugin", "check", "-opt", plain_file, cwd=checkout)
    assert refused.returncode != 0 and "This is a student in INT8" in refused.stdout.strip().splitlines()[-1]

    pytest.importorskip("onnxruntime")
    exported = tiny.run_ok("-m", "srkd_plugin", "export", "-opt", "int8.yml", "--out", "out", cwd=checkout)
    assert "the numbers of its training" in exported
    assert (checkout / "out/int8-x2-int8.onnx").exists() and yaml.safe_load((checkout / "int8.yml").read_text()) == opt


@tiny.needs_autoload
def test_two_processes_train_in_int8(checkout, opt):
    opt["datasets"]["train"]["num_worker_per_gpu"] = 1
    launch = [*TORCHRUN, "--nproc_per_node=2"]
    file = tiny.write_options(opt, checkout / "two.yml")
    log = tiny.run_ok(*launch, "basicsr/train.py", "-opt", file, "--launcher", "pytorch", cwd=checkout)
    assert "World size (gpu number): 2" in log and "The student is INT8" in log
    assert (checkout / "experiments/int8/models/net_g_4.pth").exists()
