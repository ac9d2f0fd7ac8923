"""Which state a run resumes from, and what stands in for BasicSR's functions, without a process of its own."""

import pytest
import tiny
import torch
from basicsr.models.lr_scheduler import MultiStepRestartLR

from srkd_plugin.basicsr_patches.resume import teacher_paths_kept
from srkd_plugin.basicsr_patches.training_run import TrainingRun
from srkd_plugin.errors import OptionsError
from srkd_plugin.networks.build import build_described
from srkd_plugin.options import reader
from srkd_plugin.training.checkpoint_files import NET_DIGEST, save_verified
from srkd_plugin.training.checkpoints import plain


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
    """A checkpoint of a student as BasicSR's SRModel saves it, with what the plugin adds that is given."""
    student = build_described("network_g", tiny.STUDENT)
    digest = save_verified({"params": student.state_dict()}, root / f"models/net_g_{iteration}.pth")
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-3, betas=(0.9, 0.99))
    schedule = MultiStepRestartLR(optimizer, milestones=[100], gamma=0.5)
    saved = {"optimizers": [optimizer.state_dict()], "schedulers": [plain(schedule.state_dict())]}
    state = {"iter": iteration, "epoch": 0, NET_DIGEST: digest, **saved, **more}
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
    assert TrainingRun(opt, refuse).load_resume_state(opt)["iter"] == 8
    assert opt["path"]["resume_state"].endswith("training_states/8.state")
    assert opt["path"]["pretrain_network_g"].endswith("models/net_g_8.pth")
    warnings = [line for line in capfd.readouterr().err.splitlines() if "warning: passed over" in line]
    assert [name in line for name, line in zip(("11.state", "net_g_10.pth", "net_g_9.pth"), warnings)] == [True] * 3
    assert tiny.tree(root) == before


def test_none_good_is_an_error_and_none_at_all_is_a_new_run(opt, root):
    assert TrainingRun(opt, refuse).load_resume_state(opt) is None
    for iteration in (2, 4):
        save(root, iteration)
        damage(root / f"training_states/{iteration}.state")
    before = tiny.tree(root)
    with pytest.raises(OptionsError, match=r"none of the 2 training states can be resumed; the newest: .*4\.state"):
        TrainingRun(opt, refuse).load_resume_state(opt)
    assert tiny.tree(root) == before


def test_a_named_state_that_is_broken_is_an_error(opt, root):
    save(root, 2), save(root, 4)
    damage(root / "training_states/4.state")
    opt["auto_resume"], opt["path"]["resume_state"] = False, str(root / "training_states/4.state")
    with pytest.raises(OptionsError, match=r"path\.resume_state = .*4\.state.*truncated"):
        TrainingRun(opt, refuse).load_resume_state(opt)


def test_exact_data_go_on_with_the_first_seed(opt, root, capfd):
    opt["datasets"]["train"]["exact_resume"] = True
    save(root, 2, ranks=[{"seed": 77, "random": None}])
    TrainingRun(opt, refuse).load_resume_state(opt)
    assert opt["manual_seed"] == 77
    assert "the seed of the run that is resumed, 77, and not 3" in capfd.readouterr().err


@pytest.mark.parametrize(("epoch", "iteration", "start"), [(0, 0, (0, 0)), (2, 13, (2, 6)), (2, 15, (2, 10))])
def test_the_position_in_the_data(opt, root, epoch, iteration, start):
    """Epochs of 5 batches of 2."""
    save(root, iteration, epoch=epoch)
    run = TrainingRun(opt, refuse)
    run.load_resume_state(opt)
    assert run._start(batches=5, batch=2) == start


def test_an_epoch_of_another_length_is_begun_anew(opt, root, capfd):
    save(root, 13, epoch=2)
    run = TrainingRun(opt, refuse)
    run.load_resume_state(opt)
    assert run._start(batches=6, batch=2) == (2, 2)
    assert run._start(batches=7, batch=2) == (2, 0)
    assert "an epoch has another length now" in capfd.readouterr().err


def test_exact_resume_is_true_or_false(data):
    opt = tiny.stock_options(data)
    assert not reader.exact_data(opt)
    opt["datasets"]["train"]["exact_resume"] = True
    assert reader.exact_data(opt) and not reader.is_ours(opt)
    opt["datasets"]["train"]["exact_resume"] = "yes"
    with pytest.raises(OptionsError, match=r"datasets\.train\.exact_resume = 'yes': Input should be a valid boolean"):
        reader.exact_data(opt)


def test_teacher_paths_survive_check_resume():
    from basicsr.utils.misc import check_resume

    path = {
        "resume_state": "x.state",
        "models": "m",
        "pretrain_network_g": None,
        "pretrain_network_t": "t.pth",
        "param_key_t": "params_ema",
    }
    opt = {"model_type": "DistillModel", "network_g": {}, "network_t": {}, "path": dict(path)}
    check_resume(opt, 7)
    assert opt["path"]["pretrain_network_g"].endswith("net_g_7.pth")
    assert (opt["path"]["pretrain_network_t"], opt["path"]["param_key_t"]) == ("t.pth", "params_ema")
    del opt["path"]["param_key_t"], opt["path"]["pretrain_network_t"]
    check_resume(opt, 7)
    assert "pretrain_network_t" not in opt["path"]


def test_check_resume_of_a_run_of_others_is_stocks():
    """Another model's ``network_t`` may well be one that is trained."""
    from basicsr.utils.misc import check_resume

    opt = {"model_type": "TeacherStudentModel", "network_t": {}, "path": {"resume_state": "x.state", "models": "m"}}
    check_resume(opt, 7)
    assert opt["path"]["pretrain_network_t"].endswith("net_t_7.pth")


def test_teacher_paths_are_kept_through_an_error():
    opt = {"path": {"pretrain_network_t": "t.pth"}}
    with pytest.raises(KeyError), teacher_paths_kept(opt):
        opt["path"]["pretrain_network_t"] = "another"
        raise KeyError
    assert opt["path"] == {"pretrain_network_t": "t.pth"}
