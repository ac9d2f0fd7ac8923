"""Image files and folders through a model: which file becomes which, what is done already, and what could not be."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import Fault, ImageFault
from srkd_plugin.images.image_file import FORMATS, decode_image, write_image
from srkd_plugin.images.listing import list_folder, say_left_out
from srkd_plugin.runtimes.tiles import Tiles
from srkd_plugin.runtimes.upscale_image import upscale_image
from srkd_plugin.utils.files import remove_unfinished, require_file, sha256_of_file, sha256_of_lines
from srkd_plugin.utils.terminal import progress_bar

RECORD = ".srkd_upscale.jsonl"
"""File beside the outputs: a line for each, with the sha256 of its input and of its model."""


@dataclass(frozen=True)
class Job:
    """An input and its output."""

    source: Path
    target: Path


@dataclass
class Done:
    """What became of the files."""

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    """They are there: made from the same input by the same model."""
    faults: list[Fault] = field(default_factory=list)


def find_jobs(source: Path, out: Path, suffix: str = "", extension: Optional[str] = None) -> list[Job]:
    """Find which output an input has. A folder's images go into a folder; subfolders are not entered.

    Args:
        source: An image, or a folder of images.
        out: A folder, or for one image also the path of a file.
        suffix: What the names of outputs in a folder end with, before the extension.
        extension: Of outputs in a folder; None: ``.png``.

    Raises:
        InputError: There is no such input or no image in it; two images of one name but for the extension; an output
            would be its own input; or ``out`` is not of the kind that it must be.
    """
    if source.is_dir():
        listing = list_folder("IN", source)
        sources = list(listing.images("IN").values())
        say_left_out([listing])
        if out.exists() and not out.is_dir():
            raise InputError("OUT", str(out), "it is a file, and IN is a folder", "Give a folder.")
        if out.exists() and out.samefile(source):
            raise InputError("OUT", str(out), "it is the folder of the inputs", "Give another one.")
    else:
        require_file("IN", source)
        sources = [source]
    if source.is_dir() or out.is_dir():
        jobs = [Job(one, out / f"{one.stem}{suffix}{extension or '.png'}") for one in sources]
    elif out.suffix.lower() in FORMATS and not suffix and extension is None:
        jobs = [Job(source, out)]
    elif out.suffix.lower() in FORMATS:
        raise InputError("OUT", str(out), "it names the file whole", "Leave out --suffix and --format.")
    else:
        remedy = f"Give a folder that is there, or a name that ends with one of {', '.join(FORMATS)}."
        raise InputError("OUT", str(out), "it is no folder, and no image file's name", remedy)
    for job in jobs:
        if job.target.exists() and job.target.samefile(job.source):
            raise InputError("OUT", str(job.target), "it is the input itself", "Give another name or folder.")
    return jobs


def sha256_of_model(model: Path, settings: Any) -> str:
    """The sha256 of a model's files and of the settings that change what it gives."""
    beside = [model.with_suffix(".bin")] if model.suffix == ".param" else [model.with_name(f"{model.name}.data")]
    files = [model, *(file for file in beside if file.is_file())]  # ncnn's weights; large weights of ONNX
    return sha256_of_lines([*map(sha256_of_file, files), json.dumps(settings, sort_keys=True)])


class Record:
    """What earlier calls wrote into a folder.

    Args:
        folder: The folder of outputs.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / RECORD
        self._made: dict[str, list[str]] = {}
        for line in self._lines():
            try:
                entry = json.loads(line)
                self._made[str(entry["output"])] = [str(entry["input"]), str(entry["model"])]
            except (ValueError, KeyError, TypeError):
                continue  # the last line of a call that was killed

    def _lines(self) -> list[str]:
        return self._file.read_text("utf-8", errors="replace").splitlines() if self._file.is_file() else []

    def has(self, target: Path) -> bool:
        """Whether a file of this name is recorded."""
        return target.name in self._made

    def is_made_from(self, target: Path, source: str, model: str) -> bool:
        """Whether a file is there and recorded as made from an input by a model, given by their sha256."""
        return target.is_file() and self._made.get(target.name) == [source, model]

    def begin(self) -> None:
        """Make the folder, and find out that it can be written to.

        Raises:
            InputError: It cannot be.
        """
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(self._file, "ab"):
                pass
        except OSError as error:
            problem = f"it cannot be written to ({error.strerror})"
            raise InputError("OUT", str(self._file.parent), problem, "Give a folder of yours.") from error
        remove_unfinished(self._file.parent)

    def add(self, target: Path, source: str, model: str) -> None:
        """Record that a file has been written."""
        self._made[target.name] = [source, model]
        line = json.dumps({"output": target.name, "input": source, "model": model})
        with open(self._file, "a", encoding="utf-8") as file:
            file.write(f"\n{line}" if self._is_torn() else line)
            file.write("\n")

    def _is_torn(self) -> bool:
        """Whether the last line has no end, as a call that was killed leaves it."""
        with open(self._file, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            return end > 0 and file.read() != b"\n"


def upscale_files(tiles: Tiles, jobs: Sequence[Job], model: str, force: bool = False) -> Done:
    """Upscale image files, showing a progress bar on a terminal; one that cannot be read does not stop the others.

    Args:
        tiles: The model.
        jobs: What is to be done; all outputs in one folder.
        model: See :func:`sha256_of_model`.
        force: Replace outputs that are there, whatever they are.

    Raises:
        InputError: An output is there and was not made by this function, before anything is written; an output cannot
            be written, e.g. because the disk is full; or the memory is too small.
    """
    record, done = Record(jobs[0].target.parent), Done()
    strangers = [job.target for job in jobs if job.target.exists() and not record.has(job.target)]
    if strangers and not force:
        problem = f"it is there, and srkd upscale did not write it ({len(strangers)} such files in all)"
        raise InputError("OUT", str(strangers[0]), problem, "Give another OUT, or --force to replace them.")
    record.begin()
    for job in _shown(jobs):
        try:
            content = _content(job.source)
            source = hashlib.sha256(content).hexdigest()
            if not force and record.is_made_from(job.target, source, model):
                done.skipped.append(job.target)
                continue
            _upscale_file(tiles, job, content)
        except ImageFault as error:
            done.faults.append(Fault(str(job.source), str(error)))
        else:
            record.add(job.target, source, model)
            done.written.append(job.target)
    return done


def _content(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise ImageFault(f"it cannot be read ({error.strerror})") from error


def _upscale_file(tiles: Tiles, job: Job, content: bytes) -> None:
    image = decode_image(content)
    count = tiles.count(*image.colour.shape[:2])
    with progress_bar(total=count, desc=job.source.name, unit="tile", leave=False, hidden=count <= 1) as bar:
        sr = upscale_image(tiles, image, FORMATS[job.target.suffix.lower()], bar.update)
    try:
        write_image(job.target, sr)
    except OSError as error:
        problem = f"it cannot be written ({error.strerror or error})"
        raise InputError("OUT", str(job.target), problem, "Free or allow it; the same command continues.") from error


def _shown(jobs: Sequence[Job]) -> Iterable[Job]:
    return progress_bar(jobs, desc="images", unit="image", hidden=len(jobs) <= 1)
