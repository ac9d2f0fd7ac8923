"""Two processes against one: losses, gradients, training, validation; and what happens when they differ or one dies.

All cases run in one pair of processes (``rank_cases.py``), which is started as SLURM starts it.
"""

import copy
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import rank_cases
import tiny
import torch

pytestmark = pytest.mark.integration

TIME_LIMIT = 60
"""What the ranks may wait for each other, in seconds."""
METRICS = {
    "psnr": {"type": "calculate_psnr", "crop_border": 2, "test_y_channel": True},
    "lowest": {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": False, "better": "lower"},
}


PAST = {"type": "ContrastiveLoss", "negatives": "history", "gather_negatives": True}


def options_of_all(data, teacher_file):
    """Coupled samples, connectors that come and go, a balance, EMA; and the same without gathering and EMA."""
    opt = tiny.distill_options(data, teacher_file)
    taps = {"student": ["body.0"], "teacher": ["body.1"]}
    opt["train"]["distill_opt"] = {
        "contrastive": {"type": "ContrastiveLoss", "negatives": "both", "loss_weight": 2.0, "gather_negatives": True},
        "early": {"type": "FeatureLoss", "taps": taps, "connector": {"kernel_size": 3}, "stop": 1},
        "middle": {"type": "SpatialAffinityLoss", "taps": taps, "loss_weight": 0.1, "start": 2},
        "late": {"type": "FeatureLoss", "taps": taps, "connector": {}, "start": 3, "balance": {"target": 0.5}},
        "past": {**PAST, "loss_weight": 0.001, "start": 3},
    }
    opt["train"]["history"] = {"every": [2], "noised": 0}  # noise is each rank's own
    opt["train"]["grad_norm_log"] = {"first": 4}
    opt["val"]["metrics"] = METRICS
    plain = copy.deepcopy(opt)
    plain["train"]["ema_decay"] = 0
    plain["train"]["distill_opt"]["contrastive"]["gather_negatives"] = False
    random = copy.deepcopy(opt)
    random["teacher"]["random_init"] = True
    random["path"]["pretrain_network_t"] = None
    return {"opt": opt, "opt_ema": opt, "opt_plain": plain, "opt_random": random}


@pytest.fixture(scope="module")
def pair(data, teacher_file, tmp_path_factory):
    """What both ranks have found, how they ended, and what they printed."""
    root = tmp_path_factory.mktemp("pair")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.save({**options_of_all(data, teacher_file), "port": port}, root / "content.pt")
    scontrol = root / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostname node[1-2]" ] && printf "127.0.0.1\\nnode2\\n"\n')
    scontrol.chmod(0o755)
    set_by_launchers = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {k: v for k, v in tiny.child_environment().items() if k not in set_by_launchers}
    environment.update(SLURM_NTASKS="2", SLURM_NODELIST="node[1-2]", SRKD_DIST_TIMEOUT=str(TIME_LIMIT))
    environment.update(PATH=f"{root}{os.pathsep}{os.environ['PATH']}")
    command = [sys.executable, rank_cases.__file__, root / "content.pt", root]
    processes = []
    for rank in (0, 1):
        with open(root / f"log_{rank}.txt", "w") as log:
            here = {**environment, "SLURM_PROCID": str(rank)}
            processes.append(subprocess.Popen(command, env=here, cwd=root, stdout=log, stderr=subprocess.STDOUT))
    try:
        processes[1].wait(240)
        died = time.monotonic()
        processes[0].wait(2 * TIME_LIMIT)
        waited = time.monotonic() - died
    finally:
        for process in processes:
            process.kill()
    logs = [(root / f"log_{rank}.txt").read_text() for rank in (0, 1)]
    assert all((root / f"found_{rank}.pt").exists() for rank in (0, 1)), "\n\n".join(logs)
    found = [torch.load(root / f"found_{rank}.pt", weights_only=False) for rank in (0, 1)]
    return {"found": found, "root": root, "codes": [p.returncode for p in processes], "logs": logs, "waited": waited}


@pytest.fixture
def float64():
    """Networks in float64 and one thread, as the ranks have them."""
    threads = torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)


