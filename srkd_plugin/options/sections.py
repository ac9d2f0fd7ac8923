"""The plugin's sections of an options file as pydantic models: their keys, types, defaults and meanings.

A field's docstring is its meaning in docs/options.md (:mod:`srkd_plugin.options.reference`) and in the JSON schema
(:mod:`srkd_plugin.options.schema`). They are read by :mod:`srkd_plugin.options.reader`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Optional, Union

from pydantic import BaseModel, Field, field_validator, model_validator

from srkd_plugin.options.network_sections import (
    CutFromSection,
    ListedTeacher,
    NetworkSection,
    StudentSection,
    TeacherSection,
)
from srkd_plugin.options.section import Section
from srkd_plugin.options.step_sections import (
    AccumulationSection,
    AugmentSection,
    EcoSection,
    HistorySection,
    SamplesSection,
)
from srkd_plugin.options.term_sections import TERM_PARTS, TermSection


class RunSection(Section):
    """Keys at the top level of the file."""

    trust_weights: bool = False
    """Load weights files and training states that hold more than tensors. That runs code that is in the file."""
    tf32: Optional[bool] = None
    """Whether CUDA may round the inputs of convolutions and matrix products to TF32; none: as torch has it."""


class AmpSection(Section):
    """``train.amp``: the precision in which the student is trained."""

    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Precision of the student's forward and backward pass (autocast); weights, losses and validation stay in fp32."""
    init_scale: float = Field(default=65536.0, ge=1)
    """Factor of the losses at first, with fp16; it is halved at every overflow."""
    growth_interval: int = Field(default=2000, ge=1)
    """Iterations without an overflow after which the factor is doubled, with fp16."""


class PathSection(Section):
    """``path``: weights of the teacher, and one key of the student's beside BasicSR's own."""

    pretrain_network_t: Optional[str] = None
    """File of the teacher's weights, of PyTorch or ``.safetensors``."""
    param_key_t: Optional[str] = "params"
    """Key of the state dict in that file, e.g. ``params_ema``; none for a bare state dict. With ``SpandrelModel`` it is
    looked for where it is not given."""
    strict_load_t: bool = True
    """Refuse weights that do not fit ``network_t`` exactly; otherwise load what fits, and say what does not."""
    param_key_prefix_t: str = ""
    """What the names of the teacher's entries begin with in the file, e.g. ``net.``; other entries are left out."""
    param_key_prefix_g: str = ""
    """The same for the student's file, ``pretrain_network_g``; a resumed run takes its own file as it is."""


class TrainSetSection(Section):
    """``datasets.train``: ``exact_resume`` is read for every model and data set, BasicSR's own too."""

    exact_resume: bool = False
    """Draw the crops of each training sample from a random stream of its own, so that a resumed run sees the samples
    that an uninterrupted one would have seen."""


class CacheSection(Section):
    """``datasets.train``: with ``type: TeacherCacheDataset`` the teacher's images come from ``dataroot_teacher``."""

    dataroot_teacher: Union[str, list[str], dict[str, Union[str, list[str]]]]
    """The cache, as ``srkd cache make`` makes it, or the list of all its shards (``--shard``); with several
    ``teachers`` that of each name, and those that are left out run live."""

    @field_validator("dataroot_teacher", mode="before")
    @classmethod
    def _lists_paths(cls, given: object) -> object:
        for value in given.values() if isinstance(given, Mapping) else [given]:
            if isinstance(value, list) and not (value and all(isinstance(path, str) and path for path in value)):
                raise ValueError("a list holds the paths of all shards of a cache")
        return given


class QuantizeSection(Section):
    """``train.quantize``: fine-tune a trained student in the numbers of INT8; where the section is, the run does."""

    bits: Literal[8] = 8
    """Bits of activations."""
    weight_bits: Literal[7, 8] = 8
    """Bits of weights; 7 for CPUs whose instructions saturate sums of two products of 8 bits."""
    float_layers: list[str] = Field(default=[])
    """Convolutions and additions that stay float32, as ``srkd export --int8`` names them."""
    crops: int = Field(default=64, ge=4)
    """Crops of the training set's LQ images that the student is calibrated on before the first iteration."""
    observe: int = Field(default=0, ge=0)
    """Iterations at the start in which the ranges of activations move towards those of each batch."""
    freeze: Optional[int] = Field(default=None, ge=0)
    """Iteration after which the scales of weights stay; none: they follow the weights to the end."""

    @model_validator(mode="after")
    def _observes_before_it_freezes(self) -> QuantizeSection:
        if self.freeze is not None and self.freeze < self.observe:
            raise ValueError(f"freeze ({self.freeze}) comes before the end of observe ({self.observe})")
        return self


