"""``srkd cache``: makes, repairs and describes teacher caches."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from srkd_plugin.cli.imports import add_import_flag, import_given
from srkd_plugin.cli.parser import Parser, add_command, add_commands, device, positive_int

if TYPE_CHECKING:
    from srkd_plugin.teacher_cache.cache_job import CacheJob
    from srkd_plugin.teacher_cache.info import Zoom

MAKE_HELP = """\
Run the teacher of an options file over its training images once, and keep what comes out for every student.

The options file is read, not run. A run uses the cache with, in its own options file,

  datasets: {train: {type: TeacherCacheDataset, dataroot_teacher: <--out>, ...}}

An interrupted run is continued by the same command. A complete cache is left alone; srkd cache repair checks it. Images
that have changed since (e.g. a damaged one that was mended) are made again, and those gone or new dropped or added.
Started by torchrun, the processes share the images.

With --zoom-in and --zoom-out the teacher's images of the inputs that train.samples adds are made, too, in folders
inside of the cache, as the cache was made; one that is complete is left as it is. HR has scale x scale times the
pixels of LR, and so have its teacher's images: --zoom-in 4 takes about every fourth.

With --shard I/N it makes one of N parts, on machines that share nothing but the options, the weights and the images. A
run reads them together as one cache: dataroot_teacher: [SHARD, SHARD, ...].
"""
MAKE_EXAMPLES = """\
srkd cache make -opt options/distill_cl_l1_cached.yml
srkd cache make -opt options/distill_cl_l1.yml --out datasets/DIV2K/teacher.lmdb --self-ensemble
srkd cache make -opt several.yml --teacher rcan
srkd cache make -opt options/distill_cl_l1_cached.yml --zoom-in 4 --zoom-out
srkd cache make -opt options/distill_cl_l1.yml --out teacher_2.lmdb --shard 2/4
torchrun --nproc_per_node=4 -m srkd_plugin cache make -opt options/distill_cl_l1_cached.yml
"""
REPAIR_HELP = """\
Check a complete cache whole, say which images are damaged or made from other pixels, and make those again.

