"""What a table's YAML file asks for, and the options files of its runs.

    name: cpu                            # runs are called cpu_<method>_s<seed>
    seeds: [0, 1, 2]
    baseline: none                       # what the methods are compared with
    common: {...}                        # merged into every options file
    distill: {...}                       # merged into those that name a teacher
    teacher: {file: teacher_edsr_l.yml, set: {...}, seed: 100}     # or {weights: FILE, param_key: params, network: ...,
                                         #  test: false}: no row of its own
    methods:
      none: {file: student_edsr_m.yml}
      output: {file: distill_output.yml, label: ..., set: {...}, seeds: [0, 1], baseline: none, group: main}
      half: {file: distill_output.yml, start_from: output, set: {network_g: ...}}    # cut from that row's student;
                                         # with train.quantize: that student, fine-tuned in INT8
    imports: [mine.archs]                # modules that register what the options name: --import of every command
    caches: {plain: [--with-images]}     # flags of srkd cache make; a method uses one with cache: plain; or
                                         # {plain: {flags: [--with-images], shards: 4}}: made in four jobs
    groups: {main: {title: ..., sets: [Set5]}}
    pairs: [[output, none]]              # further differences to report
    slurm: {timeout_min: 600, partition: gpu, cpus_per_task: 4, mem_gb: 16, gpus_per_node: 1}     # of --submit slurm
    sets:
      Set5: {dataroot_gt: datasets/Set5/HR, dataroot_lq: datasets/Set5/LR_bicubic/X2}

:mod:`~srkd_plugin.tables.options_files` says where options files are looked for, and
:mod:`~srkd_plugin.tables.options_merge` how what a table sets is merged into them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from pydantic import BaseModel

from srkd_plugin.errors import MISSING, InputError, OptionsError
from srkd_plugin.options.int8_network import as_trained
from srkd_plugin.options.registered_names import model_types
from srkd_plugin.options.validate import check_section
from srkd_plugin.tables.options_files import OptionsFiles
from srkd_plugin.tables.options_merge import merge, read_yaml, require_training, without_cache
from srkd_plugin.tables.run_order import reads_of, stages
from srkd_plugin.tables.table_names import NAMED, check_names
from srkd_plugin.tables.table_sections import (
    TEACHER,
    BenchmarkSet,
    Cache,
    Group,
    Method,
    SlurmSection,
    Table,
    TeacherRow,
)
from srkd_plugin.utils.names import require_plain_name

TEST_FILE = "test_student.yml"
"""The options file that every test run starts from."""
NESTED: dict[str, type[BaseModel]] = {"methods": Method, "caches": Cache, "groups": Group, "sets": BenchmarkSet}
REQUIRED = {
    "methods": ("row", "{none: {file: student_edsr_m.yml}}"),
    "sets": ("test set", "{Set5: {dataroot_gt: datasets/Set5/HR, dataroot_lq: datasets/Set5/LR_bicubic/X2}}"),
}
"""Sections that must not be empty: what one of their entries is, and an example."""


@dataclass(frozen=True)
class Run:
    """One training, and the test of what it made.

    Attributes:
        method: Row of the table; ``teacher`` for the teacher.
        seed: ``manual_seed``.
        name: The experiment's name; the method's and the seed's.
        train: Options of the training; None for a teacher that is given as weights.
        test: Options of the test.
        cache_flags: How the cache that the training names is made, if it names one.
        after: Names of the runs whose weights it reads, and which are carried out before.
        stage: How many must have ended one after another before it.
    """

    method: str
    seed: int
    name: str
    train: Optional[dict[str, Any]]
    test: dict[str, Any]
    cache_flags: Sequence[str] = ()
    after: Sequence[str] = ()
    stage: int = 0

    @property
    def caches(self) -> dict[str, list[str]]:
        """The teacher caches that the training reads, or their shards: folders below the working directory.

        Each with the flags of ``srkd cache make`` that say which it is: whose of several teachers, and which shard.
        """
        given = self.train["datasets"]["train"].get("dataroot_teacher") if self.train else None
        by_name = given if isinstance(given, Mapping) else {None: given}
        found: dict[str, list[str]] = {}
        for name, named in by_name.items():
            which = [] if name is None else ["--teacher", str(name)]
            if isinstance(named, list):
                found.update({c: [*which, "--shard", f"{i}/{len(named)}"] for i, c in enumerate(named, 1)})
            elif named:
                found[named] = which
        return found

    @property
    def needs_teacher(self) -> bool:
        """Whether the training reads the teacher's weights or images."""
        return self.train is not None and ("network_t" in self.train or bool(self.caches))

    @property
    def scale(self) -> int:
        """The SR factor."""
        return self.test["scale"]


