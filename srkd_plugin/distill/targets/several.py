"""Several teachers, each live or cached, whose images become one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Optional

import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from srkd_plugin.distill.samples import keys_of_data
from srkd_plugin.distill.targets.cached import CachedImages
from srkd_plugin.distill.targets.live import LiveTeacher
from srkd_plugin.distill.targets.source import SAMPLES, Targets, TargetSource, register
from srkd_plugin.errors import OptionsError
from srkd_plugin.images.pairs import ImagePairs
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.options.sections import PathSection
from srkd_plugin.options.teachers import OF_PATH, caches_of, with_one_teacher
from srkd_plugin.teacher_cache.matches_run import OPTION as CACHE
from srkd_plugin.teacher_cache.shards import OpenCache


@register
class SeveralTeachers(TargetSource):
    """The teachers of ``teachers``, combined as ``teacher.combine`` says.

    ``mean``: the mean of their images, weighted by each teacher's ``weight``. ``nearest_gt``: each pixel is that of the
    teacher whose pixel is nearest to GT's, by the sum of absolute differences over the channels; of equal ones, that of
    the teacher that is named first. Each teacher is a source of its own, as a run with it alone would have.
    """

    key = "teachers"

    def __init__(self, options: RunOptions) -> None:
        super().__init__(options)
        self._sections = self.ours.teachers
        self._combine = self.ours.teacher.combine
        self._cached = [name for name in self._sections if name in caches_of(options.raw)]
        self._each: dict[str, TargetSource] = {}
        for name in self._sections:
            with self._named(name):
                kind = CachedImages if name in self._cached else LiveTeacher
                self._each[name] = kind(self._options_of(name))
        self.labels_any_input = not self._cached
        self.batch_keys = tuple(
            key for name in self._cached for key in (batch_key(name), *keys_of_data(self.ours.samples, batch_key(name)))
        )
        if self._combine == "nearest_gt" and self.ours.samples.zoom_in:
            problem = "zoomed-in inputs (train.samples.zoom_in) have no GT to be near to"
            raise OptionsError("teacher.combine", self._combine, problem, "Write combine: mean, or zoom_in: 0.")

    @classmethod
    def is_asked_for(cls, opt: Mapping[str, Any]) -> bool:
        """Whether the options have several teachers."""
        return bool(opt.get(cls.key))

    def _options_of(self, name: str) -> RunOptions:
        """The options of a run with one of the teachers alone; how it is run is said for all of them."""
        section, raw = self._sections[name], with_one_teacher(self.options.raw, name, self._sections[name])
        given = {key: raw["path"][key] for key in PathSection.model_fields if key in raw["path"]}
        ours = self.ours.model_copy(
            update={
                "teachers": {},
                "network_t": section.network_t,
                "path": PathSection(**given),
                "teacher": self.ours.teacher.model_copy(update={"random_init": section.random_init}),
            }
        )
        return dataclasses.replace(self.options, raw=raw, ours=ours)

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """Name a key of one teacher's own options as it is called here."""
        try:
            yield
        except OptionsError as error:
            problem, remedy = (self._text_here(name, text) for text in (error.problem, error.remedy))
            raise type(error)(self._key_here(name, error.key), error.value, problem, remedy) from error

    def _key_here(self, name: str, key: str) -> str:
        section, _, rest = key.partition(".")
        if section == "network_t" or key == "teacher.random_init":
            return f"{self.key}.{name}.{key.split('teacher.')[-1]}"
        if section == "path" and rest in OF_PATH:
            return f"{self.key}.{name}.{rest}"
        return f"{key}.{name}" if key == CACHE else key

    def _text_here(self, name: str, text: str) -> str:
        for key in OF_PATH:
            text = text.replace(f"path.{key}", f"{self.key}.{name}.{key}")
        return text.replace("teacher: {random_init: true}", f"{self.key}.{name}.random_init: true")

    def networks(self) -> dict[str, Any]:
        """Those of all teachers."""
        return {f"{self.key}.{name}.network_t": section.network_t for name, section in self._sections.items()}

    def check(self, device: torch.device, images: Optional[ImagePairs]) -> None:
        """Check each teacher, and each cache against its own."""
        super().check(device, images)
        for name, source in self._each.items():
            with self._named(name):
                source.check(device, images)
        self._check_zoom_in()

    def check_samples(self) -> None:
        """Nothing: each teacher checks its own."""

    def _check_zoom_in(self) -> None:
        """Check that the caches took the same HR images."""
        if not self.ours.samples.zoom_in:
            return
        caches = {name: OpenCache(f"{CACHE}.{name}", caches_of(self.options.raw)[name]) for name in self._cached}
        zooms = {name: zoomed.info.zoom for name, cache in caches.items() if (zoomed := cache.zoomed("zoom_in"))}
        if len({zoom for zoom in zooms.values() if zoom is not None}) > 1:
            listed = ", ".join(f"{zoom} in {name}" for name, zoom in zooms.items())
            remedy = "Delete the folder zoom_in of one of them, and make it with the other's --zoom-in."
            raise OptionsError(SAMPLES, self.ours.samples.model_dump(), f"the caches took other HR: {listed}", remedy)

    def describe(self) -> dict[str, Any]:
        """Describe each teacher under its name."""
        facts: dict[str, Any] = {"type": f"{len(self._each)} teachers", "combined": self._combine}
        for name, source in self._each.items():
            with self._named(name):
                facts[name] = source.describe()
            if self._combine == "mean":
                facts[name]["weight"] = self._sections[name].weight
        return facts

    def files_sha256(self) -> dict[str, str]:
        """Those of each teacher's weights or cache."""
        found = {}
        for name, source in self._each.items():
            with self._named(name):
                found.update({self._key_here(name, key): sha for key, sha in source.files_sha256().items()})
        return found

    def build(self, device: torch.device) -> None:
        """Build those that run; say in the log how they are combined."""
        for name, source in self._each.items():
            with self._named(name):
                source.build(device)
        how = "each pixel is that of the one nearest to GT" if self._combine == "nearest_gt" else "their weighted mean"
        weights = {name: f" {section.weight:g}" for name, section in self._sections.items()}
        named = ", ".join(f"{name}{weights[name] if self._combine == 'mean' else ''}" for name in self._each)
        get_root_logger().info(
            f"{len(self._each)} teachers are combined (teacher.combine: {self._combine}), {how}: {named}."
        )

    def example(self, lq: Tensor, gt: Tensor) -> dict[str, Any]:
        """GT, in place of each cache's images."""
        return dict.fromkeys(self.batch_keys, gt)

    def try_out(self, lq: Tensor, expected: torch.Size) -> None:
        """Try each teacher."""
        for name, source in self._each.items():
            with self._named(name):
                source.try_out(lq, expected)

    def size_multiple(self, channels: int, scale: int) -> Optional[int]:
        """Multiple of the sides that all of them take; None if one of them takes nothing."""
        each = [source.size_multiple(channels, scale) for source in self._each.values()]
        return None if None in each else math.lcm(*(multiple for multiple in each if multiple is not None))

    @torch.no_grad()
    def targets(self, batch: Mapping[str, Any], with_maps: bool) -> Targets:
        """Ask each teacher, and combine the images."""
        images = []
        for name, source in self._each.items():
            own = {"lq": batch["lq"]}
            if batch_key(name) in batch:
                own["teacher"] = batch[batch_key(name)]
            images.append(source.targets(own, with_maps=False).images)
        if self._combine == "mean":
            weights = [section.weight for section in self._sections.values()]
            return Targets(mean_of(images, weights), {})
        return Targets(nearest_to(batch["gt"], images), {})

    def set_taps(self, paths: Sequence[str], key: str) -> None:
        """Refuse them: each teacher has feature maps of its own."""
        problem = "several teachers have no one feature map that a term could compare with"
        remedy = f"Name one of them in network_t in the place of {self.key}, or remove the term."
        raise OptionsError(key, list(paths), problem, remedy)

    def teacher_network(self) -> nn.Module:
        """The network of the teacher that is named first."""
        name, source = next(iter(self._each.items()))
        with self._named(name):
            return source.teacher_network()


def batch_key(name: str) -> str:
    """Key under which the data set gives a teacher's images, beside ``lq`` and ``gt``."""
    return f"teacher_{name}"


def mean_of(images: list[Tensor], weights: list[float]) -> Tensor:
    """The weighted mean of images of one shape; the weights need not add up to 1."""
    total = sum(weights)
    mean = torch.zeros_like(images[0])
    for image, weight in zip(images, weights):
        mean += weight / total * image
    return mean


def nearest_to(gt: Tensor, images: list[Tensor]) -> Tensor:
    """Take each pixel, all its channels, from the image that is nearest to GT there; of equally near ones the first.

    Args:
        gt: ``(N, C, H, W)``.
        images: Images of the same shape.
    """
    stacked = torch.stack(images)
    errors = (stacked - gt).abs().sum(dim=2, keepdim=True)
    nearest = errors.argmin(dim=0, keepdim=True).expand(1, *gt.shape)
    return stacked.gather(0, nearest)[0]
