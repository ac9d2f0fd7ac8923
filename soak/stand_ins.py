"""Tiny images, networks and weights in place of those that the shipped options files name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from basicsr.archs import build_network

from srkd_plugin.teacher_cache.cache_job import CacheJob
from srkd_plugin.teacher_cache.info import Making
from srkd_plugin.teacher_cache.make import make_cache

FEATURES = {"network_g": 4, "network_t": 6}
"""Channels; the number of blocks stays, as taps name blocks."""
SIDE = 64


class StandIns:
    """Makes them in a folder.

    Args:
        folder: It is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._weights: dict[str, str] = {}
        rng = np.random.default_rng(0)
        for name, side in (("HR", SIDE), ("LR", SIDE // 2)):
            (folder / name).mkdir(parents=True)
            for i in range(4):
                cv2.imwrite(str(folder / name / f"{i}.png"), rng.integers(0, 256, (side, side, 3), dtype=np.uint8))

    def replace(self, file: Path) -> dict[str, Any]:
        """The content of a shipped file with the stand-ins; a table's file stays as it is."""
        opt = yaml.safe_load(file.read_text("utf-8"))
        if "methods" in opt:
            return opt
        opt["num_gpu"] = 0
        for key, features in FEATURES.items():
            if key in opt:
                opt[key]["num_feat"] = features
        images = {f"dataroot_{side}": str(self.folder / name) for side, name in (("gt", "HR"), ("lq", "LR"))}
        for phase, section in opt["datasets"].items():
            section.update(images, io_backend={"type": "disk"})
            if phase == "train":
                section.update(gt_size=16, batch_size_per_gpu=4, num_worker_per_gpu=1)
        for key in ("pretrain_network_g", "pretrain_network_t"):
            if opt["path"].get(key):
                opt["path"][key] = self._weights_of(opt[f"network_{key[-1]}"])
        for term in (opt.get("train", {}).get("distill_opt") or {}).values():
            if "vgg_weights" in term:
                term["vgg_weights"] = self._vgg()
        if opt["datasets"].get("train", {}).get("type") == "TeacherCacheDataset":
            opt["datasets"]["train"]["dataroot_teacher"] = self._cache(opt)
        return opt

    def _weights_of(self, section: dict[str, Any]) -> str:
        known = repr(section)
        if known not in self._weights:
            path = self.folder / f"weights_{len(self._weights)}.pth"
            torch.manual_seed(0)
            state = build_network(copy.deepcopy(section)).state_dict()
            torch.save({"params": state, "params_ema": state}, path)
            self._weights[known] = str(path)
        return self._weights[known]

    def _vgg(self) -> str:
        from torchvision.models.vgg import cfgs, make_layers

        path = self.folder / "vgg19.pth"
        if not path.exists():
            torch.manual_seed(0)
            layers = make_layers(cfgs["E"])[:30]
            torch.save({f"features.{name}": value for name, value in layers.state_dict().items()}, path)
        return str(path)

    def _cache(self, opt: dict[str, Any]) -> str:
        out = self.folder / f"{opt['name']}.lmdb"
        live = copy.deepcopy(opt)
        live["datasets"]["train"]["type"] = "PairedImageDataset"
        live["datasets"]["train"].pop("dataroot_teacher", None)
        make_cache(CacheJob(live, out, Making(), torch.device("cpu")))
        return str(out)