def read_table(file: Path) -> Table:
    """Read and check a table's file.

    Raises:
        InputError: It is not there, not YAML, or says something that cannot be.
        OptionsError: A key is unknown, missing or of the wrong type.
    """
    content = read_yaml(file)
    nested: dict[str, Any] = {"teacher": check_section(TeacherRow, "teacher", content.get("teacher"))}
    if "slurm" in content:
        nested["slurm"] = check_section(SlurmSection, "slurm", content["slurm"])
    for section, model in NESTED.items():
        rows = content.get(section, {})
        if section in REQUIRED and rows in ({}, None):
            what, example = REQUIRED[section]
            problem = f"at least one {what} is needed"
            raise InputError(section, content.get(section, MISSING), problem, f"Add e.g. {section}: {example}.")
        if not isinstance(rows, Mapping):
            raise InputError(section, rows, "a section of names is expected", f"See {file}.")
        for name in rows:
            require_plain_name(section, str(name), NAMED.get(section, "a part of the report"))
        if model is Cache:
            rows = {name: {"flags": row} if isinstance(row, list) else row for name, row in rows.items()}
        nested[section] = {str(name): check_section(model, f"{section}.{name}", row) for name, row in rows.items()}
    table = check_section(Table, str(file), {**content, **nested})
    check_names(table)
    return table


def plan_runs(table: Table, file: Path) -> list[Run]:
    """The runs of a table, the teacher's first if it is tested, then seed by seed: a part of them is a table already.

    Args:
        table: What is asked for.
        file: The table's file.

    Raises:
        InputError: An options file is not there, or what the table makes of it is no training.
    """
    options = OptionsFiles(file)
    teacher = _teacher_run(table, options)
    runs = [teacher] if table.teacher.test else []
    for seed in sorted({seed for method in table.methods for seed in table.seeds_of(method)}):
        runs += [_student_run(table, options, teacher, m, seed) for m in table.methods if seed in table.seeds_of(m)]
    return _in_stages(runs)


def _in_stages(runs: Sequence[Run]) -> list[Run]:
    """The same runs, with what is to be known of their order."""
    names = {run.name for run in runs}
    after = {run.name: {name for name in reads_of(run.train, names) if name != run.name} for run in runs}
    for run in runs:
        if run.needs_teacher and runs[0].method == TEACHER:
            after[run.name].add(runs[0].name)
    stage = stages(after)
    return [replace(run, after=tuple(sorted(after[run.name])), stage=stage[run.name]) for run in runs]


def in_order(runs: Sequence[Run]) -> list[Run]:
    """The same runs in the order in which they are carried out: each behind those that it comes after."""
    return sorted(runs, key=lambda run: (run.stage, run.method != TEACHER))


def weights_of(train: Mapping[str, Any]) -> tuple[str, str]:
    """Where a training leaves its weights, below the working directory, and the key under which they are tested."""
    with_ema = train["train"].get("ema_decay", 0) > 0
    return f"experiments/{train['name']}/models/net_g_latest.pth", "params_ema" if with_ema else "params"


def _teacher_run(table: Table, options: OptionsFiles) -> Run:
    row, name = table.teacher, f"{table.name}_{TEACHER}"
    if row.file is None:
        network = row.network or options.read("teacher_edsr_l.yml", "teacher.network")["network_g"]
        return Run(TEACHER, row.seed, name, None, _test(table, options, name, network, (row.weights, row.param_key)))
    template = without_cache(options.read(row.file, "teacher.file"))
    train = merge(merge(template, table.common, "common"), row.set, "teacher.set")
    require_training(TEACHER, row.file, train)
    train.update(name=name, manual_seed=row.seed)
    return Run(TEACHER, row.seed, name, train, _test(table, options, name, train["network_g"], weights_of(train)))


