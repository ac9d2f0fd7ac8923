"""What a run's checkpoints are said to take on the disk, against the files that a short run writes."""

import copy

import pytest
import realesr
import tiny
import torch

from srkd_plugin.preflight import describe_run


def files_of_a_step(opt, root, iterations=1):
    """Sizes of the student's file and of the training state."""
    model = tiny.model(opt, root)
    for iteration in range(1, iterations + 1):
        model.feed_data({"lq": torch.rand(2, 3, 8, 8), "gt": torch.rand(2, 3, 16, 16)})
        model.optimize_parameters(iteration)
    model.save(0, iterations)
    folder = root / "experiments" / opt["name"]
    files = (folder / f"models/net_g_{iterations}.pth", folder / f"training_states/{iterations}.state")
    return [file.stat().st_size for file in files]


def announced(opt, root):
    size = describe_run.check_training(tiny.parsed(copy.deepcopy(opt), root)).size
    return [size.student, size.state]


@pytest.mark.parametrize("names", [(), ("reparameterize",), ("history",), ("reparameterize", "history"), ("taps",)])
def test_the_announced_sizes_are_those_of_the_files(data, tmp_path, names):
    opt = tiny.distill_options(data, None)
    opt["network_g"]["num_feat"] = 24
    opt["train"]["distill_opt"] = {"output": {"type": "L1Loss", "loss_weight": 1.0}}
    opt = realesr.with_sections(opt, names)
    assert announced(opt, tmp_path) == pytest.approx(files_of_a_step(opt, tmp_path), rel=0.03)


def test_gradients_between_steps_are_counted(data, tmp_path):
    opt = tiny.distill_options(data, None, iters=6)
    opt["network_g"]["num_feat"] = 24
    opt["train"].update(accumulate=2, accumulate_negatives="per_batch")
    opt["logger"]["save_checkpoint_freq"] = 3
    assert announced(opt, tmp_path) == pytest.approx(files_of_a_step(opt, tmp_path, 3), rel=0.03)


@pytest.mark.parametrize("ema", [0.9, 0])
def test_a_stock_run_has_no_more_than_its_optimizers_moments(data, tmp_path, ema):
    opt = tiny.stock_options(data)
    opt["network_g"]["num_feat"] = 24
    opt["train"]["ema_decay"] = ema
    assert announced(opt, tmp_path) == pytest.approx(files_of_a_step(opt, tmp_path), rel=0.03)


def test_what_is_needed_is_all_pairs_and_the_last_weights(data, tmp_path):
    disk = describe_run.describe(tiny.parsed(tiny.distill_options(data, None), tmp_path))["disk"]
    assert disk["checkpoints"] == 2
    assert disk["needed"] == 2 * disk["checkpoint"] + disk["latest"]
