"""Makes a training set: a folder of photographs becomes LMDBs of HR and LR sub-images.

Work goes to a folder of its own below the output and is moved into place when it is complete; the info file comes last
and so marks a complete set. In the work folder, ``recipe.json`` says what is being made, ``done.txt`` which photographs
are on disk in all LMDBs, each with the sha256 of its files, and ``info.json`` that only the moving is left.

A photograph that has changed since it was cut is cut again, one that is gone is dropped, and what is new is added: in
unfinished work, and in a complete set, whose other sub-images are copied.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple, Optional

from srkd_plugin import __version__
from srkd_plugin.datasets.sub_images import HR, CutJob, Kind, SubImages, cut, photograph_of, sha256_of_sources
from srkd_plugin.datasets.train_set_plan import TrainSet
from srkd_plugin.errors import InputError
from srkd_plugin.images import changes
from srkd_plugin.images.changes import Changes
from srkd_plugin.images.listing import say, say_left_out
from srkd_plugin.images.lmdb_check import find_lmdb_faults
from srkd_plugin.images.lmdb_store import LmdbImages, LmdbWriter, read_meta_info
from srkd_plugin.images.worker_pool import map_images
from srkd_plugin.utils.files import read_json, sha256_of_lines, write_atomically, write_json
from srkd_plugin.utils.owner import owned

FLUSH_BYTES = 1 << 24
"""Bytes that are collected before they are written and synced to disk; an interruption loses no more."""
SETTINGS = ("size", "step", "scales", "compression")
"""Keys of the recipe that concern every sub-image."""

Sources = dict[str, str]
"""The sha256 of a photograph's files, by its stem."""


def make_train_set(wanted: TrainSet, workers: int = 1, force: bool = False) -> dict[str, Any]:
    """Make the LMDBs of a training set, continue making them, or verify those that are there.

    Args:
        wanted: The set.
        workers: Processes that read, reduce and encode.
        force: Replace a set of another recipe, or a damaged one, when the new one is complete; and drop unfinished work
            of another recipe.

    Returns:
        What the info file holds: ``recipe``; for each LMDB by name, ``images``, ``bytes`` and ``sha256 of keys``; and
        the sha256 of the files of each photograph.

    Raises:
        InputError: Something given is not as expected; what is there is another set or damaged, and ``force`` is off;
            another process makes this set. It says what is done and kept, if anything is.
    """
    total = wanted.recipe["photographs"]  # they are looked at before anything is written
    made_here = not wanted.out.exists()
    say_left_out(wanted.listings.values())
    there = _look_at_complete(wanted, workers)
    if there is not None and there.problem is None and not there.changes.some:
        _drop_leftovers(wanted)
        return read_json(wanted.info)
    if there is not None and not wanted.work.exists():
        if there.problem is None:
            say([f"{wanted.info.name}: {there.changes.describe()}"])
        elif not force:
            remedy = "Use another --out or --name, or --force to replace it."
            raise InputError("--out", str(wanted.out), there.problem, remedy)
    try:
        with owned("--out", wanted.out / wanted.name):
            _enter_work_folder(wanted, workers, force)
            was_complete = (wanted.work / "info.json").exists()
            if not was_complete:
                _build_or_keep(wanted, workers, {} if there is None else there.kept, total)
            _move_into_place(wanted)
            # photographs may have changed while only the moving was left
            return make_train_set(wanted, workers, force) if was_complete else read_json(wanted.info)
    except InputError:
        if made_here:
            with suppress(OSError):  # work that is kept lies in it
                wanted.out.rmdir()
        raise


class _Complete(NamedTuple):
    """What is known of a complete set that is in place."""

    problem: Optional[str]
    """Why it is not the wanted one, or cannot be read."""
    changes: Changes
    """What became of its photographs, if there is no problem."""
    kept: Sources
    """Those whose sub-images can be used again."""


def _look_at_complete(wanted: TrainSet, workers: int) -> Optional[_Complete]:
    if not wanted.info.exists():
        return None
    info = read_json(wanted.info)
    recipe, sources = info.get("recipe", {}), info.get("sources")
    keys = SETTINGS if sources is not None else tuple(wanted.recipe)  # it was made before they were kept
    problem = _compare_recipes(recipe, wanted.recipe, keys) or _find_problem(wanted, workers)
    if problem is not None or sources is None:
        return _Complete(problem, Changes([], [], [], []), {})
    found = _compare_sources(wanted, sources, workers, finished=True)
    if found.another_set is not None:
        return _Complete(f"another set of this name is there ({found.another_set})", found, {})
    return _Complete(None, found, {stem: sources[stem] for stem in found.kept})


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


def _compare_recipes(there: Mapping[str, Any], wanted: Mapping[str, Any], keys: Iterable[str]) -> Optional[str]:
    """What tells a set from the wanted one: one of these keys, or the scales of which LR is official."""
    for key in keys:
        if there.get(key) != wanted[key]:
            return f"another set of this name is there ({key}: {there.get(key)}, and not {wanted[key]})"
    official, here = (sorted(recipe.get("official LR", {})) for recipe in (there, wanted))
    if official != here:
        return f"another set of this name is there (scales of official LR: {official}, and not {here})"
    return None


def _compare_sources(wanted: TrainSet, before: Sources, workers: int, finished: bool) -> Changes:
    common = [stem for stem in before if stem in wanted.photographs]
    now = map_images(sha256_of_sources, list(map(wanted.job, common)), workers, "comparing photographs")
    changed = [stem for stem, sha256 in zip(common, now) if sha256 != before[stem]]
    return changes.compare(before, wanted.photographs, changed, finished)