def _student_run(table: Table, options: OptionsFiles, teacher: Run, method: str, seed: int) -> Run:
    row, name = table.methods[method], f"{table.name}_{method}_s{seed}"
    train = merge(without_cache(options.read(row.file, f"methods.{method}.file")), table.common, "common")
    if "network_t" in train:
        weights, param_key = teacher.test["path"]["pretrain_network_g"], teacher.test["path"]["param_key_g"]
        path = {"pretrain_network_t": weights, "param_key_t": param_key}
        train = merge(train, {"path": path, "network_t": teacher.test["network_g"]}, TEACHER)
        train = merge(train, table.distill, "distill")
    flags: Sequence[str] = ()
    if row.cache is not None:
        cached = {
            "type": "TeacherCacheDataset",
            "dataroot_teacher": _cache_of(table, row.cache, merge(train, row.set, "set")),
        }
        train, flags = merge(train, {"datasets": {"train": cached}}, "caches"), table.caches[row.cache].flags
    before, train = train, merge(train, row.set, f"methods.{method}.set")
    require_training(f"methods.{method}", row.file, train)
    if row.start_from is not None:
        earlier = _student_run(table, options, teacher, row.start_from, seed)
        start = _start_from(earlier, method, before, train)
        train = merge(merge(before, start, f"methods.{method}.start_from"), row.set, f"methods.{method}.set")
    train.update(name=name, manual_seed=seed)
    try:
        network = as_trained(train)
    except OptionsError as error:
        raise InputError(f"methods.{method}: {error.key}", error.value, error.problem, error.remedy) from error
    return Run(method, seed, name, train, _test(table, options, name, network, weights_of(train)), flags)


def _cache_of(table: Table, cache: str, train: Mapping[str, Any]) -> Any:
    """Where the teacher's cache is, or its shards are, or those of each of several teachers."""
    teachers = train.get("teachers")
    if not isinstance(teachers, Mapping):
        return table.cache_paths(cache)
    return {name: table.cache_paths(cache, name) for name in teachers}


def _start_from(earlier: Run, method: str, train: Mapping[str, Any], with_set: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a student that starts from that of another run: cut from it, or the same in INT8."""
    assert earlier.train is not None
    weights, key = weights_of(earlier.train)
    if with_set["train"].get("quantize") is not None:
        if with_set["network_g"] != earlier.train["network_g"]:
            problem = "train.quantize fine-tunes its student as it is, and network_g is not the same"
            raise InputError(f"methods.{method}.start_from", earlier.method, problem, "Give both the same network_g.")
        return {"path": {"pretrain_network_g": weights, "param_key_g": key}}
    if train.get("model_type") not in model_types():
        problem = (
            f"a student is cut from another by {model_types()[0]} alone, and the row's file is one of another model"
        )
        remedy = "Name e.g. student_slice.yml, which needs no distillation terms."
        raise InputError(f"methods.{method}.start_from", earlier.method, problem, remedy)
    other = {"network_g": earlier.train["network_g"], "pretrain_network_g": weights, "param_key_g": key}
    return {"student": {"init": "teacher_slice", "cut_from": other}}


def _test(
    table: Table,
    options: OptionsFiles,
    name: str,
    network: Mapping[str, Any],
    weights: tuple[Optional[str], Optional[str]],
) -> dict[str, Any]:
    test = copy.deepcopy(dict(options.read(TEST_FILE, "the tests' options file")))
    test.update(name=f"{name}_test", network_g=dict(network))
    if "num_gpu" in table.common:
        test["num_gpu"] = table.common["num_gpu"]
    test["datasets"] = {
        f"test_{i}": {
            "name": set_name,
            "type": "PairedImageDataset",
            "dataroot_gt": test_set.dataroot_gt,
            "dataroot_lq": test_set.dataroot_lq,
            "io_backend": {"type": "disk"},
        }
        for i, (set_name, test_set) in enumerate(table.sets.items())
    }
    test["path"].update(pretrain_network_g=weights[0], param_key_g=weights[1])
    test["val"].update(save_img=True)
    return test
