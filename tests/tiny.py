"""A data set, networks and options small enough to train in a second, and how to launch BasicSR on them."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np
import pytest
import torch
import yaml

STUDENT = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 2}
SWINIR = {
    "type": "SwinIR",
    "img_size": 16,
    "window_size": 8,
    "upsampler": "pixelshuffledirect",
    "upscale": 2,
    "embed_dim": 12,
    "depths": [2],
    "num_heads": [2],
    "mlp_ratio": 2,
    "img_range": 1.0,
}
"""A network that takes sides of a multiple of 8 only, and whose layers give tokens."""
TEACHER = {**STUDENT, "num_feat": 12, "num_block": 2}
PROJECT = Path(__file__).resolve().parent.parent

needs_autoload = pytest.mark.skipif(
    not hasattr(torch, "_import_device_backends"), reason=f"torch {torch.__version__} has no autoload (2.5 brought it)"
)

FUNCTIONAL_TENSOR_BY_HAND = """
import importlib.abc, importlib.machinery, sys, types
class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision.transforms.functional_tensor":
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        from torchvision.transforms.functional import rgb_to_grayscale
        module = types.ModuleType(spec.name)
        module.rgb_to_grayscale = rgb_to_grayscale
        return module
    def exec_module(self, module):
        pass
sys.meta_path.append(Finder())
"""
"""A sitecustomize.py that does by hand what users of stock BasicSR do about torchvision >= 0.17."""


def make_pairs(root: Path, count: int = 6, height: int = 48, width: int = 40) -> Path:
    """Smooth random HR images, their LR, and LMDBs of both: ``HR``, ``LR``, ``HR.lmdb``, ``LR.lmdb`` below ``root``."""
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    rng = np.random.default_rng(0)
    for folder in ("HR", "LR"):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        coarse = rng.integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8)
        hr = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root / "HR" / f"im{i}.png"), hr)
        cv2.imwrite(str(root / "LR" / f"im{i}.png"), cv2.resize(hr, (width // 2, height // 2), cv2.INTER_AREA))
    names = [f"im{i}.png" for i in range(count)]
    for folder in ("HR", "LR"):
        keys = [name[:-4] for name in names]
        make_lmdb_from_imgs(str(root / folder), str(root / f"{folder}.lmdb"), names, keys, map_size=1 << 24)
    return root


def save_teacher(path: Path) -> Path:
    """A teacher's file as BasicSR saves it with EMA: ``params`` and ``params_ema`` of different values."""
    from basicsr.archs.edsr_arch import EDSR

    arguments = {k: v for k, v in TEACHER.items() if k != "type"}
    states = {}
    for seed, key in enumerate(("params", "params_ema")):
        torch.manual_seed(seed)
        states[key] = EDSR(**arguments).state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(states, path)
    return path


def save_vgg(path: Path) -> Path:
    """VGG19's state dict as torchvision names it, with random weights (and one of the layers that are not used)."""
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(0)
    layers = make_layers(cfgs["E"])[:30]
    for layer in layers:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    state = {f"features.{name}": value for name, value in layers.state_dict().items()}
    torch.save({**state, "classifier.6.bias": torch.zeros(1000)}, path)
    return path


