"""Makes a training set: a folder of photographs becomes LMDBs of HR and LR sub-images.

Work goes to a folder of its own below the output and is moved into place when it is complete; the info file comes last
and so marks a complete set. In the work folder, ``recipe.json`` says what is being made, ``done.txt`` which photographs
are on disk in all LMDBs, and ``info.json`` that only the moving is left.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from srkd_plugin import __version__
from srkd_plugin.datasets.official_lr import pair_official_lr
from srkd_plugin.datasets.sub_images import HR, CutJob, Kind, cut
from srkd_plugin.errors import InputError
from srkd_plugin.images.listing import Listing, list_folder, say_left_out
from srkd_plugin.images.lmdb_check import find_lmdb_faults
from srkd_plugin.images.lmdb_store import LmdbWriter, check_key, read_meta_info
from srkd_plugin.images.worker_pool import map_images
from srkd_plugin.utils.files import UNFINISHED, read_json, sha256_of_lines, write_atomically, write_json
from srkd_plugin.utils.owner import owned

FLUSH_BYTES = 1 << 24
"""Bytes that are collected before they are written and synced to disk; an interruption loses no more."""


@dataclass(frozen=True)
class TrainSet:
    """What a training set is made of, and where it goes.

    Raises:
        InputError: The settings do not fit each other, or the folders are not as expected.
    """

    hr: tuple[Path, ...]
    """Folders of photographs; together they are one set."""
    out: Path
    """Folder to write to."""
    name: str
    """Start of the names of what is written, e.g. ``DIV2K_train``."""
    scales: tuple[int, ...]
    lr: dict[int, Path] = field(default_factory=dict)
    """Folder of official LR images by scale; LR of other scales is computed."""
    size: int = 480
    """Side of the sub-images, in HR pixels."""
    step: int = 240
    """Distance from one sub-image to the next, in HR pixels."""
    compression: int = 1
    """PNG compression level, 0 to 9; BasicSR uses 1."""

    def __post_init__(self) -> None:
        """Check the settings."""
        for scale in self.scales:
            for option, value in (("--size", self.size), ("--step", self.step)):
                if value < 1 or value % scale:
                    problem = f"it is not a multiple of the scale, {scale}"
                    raise InputError(option, value, problem, f"Write e.g. {max(value // scale, 1) * scale}.")
        check_key(f"{self.name}_")
        if os.sep in self.name:
            raise InputError("--name", self.name, "it is a path", "Give a name; the folder is --out.")

    @cached_property
    def listings(self) -> dict[Path, Listing]:
        """What the folders of HR and of official LR hold."""
        named = [("--gt", folder) for folder in self.hr] + [("--lq", folder) for folder in self.lr.values()]
        return {folder: list_folder(option, folder) for option, folder in named}

    @cached_property
    def photographs(self) -> dict[str, Path]:
        """HR files by stem, sorted."""
        photographs: dict[str, Path] = {}
        for folder in self.hr:
            for stem, path in self.listings[folder].images("--gt").items():
                check_key(stem)
                if stem in photographs:
                    problem = f"{stem} is in {photographs[stem].parent} too"
                    raise InputError("--gt", str(folder), problem, "Remove or rename one of them.")
                photographs[stem] = path
        return dict(sorted(photographs.items()))

    @cached_property
    def official_lr(self) -> dict[int, dict[str, Path]]:
        """LR files by scale and stem of the photograph; DIV2K's ``0001x2.png`` belongs to ``0001.png``."""
        files = {scale: self.listings[folder].images("--lq") for scale, folder in self.lr.items()}
        return {scale: pair_official_lr(list(self.photographs), files[scale], scale, self.lr[scale]) for scale in files}

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """What tells this set from another one; sources are known by name and size."""
        return {
            "size": self.size,
            "step": self.step,
            "scales": list(self.scales),
            "compression": self.compression,
            "photographs": len(self.photographs),
            "sha256 of their names and sizes": _fingerprint(self.photographs),
            "official LR": {f"X{scale}": _fingerprint(files) for scale, files in self.official_lr.items()},
        }

    @property
    def lmdbs(self) -> dict[Kind, Path]:
        """The LMDBs, named as in BasicSR's options files."""
        lr: dict[Kind, Path] = {scale: self.out / f"{self.name}_LR_bicubic_X{scale}_sub.lmdb" for scale in self.scales}
        return {HR: self.out / f"{self.name}_HR_sub.lmdb", **lr}

    @property
    def meta_info(self) -> Path:
        """Names and sizes of the HR sub-images, as BasicSR's ``meta_info_file``."""
        return self.out / f"meta_info_{self.name}_sub_GT.txt"

    @property
    def info(self) -> Path:
        """What was made: recipe, counts, sizes, and sha256 of the keys. It is there only if the set is complete."""
        return self.out / f"{self.name}_info.json"

    @property
    def work(self) -> Path:
        """The work folder."""
        return self.out / f".{self.name}{UNFINISHED}"