How it was made is read from the cache; a flag that says something else is an error.
"""
REPAIR_EXAMPLES = """\
srkd cache repair -opt options/distill_cl_l1_cached.yml
"""
INFO_HELP = """\
Say what a complete cache is of, how it was made, and what was measured.
"""
INFO_EXAMPLES = """\
srkd cache info datasets/DIV2K/DIV2K_train_EDSR_L_X2_sub.lmdb
srkd cache info datasets/DIV2K/DIV2K_train_EDSR_L_X2_sub.lmdb --json
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd cache``."""
    examples = "srkd cache make -opt options/distill_cl_l1_cached.yml"
    commands = add_commands(parser, "Make, repair and describe teacher caches.", examples)
    make = add_command(commands, "make", _make, "run the teacher once over all images", MAKE_HELP, MAKE_EXAMPLES)
    _add_making(make)
    _add_zooms(make)
    make.add_argument("--repair", action="store_true", help=argparse.SUPPRESS)  # before it was a command
    repair = add_command(commands, "repair", _repair, "check a cache and mend it", REPAIR_HELP, REPAIR_EXAMPLES)
    _add_making(repair, repair=True)
    info = add_command(commands, "info", _info, "say what a cache is of", INFO_HELP, INFO_EXAMPLES)
    info.add_argument("cache", type=Path, metavar="LMDB", help="the cache")
    info.add_argument("--json", action="store_true", help="print all that the cache says of itself, as JSON")


def _add_making(parser: Parser, repair: bool = False) -> None:
    def told(default: str) -> str:
        return "(as the cache says)" if repair else f"({default})"

    parser.add_options_file("options file of the training run")
    parser.add_argument("--teacher", metavar="NAME", help="which of the options' teachers, where they have several")
    parser.add_argument("--out", type=Path, metavar="LMDB", help="the cache (default: the options' dataroot_teacher)")
    parser.add_argument(
        "--self-ensemble", action="store_true", default=None, help="mean of the 8 flips and rotations: 8 times the work"
    )
    parser.add_argument("--storage", choices=("uint16", "float16", "uint8"), help=told("uint16"))
    parser.add_argument(
        "--with-images", action="store_true", default=None, help="store decoded HR and LR too: a faster loader"
    )
    parser.add_argument(
        "--tile", type=positive_int, metavar="N", help=f"side of tiles in LR pixels {told('default: no tiles')}"
    )
    parser.add_argument("--overlap", type=int, metavar="N", help=f"what a tile sees beyond {told('32')}")
    parser.add_argument("--shard", type=_shard, metavar="I/N", help=f"the I-th of N parts {told('default: all')}")
    add_import_flag(parser)
    parser.add_argument("--device", type=device, help="e.g. cpu or cuda:0 (default: cuda where it is there)")


def _add_zooms(parser: Parser) -> None:
    parser.add_argument(
        "--zoom-in",
        type=positive_int,
        nargs="?",
        const=1,
        metavar="K",
        help="the teacher's images of HR too, for train.samples; with a number: of about one HR image in K",
    )
    parser.add_argument(
        "--zoom-out",
        action="store_true",
        help="LR shrunk by the scale and the teacher's images of it too, for train.samples",
    )


def _shard(text: str) -> tuple[int, int]:
    """Argparse type of a shard: which one, from 1, and how many there are."""
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard; write e.g. 1/4, 2/4, 3/4 and 4/4")
    return int(found[1]), int(found[2])


def _make(args: argparse.Namespace) -> int:
    from srkd_plugin.teacher_cache.info import Zoom
    from srkd_plugin.teacher_cache.make import make_caches

    if args.repair:
        return _repair(args)
    zooms = [Zoom(kind="zoom_in", every=args.zoom_in)] if args.zoom_in else []
    zooms += [Zoom(kind="zoom_out")] if args.zoom_out else []
    jobs = _jobs(args, zooms)
    infos = make_caches(jobs)
    if jobs[0].processes.is_first:
        print("\n".join(info.describe() for info in infos))
    return 0


def _repair(args: argparse.Namespace) -> int:
    from srkd_plugin.teacher_cache.repair import repair_cache

    repaired = [fault for job in _jobs(args, zooms=None) for fault in repair_cache(job)]
    print("\n".join([*map(str, repaired), f"{len(repaired)} images mended"]))
    return 0


def _jobs(args: argparse.Namespace, zooms: Optional[Sequence[Zoom]]) -> list[CacheJob]:
    """The cache of LR, and those of other inputs in it.

    Args:
        args: The arguments. Where something is added to a complete cache, or it is repaired, it says what they do not.
        zooms: Which other inputs; None: those that are there.
    """
    import_given(args.imports)
    import torch

    from srkd_plugin.evaluate.verify_teacher import read_options
    from srkd_plugin.options import reader
    from srkd_plugin.options.teachers import choose_teacher
    from srkd_plugin.options.validate import check_section
    from srkd_plugin.parallel import torchrun
    from srkd_plugin.teacher_cache.cache_job import CacheJob, cache_folder
    from srkd_plugin.teacher_cache.info import Making, Shard
    from srkd_plugin.teacher_cache.repair import making_of, zooms_of
    from srkd_plugin.teacher_cache.store import is_complete

    given = read_options(args.opt)
    opt = choose_teacher(given, reader.read_plugin_sections(given).teachers, args.teacher)
    flags = {name: value for name in Making.model_fields if (value := getattr(args, name)) is not None}
    making = check_section(Making, f"srkd cache {args.kind}", flags)
    shard = None if args.shard is None else Shard(index=args.shard[0], count=args.shard[1])
    folder = cache_folder(opt, args.out, shard)
    if zooms is None or (zooms and is_complete(folder)):
        making, shard = making_of(folder, flags, shard)
        zooms = zooms_of(folder) if zooms is None else zooms
    processes = torchrun.join()
    where = torch.device(args.device or (f"cuda:{processes.rank}" if torch.cuda.is_available() else "cpu"))
    return [CacheJob(opt, args.out, making, where, processes, shard, zoom) for zoom in (None, *zooms)]


def _info(args: argparse.Namespace) -> int:
    from srkd_plugin.teacher_cache.info import ZOOM_KINDS
    from srkd_plugin.teacher_cache.store import CacheReader, is_complete

    info = CacheReader("LMDB", args.cache).info
    print(info.model_dump_json(indent=2) if args.json else info.describe())
    inside = [args.cache / kind for kind in ZOOM_KINDS if not args.json and is_complete(args.cache / kind)]
    for folder in inside:
        print(CacheReader("LMDB", folder).info.describe())
    return 0
