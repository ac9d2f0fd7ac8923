"""Which state a run resumes from, and what stands in for BasicSR's functions, without a process of its own."""

import pytest
import tiny
import torch

from srkd_plugin.basicsr_patches import parse_options
from srkd_plugin.basicsr_patches.resume import Resumption
from srkd_plugin.errors import OptionsError
from srkd_plugin.options import reader
from srkd_plugin.training.checkpoint_files import NET_DIGEST, save_verified


def refuse(error):
    raise error


@pytest.fixture
def opt(tmp_path, data):
    opt = tiny.parsed(tiny.distill_options(data, None), tmp_path)
    opt["auto_resume"] = True
    for key in ("models", "training_states"):
        (tmp_path / "experiments/tiny_distill" / key).mkdir(parents=True)
    return opt


@pytest.fixture
def root(tmp_path):
    return tmp_path / "experiments/tiny_distill"


def save(root, iteration, **more):
    digest = save_verified({"params": {"w": torch.full((100,), iteration)}}, root / f"models/net_g_{iteration}.pth")
    state = {"iter": iteration, "epoch": 0, NET_DIGEST: digest, **more}
    save_verified(state, root / f"training_states/{iteration}.state")


def damage(file):
    file.write_bytes(file.read_bytes()[:-40])


def test_auto_resume_passes_over_broken_checkpoints(opt, root, capfd):
    for iteration in (8, 9, 10, 11):
        save(root, iteration)
    damage(root / "training_states/11.state")
    damage(root / "models/net_g_10.pth")
    (root / "models/net_g_9.pth").unlink()
    before = tiny.tree(root)
    assert Resumption(opt, refuse).load_resume_state(opt)["iter"] == 8
    assert opt["path"]["resume_state"].endswith("training_states/8.state")
    assert opt["path"]["pretrain_network_g"].endswith("models/net_g_8.pth")
    warnings = [line for line in capfd.readouterr().err.splitlines() if "warning: passed over" in line]
    assert [name in line for name, line in zip(("11.state", "net_g_10.pth", "net_g_9.pth"), warnings)] == [True] * 3
    assert tiny.tree(root) == before


def test_none_good_is_an_error_and_none_at_all_is_a_new_run(opt, root):
    assert Resumption(opt, refuse).load_resume_state(opt) is None
    for iteration in (2, 4):
        save(root, iteration)
        damage(root / f"training_states/{iteration}.state")
    before = tiny.tree(root)
    with pytest.raises(OptionsError, match=r"none of the 2 training states can be resumed; the newest: .*4\.state"):
        Resumption(opt, refuse).load_resume_state(opt)
    assert tiny.tree(root) == before


def test_a_named_state_that_is_broken_is_an_error(opt, root):
    save(root, 2), save(root, 4)
    damage(root / "training_states/4.state")
    opt["auto_resume"], opt["path"]["resume_state"] = False, str(root / "training_states/4.state")
    with pytest.raises(OptionsError, match=r"path\.resume_state = .*4\.state.*truncated"):
        Resumption(opt, refuse).load_resume_state(opt)


def test_exact_data_go_on_with_the_first_seed(opt, root, capfd):
    opt["datasets"]["train"]["exact_resume"] = True
    save(root, 2, ranks=[{"seed": 77, "random": None}])
    Resumption(opt, refuse).load_resume_state(opt)
    assert opt["manual_seed"] == 77
    assert "the seed of the run that is resumed, 77, and not 3" in capfd.readouterr().err


@pytest.mark.parametrize(("epoch", "iteration", "start"), [(0, 0, (0, 0)), (2, 13, (2, 6)), (2, 15, (2, 10))])
def test_the_position_in_the_data(opt, root, epoch, iteration, start):
    """Epochs of 5 batches of 2."""
    save(root, iteration, epoch=epoch)
    resumption = Resumption(opt, refuse)
    resumption.load_resume_state(opt)
    assert resumption._start(batches=5, batch=2) == start


def test_an_epoch_of_another_length_is_begun_anew(opt, root, capfd):
    save(root, 13, epoch=2)
    resumption = Resumption(opt, refuse)
    resumption.load_resume_state(opt)
    assert resumption._start(batches=6, batch=2) == (2, 2)
    assert resumption._start(batches=7, batch=2) == (2, 0)
    assert "an epoch has another length now" in capfd.readouterr().err


def test_exact_resume_is_true_or_false(data):
    opt = tiny.stock_options(data)
    assert not reader.exact_data(opt)
    opt["datasets"]["train"]["exact_resume"] = True
    assert reader.exact_data(opt) and not reader.is_ours(opt)
    opt["datasets"]["train"]["exact_resume"] = "yes"
    with pytest.raises(OptionsError, match=r"datasets\.train\.exact_resume = 'yes': true or false is expected"):
        reader.exact_data(opt)


def test_a_stock_run_after_one_of_ours_gets_the_stock_functions_back(data, monkeypatch):
    """In one process: BasicSR's train_pipeline called twice, on a machine with CUDA as far as the options go."""

    from basicsr.data import build_dataloader
    from basicsr.models import build_model

    monkeypatch.setattr(parse_options, "has_cuda", lambda: True)
    monkeypatch.setattr(parse_options, "_check", lambda opt: None)
    trainer = {"build_dataloader": build_dataloader, "build_model": build_model, "parse_options": parse_options}
    code = "def changed(opt): return parse_options.parse_options(lambda *a: (opt, None), '.')\n"
    code += "def pipeline(opt): return changed(opt)"
    exec(code, trainer)
    ours = {**tiny.distill_options(data, None), "rank": 0}
    stock = {**tiny.stock_options(data), "rank": 0}
    for opt, is_stock in ((ours, False), (ours, False), (stock, True)):
        trainer["pipeline"](opt)
        assert (trainer["build_dataloader"] is build_dataloader) == is_stock
        assert (trainer["build_model"] is build_model) == is_stock
        if not is_stock:
            assert trainer["build_dataloader"].args[0] is build_dataloader