def stock_options(data: Path, name: str = "tiny", iters: int = 4) -> dict[str, Any]:
    """Options of a stock SRModel run."""
    return {
        "name": name,
        "model_type": "SRModel",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 3,
        "datasets": {
            "train": {
                "name": "tiny",
                "type": "PairedImageDataset",
                "dataroot_gt": str(data / "HR.lmdb"),
                "dataroot_lq": str(data / "LR.lmdb"),
                "io_backend": {"type": "lmdb"},
                "gt_size": 16,
                "use_hflip": True,
                "use_rot": True,
                "num_worker_per_gpu": 0,
                "batch_size_per_gpu": 2,
                "dataset_enlarge_ratio": 10,
            },
            "val": {
                "name": "tiny_val",
                "type": "PairedImageDataset",
                "dataroot_gt": str(data / "HR"),
                "dataroot_lq": str(data / "LR"),
                "io_backend": {"type": "disk"},
            },
        },
        "network_g": dict(STUDENT),
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "train": {
            "ema_decay": 0.9,
            "optim_g": {"type": "Adam", "lr": 1e-3, "weight_decay": 0, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [100], "gamma": 0.5},
            "total_iter": iters,
            "warmup_iter": -1,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "val": {
            "val_freq": 1000,
            "save_img": False,
            "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 2, "test_y_channel": True}},
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False},
    }


def distill_options(data: Path, teacher: Optional[Path], name: str = "tiny_distill", iters: int = 4) -> dict[str, Any]:
    """Options of a contrastive distillation; without a teacher's file, from a random one."""
    opt = stock_options(data, name, iters)
    opt["model_type"] = "DistillModel"
    opt["network_t"] = dict(TEACHER)
    opt["path"].update(pretrain_network_t=teacher and str(teacher), param_key_t="params", strict_load_t=True)
    opt["teacher"] = {"random_init": teacher is None}
    opt["train"]["distill_opt"] = {"contrastive": {"type": "ContrastiveLoss", "similarity": "l1", "loss_weight": 10.0}}
    return opt


def write_tables_options(folder: Path, data: Path) -> None:
    """Write the options files that a table's rows may name: ``student.yml``, ``distill.yml``, ``test_student.yml``."""
    student, distill = stock_options(data), distill_options(data, None)
    for opt in (student, distill):
        section = opt["datasets"]["train"]
        section.update(dataroot_gt=str(data / "HR"), dataroot_lq=str(data / "LR"), io_backend={"type": "disk"})
    test = {key: student[key] for key in ("name", "model_type", "scale", "num_gpu", "network_g", "path")}
    test["val"] = {"save_img": True, "suffix": None, "metrics": student["val"]["metrics"]}
    for name, opt in (("student", student), ("distill", distill), ("test_student", test)):
        write_options(opt, folder / f"{name}.yml")


def parsed(opt: dict[str, Any], root: Path) -> dict[str, Any]:
    """The options as BasicSR's ``parse_options`` returns them, for what is tested without a process of its own."""
    opt = {**opt, "dist": False, "rank": 0, "world_size": 1, "is_train": True, "auto_resume": False}
    for phase, section in opt["datasets"].items():
        section.update(phase=phase.split("_")[0], scale=opt["scale"])
    experiment = root / "experiments" / opt["name"]
    folders = {"models": "models", "training_states": "training_states", "visualization": "visualization", "log": ""}
    opt["path"] = {**opt["path"], "experiments_root": str(experiment)}
    opt["path"].update({key: str(experiment / folder) for key, folder in folders.items()})
    return opt


def model(opt: dict[str, Any], root: Path, seed: int = 1) -> Any:
    """A run's model as BasicSR's trainer builds it, with the folders that it saves to; ``opt`` stays as it is."""
    from basicsr.models import build_model

    torch.manual_seed(seed)
    opt = parsed(copy.deepcopy(opt), root)
    for key in ("models", "training_states"):
        os.makedirs(opt["path"][key], exist_ok=True)
    return build_model(opt)


def resumed_model(opt: dict[str, Any], root: Path, iteration: int) -> Any:
    """The model of a run that goes on from what :func:`model` saved there, begun with another seed."""
    opt = copy.deepcopy(opt)
    folder = root / "experiments" / opt["name"]
    opt["path"]["pretrain_network_g"] = str(folder / f"models/net_g_{iteration}.pth")
    again = model(opt, root, seed=5)
    again.resume_training(torch.load(again.checkpoints.states / f"{iteration}.state", weights_only=True))
    return again


def write_options(opt: dict[str, Any], path: Path) -> Path:
    """Write an options file."""
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    return path


def copy_basicsr(root: Path) -> Path:
    """Make ``root`` a BasicSR checkout: the ``basicsr`` folder, unmodified."""
    source = find_spec("basicsr").submodule_search_locations[0]
    shutil.copytree(source, root / "basicsr", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def child_environment(python: Any = sys.executable, **more: str) -> dict[str, str]:
    """Environment of a process that imports the plugin that is tested, and not the one that happens to be installed.

    Args:
        python: The Python that it runs; one that is not that of the tests imports what is installed for it alone.
        **more: Further variables; what is in ``PYTHONPATH`` is found before all else.
    """
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **more}
    paths = [more.get("PYTHONPATH")]
    if str(python) == sys.executable:
        paths += [str(PROJECT), os.environ.get("PYTHONPATH")]
    env["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return env


def run(*arguments: Any, cwd: Path, python: Any = sys.executable, **environment: str) -> subprocess.CompletedProcess:
    """Run Python and return what it printed, both streams together in ``stdout``."""
    return subprocess.run(
        [str(python), *map(str, arguments)],
        cwd=cwd,
        env=child_environment(python, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )


def run_ok(*arguments: Any, cwd: Path, **keywords: Any) -> str:
    """Run Python, insist on success, and return what it printed."""
    done = run(*arguments, cwd=cwd, **keywords)
    assert done.returncode == 0, done.stdout
    return done.stdout


def psnr_of(log: str) -> float:
    """The last PSNR that BasicSR's validation logged."""
    return float(re.findall(r"# psnr: ([\d.]+)", log)[-1])


def tree(root: Path) -> dict[str, Optional[bytes]]:
    """Every file and folder below ``root``, files with their content."""
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in sorted(root.rglob("*"))}