class GradNormLogSection(Section):
    """``train.grad_norm_log``: when the gradient norm of each term is logged. It costs one backward pass per term."""

    first: int = Field(default=3, ge=0)
    """Log it in this many iterations at the start of the run."""
    every: int = Field(default=0, ge=0)
    """Log it every this many iterations after that; 0: never again."""

    def is_due(self, iteration: int) -> bool:
        """Whether it is logged in an iteration; by its number, so that a resumed run does what it would have done."""
        return iteration <= self.first or (self.every > 0 and iteration % self.every == 0)


class NonfiniteSection(Section):
    """``train``: keys about losses and gradients that are NaN or infinite."""

    nan_policy: Literal["raise", "skip"] = "raise"
    """``raise``: end the run. ``skip``: leave such an iteration out; nothing is updated."""
    max_skipped: int = Field(default=10, ge=1)
    """Iterations that may be left out in the whole run, resumed or not; the next one ends it."""


class ResumeSection(Section):
    """``train``: one key about going on from a training state."""

    lr_on_resume: Literal["saved", "options"] = "saved"
    """Learning rate of a resumed run. ``saved``: it goes on as it was, and what the options' ``scheduler`` changes
    counts for iterations that lie ahead. ``options``: it becomes what the options' ``optim_g``, ``scheduler`` and
    ``warmup_iter`` give at that iteration, as if the run had had them from its first; the optimizer's moments stay."""


class LoggerSection(Section):
    """``logger``: what is shown of a training beside BasicSR's log."""

    progress: bool = True
    """Show a line of progress where the run is on a terminal; ``SRKD_PROGRESS=0`` in the environment leaves it out,
    too."""
    image_samples: int = Field(default=0, ge=0)
    """Images of each validation set, the first ones by name, of which TensorBoard gets a centre crop at every
    validation: LQ enlarged, the student's image, the teacher's where one runs, and GT."""


class CheckpointsSection(Section):
    """``checkpoints``: which checkpoints stay; all of them unless ``keep_last`` is given."""

    keep_last: Optional[int] = Field(default=None, ge=1)
    """Keep this many of the newest; with 2 or more there is one to fall back to."""
    keep_best: Optional[str] = None
    """Metric of ``val.metrics``: the checkpoint that is best by it stays as well."""


SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("", RunSection),
    ("network_t", NetworkSection),
    ("teacher", TeacherSection),
    ("teachers.<name>", ListedTeacher),
    ("student", StudentSection),
    ("student.cut_from", CutFromSection),
    ("path", PathSection),
    ("checkpoints", CheckpointsSection),
    ("logger", LoggerSection),
    ("datasets.train", TrainSetSection),
    ("datasets.train", CacheSection),
    ("train", AccumulationSection),
    ("train", NonfiniteSection),
    ("train", ResumeSection),
    ("train.amp", AmpSection),
    ("train.quantize", QuantizeSection),
    ("train.samples", SamplesSection),
    ("train.samples.augment", AugmentSection),
    ("train.history", HistorySection),
    ("train.eco", EcoSection),
    ("train.grad_norm_log", GradNormLogSection),
    ("train.distill_opt.<name>", TermSection),
    *((f"train.distill_opt.<name>.{part}", model) for part, model in TERM_PARTS.items()),
)
"""Every model of ours with the section that it describes, in the order of docs/options.md."""


class PluginOptions(BaseModel):
    """Everything of ours in a run's options, checked and with defaults filled in; a stock run has the defaults."""

    network_t: dict[str, Any] = {}
    """The teacher's architecture; empty in a stock run."""
    run: RunSection = RunSection()
    teacher: TeacherSection = TeacherSection()
    teachers: dict[str, ListedTeacher] = {}
    """Several teachers by name; empty where ``network_t`` is the only one."""
    student: StudentSection = StudentSection()
    path: PathSection = PathSection()
    train_set: TrainSetSection = TrainSetSection()
    terms: dict[str, TermSection] = {}
    amp: AmpSection = AmpSection()
    quantize: Optional[QuantizeSection] = None
    """None: the student trains in float."""
    samples: SamplesSection = SamplesSection()
    history: HistorySection = HistorySection()
    eco: EcoSection = EcoSection()
    grad_norm_log: GradNormLogSection = GradNormLogSection()
    accumulation: AccumulationSection = AccumulationSection()
    nonfinite: NonfiniteSection = NonfiniteSection()
    resume: ResumeSection = ResumeSection()
    checkpoints: CheckpointsSection = CheckpointsSection()
    logger: LoggerSection = LoggerSection()

    @property
    def reads_targets(self) -> bool:
        """Whether training reads the teacher's images."""
        return bool(self.terms) or self.eco.end_iter > 0

    @property
    def has_taps(self) -> bool:
        """Whether a term compares feature maps."""
        return any(term.taps is not None for term in self.terms.values())
