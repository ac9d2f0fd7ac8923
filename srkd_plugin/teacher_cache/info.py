"""What a teacher cache is of, and how it was made: by this it is told from every other one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Optional

from pydantic import BaseModel, ConfigDict, Field

from srkd_plugin.errors import printable
from srkd_plugin.options.step_sections import ZoomKind
from srkd_plugin.teacher_cache.encoding import StorageName

ZOOM_KINDS: tuple[ZoomKind, ...] = ("zoom_in", "zoom_out")
"""Also the names of the folders of such caches, inside of the cache of LR that they belong to."""
ZOOM_FLAGS: dict[ZoomKind, str] = {"zoom_in": "--zoom-in", "zoom_out": "--zoom-out"}
"""Flags of ``srkd cache make`` that ask for them."""
HERE = ("in the cache", "here")
"""How a cache, and what it should be, are called where they differ."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceIdentity(_Part):
    """The HR and LR images that a cache belongs to."""

    scale: int
    color: Optional[str]
    """``y``: the teacher saw the Y channel alone, as the options' ``datasets.train.color`` says."""
    images: int
    hr_sha256: str
    """The sha256 of the lines ``key height width``, sorted."""
    lr_sha256: str


class TeacherIdentity(_Part):
    """The teacher of a cache."""

    weights_sha256: str
    """The sha256 of names, types, shapes and values of the tensors: a file saved again has the same."""
    network_t: dict[str, Any]
    """Options of the network, with its defaults filled in."""
    precision: str


class Making(_Part):
    """How a cache was made, which the options of a run do not say."""

    storage: StorageName = "uint16"
    self_ensemble: bool = False
    tile: Optional[int] = Field(default=None, ge=8)
    """Side of the tiles in LR pixels; none: whole images."""
    overlap: int = Field(default=32, ge=0)
    """LR pixels that a tile sees beyond its sides."""
    with_images: bool = False
    """The decoded LR and HR images are stored too."""


class Zoom(_Part):
    """Which inputs beside LR a cache is of, those that ``train.samples`` adds; it lies inside of the one of LR."""

    kind: ZoomKind
    """``zoom_in``: HR. ``zoom_out``: LR shrunk by the scale, which is stored too."""
    every: int = Field(default=1, ge=1)
    """About one image in so many is in it."""

    def __str__(self) -> str:
        """What it is of, for people."""
        of = {"zoom_in": "HR", "zoom_out": "LR shrunk by the scale"}[self.kind]
        return f"the teacher's images of {of}{'' if self.every == 1 else f', about 1 in {self.every}'}"


class Shard(_Part):
    """One of the parts of a cache that are made apart from each other, e.g. on several machines."""

    index: int = Field(ge=1)
    """Which one it is, from 1."""
    count: int = Field(ge=1)
    """How many there are."""

    def __str__(self) -> str:
        """Give it as ``srkd cache make --shard`` takes it, e.g. ``2/4``."""
        return f"{self.index}/{self.count}"

    def indices(self, keys: Sequence[str]) -> list[int]:
        """Where the images of this shard are among all images: each ``count``-th by name, in the order of ``keys``.

        Args:
            keys: Those of all images of the set; their order does not matter to what is in the shard.
        """
        by_name = sorted(range(len(keys)), key=keys.__getitem__)
        return sorted(by_name[self.index - 1 :: self.count])


class CacheInfo(_Part):
    """Everything that a cache says of itself."""

    format: Literal[1] = 1
    teacher: TeacherIdentity
    source: SourceIdentity
    making: Making
    shard: Optional[Shard] = None
    """Which part of the cache it is; none: all of it. ``source`` is that of all images in any case."""
    zoom: Optional[Zoom] = None
    """Which other inputs it is of; none: LR."""
    made_by: dict[str, str] = {}
    """Software versions, the file of the weights and the architecture that was recognised in it: for people, never
    compared."""
    clipped: int = 0
    """Values of the teacher's images that were outside of what the storage holds, and are kept as its nearest end."""
    measured: dict[str, float] = {}
    """PSNR in dB against the live teacher, for people."""

    def differences(self, other: CacheInfo) -> list[str]:
        """What tells this cache from another one."""
        lines = self.differences_but_shard(other)
        return lines if self.shard == other.shard else [*lines, _difference("shard", self.shard, other.shard)]

    def differences_but_shard(self, other: CacheInfo, where: tuple[str, str] = HERE) -> list[str]:
        """What tells the cache that this is of, or a part of, from that of another one.

        Args:
            other: The other one.
            where: How this one and the other are called.
        """
        parts = ("teacher", "source", "making")
        lines = [line for part in parts for line in differences(getattr(self, part), getattr(other, part), where)]
        return lines if self.zoom == other.zoom else [*lines, _difference("inputs", self.zoom, other.zoom, where)]

    def to_json(self) -> str:
        """Give it as it is stored; earlier versions, which know no shards and zooms, read that of a whole cache."""
        return self.model_dump_json(exclude={name for name in ("shard", "zoom") if getattr(self, name) is None})

    def with_images_of(self, other: CacheInfo) -> CacheInfo:
        """The same of the images of another one, so that only what concerns every image differs."""
        images = other.source.model_dump(include={"images", "hr_sha256", "lr_sha256"})
        return self.model_copy(update={"source": self.source.model_copy(update=images)})

    @property
    def own_images(self) -> int:
        """How many images are in it: all of the set, or those of its shard."""
        first, step = (0, 1) if self.shard is None else (self.shard.index - 1, self.shard.count)
        return len(range(first, self.source.images, step))

    def describe(self) -> str:
        """What it is and what was measured, for people."""
        making, teacher = self.making, self.teacher
        how = "self-ensemble" if making.self_ensemble else "one pass"
        tiles = f", tiles of {making.tile} + {making.overlap}" if making.tile else ""
        images = f"{self.source.images:,} images"
        name = self.made_by.get("architecture", teacher.network_t.get("type"))
        if self.shard is not None:
            images = f"shard {self.shard}: {self.own_images:,} of {images}"
        lines = [
            f"{images} x{self.source.scale}, {making.storage}{' with HR and LR' if making.with_images else ''}"
            f"{'' if self.zoom is None else f': {self.zoom}'}",
            f"teacher {name}, weights {teacher.weights_sha256[:12]}, {teacher.precision}, {how}{tiles}",
            f"values clipped to the storage's range: {self.clipped:,}",
        ]
        lines += [f"PSNR, {title}: {psnr:.2f} dB" for title, psnr in self.measured.items()]
        return "\n".join(map(printable, lines))  # a cache may be another's


TITLES = {
    "weights_sha256": "the teacher's weights (sha256)",
    "precision": "teacher.precision",
    "hr_sha256": "keys and sizes of HR (sha256)",
    "lr_sha256": "keys and sizes of LR (sha256)",
    "images": "the number of images",
}


def differences(cached: _Part, wanted: _Part, where: tuple[str, str] = HERE) -> list[str]:
    """Values in which two parts differ, a phrase for each.

    Args:
        cached: What the cache says.
        wanted: What it should be, of the same class.
        where: How the two are called.
    """
    there, here = dict(_flat(cached.model_dump())), dict(_flat(wanted.model_dump()))
    names = [*there, *(name for name in here if name not in there)]
    return [
        _difference(name, there.get(name), here.get(name), where) for name in names if there.get(name) != here.get(name)
    ]


def _difference(name: str, there: Any, here: Any, where: tuple[str, str] = HERE) -> str:
    return f"{TITLES.get(name, name)}: {_shown(there)} {where[0]}, {_shown(here)} {where[1]}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text[:12] if len(text) == 64 else text
