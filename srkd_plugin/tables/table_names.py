"""Names in a table's file: those that become folders, and those by which its parts refer to each other."""

from __future__ import annotations

from srkd_plugin.errors import MISSING, InputError, nearest
from srkd_plugin.tables.table_sections import BICUBIC, TEACHER, Table
from srkd_plugin.utils.names import require_plain_name

NAMED = {"methods": "the files of a row's runs", "sets": "a folder of images", "caches": "a teacher cache"}
"""What is called by the names of a section."""
OTHERS_FLAGS = ("-o", "--o=", "--ou", "--op", "--sh")
"""How flags of ``srkd cache make`` begin that name its options, output and shard (argparse takes short names, too)."""


def check_names(table: Table) -> None:
    """Check the names of a table's parts against each other.

    Raises:
        InputError: The first that cannot be a folder's, or that names nothing.
    """
    require_plain_name("name", table.name, "the table's folder and runs")
    _check_caches(table)
    for run in (f"{table.name}_{TEACHER}_test", *(_longest_name(table, method) for method in table.methods)):
        require_plain_name("methods", run, NAMED["methods"])
    if (table.teacher.file is None) == (table.teacher.weights is None):
        raise InputError("teacher", MISSING, "either file or weights is expected", "Give one of them.")
    if table.teacher.file is not None and not table.teacher.test:
        raise InputError("teacher.test", False, "a teacher that the table trains is tested", "Remove it.")
    for own in (TEACHER, BICUBIC):
        if own in table.methods:
            raise InputError("methods", own, "the report has a row of this name already", "Choose another name.")
    _check_labels(table)
    wanted = [("baseline", table.baseline), *((f"methods.{m}.baseline", table.baseline_of(m)) for m in table.methods)]
    wanted += [(f"pairs.{i}", name) for i, pair in enumerate(table.pairs) for name in pair]
    for key, name in wanted:
        if name not in table.methods:
            raise InputError(key, name, "there is no such method", nearest(name, table.methods))
    for i, pair in enumerate(table.pairs):
        if len(pair) != 2:
            raise InputError(f"pairs.{i}", pair, "two methods are expected", "Write [method, compared with].")
    for method in table.methods:
        missing = set(table.seeds_of(method)) - set(table.seeds_of(table.baseline_of(method)))
        if missing:
            problem = f"its baseline {table.baseline_of(method)} is not run with {sorted(missing)}"
            raise InputError(f"methods.{method}.seeds", table.seeds_of(method), problem, "Give both the same seeds.")
    for name, row in table.methods.items():
        if row.start_from is not None:
            _check_start(table, name, row.start_from)
        if row.cache is not None and row.cache not in table.caches:
            hint = nearest(row.cache, table.caches)
            raise InputError(f"methods.{name}.cache", row.cache, "there is no such cache", hint)
    for name in (TEACHER, *table.methods):
        if table.teacher.slurm if name == TEACHER else table.methods[name].slurm:
            table.slurm_of(name)
    for name, group in table.groups.items():
        for test_set in group.sets or []:
            if test_set not in table.sets:
                raise InputError(f"groups.{name}.sets", test_set, "there is no such set", nearest(test_set, table.sets))


def _check_labels(table: Table) -> None:
    """Two rows of one label could not be told apart in a report."""
    row_of = {TEACHER: "the teacher's row", BICUBIC: "the row of bicubic interpolation"}
    for method in table.methods:
        label = table.label_of(method)
        if label in row_of:
            problem = f"{row_of[label]} is called so, too"
            raise InputError(f"methods.{method}.label", label, problem, "Give each row a label of its own.")
        row_of[label] = f"methods.{method}"


def _check_caches(table: Table) -> None:
    cache_at: dict[str, str] = {}
    for cache, made in table.caches.items():
        require_plain_name("caches", cache, NAMED["caches"])
        for flag in made.flags:
            if flag.startswith(OTHERS_FLAGS):
                hint = "Remove it; shards: N makes it in N parts." if flag.startswith("--sh") else "Remove it."
                raise InputError(f"caches.{cache}", flag, "the table says itself what is cached, and where", hint)
        paths = table.cache_paths(cache)
        for path in [paths] if isinstance(paths, str) else paths:
            if path in cache_at:
                problem = f"it would be written to {path}, where {cache_at[path]} is"
                raise InputError("caches", cache, problem, "Choose another name.")
            cache_at[path] = cache


def _check_start(table: Table, name: str, earlier: str) -> None:
    key = f"methods.{name}.start_from"
    if earlier not in table.methods:
        raise InputError(key, earlier, "there is no such method", nearest(earlier, table.methods))
    missing = set(table.seeds_of(name)) - set(table.seeds_of(earlier))
    if missing:
        raise InputError(key, earlier, f"it is not run with {sorted(missing)}", "Give both the same seeds.")
    chain: list[str] = [name]
    while (before := table.methods[chain[-1]].start_from) in table.methods:
        if before in chain:
            raise InputError(key, earlier, "the rows start from each other", "Let one of them start from the teacher.")
        chain.append(str(before))


def _longest_name(table: Table, method: str) -> str:
    """The longest of the names of a row's runs and tests."""
    return f"{table.name}_{method}_s{max(table.seeds_of(method))}_test"