def _drop_leftovers(wanted: TrainSet) -> None:
    """Drop what a kill left of the work folder of a set that is in place; work on another set is left alone."""
    note = wanted.work / "recipe.json"
    if wanted.work.exists() and (
        not note.exists() or _compare_recipes(read_json(note), wanted.recipe, SETTINGS) is None
    ):
        with owned("--out", wanted.out / wanted.name):
            shutil.rmtree(wanted.work)


def _enter_work_folder(wanted: TrainSet, workers: int, force: bool) -> None:
    note = wanted.work / "recipe.json"
    if note.exists():
        problem = _compare_recipes(read_json(note), wanted.recipe, SETTINGS) or _settle_unfinished(wanted, workers)
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


def _settle_unfinished(wanted: TrainSet, workers: int) -> Optional[str]:
    """Take what has changed or is gone out of the journal of unfinished work; say what, or why it is another set."""
    if (wanted.work / "info.json").exists():
        return None  # only the moving is left
    done = _read_journal(wanted)
    found = _compare_sources(wanted, done, workers, finished=False)
    if found.another_set is not None:
        return f"another set of this name is there ({found.another_set})"
    if found.some:
        say([f"{wanted.work.name}: {found.describe()}"])
        _write_journal(wanted, {stem: done[stem] for stem in found.kept})
    return None


def _read_journal(wanted: TrainSet) -> Sources:
    journal = wanted.work / "done.txt"
    lines = journal.read_text("utf-8").splitlines() if journal.exists() else []
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def _write_journal(wanted: TrainSet, done: Sources) -> None:
    lines = "".join(f"{stem}\t{sha256}\n" for stem, sha256 in sorted(done.items()))
    write_atomically(wanted.work / "done.txt", lines.encode())


def _build_or_keep(wanted: TrainSet, workers: int, earlier: Sources, total: int) -> None:
    """Build the set; an error says what is done and kept, or nothing is left of the work."""
    try:
        _build(wanted, workers, earlier)
    except InputError as error:
        done = len(_read_journal(wanted))
        if done:
            kept = f"{done} of {total} photographs are done and kept in {wanted.work}"
            raise error.with_more(f"{kept}; the same command goes on.") from error
        shutil.rmtree(wanted.work)
        raise


def _build(wanted: TrainSet, workers: int, earlier: Sources) -> None:
    with ExitStack() as stack:
        writers = {
            kind: stack.enter_context(LmdbWriter(wanted.work / path.name)) for kind, path in wanted.lmdbs.items()
        }
        done = _drop_what_is_not_done(wanted, writers)
        left = [stem for stem in wanted.photographs if stem not in done]
        waiting: list[tuple[str, SubImages]] = []

        def flush() -> None:
            for kind, writer in writers.items():
                writer.put(entry for _, images in waiting for entry in images.pieces[kind])
            done.update((stem, images.sha256) for stem, images in waiting)
            waiting.clear()
            _write_journal(wanted, done)

        try:
            for stem, images in _sub_images(wanted, left, workers, earlier):
                waiting.append((stem, images))
                if sum(images.bytes for _, images in waiting) >= FLUSH_BYTES:
                    flush()
        finally:
            flush()  # on Ctrl-C and errors, too
        shapes = {kind: writer.finish(wanted.compression) for kind, writer in writers.items()}
    lines = (f"{key}.png ({h},{w},{c})\n" for key, (h, w, c) in shapes[HR].items())
    write_atomically(wanted.work / wanted.meta_info.name, "".join(lines).encode())
    lmdbs = {path.name: _describe(wanted.work / path.name, shapes[kind]) for kind, path in wanted.lmdbs.items()}
    about = {"made by": f"srkd_plugin {__version__}", "recipe": wanted.recipe, "lmdbs": lmdbs}
    write_json(wanted.work / "info.json", {**about, "sources": dict(sorted(done.items()))})


def _drop_what_is_not_done(wanted: TrainSet, writers: Mapping[Kind, LmdbWriter]) -> Sources:
    """Agree journal and LMDBs: what is not in both is dropped, and made again."""
    stored = {kind: {photograph_of(key) for key in writer.keys()} for kind, writer in writers.items()}  # noqa: SIM118
    journal = _read_journal(wanted)
    done = {stem: sha256 for stem, sha256 in journal.items() if all(stem in stems for stems in stored.values())}
    if done != journal:
        _write_journal(wanted, done)
    for writer in writers.values():
        writer.remove(key for key in writer.keys() if photograph_of(key) not in done)  # noqa: SIM118
    return done


def _sub_images(wanted: TrainSet, stems: list[str], workers: int, earlier: Sources) -> Iterator[tuple[str, SubImages]]:
    """The sub-images of photographs: copied from the complete set that is in place where that has them, or cut."""
    copied = [stem for stem in stems if stem in earlier]
    if copied:
        lmdbs = {kind: LmdbImages("--out", path) for kind, path in wanted.lmdbs.items()}
        keys = defaultdict(list)
        for key in lmdbs[HR].shapes:
            keys[photograph_of(key)].append(key)
        for stem in copied:
            pieces = {kind: [(key, images.read(key)) for key in keys[stem]] for kind, images in lmdbs.items()}
            yield stem, SubImages(earlier[stem], pieces)
    jobs: list[CutJob] = [wanted.job(stem) for stem in stems if stem not in earlier]
    cuts = map_images(cut, jobs, workers, wanted.name, total=len(wanted.photographs))
    yield from zip((job.stem for job in jobs), cuts)


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
