"""Teacher's images from a cache, which the data set puts into every batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
from torch import Tensor, nn

from srkd_plugin.distill.samples import keys_of_data
from srkd_plugin.distill.targets.source import SAMPLES, Targets, TargetSource, register
from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.images.pairs import ImagePairs
from srkd_plugin.networks.teacher import build_teacher, describe_teacher
from srkd_plugin.options import reader
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.options.step_sections import ZoomKind
from srkd_plugin.options.teachers import caches_of
from srkd_plugin.teacher_cache.info import ZOOM_FLAGS
from srkd_plugin.teacher_cache.matches_run import OPTION, check_cache
from srkd_plugin.teacher_cache.shards import Folders, OpenCache
from srkd_plugin.utils.files import sha256_of_lines


@register
class CachedImages(TargetSource):
    """The images that a data set reads from a teacher cache (``datasets.train.type: TeacherCacheDataset``).

    No teacher is built, but for a student that is cut from it.
    """

    key = "datasets.train.type"
    network_keys = ("network_t",)

    def __init__(self, options: RunOptions) -> None:
        super().__init__(options)
        reader.require_network_t(options.raw)
        given = reader.read_cache_section(options.raw["datasets"]["train"]).dataroot_teacher
        assert not isinstance(given, dict)  # those of several teachers are not this source's
        self._folders: Folders = given
        self._listed = given if isinstance(given, str) else ", ".join(given)
        self.batch_keys = ("teacher", *keys_of_data(self.ours.samples, "teacher"))

    @classmethod
    def is_asked_for(cls, opt: Mapping[str, Any]) -> bool:
        """Whether the training set is one that reads a cache; caches by name are those of several teachers."""
        return reader.reads_cache(opt) and not caches_of(opt)

    def check(self, device: torch.device, images: Optional[ImagePairs]) -> None:
        """Check that the cache is that of the options' teacher and images."""
        super().check(device, images)
        assert images is not None  # the data set is a PairedImageDataset
        check_cache(self.options.raw, self.ours, self._folders, images)
        self._warn_of_unused()

    def check_samples(self) -> None:
        """Check that the cache has the images of what ``train.samples`` asks for."""
        cache, section = OpenCache(OPTION, self._folders), self.ours.samples
        flags = [ZOOM_FLAGS[kind] for kind in section.kinds if cache.zoomed(kind) is None]
        if flags:
            problem = f"the cache {self._listed} lacks the teacher's images of these inputs"
            remedy = f"Run srkd cache make with {' '.join(flags)} for it, which adds them; or let a teacher run."
            raise OptionsError(SAMPLES, section.model_dump(), problem, remedy)

    def describe(self) -> dict[str, Any]:
        """Describe the network that the cache was made with, its weights, and the cache."""
        return {**describe_teacher(self.ours), "cache": self._listed}

    def files_sha256(self) -> dict[str, str]:
        """That of what the cache says of itself: its teacher, its images, and how it was made."""
        cache = OpenCache(OPTION, self._folders)
        lines = [cache.info.model_dump_json(include={"teacher", "source", "making"})]
        lines += [zoomed.info.model_dump_json(include={"zoom"}) for zoomed in cache.all_zoomed(self.ours.samples.kinds)]
        return {OPTION: sha256_of_lines(lines)}

    def build(self, device: torch.device) -> None:
        """Nothing: the data set opens the cache, and says so in the log."""

    def _warn_of_unused(self) -> None:
        """Warn of what the cache has, and the data set loads, that the run does not use."""
        cache, used = OpenCache(OPTION, self._folders), self.ours.samples.kinds
        names: dict[ZoomKind, str] = {"zoom_in": "zoomed-in", "zoom_out": "zoomed-out"}
        unused = [name for kind, name in names.items() if kind not in used and cache.zoomed(kind) is not None]
        if unused:
            what = f"the teacher's images of {' and '.join(unused)} inputs"
            self.options.warn([f"The cache has {what}, which are loaded and not used: {SAMPLES} asks for none."])

    def example(self, lq: Tensor, gt: Tensor) -> dict[str, Any]:
        """GT, in place of the cache's images."""
        return {"teacher": gt}

    def set_taps(self, paths: Sequence[str], key: str) -> None:
        """Refuse them: a cache has no feature maps."""
        problem = "a teacher cache holds the teacher's images, and not its feature maps"
        remedy = "Write datasets.train.type: PairedImageDataset, so that the teacher runs; or remove the term."
        raise OptionsError(key, list(paths), problem, remedy)

    def targets(self, batch: Mapping[str, Any], with_maps: bool) -> Targets:
        """Take the batch's images."""
        if "teacher" not in batch:
            problem = "the batch has no teacher image, and there is no teacher"
            raise OptionsError(self.key, MISSING, problem, "Use a data set that gives it.")
        return Targets(batch["teacher"], {})

    def teacher_network(self) -> nn.Module:
        """The options' teacher, built for this alone."""
        return build_teacher(self.ours, torch.device("cpu")).net
