"""A teacher that runs in every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor, nn

from srkd_plugin.distill.taps import Taps, channels_of
from srkd_plugin.distill.targets.source import Targets, TargetSource
from srkd_plugin.images.pairs import ImagePairs
from srkd_plugin.networks.padding import size_multiple
from srkd_plugin.networks.precision import check_compiles, check_precision
from srkd_plugin.networks.spandrel_arch import SpandrelModel
from srkd_plugin.networks.teacher import Teacher, build_teacher, check_outputs, describe_teacher
from srkd_plugin.options import reader
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.parallel import ranks
from srkd_plugin.utils.files import require_file, sha256_of_file


class LiveTeacher(TargetSource):
    """The options' teacher (``network_t``, ``teacher``), run on every batch.

    It is what a run has that asks for nothing else. A batch that brings the teacher's image spares it the pass, unless
    feature maps are read.

    Attributes:
        teacher: The frozen teacher, once it is built.
    """

    key = "network_t"
    has_feature_maps = True
    labels_any_input = True
    batch_keys = ("teacher",)
    network_keys = ("network_t",)
    teacher: Teacher

    def __init__(self, options: RunOptions) -> None:
        super().__init__(options)
        reader.require_network_t(options.raw)

    def check(self, device: torch.device, images: Optional[ImagePairs]) -> None:
        """Check precision and compiling."""
        super().check(device, images)
        section = self.ours.teacher
        check_precision("teacher.precision", section.precision, device)
        if section.compile:
            check_compiles("teacher.compile", device, self.ours.has_taps)

    def describe(self) -> dict[str, Any]:
        """Describe the network and its weights."""
        return describe_teacher(self.ours)

    def files_sha256(self) -> dict[str, str]:
        """That of the file of the teacher's weights; none of a random teacher."""
        file, key = self.ours.path.pretrain_network_t, "path.pretrain_network_t"
        if file is None:
            return {}
        require_file(key, file)
        return {key: sha256_of_file(Path(file))}

    def build(self, device: torch.device) -> None:
        """Build the teacher, freeze it, and load its weights or make random ones equal on all ranks."""
        # a teacher that the student is cut from, and nothing else, need not take the GPU's memory
        self.teacher = build_teacher(self.ours, device if self.ours.reads_targets else torch.device("cpu"))
        if self.ours.teacher.random_init:
            ranks.make_equal(self.teacher.net.parameters(), device)
        self._taps = Taps(self.teacher.net, (), key="")

    def try_out(self, lq: Tensor, expected: torch.Size) -> None:
        """Run the teacher's network and compare shapes."""
        if isinstance(self.teacher.net, SpandrelModel):
            self.teacher.net.check_crops(self.options.stock.train_set.gt_size)
        check_outputs({"network_t": self.teacher.net}, lq, expected)

    def size_multiple(self, channels: int, scale: int) -> Optional[int]:
        """Try the teacher's network on small images."""
        return size_multiple(self.teacher.net, channels, scale)

    def set_taps(self, paths: Sequence[str], key: str) -> None:
        """Set the taps in the teacher's network, before it first runs compiled."""
        self._taps = Taps(self.teacher.net, paths, key)

    def tap_channels(self, lq: Tensor) -> Mapping[str, int]:
        """Run the teacher on a batch and look; not compiled for a shape that does not come again."""
        with self._taps.recording() as maps, torch.no_grad():
            self.teacher.net(lq)
            return channels_of(maps, "train.distill_opt.<name>.taps.teacher")

    def targets(self, batch: Mapping[str, Any], with_maps: bool) -> Targets:
        """Run the teacher, or take the batch's images where they are all that is read."""
        if "teacher" in batch and not with_maps:
            return Targets(batch["teacher"], {})
        with self._taps.recording() as maps:
            images = self.teacher(batch["lq"])
            return Targets(images, dict(maps))

    def teacher_network(self) -> nn.Module:
        """The network that runs."""
        return self.teacher.net
