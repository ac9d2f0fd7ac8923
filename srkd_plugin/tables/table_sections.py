"""The sections of a table's file; :mod:`srkd_plugin.tables.plan` shows one."""

from __future__ import annotations

from typing import Annotated, Any, Optional, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler

from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.options.validate import check_section

TEACHER = "teacher"
"""Name of the teacher's row."""
BICUBIC = "bicubic"
"""Name of the row of bicubic interpolation, which every report has."""


def _each_once(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is in it twice")
    return seeds


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy's generator, which BasicSR seeds, takes."""
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_each_once)]


def _one_word(text: str) -> str:
    if text.split() != [text]:
        raise ValueError("it is one word, as sbatch takes it")
    return text


Word = Annotated[str, AfterValidator(_one_word)]
"""A value in a batch file, where a space ends it and a new line begins another."""


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class TeacherRow(_Section):
    """``teacher``: trained by the table from an options file, or given as weights."""

    file: Optional[str] = None
    set: dict[str, Any] = Field(default_factory=dict)
    seed: Seed = 0
    weights: Optional[str] = None
    param_key: Optional[str] = "params"
    network: Optional[dict[str, Any]] = None
    """``network_g`` of the teacher, to test given weights."""
    slurm: dict[str, Any] = Field(default_factory=dict)
    """Keys of the table's ``slurm`` that are others for the teacher's job."""
    test: bool = True
    """False: given weights have no row of their own, for a teacher that is slow, or no network of BasicSR's."""


class Method(_Section):
    """A row of the table."""

    file: str
    label: Optional[str] = None
    set: dict[str, Any] = Field(default_factory=dict)
    seeds: Optional[Seeds] = None
    baseline: Optional[str] = None
    cache: Optional[str] = None
    """Which of ``caches`` the teacher's images come from; without one it runs live."""
    start_from: Optional[str] = None
    """Row from whose student, of the same seed, this row's is cut (``student.cut_from``); that row is run first.

    With ``train.quantize``, this row's is that student, fine-tuned in INT8 (``path.pretrain_network_g``)."""
    group: str = "main"
    budget: Optional[str] = None
    """Name of the row in the plot of PSNR against CPU time; without one it is not in it."""
    slurm: dict[str, Any] = Field(default_factory=dict)
    """Keys of the table's ``slurm`` that are others for the row's jobs, and for a cache that it is first to read."""


class Group(_Section):
    """A table of its own in the report."""

    title: str
    sets: Optional[list[str]] = None
    """Test sets that it shows; all of them by default."""


class Cache(_Section):
    """A teacher cache that rows name; a list in its place is its ``flags``."""

    flags: list[str] = Field(default_factory=list)
    """Flags of ``srkd cache make``, e.g. ``--with-images``."""
    shards: int = Field(default=1, ge=1)
    """Parts that it is made in, each by a job of its own; rows read them together."""


class _OrFlags:
    """Says in the JSON schema what :func:`srkd_plugin.tables.plan.read_table` takes for a cache, too."""

    @staticmethod
    def __get_pydantic_json_schema__(core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"items": {"type": "string"}, "type": "array"}, handler(core)]}


class BenchmarkSet(_Section):
    """A folder of HR images and one of LR images of the same names."""

    dataroot_gt: str
    dataroot_lq: str


class SlurmSection(_Section):
    """``slurm``: what each job of ``srkd table run --submit slurm`` asks SLURM for; docs/slurm.md."""

    timeout_min: int = Field(ge=2)
    """Minutes that a job may take. A training that takes longer saves before the end, and the next call goes on."""
    partition: Optional[Word] = None
    cpus_per_task: int = Field(default=1, ge=1)
    """CPUs; those of the data loader's workers included."""
    mem_gb: Optional[float] = Field(default=None, gt=0)
    """Memory in GB; none: as the cluster gives it."""
    gpus_per_node: int = Field(default=0, ge=0)
    account: Optional[Word] = None
    qos: Optional[Word] = None
    constraint: Optional[Word] = None
    setup: list[str] = Field(default_factory=list)
    """Lines of shell before the job, e.g. ``module load cuda``."""


class Table(_Section):
    """A table's file."""

    name: str
    title: Optional[str] = None
    """What the table's page is called; without one its name."""
    seeds: Seeds
    baseline: str
    common: dict[str, Any] = Field(default_factory=dict)
    distill: dict[str, Any] = Field(default_factory=dict)
    teacher: TeacherRow
    methods: dict[str, Method] = Field(min_length=1)
    imports: list[str] = Field(default_factory=list)
    """Modules that register what the options name: ``--import`` of every command."""
    caches: dict[str, Annotated[Cache, _OrFlags]] = Field(default_factory=dict)
    """Teacher caches: flags of ``srkd cache make`` as a list, or a section of flags and shards."""
    groups: dict[str, Group] = Field(default_factory=dict)
    pairs: list[list[str]] = Field(default_factory=list)
    slurm: Optional[SlurmSection] = None
    """What each job of ``srkd table run --submit slurm`` asks for."""
    sets: dict[str, BenchmarkSet] = Field(min_length=1)

    def seeds_of(self, method: str) -> list[int]:
        """The seeds that a method is run with."""
        return self.methods[method].seeds or self.seeds

    def baseline_of(self, method: str) -> str:
        """What a method is compared with."""
        return self.methods[method].baseline or self.baseline

    def other_baseline_of(self, method: str) -> Optional[str]:
        """What a method is compared with, where that is not the table's baseline; None where it is, or is itself."""
        baseline = self.baseline_of(method) if method in self.methods else self.baseline
        return None if baseline in (method, self.baseline) else baseline

    def slurm_of(self, row: str) -> SlurmSection:
        """What the jobs of a row, or of the teacher, ask SLURM for.

        Raises:
            OptionsError: A key of the row's ``slurm`` is wrong, or the table has no such section.
        """
        key = f"{row}.slurm" if row == TEACHER else f"methods.{row}.slurm"
        own = self.teacher.slurm if row == TEACHER else self.methods[row].slurm
        if self.slurm is None:
            raise OptionsError("slurm", MISSING, f"{key} changes keys of it", "Add it, e.g. slurm: {timeout_min: 600}.")
        return check_section(SlurmSection, key, {**self.slurm.model_dump(), **own})

    def label_of(self, method: str) -> str:
        """How a method is called in the report."""
        return (method in self.methods and self.methods[method].label) or method

    def cache_paths(self, cache: str, teacher: Optional[str] = None) -> Union[str, list[str]]:
        """Where a cache is, below the working directory; or where its shards are, if it is made in several.

        Args:
            cache: Its name in the table.
            teacher: Which of several teachers it is of.
        """
        start, count = f"tables/{self.name}/cache_{cache}", self.caches[cache].shards
        start += "" if teacher is None else f"_{teacher}"
        return f"{start}.lmdb" if count == 1 else [f"{start}_{i}of{count}.lmdb" for i in range(1, count + 1)]


def table_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a table's file, from which editors complete keys."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Table.model_json_schema(),
        "title": "A table of srkd_plugin",
    }
