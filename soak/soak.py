#!/usr/bin/env python
"""A fault campaign: data preparation, caching and training are killed at random moments, checkpoints are truncated in
between, the disk is read-only or runs full; the end must equal that of the undisturbed run, bit for bit.

Prints the table of docs/reliability.md. The exit code is 0 if all ends are equal, else 1.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from fault_campaign import FINISH_WITHIN, Outcome, Workload, campaign, digest, report

from srkd_plugin.cli.exit_codes import run_command
from srkd_plugin.cli.parser import positive_int

SRKD = (sys.executable, "-m", "srkd_plugin")
NETWORK = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 2}
ITERS, EVERY = 300, 10
EXPERIMENT = Path("experiments/soak")
DISK = 600 << 10
"""Bytes of the small disk: some checkpoints fit, not all."""
NO_DISK = "no small disk can be mounted here"


def main() -> int:
    """Parse the command line and run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=positive_int, default=25, metavar="N", help="of each workload (default: 25)")
    parser.add_argument("--seed", type=int, default=10, help="of the moments and files (default: 10)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep everything in this new folder")
    args = parser.parse_args()
    if args.work is not None:
        args.work.mkdir(parents=True)
        return run_command(lambda: _soak(args.work.resolve(), args))
    with tempfile.TemporaryDirectory() as folder:
        return run_command(lambda: _soak(Path(folder), args))


def _soak(root: Path, args: argparse.Namespace) -> int:
    _make_images(root / "HR", random.Random(args.seed))
    prepare = Workload("srkd prepare train", _prepare_command(root), _files)
    outcomes = [campaign(prepare, root / "prepare", args.kills, random.Random(args.seed))]
    if not outcomes[0].faults:
        options = _write_options(
            root / "soak.yml", root / "prepare/undisturbed/set", _save_teacher(root / "teacher.pth")
        )
        cache = Workload("srkd cache make", _cache_command(options), _files)
        outcomes.append(campaign(cache, root / "cache", args.kills, random.Random(args.seed + 2)))
        command = [*SRKD, "train", "-opt", str(options), "--auto-resume"]
        train = Workload("training, --auto_resume", command, _trained, _truncatable)
        outcomes.append(campaign(train, root / "train", args.kills, random.Random(args.seed + 1)))
        outcomes += [_read_only_disk(train, root), _full_disk(train, root)]
    table, code = report(outcomes)
    print(table)
    return code


def _make_images(folder: Path, rng: random.Random) -> None:
    import cv2
    import numpy as np

    folder.mkdir()
    numbers = np.random.default_rng(rng.randrange(1 << 30))
    for i in range(20):
        coarse = numbers.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"im{i:02d}.png"), cv2.resize(coarse, (160, 128), interpolation=cv2.INTER_CUBIC))


def _prepare_command(root: Path) -> list[str]:
    sizes = ["--size", "48", "--step", "24", "--workers", "1"]
    return [*SRKD, "prepare", "train", "--gt", str(root / "HR"), "--out", "set", *sizes]


def _save_teacher(file: Path) -> Path:
    from srkd_plugin._autoload import import_basicsr

    import_basicsr()  # with any torchvision
    import torch
    from basicsr.archs import build_network

    torch.manual_seed(0)
    torch.save({"params": build_network(dict(NETWORK)).state_dict()}, file)
    return file


def _cache_command(options: Path) -> list[str]:
    flags = ["--out", "teacher.lmdb", "--self-ensemble", "--with-images", "--device", "cpu"]
    return [*SRKD, "cache", "make", "-opt", str(options), *flags]


def _files(folder: Path) -> str:
    """Digest of all keys and images of the LMDBs, and of the other files.

    LMDB's own pages depend on how often it was opened.
    """
    import lmdb

    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "data.mdb":
            with lmdb.open(str(path.parent), readonly=True, lock=False) as env, env.begin() as transaction:
                found[name] = [[bytes(key), bytes(value)] for key, value in transaction.cursor()]
        elif path.is_file() and path.name != "lock.mdb" and path.suffix != ".lock":  # a kill may leave a lock file
            found[name] = path.read_bytes()
    return digest(found)