def assert_equal(found, expected, rtol=1e-9, atol=1e-12):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("sizes", rank_cases.SIZES, ids=str)
def test_gathered_negatives_give_the_loss_and_the_gradients_of_one_process(pair, sizes, float64):
    """For every similarity, choice of negatives and reduction; float64."""
    for i, settings in enumerate(rank_cases.SETTINGS):
        expected = rank_cases.contrastive(settings, sizes)
        assert all(gradient.abs().max() > 1e-6 for gradient in expected["gradients"])
        for found in pair["found"]:
            assert_equal(found["losses"][i, sizes], expected)


@pytest.mark.parametrize("sizes", rank_cases.SIZES, ids=str)
def test_csds_gathered_negatives_give_the_loss_and_the_gradients_of_one_process(pair, sizes, float64):
    expected = rank_cases.vgg_contrastive(sizes)
    assert all(gradient.abs().max() > 1e-6 for gradient in expected["gradients"])
    for found in pair["found"]:
        assert_equal(found["vgg"][sizes], expected)


def test_vggs_gathered_history_gives_the_loss_and_the_gradients_of_one_process(pair, float64):
    expected = rank_cases.vgg_contrastive(rank_cases.SIZES[-1], negatives="history")
    for found in pair["found"]:
        assert_equal(found["vgg_history"], expected)


def test_without_gathering_each_rank_has_the_loss_of_its_own_images(pair, float64):
    """The mean of two losses with 2 negatives an image, in place of one with 5."""
    one = rank_cases.contrastive({"reduction": "sum"}, (6,), gather=False)
    for found in pair["found"]:
        assert 1.1 < found["local"]["loss"] / one["loss"] < 1.4  # (3 / 2) / (6 / 5) where all distances are equal


def test_batches_that_do_not_fit_together_are_an_error_on_both_ranks(pair):
    for found in pair["found"]:
        assert found["shapes"].startswith("ValueError: the ranks' samples differ in shape")


def test_training_equals_that_of_one_process(pair, data, teacher_file, tmp_path, float64):
    """Four steps of Adam: student, EMA, connectors, the balance, and on rank 0 the log with its gradient norms."""
    expected = rank_cases.trained(options_of_all(data, teacher_file)["opt"], tmp_path)
    assert {"by_term.early.0.weight", "by_term.late.0.weight"} <= set(expected["connectors"])
    assert expected["logs"][3].keys() >= {"l_contrastive", "l_middle", "factor/l_late", "grad_norm/l_contrastive"}
    for rank, found in enumerate(pair["found"]):
        for name in ("net_g", "net_g_ema", "connectors"):
            assert_equal(found["trained"][name], expected[name], rtol=1e-6, atol=1e-8)
        assert found["trained"]["balances"]["l_late"] == pytest.approx(expected["balances"]["l_late"], rel=1e-5)
        if rank == 0:  # BasicSR averages the log for rank 0 only
            for log, of_one in zip(found["trained"]["logs"], expected["logs"]):
                assert log == pytest.approx(of_one, rel=1e-5)
    assert pair["found"][0]["trained"]["balances"] == pair["found"][1]["trained"]["balances"], "bit for bit"


def test_batches_that_make_a_step_are_those_of_one_process(pair, data, teacher_file, tmp_path, float64):
    opt = options_of_all(data, teacher_file)["opt"]
    expected = rank_cases.trained(rank_cases.accumulated(opt), tmp_path)
    for found in pair["found"]:
        for name in ("net_g", "net_g_ema", "connectors"):
            assert_equal(found["accumulated"][name], expected[name], rtol=1e-6, atol=1e-8)
            assert any((found["accumulated"][name][key] != found["trained"][name][key]).any() for key in expected[name])


def test_a_loss_that_leaves_the_students_last_layers_out_trains(pair, data, teacher_file, tmp_path, float64):
    opt = rank_cases.without_image_loss(options_of_all(data, teacher_file)["opt"])
    expected = rank_cases.trained(opt, tmp_path)
    for found in pair["found"]:
        assert_equal(found["pure"]["net_g"], expected["net_g"], rtol=1e-6, atol=1e-8)


def test_a_random_teacher_is_one_teacher(pair):
    of_0, of_1 = (found["random_teacher"] for found in pair["found"])
    assert all(torch.equal(of_0[key], of_1[key]) for key in of_0)


