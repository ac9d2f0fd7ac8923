"""Exports a student: every format in a staging folder, verified there, and then all of them moved into place."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Optional

from srkd_plugin.errors import InputError
from srkd_plugin.evaluate.benchmark import Benchmark, find_benchmark, named_apart
from srkd_plugin.export.card import make_card, write_card
from srkd_plugin.export.formats import choose, write_all
from srkd_plugin.export.int8 import int8_only
from srkd_plugin.export.job import ExportJob, Wishes, Written
from srkd_plugin.export.staging import move_into, staged
from srkd_plugin.export.student import facts, load_student, weights_of_run
from srkd_plugin.export.weights import is_same
from srkd_plugin.images.lmdb_store import is_lmdb
from srkd_plugin.networks.student_file import StudentFile, read_student
from srkd_plugin.options import safe_yaml
from srkd_plugin.utils.byte_sizes import readable_size
from srkd_plugin.utils.files import read_json, require_file
from srkd_plugin.utils.names import require_plain_name


@dataclass(frozen=True)
class ExportRequest:
    """What a command asks for."""

    options: Path
    weights: Optional[Path]
    """None: the newest of the options' own run."""
    out: Path
    name: Optional[str] = None
    """What the files' names begin with; None: the options' name."""
    param_key: Optional[str] = None
    wishes: Wishes = field(default_factory=Wishes)
    tests: tuple[str, ...] = ()
    """Benchmark sets for the card, see :func:`srkd_plugin.evaluate.benchmark.find_benchmark`."""
    force: bool = False
    """Replace the files of another student."""


def export_student(request: ExportRequest, say: Callable[[str], None] = print) -> list[Written]:
    """Export a student; nothing is written to ``out`` before every file has been verified.

    Args:
        request: What to export and where to.
        say: Takes each line that is said meanwhile.

    Returns:
        The files, in ``out``.

    Raises:
        OptionsError: The options, the weights or a flag are wrong, a package is not installed, a format cannot be
            written, or ``out`` has files of another student.
    """
    opt = safe_yaml.read(request.options)
    weights = weights_of_run(opt, Path()) if request.weights is None else request.weights
    require_file("--weights", weights)
    student, multiple, taken = load_student(opt, weights, request.param_key)
    key = taken.partition(" of ")[0].replace("weights: ", "")
    student = replace(student, facts=facts(opt, request.options, weights, key))
    given = opt.get("name") or weights.stem if request.name is None else request.name
    require_plain_name("name" if request.name is None else "--name", given, "the files")
    name = f"{given}-x{student.scale}"
    wishes = int8_only(student, request.wishes)
    chosen, left_out = choose(wishes)
    benchmarks = _benchmarks(request.tests, student)
    others, earlier = _files_of_others(request.out, name, student), _files_on_card(request.out)
    if others and not request.force:
        problem = f"{others[0].name} is there, and is not of this student"
        raise InputError("--out", str(request.out), problem, "Choose another folder or --name, or --force to replace.")
    for line in (taken, *left_out):
        say(line)
    with staged(request.out) as folder:
        job = ExportJob(student, name, folder, multiple, _with_tested(wishes, benchmarks))
        written = []
        for one in write_all(job, chosen, say):
            written.append(one)
            say(describe(one))
        card = make_card(job, written, benchmarks)
        for line in _figures(card):
            say(line)
        return list(_moved(request.out, written, write_card(folder, card), others, earlier, say))


def describe(one: Written) -> str:
    """A line about a file, with those about it indented."""
    size = readable_size(sum(file.stat().st_size for file in one.files))
    names = ", ".join(file.name for file in one.files)
    lines = [f"{names}: {size}, max error {one.max_error:.1e}; {one.verified}"]
    return "\n".join([*lines, *(f"  note: {note}" for note in one.notes)])


def _benchmarks(given: tuple[str, ...], student: StudentFile) -> list[Benchmark]:
    if given and student.channels != 3:
        problem = f"benchmarks are RGB, and the network takes {student.channels} channels"
        raise InputError("--test", given[0], problem, "Leave --test out.")
    return named_apart([find_benchmark(one, student.scale) for one in given])


def _with_tested(wishes: Wishes, benchmarks: list[Benchmark]) -> Wishes:
    """The wishes, with the benchmarks' images as ones that INT8 may not be calibrated on."""
    tested = tuple(one.hr for one in benchmarks if not is_lmdb(one.hr))
    return wishes if wishes.int8 is None else replace(wishes, int8=replace(wishes.int8, tested=tested))


def _figures(card: Mapping[str, Any]) -> Iterator[str]:
    for name, figures in card["benchmarks"].items():
        of_formats = {key: value for key, value in figures.items() if key != "images"}
        yield f"{name}, PSNR in dB (Y): " + ", ".join(f"{key} {one['psnr']:.3f}" for key, one in of_formats.items())


def _moved(
    out: Path,
    written: list[Written],
    card: list[Path],
    others: list[Path],
    earlier: list[Path],
    say: Callable[[str], None],
) -> Iterator[Written]:
    moved = move_into(out, [file for one in written for file in one.files])
    kept = len(moved) - sum(moved)
    say(f"{sum(moved)} files written to {out}" + (f", {kept} were there, the same" if kept else ""))
    move_into(out, card)
    say(f"card: {out / card[-1].name}")
    here = [replace(one, files=tuple(out / file.name for file in one.files)) for one in written]
    ours = {file.name for file in card} | {file.name for one in here for file in one.files}
    left = [file for file in dict.fromkeys((*others, *earlier)) if file.name not in ours]
    if left:
        names = ", ".join(map(str, left))
        say(
            f"still there, and not on the new card (nothing is removed; do it by hand if you do not want them): {names}"
        )
    yield from here


def _files_of_others(out: Path, name: str, student: StudentFile) -> list[Path]:
    """Files in a folder that are not known to be of a student: by its .safetensors file, and by the name on a card."""
    files = sorted(out.glob(f"{glob.escape(name)}[.-]*"))
    with suppress(InputError):  # it is not there, or not readable: the files are of nobody known
        files = [] if files and is_same(read_student(out / f"{name}.safetensors"), student) else files
    card = out / "card.json"
    return [*files, card] if card.exists() and _name_on(card) != name else files


def _files_on_card(out: Path) -> list[Path]:
    """Files that an earlier card lists and that are there; none where there is no card that can be read."""
    with suppress(InputError, KeyError, TypeError, AttributeError):
        listed = [str(name) for one in read_json(out / "card.json")["files"] for name in one["files"]]
        return [out / name for name in listed if Path(name).name == name and (out / name).is_file()]
    return []


def _name_on(card: Path) -> Optional[str]:
    try:
        return str(read_json(card)["name"])
    except (InputError, KeyError, TypeError):
        return None