def _write_options(path: Path, data: Path, teacher: Path) -> Path:
    import yaml

    lmdbs = {key: next(iter(data.glob(f"*_{kind}*_sub.lmdb"))) for key, kind in (("gt", "HR"), ("lq", "LR"))}
    train_set = {"name": "soak", "type": "PairedImageDataset", "exact_resume": True, "io_backend": {"type": "lmdb"}}
    train_set.update({f"dataroot_{key}": str(lmdb) for key, lmdb in lmdbs.items()})
    train_set.update(gt_size=16, use_hflip=True, use_rot=True, num_worker_per_gpu=1, batch_size_per_gpu=8)
    terms = {"contrastive": {"type": "ContrastiveLoss", "balance": {"target": 1.0, "every": 3}}}
    opt = {"name": EXPERIMENT.name, "model_type": "DistillModel", "scale": 2, "num_gpu": 0, "manual_seed": 10}
    opt.update(datasets={"train": train_set}, network_g=NETWORK, network_t=NETWORK)
    opt["path"] = {"pretrain_network_g": None, "resume_state": None, "pretrain_network_t": str(teacher)}
    opt["train"] = {
        "ema_decay": 0.9,
        "optim_g": {"type": "Adam", "lr": 1e-3},
        "scheduler": {"type": "MultiStepLR", "milestones": [20], "gamma": 0.5},
        "total_iter": ITERS,
        "pixel_opt": {"type": "L1Loss"},
        "distill_opt": terms,
    }
    opt["logger"] = {"print_freq": 5, "save_checkpoint_freq": EVERY, "use_tb_logger": False}
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    return path


def _trained(folder: Path) -> str:
    import torch

    files = [EXPERIMENT / "models/net_g_latest.pth", EXPERIMENT / f"training_states/{ITERS}.state"]
    loaded = [torch.load(folder / file, map_location="cpu", weights_only=False) for file in files]
    loaded[1].pop("net_g_sha256")  # of the file's bytes, which depend on more than its content
    return digest(loaded)


def _truncatable(folder: Path) -> list[Path]:
    """The files of the newest checkpoint, while there is a good one to fall back to."""
    from srkd_plugin.training.checkpoint_files import iterations_in, load_pair

    models, states = folder / EXPERIMENT / "models", folder / EXPERIMENT / "training_states"
    good = [i for i in iterations_in(states, "", ".state") if load_pair(states / f"{i}.state", models)[0]]
    return [models / f"net_g_{good[0]}.pth", states / f"{good[0]}.state"] if len(good) > 1 else []


def _full_disk(train: Workload, root: Path) -> Outcome:
    """Train on a small disk until it is full, which must be said; then on the same disk, grown, to the end."""
    name = "training on a full disk"
    with _small_disk(root / "full") as disk:
        if disk is None:
            return Outcome(name, skipped=NO_DISK)
        first = _train_on(train, disk)
        # it may end well all the same: a pair that does not fit is removed, and the last weights may fit then
        if "was NOT saved" not in first.stdout:
            return Outcome(name, faults=[f"no line says that the disk is full: exit code {first.returncode}"])
        return _finish(name, train, disk, "size=256m", root)


def _read_only_disk(train: Workload, root: Path) -> Outcome:
    """Train on a disk that is read-only, which must be one line; then on the same disk, writable, to the end."""
    name = "training on a read-only disk"
    with _small_disk(root / "read_only") as disk:
        if disk is None:
            return Outcome(name, skipped=NO_DISK)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        first = _train_on(train, disk)
        if first.returncode != 2 or "is read-only" not in first.stdout or "Traceback" in first.stdout:
            return Outcome(name, faults=[f"no line says that the disk is read-only: exit code {first.returncode}"])
        return _finish(name, train, disk, "rw,size=256m", root)


def _finish(name: str, train: Workload, disk: Path, remount: str, root: Path) -> Outcome:
    subprocess.run(["mount", "-o", f"remount,{remount}", str(disk)], check=True)
    done = _train_on(train, disk)
    if done.returncode != 0:
        return Outcome(name, faults=[f"exit code {done.returncode} once it could write"])
    if _trained(disk) != _trained(root / "train/undisturbed"):
        return Outcome(name, faults=["another result than undisturbed"])
    return Outcome(name, completions=1, remark="as undisturbed, once it could write")


@contextmanager
def _small_disk(folder: Path) -> Iterator[Optional[Path]]:
    """A tmpfs of :data:`DISK` bytes; None where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=False)


def _train_on(train: Workload, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        train.command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=FINISH_WITHIN,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
