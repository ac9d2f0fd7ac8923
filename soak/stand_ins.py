"""Tiny images, networks and weights in place of those that the shipped options files name."""

from __future__ import annotations

import contextlib
import copy
import io
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
        """The content of a shipped file with the stand-ins."""
        opt = yaml.safe_load(file.read_text("utf-8"))
        if "methods" in opt:
            return self._replace_in_table(opt, file.parent.parent)
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

    def _replace_in_table(self, table: dict[str, Any], options: Path) -> dict[str, Any]:
        """A table keeps what it changes in its options files, but for data, sizes of networks and given weights."""
        networks = (table.get("common", {}).get("network_g"), table["teacher"].get("set", {}).get("network_g"))
        for section, features in zip(networks, FEATURES.values()):
            if section and "num_feat" in section:
                section["num_feat"] = features
        table.setdefault("common", {})["num_gpu"] = 0
        if "weights" in table["teacher"]:
            table["teacher"]["weights"] = self._weights_of(self.replace(options / "teacher_edsr_l.yml")["network_g"])
        rows = [table["teacher"], *table["methods"].values()]
        for change in (table["common"], table.get("distill", {}), *(row.get("set", {}) for row in rows)):
            for section in (change.get("datasets") or {}).values():
                self._replace_data(section)
            for term in (change.get("train", {}).get("distill_opt") or {}).values():
                if isinstance(term, dict) and "vgg_weights" in term:
                    term["vgg_weights"] = self._vgg()
        for test_set in table["sets"].values():
            self._replace_data(test_set)
        return table

    def _replace_data(self, section: dict[str, Any]) -> None:
        for key, name in (("dataroot_gt", "HR"), ("dataroot_lq", "LR")):
            if key in section:
                section[key] = str(self.folder / name)
        section.pop("meta_info_file", None)
        if "gt_size" in section:
            section["gt_size"] = 16

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
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(io.StringIO()):
            make_cache(CacheJob(live, out, Making(), torch.device("cpu")))
        return str(out)
