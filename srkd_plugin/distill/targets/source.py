"""What every source of targets does; and the table of sources, which the options choose from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Optional, TypeVar

import torch
from torch import Tensor, nn

from srkd_plugin.errors import OptionsError
from srkd_plugin.images.pairs import ImagePairs
from srkd_plugin.options.run_options import RunOptions

SOURCES: list[type[TargetSource]] = []
"""Every source that options can ask for, in the order of registration."""
SAMPLES = "train.samples"
SourceT = TypeVar("SourceT", bound="type[TargetSource]")


def register(cls: SourceT) -> SourceT:
    """Add a class to :data:`SOURCES`, as a decorator."""
    SOURCES.append(cls)
    return cls


class Targets(NamedTuple):
    """What the student learns from in one step; no part has autograd history."""

    images: Tensor
    """``(N, C, H, W)``, the teacher's SR images, of the dtype and on the device of the inputs."""
    maps: Mapping[str, Tensor]
    """The teacher's feature maps by tap; empty where none were asked for."""


class TargetSource(ABC):
    """Gives the teacher's images for every batch, and its feature maps where there are some.

    A new source is three things: a subclass in a file of this folder (all of them are imported), the options section by
    which a run asks for it, and a test. Nothing else knows which source a run has. Template::

        class AveragedSection(BaseModel):  # in options/sections.py, and ("averaged", AveragedSection) in its SECTIONS
            model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
            files: list[str] = Field(min_length=1)

        @register
        class AveragedTeachers(TargetSource):
            \"\"\"The mean of several teachers' images; ``averaged: {files: [a.pth, b.pth]}``.\"\"\"

            key = "averaged"

            def __init__(self, options):
                super().__init__(options)
                self.section = check_section(AveragedSection, self.key, options.raw[self.key])

            def check(self, device, images):
                super().check(device, images)
                for file in self.section.files:
                    require_file("averaged.files", file)

            def describe(self):
                return {"type": "mean of several", "weights": self.section.files}

            def build(self, device):
                self.teachers = [...]

            def targets(self, batch, with_maps):
                with torch.no_grad():
                    images = [teacher(batch["lq"]) for teacher in self.teachers]
                return Targets(torch.stack(images).mean(dim=0), {})

    The order of calls. A check of the options: ``__init__``, :meth:`check`; ``__init__`` again with a teacher in fp32
    that is not compiled, :meth:`build` on the CPU, :meth:`set_taps`, :meth:`try_out`, :meth:`targets` with
    :meth:`example`. A run: ``__init__``, :meth:`build`, :meth:`set_taps`, :meth:`tap_channels`; and :meth:`targets`
    once in each iteration in which a term counts. It is not an ``nn.Module``, so that no optimizer, DDP, EMA or
    checkpoint of the student can take hold of a teacher.

    Args:
        options: The run's options; kept as ``options``, and the plugin's sections of them as ``ours``.

    Attributes:
        key: Path of the options section, or key, by which a run asks for it.
        has_feature_maps: Whether terms may have taps; :meth:`set_taps` and :meth:`tap_channels` are then its own.
        labels_any_input: Whether it gives images for inputs that the data set does not know, e.g. parts of others.
        batch_keys: What it reads of a batch beside ``lq``, where the data set gives it. Tensors come on the student's
            device.
        network_keys: Sections of the options that describe networks of its own; their types and arguments are checked.

    Raises:
        OptionsError: Its options section is wrong.
    """

    key: ClassVar[str]
    has_feature_maps: ClassVar[bool] = False
    labels_any_input: bool = False
    batch_keys: tuple[str, ...] = ()
    network_keys: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: RunOptions) -> None:
        self.options = options
        self.ours = options.ours

    @classmethod
    def is_asked_for(cls, opt: Mapping[str, Any]) -> bool:
        """Whether a run's options ask for this source; here: whether they have its section at the top level."""
        return cls.key in opt

    def networks(self) -> dict[str, Any]:
        """The sections that describe networks of its own, by their path; here those of :attr:`network_keys`."""
        return {key: self.options.raw.get(key) for key in self.network_keys}

    def check(self, device: torch.device, images: Optional[ImagePairs]) -> None:
        """Check what can be checked before anything is built, run or written: files, precision, what must match.

        Args:
            device: Where the run will be.
            images: The training images, as they have been listed; None for data sets that are no PairedImageDataset.

        Raises:
            OptionsError: The first thing that is wrong; here: a term has taps, and there are no feature maps.
        """
        for name, term in self.ours.terms.items():
            if term.taps is not None and not self.has_feature_maps:
                self.set_taps(term.taps.teacher, f"train.distill_opt.{name}.taps.teacher")
        if self.ours.samples.adds_inputs and self.ours.terms:
            self.check_samples()

    def check_samples(self) -> None:
        """Check that there are images of the inputs that ``train.samples`` adds; called by :meth:`check`.

        Raises:
            OptionsError: There are not; here: unless it :attr:`labels_any_input`.
        """
        if not self.labels_any_input:
            problem = f"{type(self).__name__} has the teacher's images of the data set's inputs alone"
            remedy = f"Remove {SAMPLES}, or {self.key}, so that a teacher runs."
            raise OptionsError(SAMPLES, self.ours.samples.model_dump(), problem, remedy)

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Plain values for the description of a run: ``type``, and whatever else says what the teacher is."""

    def files_sha256(self) -> dict[str, str]:
        """The sha256 of what the images come from, by the key that names it, so that a resumed run can tell another.

        Raises:
            OptionsError: It cannot be read.
        """
        return {}

    @abstractmethod
    def build(self, device: torch.device) -> None:
        """Get ready for a run, alike on all ranks; say in BasicSR's log what the teacher is.

        BasicSR seeds every rank differently: what is drawn is made equal. The random state is left as it was, so that
        the student and the data order of a run do not depend on its teacher.

        Args:
            device: Where the student is trained.

        Raises:
            OptionsError: It cannot be built; after :meth:`check`, only for what that cannot see.
        """

    @abstractmethod
    def targets(self, batch: Mapping[str, Any], with_maps: bool) -> Targets:
        """The teacher's images for a batch, and its feature maps at the taps.

        Args:
            batch: ``lq``, ``(N, C, h, w)`` in 0..1; ``gt`` where the run has one; and of :attr:`batch_keys` what the
                batch has.
            with_maps: Whether a term reads feature maps in this iteration. Images and maps must then be of one pass.

        Raises:
            OptionsError: The batch lacks what is read of it.
        """

    def example(self, lq: Tensor, gt: Tensor) -> dict[str, Any]:
        """What the data set would add to a small batch, so that the terms can be tried before the run.

        Args:
            lq: ``(N, C, h, w)``.
            gt: ``(N, C, H, W)``, which may stand in for the teacher's images.

        Returns:
            Entries of :attr:`batch_keys`.
        """
        return {}

    def try_out(self, lq: Tensor, expected: torch.Size) -> None:
        """Compare the shape of what it gives for a small batch with what is expected, after :meth:`build`.

        Args:
            lq: ``(N, C, h, w)``.
            expected: Shape of the SR images that the options' ``scale`` asks for.

        Raises:
            OptionsError: A network fails, or the images have another shape.
        """
        shape = self.targets({"lq": lq, **self.example(lq, torch.rand(expected))}, with_maps=False).images.shape
        if shape != expected:
            problem = f"its images for an input of {tuple(lq.shape)} are {tuple(shape)}"
            remedy = f"The options' scale asks for {tuple(expected)}."
            raise OptionsError(self.key, self.describe()["type"], problem, remedy)

    def size_multiple(self, channels: int, scale: int) -> Optional[int]:
        """Multiple that the sides of its inputs must be, after :meth:`build`; here 1: nothing runs on them.

        Args:
            channels: Channels of the inputs.
            scale: SR factor.

        Returns:
            As :func:`srkd_plugin.networks.padding.size_multiple`.
        """
        return 1

    def set_taps(self, paths: Sequence[str], key: str) -> None:
        """Prepare to give the feature maps at these taps; called after :meth:`build`, if a term has some.

        Args:
            paths: Taps of the teacher, as the options write them.
            key: Where they do so, for the error.

        Raises:
            OptionsError: There is no such module; here: there are no feature maps.
        """
        problem = f"{self.describe()['type']} gives the teacher's images, and not its feature maps"
        raise OptionsError(key, list(paths), problem, f"Remove the term, or {self.key}, so that a teacher runs.")

    def tap_channels(self, lq: Tensor) -> Mapping[str, int]:
        """Channels of the feature maps by tap, for the connectors.

        Args:
            lq: A batch of inputs, ``(N, C, h, w)``, on which they are seen.
        """
        return {}

    def teacher_network(self) -> nn.Module:
        """The teacher's bare network, from which a student is cut (``student.init: teacher_slice``).

        Raises:
            OptionsError: There is none, or it cannot be built.
        """
        problem = f"{self.describe()['type']} gives the teacher's images, and has no network to cut the student from"
        raise OptionsError("student.init", self.ours.student.init, problem, "Remove init.")