@pytest.mark.parametrize(("ema", "keep"), list(itertools.product(("ema", "plain"), (5, 1))))
def test_split_validation_gives_the_same_bits_as_one_process(pair, data, teacher_file, tmp_path, ema, keep, float64):
    """Metrics, records of the best and saved images; with an odd number of images, and with fewer images than ranks."""
    expected = rank_cases.validate(options_of_all(data, teacher_file)[f"opt_{ema}"], tmp_path, keep)
    assert 0 < expected[0][0]["psnr"] != expected[1][0]["psnr"]
    for found in pair["found"]:
        assert found["validated"][ema, keep][:2] == expected
    images = {k: v for k, v in tiny.tree(tmp_path).items() if k.endswith(".png")}
    assert len(images) == 2 * keep
    assert {k: v for k, v in tiny.tree(pair["root"] / f"{ema}_{keep}").items() if k.endswith(".png")} == images


def test_ranks_that_list_other_images_do_not_pass(pair):
    for found in pair["found"]:
        expected = "RuntimeError: the ranks validated 2 different images out of 4: their data sets differ"
        assert found["validated"]["ema", 5][2].startswith(expected)


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("same", "nothing was raised"),
        (
            "options",
            "OptionsError: train.distill_opt.contrastive.loss_weight = {'rank 0': 2.0, 'rank 1': 9.0}: "
            "the ranks differ in their options. ",
        ),
        ("surplus", "OptionsError: train.distill_opt.contrastive.eps = {'rank 0': '(nothing)', 'rank 1': 0.001}: "),
        ("data", "OptionsError: datasets.train = {'rank 0': '6 images (names in order: "),
    ],
)
def test_ranks_that_differ_are_refused_on_both(pair, case, told):
    for found in pair["found"]:
        assert found["agreements"][case].startswith(told)


def test_an_error_of_one_rank_is_one_of_both(pair):
    text = "OptionsError: path.pretrain_network_t = 't.pth': there is no such file"
    of_0, of_1 = (found["agreements"]["error"] for found in pair["found"])
    assert of_1 == f"{text}. Copy it."
    assert of_0 == f"{text} (on rank 1). Copy it."


def test_ranks_that_would_go_on_from_other_checkpoints_are_refused_on_both(pair):
    of_0, of_1 = (found["resumed"] for found in pair["found"])
    assert of_0["same"] == of_1["same"] == "nothing was raised"
    refused = "the ranks differ in their checkpoint. Let all of them see one and the same experiments folder."
    values = "{'rank 0': 'iteration 2, student aa', 'rank 1': '%s'}"
    for case, other in (("other", "iteration 1, student aa"), ("missing", "(none)")):
        assert of_0[case] == of_1[case] == f"OptionsError: --auto_resume = {values % other}: {refused}"
    assert of_0["error"].startswith("OptionsError: --auto_resume = 'states': none can be resumed (on rank 1)")
    assert of_1["error"].startswith("OptionsError: --auto_resume = 'states': none can be resumed. Put")


@pytest.mark.parametrize("saved", [False, True], ids=["not saved before", "saved before"])
def test_a_request_to_end_one_rank_ends_both(pair, saved):
    for found in pair["found"]:
        assert found["ended"][saved] == (75, ["1.state"])


def test_nan_on_one_rank_is_an_error_on_both_and_changes_no_weights(pair):
    for log in pair["logs"]:
        assert "FloatingPointError: iteration 2: rank 0: all losses finite" in log
        assert re.search(r"rank 1: l_pix = nan, l_contrastive = nan", log)
        assert "unchanged: True" in log


def test_when_a_rank_finds_nan_and_dies_the_other_ends_with_an_error(pair):
    """Without a launcher that would end it: gloo notices that the connection has gone."""
    assert "l_pix = nan" in pair["logs"][1]
    assert pair["codes"][1] == -signal.SIGKILL
    assert pair["codes"][0] == 1
    assert "RuntimeError" in pair["logs"][0]
    assert pair["waited"] < TIME_LIMIT


def test_slurm_without_gpus_is_set_up_as_stock_does(pair):
    for rank, found in enumerate(pair["found"]):
        environment = found["environment"]
        assert (environment["MASTER_ADDR"], environment["RANK"], environment["WORLD_SIZE"]) == (
            "127.0.0.1",
            str(rank),
            "2",
        )
