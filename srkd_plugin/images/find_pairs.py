"""Finding the pairs of a data set, each folder or LMDB listed once, as BasicSR's PairedImageDataset finds them.

- In folders, every file that is not hidden is an image, and both folders must have the same number of files. The order
  is that of the file system.
- With ``meta_info_file``, the images are those it names, in its order; LQ's lie directly in their folder.
- In LMDBs the order is that of the keys; ``filename_tmpl`` is not used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any

from srkd_plugin.errors import MISSING, InputError
from srkd_plugin.images.listing import list_folder, named
from srkd_plugin.images.lmdb_store import META_INFO, LmdbImages, is_lmdb
from srkd_plugin.images.pairs import GT, LQ, SIDES, ImagePairs, Pair, match, partner
from srkd_plugin.utils.files import require_file, require_folder

BACKENDS = ("disk", "lmdb")
"""Kinds of ``io_backend`` that are read here."""


def pairs_of_section(key: str, section: Mapping[str, Any]) -> ImagePairs:
    """Find the pairs of a section of BasicSR's PairedImageDataset.

    Args:
        key: Where the section is, e.g. ``datasets.train``.
        section: ``io_backend``, ``dataroot_gt`` and ``dataroot_lq``, ``meta_info_file`` and ``filename_tmpl`` are read.

    Raises:
        InputError: A folder or file is not there, not of the kind that ``io_backend`` says, or empty; or names do not
            pair.
    """
    backend = section.get("io_backend", MISSING)
    kind = backend.get("type", MISSING) if isinstance(backend, Mapping) else backend
    where = f"{key}.io_backend" + (".type" if isinstance(backend, Mapping) else "")
    if kind not in BACKENDS:
        raise InputError(where, kind, "disk or lmdb is expected", "Write io_backend: {type: disk}, or lmdb.")
    options = {side: f"{key}.dataroot_{side}" for side in SIDES}
    folders = {side: _root(options[side], section.get(f"dataroot_{side}", MISSING), kind) for side in SIDES}
    if kind == "lmdb":
        return pairs_of_lmdbs(options, folders)
    template, listed = section.get("filename_tmpl", "{}"), section.get("meta_info_file")
    check_template(f"{key}.filename_tmpl", template)
    if listed is None:
        return pairs_of_folders(options, folders, template)
    return _pairs_of_list(options, folders, f"{key}.meta_info_file", listed, template)


def find_pairs(options: Mapping[str, str], folders: Mapping[str, Path], template: str = "{}") -> ImagePairs:
    """Find the pairs of two folders or two LMDBs.

    Args:
        options: How the user named them, by side (``gt`` and ``lq``), for errors.
        folders: By side.
        template: BasicSR's ``filename_tmpl``.

    Raises:
        InputError: They are not there, not of one kind, or names do not pair.
    """
    require_one_kind(options, folders)
    return pairs_of_lmdbs(options, folders) if is_lmdb(folders[GT]) else pairs_of_folders(options, folders, template)


def require_one_kind(options: Mapping[str, str], folders: Mapping[str, Path]) -> None:
    """Refuse a folder that is paired with an LMDB.

    Raises:
        InputError: It is.
    """
    if is_lmdb(folders[GT]) != is_lmdb(folders[LQ]):
        problem = f"one of {options[GT]} and {options[LQ]} is an LMDB, the other is not"
        raise InputError(options[LQ], str(folders[LQ]), problem, "BasicSR needs two of a kind.")


def pairs_of_lmdbs(options: Mapping[str, str], folders: Mapping[str, Path]) -> ImagePairs:
    """Find the pairs of two LMDBs; arguments as in :func:`find_pairs`.

    Raises:
        InputError: One is not there, not complete, damaged or empty; or their keys differ.
    """
    lmdbs = {side: LmdbImages(options[side], folders[side]) for side in SIDES}
    _require_some(options[GT], folders[GT], lmdbs[GT].shapes)
    for side, images in lmdbs.items():
        if images.stored < len(images.shapes):
            problem = f"data.mdb has {images.stored} images, and {META_INFO} names {len(images.shapes)}"
            raise InputError(options[side], str(folders[side]), problem, "Make or copy the LMDB again.")
    found = match(sorted(lmdbs[GT].shapes), lmdbs[LQ].shapes, template=None)
    alone = sorted([pair.gt for pair in found.gt_alone] + found.lq_alone)
    if alone:
        there = _last(options[LQ] if alone[0] in found.lq_alone else options[GT])
        problem = f"{alone[0]} is in {there} only ({len(alone)} such keys in all)"
        raise InputError(options[LQ], str(folders[LQ]), problem, "Give LMDBs that belong together.")
    return ImagePairs(options, folders, found.pairs, lmdbs)


def pairs_of_folders(options: Mapping[str, str], folders: Mapping[str, Path], template: str = "{}") -> ImagePairs:
    """Find the pairs of two folders; arguments as in :func:`find_pairs`.

    Raises:
        InputError: One is not there, or empty; or a file has no partner.
    """
    listings = {side: list_folder(options[side], folders[side]) for side in SIDES}
    gt, lq = listings[GT].files, listings[LQ].files
    _require_some(options[GT], folders[GT], gt)
    found = match(gt, lq, template)
    if len(lq) != len(gt):
        problem = f"it has {len(lq)} files, and {_last(options[GT])} has {len(gt)}: BasicSR wants as many"
        if lq:
            problem += f" (without a partner: {named([pair.gt for pair in found.gt_alone] + found.lq_alone)})"
        raise InputError(options[LQ], str(folders[LQ]), problem, "Remove what has no partner.")
    if found.gt_alone:
        raise _no_partner(options, folders, LQ, min(pair.lq for pair in found.gt_alone))
    left_out = [line for listing in listings.values() if (line := listing.left_out(strangers=False)) is not None]
    return ImagePairs(options, folders, list(_joined(folders, found.pairs)), left_out=left_out)


def _pairs_of_list(
    options: Mapping[str, str], folders: Mapping[str, Path], key: str, listed: Any, template: str
) -> ImagePairs:
    require_file(key, listed)
    try:
        lines = Path(listed).read_text("utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(key, str(listed), f"it is no text in UTF-8 ({error.reason})", "Save it as UTF-8.") from error
    _require_some(key, listed, lines[0])
    pairs = []
    for number, line in enumerate(lines, start=1):
        name = line.strip().split(" ")[0]
        if not name:
            raise InputError(key, str(listed), f"line {number} is empty: BasicSR wants a name in each", "Remove it.")
        pairs.append(Pair(name, partner(name, template)))
        for side, file in zip(SIDES, pairs[-1]):
            if not (folders[side] / file).is_file():
                if " " in line.strip().split(" (")[0]:
                    problem = f"line {number} is {line!r}, and BasicSR takes {name!r} for the name: it ends at a space"
                    raise InputError(key, str(listed), problem, "Rename the images without spaces.")
                raise _no_partner(options, folders, side, file)
    return ImagePairs(options, folders, list(_joined(folders, pairs)))


def check_template(key: str, template: Any) -> None:
    """Refuse what is no ``filename_tmpl``.

    Raises:
        InputError: It has no place for a name.
    """
    try:
        works = isinstance(template, str) and "name" in template.format("name")
    except (IndexError, KeyError, ValueError):
        works = False
    if not works:
        raise InputError(key, template, "it is no template of a name: there is no {} in it", "Write e.g. '{}x2'.")


def _root(key: str, value: Any, backend: str) -> Path:
    if not isinstance(value, str):
        raise InputError(key, value, "the path of a folder is expected", "Give the folder of the images, or the LMDB.")
    path = Path(value)
    require_folder(key, path)
    if backend == "disk" and is_lmdb(path):
        raise InputError(key, value, "it is an LMDB, and io_backend is disk", "Write io_backend: {type: lmdb}.")
    if backend == "lmdb" and not value.endswith(".lmdb"):
        if path.suffix == ".lmdb":
            raise InputError(key, value, "BasicSR wants it without anything behind .lmdb", f"Write {path}.")
        remedy = "Write io_backend: {type: disk} for a folder of images; LMDBs are named *.lmdb."
        raise InputError(key, value, "it is not named *.lmdb, and io_backend is lmdb", remedy)
    return path


def _require_some(option: str, where: Any, found: Sized) -> None:
    if not found:
        raise InputError(option, str(where), "there are no images in it", "Give the folder that has them.")


def _no_partner(options: Mapping[str, str], folders: Mapping[str, Path], side: str, name: str) -> InputError:
    remedy = "Give folders of the same file names; filename_tmpl: '{}x2' would be for LQ's."
    return InputError(options[side], str(folders[side]), f"there is no {name} in it", remedy)


def _joined(folders: Mapping[str, Path], pairs: Iterable[Pair]) -> Iterator[Pair]:
    for pair in pairs:
        yield Pair(os.path.join(folders[GT], pair.gt), os.path.join(folders[LQ], pair.lq))


def _last(option: str) -> str:
    """``dataroot_gt`` of ``datasets.train.dataroot_gt``."""
    return option.rpartition(".")[2]
