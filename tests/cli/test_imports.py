"""``--import``: what only a user's module registers is known to every command that builds networks or losses."""

import sys

import pytest
import tiny
import yaml
from basicsr.utils import registry

from srkd_plugin.cli.main import main

MODULE = """
from basicsr.archs.edsr_arch import EDSR
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY
from torch import nn

@ARCH_REGISTRY.register()
class OwnNet(EDSR):
    pass

@LOSS_REGISTRY.register()
class OwnLoss(nn.Module):
    def __init__(self, loss_weight: float = 1.0, sharpness: int = 1):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, student, teacher):
        return self.loss_weight * (student - teacher).abs().mean()
"""
UNKNOWN = "nothing is registered under this name"


@pytest.fixture
def file(data, teacher_file, tmp_path, monkeypatch):
    """Options that name what ``own/archs.py`` registers, as a train script of others does when it is run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own").mkdir()
    (tmp_path / "own/__init__.py").touch()
    (tmp_path / "own/archs.py").write_text(MODULE)
    opt = tiny.distill_options(data, teacher_file, iters=2)
    opt["network_g"]["type"] = opt["network_t"]["type"] = "OwnNet"
    opt["train"]["distill_opt"]["own"] = {"type": "OwnLoss", "loss_weight": 0.5}
    maps = [registry.ARCH_REGISTRY._obj_map, registry.LOSS_REGISTRY._obj_map]
    before, modules = [dict(names) for names in maps], set(sys.modules)
    yield str(tiny.write_options(opt, tmp_path / "o.yml"))
    for names, old in zip(maps, before):
        names.clear()
        names.update(old)
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] == "own":
            del sys.modules[name]


@pytest.mark.parametrize("module", ["own.archs", "own/archs.py"])
def test_check(file, capsys, module):
    assert main(["check", "-opt", file]) == 2
    assert f"network_g.type = 'OwnNet': {UNKNOWN}" in (error := capsys.readouterr().err)
    assert error.endswith("If a module of your own registers it, give srkd --import MODULE.\n")
    assert main(["check", "-opt", file, "--import", module]) == 0
    shown = capsys.readouterr().out
    assert "student: OwnNet" in shown and "term l_own: OwnLoss, weight 0.5, always" in shown


def test_a_mistake_in_a_loss_of_the_users_is_found(file, tmp_path, capsys):
    opt = yaml.safe_load((tmp_path / "o.yml").read_text())
    opt["train"]["distill_opt"]["own"]["sharpnes"] = 2
    assert main(["check", "-opt", str(tiny.write_options(opt, tmp_path / "o.yml")), "--import", "own.archs"]) == 2
    assert "own.sharpnes = 2: unknown key. Did you mean 'sharpness'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["cache", "make", "--out", "c.lmdb", "--device", "cpu"], ["teacher", "verify", "--device", "cpu"]]
)
def test_commands_that_run_the_teacher(file, tmp_path, capsys, command):
    assert main([*command, "-opt", file]) == 2
    assert f"network_t.type = 'OwnNet': {UNKNOWN}" in capsys.readouterr().err
    assert main([*command, "-opt", file, "--import", "own.archs"]) in (0, 1)  # 1: a random teacher is no good one
    assert UNKNOWN not in capsys.readouterr().err


@pytest.mark.parametrize("command", [["check"], ["train"], ["test"], ["cache", "make"], ["teacher", "verify"]])
def test_a_module_that_cannot_be_imported_is_one_line(file, capsys, monkeypatch, command):
    monkeypatch.setattr(sys, "argv", ["srkd"])
    try:
        code = main([*command, "-opt", file, "--import", "own.arches"])
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1), error
    assert "--import = 'own.arches': it cannot be imported (ModuleNotFoundError: No module named 'own.arches')" in error


@pytest.mark.integration
def test_a_run_and_a_test_of_it(file, tmp_path):
    tiny.run_ok("-m", "srkd_plugin", "train", "-opt", file, "--import", "own.archs", cwd=tmp_path)
    opt = yaml.safe_load((tmp_path / "o.yml").read_text())
    weights = "experiments/tiny_distill/models/net_g_latest.pth"
    opt = {**opt, "model_type": "SRModel", "datasets": {"test": opt["datasets"]["val"]}, "name": "tested"}
    opt["path"] = {"pretrain_network_g": weights, "strict_load_g": True, "param_key_g": "params_ema"}
    tested = tiny.write_options({k: v for k, v in opt.items() if k not in ("train", "network_t")}, tmp_path / "t.yml")
    shown = tiny.run_ok("-m", "srkd_plugin", "test", "-opt", tested, "--import", "own/archs.py", cwd=tmp_path)
    assert tiny.psnr_of(shown) > 0


def test_a_table_says_it_once_for_all_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "basicsr").mkdir()
    (tmp_path / "basicsr/train.py").touch()
    tiny.run_ok("-m", "srkd_plugin", "options", "copy", "--all", tmp_path / "options", cwd=tmp_path)
    table = tmp_path / "options/tables/cpu.yml"
    run = ["table", "run", str(table), "--methods", "fakd", "--seeds", "0", "--dry-run"]
    assert main([*run]) == 0
    assert "$ python basicsr/train.py" in capsys.readouterr().out
    table.write_text("imports: [own.archs]\n" + table.read_text())
    assert main([*run, "--import", "own.losses"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown and all("--import own.archs --import own.losses" in line for line in shown)
    assert all(line.startswith(("$ python -m srkd_plugin.train", "$ python -m srkd_plugin.test")) for line in shown)