def make_train_set(wanted: TrainSet, workers: int = 1, force: bool = False) -> dict[str, Any]:
    """Make the LMDBs of a training set, continue making them, or verify those that are there.

    Args:
        wanted: The set.
        workers: Processes that read, reduce and encode.
        force: Replace a set of another recipe, or a damaged one, when the new one is complete; and drop unfinished work
            of another recipe.

    Returns:
        What the info file holds: ``recipe`` and, for each LMDB by name, ``images``, ``bytes`` and ``sha256 of keys``.

    Raises:
        InputError: Something given is not as expected; what is there is another set or damaged, and ``force`` is off;
            another process makes this set.
    """
    recipe = wanted.recipe
    say_left_out(wanted.listings.values())
    if wanted.info.exists() and not wanted.work.exists():
        problem = _compare_recipes(read_json(wanted.info).get("recipe", {}), recipe) or _find_problem(wanted, workers)
        if problem is None:
            return read_json(wanted.info)
        if not force:
            raise InputError(
                "--out", str(wanted.out), problem, "Use another --out or --name, or --force to replace it."
            )
    with owned("--out", wanted.out / wanted.name):
        _enter_work_folder(wanted, force)
        if not (wanted.work / "info.json").exists():
            _build(wanted, workers)
        _move_into_place(wanted)
        return read_json(wanted.info)


def _find_problem(wanted: TrainSet, workers: int) -> Optional[str]:
    """What is wrong with a set that is there."""
    stated = read_json(wanted.info)["lmdbs"]
    for path in wanted.lmdbs.values():
        faults = find_lmdb_faults("--out", path, workers)
        if faults:
            return f"{path.name} is damaged: {faults[0]}"
        if sha256_of_lines(read_meta_info("--out", path)) != stated[path.name]["sha256 of keys"]:
            return f"the keys of {path.name} are not those that {wanted.info.name} states"
    return None


def _compare_recipes(there: dict[str, Any], wanted: dict[str, Any]) -> Optional[str]:
    differing = [key for key in wanted if there.get(key) != wanted[key]]
    if not differing:
        return None
    key = differing[0]
    return f"another set of this name is there ({key}: {there.get(key)}, and not {wanted[key]})"


def _enter_work_folder(wanted: TrainSet, force: bool) -> None:
    note = wanted.work / "recipe.json"
    if note.exists():
        problem = _compare_recipes(read_json(note), wanted.recipe)
        if problem is None:
            return
        if not force:
            remedy = "Finish that with its own arguments, use another --name, or --force to drop it."
            raise InputError("--out", str(wanted.out), f"unfinished work is there: {problem}", remedy)
    elif not force:
        for path in (*wanted.lmdbs.values(), wanted.meta_info):
            if path.exists() and not wanted.info.exists():
                problem = "it is there, and was not made by this command"
                raise InputError("output", str(path), problem, "Use another --name, or --force to replace it.")
    shutil.rmtree(wanted.work, ignore_errors=True)
    write_json(note, wanted.recipe)


def _build(wanted: TrainSet, workers: int) -> None:
    journal = wanted.work / "done.txt"
    done = set(journal.read_text("utf-8").splitlines()) if journal.exists() else set()
    jobs = [_job(wanted, stem) for stem in wanted.photographs if stem not in done]
    with ExitStack() as stack:
        writers = {
            kind: stack.enter_context(LmdbWriter(wanted.work / path.name)) for kind, path in wanted.lmdbs.items()
        }
        waiting: list[tuple[str, dict[Kind, list[tuple[str, bytes]]]]] = []

        def flush() -> None:
            for kind, writer in writers.items():
                writer.put(entry for _, pieces in waiting for entry in pieces[kind])
            done.update(stem for stem, _ in waiting)
            waiting.clear()
            write_atomically(journal, "".join(f"{stem}\n" for stem in sorted(done)).encode())

        try:
            cuts = map_images(cut, jobs, workers, wanted.name, total=len(wanted.photographs))
            for job, pieces in zip(jobs, cuts):
                waiting.append((job.stem, pieces))
                if sum(len(png) for _, p in waiting for entries in p.values() for _, png in entries) >= FLUSH_BYTES:
                    flush()
        finally:
            flush()  # on Ctrl-C and errors, too
        shapes = {kind: writer.finish(wanted.compression) for kind, writer in writers.items()}
    lines = (f"{key}.png ({h},{w},{c})\n" for key, (h, w, c) in shapes[HR].items())
    write_atomically(wanted.work / wanted.meta_info.name, "".join(lines).encode())
    lmdbs = {path.name: _describe(wanted.work / path.name, shapes[kind]) for kind, path in wanted.lmdbs.items()}
    write_json(
        wanted.work / "info.json", {"made by": f"srkd_plugin {__version__}", "recipe": wanted.recipe, "lmdbs": lmdbs}
    )


def _job(wanted: TrainSet, stem: str) -> CutJob:
    lr = {scale: files[stem] for scale, files in wanted.official_lr.items()}
    return CutJob(stem, wanted.photographs[stem], lr, wanted.scales, wanted.size, wanted.step, wanted.compression)


def _describe(lmdb: Path, keys: Iterable[str]) -> dict[str, Any]:
    keys = list(keys)
    return {
        "images": len(keys),
        "bytes": (lmdb / "data.mdb").stat().st_size,
        "sha256 of keys": sha256_of_lines(keys),
    }


def _move_into_place(wanted: TrainSet) -> None:
    """Move what the work folder holds, the info file last. What is interrupted here is continued here."""
    wanted.info.unlink(missing_ok=True)
    for path in (*wanted.lmdbs.values(), wanted.meta_info):
        if not (wanted.work / path.name).exists():
            continue  # moved before an interruption
        if path.exists():
            os.replace(path, wanted.work / f"replaced_{path.name}")
        os.replace(wanted.work / path.name, path)
    os.replace(wanted.work / "info.json", wanted.info)
    shutil.rmtree(wanted.work)


def _fingerprint(files: dict[str, Path]) -> str:
    return sha256_of_lines(f"{stem} {path.stat().st_size}" for stem, path in files.items())
