"""The plugin's sections of an options file as pydantic models: their keys, types, defaults and meanings.

A field's docstring is its meaning in docs/options.md (:mod:`srkd_plugin.options.reference`) and in the JSON schema
(:mod:`srkd_plugin.options.schema`). They are read by :mod:`srkd_plugin.options.reader`.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Optional

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class RunSection(_Section):
    """Keys at the top level of the file."""

    trust_weights: bool = False
    """Load weights files and training states that hold more than tensors. That runs code that is in the file."""
    tf32: Optional[bool] = None
    """Whether CUDA may round the inputs of convolutions and matrix products to TF32; none: as torch has it."""


class NetworkSection(BaseModel):
    """``network_t``: the teacher, any registered architecture, with its arguments beside ``type``."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, use_attribute_docstrings=True)
    type: str
    """Name of the architecture, as in BasicSR's ``network_g``."""


class TeacherSection(_Section):
    """``teacher``: how the teacher is run."""

    random_init: bool = False
    """Distil from a teacher with random weights (for tests of the machinery); otherwise a weights file is required."""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Precision of the teacher's forward pass (autocast); its output is handed on as fp32."""
    channels_last: bool = False
    """Keep the teacher's weights and inputs in channels_last memory format."""
    compile: bool = False
    """Run the teacher through torch.compile."""


class StudentSection(_Section):
    """``student``: how the student starts and runs. (From a file: BasicSR's own ``path.pretrain_network_g``.)"""

    init: Literal["random", "teacher_slice"] = "random"
    """``random``, or ``teacher_slice``: the teacher's first channels and evenly spread blocks. A run that uses the
    teacher for this alone needs no ``train.distill_opt``."""
    compile: bool = False
    """Train the student through torch.compile. Validation and checkpoints are those of the network itself."""
    reparameterize: bool = False
    """Train each 3x3 convolution as several branches; every checkpoint is the plain network that they sum up to, and
    the branches are kept in the training state."""


class AmpSection(_Section):
    """``train.amp``: the precision in which the student is trained."""

    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Precision of the student's forward and backward pass (autocast); weights, losses and validation stay in fp32."""
    init_scale: float = Field(default=65536.0, ge=1)
    """Factor of the losses at first, with fp16; it is halved at every overflow."""
    growth_interval: int = Field(default=2000, ge=1)
    """Iterations without an overflow after which the factor is doubled, with fp16."""


class PathSection(_Section):
    """``path``: weights of the teacher, and one key of the student's beside BasicSR's own."""

    pretrain_network_t: Optional[str] = None
    """File of the teacher's weights, of PyTorch or ``.safetensors``."""
    param_key_t: Optional[str] = "params"
    """Key of the state dict in that file, e.g. ``params_ema``; none for a bare state dict."""
    strict_load_t: bool = True
    """Refuse weights that do not fit ``network_t`` exactly; otherwise load what fits, and say what does not."""
    param_key_prefix_t: str = ""
    """What the names of the teacher's entries begin with in the file, e.g. ``net.``; other entries are left out."""
    param_key_prefix_g: str = ""
    """The same for the student's file, ``pretrain_network_g``; a resumed run takes its own file as it is."""


class TrainSetSection(_Section):
    """``datasets.train``: ``exact_resume`` is read for every model and data set, BasicSR's own too."""

    exact_resume: bool = False
    """Draw the crops of each training sample from a random stream of its own, so that a resumed run sees the samples
    that an uninterrupted one would have seen."""


class CacheSection(_Section):
    """``datasets.train``: with ``type: TeacherCacheDataset`` the teacher's images come from ``dataroot_teacher``."""

    dataroot_teacher: str
    """The cache, as ``srkd cache make`` makes it."""


class GradNormLogSection(_Section):
    """``train.grad_norm_log``: when the gradient norm of each term is logged. It costs one backward pass per term."""

    first: int = Field(default=3, ge=0)
    """Log it in this many iterations at the start of the run."""
    every: int = Field(default=0, ge=0)
    """Log it every this many iterations after that; 0: never again."""


class NonfiniteSection(_Section):
    """``train``: keys about losses and gradients that are NaN or infinite."""

    nan_policy: Literal["raise", "skip"] = "raise"
    """``raise``: end the run. ``skip``: leave such an iteration out; nothing is updated."""
    max_skipped: int = Field(default=10, ge=1)
    """Iterations that may be left out in the whole run, resumed or not; the next one ends it."""


class ResumeSection(_Section):
    """``train``: one key about going on from a training state."""

    lr_on_resume: Literal["saved", "options"] = "saved"
    """Learning rate of a resumed run. ``saved``: it goes on as it was, and what the options' ``scheduler`` changes
    counts for iterations that lie ahead. ``options``: it becomes what the options' ``optim_g``, ``scheduler`` and
    ``warmup_iter`` give at that iteration, as if the run had had them from its first; the optimizer's moments stay."""


class CheckpointsSection(_Section):
    """``checkpoints``: which checkpoints stay; all of them unless ``keep_last`` is given."""

    keep_last: Optional[int] = Field(default=None, ge=1)
    """Keep this many of the newest; with 2 or more there is one to fall back to."""
    keep_best: Optional[str] = None
    """Metric of ``val.metrics``: the checkpoint that is best by it stays as well."""


class TapsSection(_Section):
    """``taps`` of a term: which feature maps it compares, pair by pair, as module paths."""

    student: list[str] = Field(min_length=1)
    """Modules of the student, e.g. ``body.5``."""
    teacher: list[str] = Field(min_length=1)
    """Modules of the teacher, as many, in the same order."""


class ConnectorSection(_Section):
    """``connector`` of a term: one trained convolution per tap from the student's channels to the teacher's."""

    kernel_size: Literal[1, 3, 5, 7] = 1
    """Kernel size of the convolutions."""


class BalanceSection(_Section):
    """``balance`` of a term: its weight follows its gradient; a ``loss_weight`` other than 1 beside it is refused."""

    target: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Norm of the term's gradient that is aimed at, as a multiple of that of ``pixel_opt``."""
    every: int = Field(default=20, ge=1)
    """The norms are measured every this many iterations; each time costs two backward passes."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the running ratio that a measurement leaves as it was."""


class LossArguments(BaseModel):
    """Arguments that mean the same in every loss that has them, BasicSR's and ours."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    loss_weight: float = Field(default=1.0, ge=0, le=1e12)
    """Factor of the loss."""
    eps: float = Field(default=1e-6, gt=0, lt=1)
    """Small number that keeps a denominator from zero."""


class TermSection(BaseModel):
    """``train.distill_opt.<name>``: one named term, a registered loss with its arguments, and what it reads when."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    type: str
    """Name of a registered loss, the plugin's or BasicSR's; its arguments stand beside it."""
    taps: Optional[TapsSection] = None
    """Feature maps that the term compares; none: it compares images."""
    connector: Optional[ConnectorSection] = None
    """Convolutions from the student's feature maps to the teacher's; none: there are none."""
    start: int = Field(default=1, ge=1)
    """First iteration in which the term counts."""
    stop: Optional[int] = Field(default=None, ge=1)
    """Last iteration in which it counts; none: to the end."""
    schedule: Optional[list[list[float]]] = None
    """``[[iteration, factor], ...]``: factors of the weight; linear between points, constant outside."""
    balance: Optional[BalanceSection] = None
    """Let the weight follow the gradient; none: it is ``loss_weight``."""

    @field_validator("schedule")
    @classmethod
    def _schedule_is_a_function(cls, points: Optional[list[list[float]]]) -> Optional[list[list[float]]]:
        if points is None:
            return None
        if not points or any(len(point) != 2 for point in points):
            raise ValueError("a list of [iteration, factor] pairs is expected, e.g. [[1, 0.0], [1000, 1.0]]")
        iterations = [point[0] for point in points]
        if any(b <= a for a, b in zip([0, *iterations], iterations)) or any(i != int(i) for i in iterations):
            raise ValueError("its iterations must be whole numbers from 1 that rise")
        if any(not 0 <= factor < math.inf for _, factor in points):
            raise ValueError("its factors must be numbers from 0")
        return points

    @model_validator(mode="after")
    def _starts_before_it_stops(self) -> TermSection:
        if self.stop is not None and self.stop < self.start:
            raise ValueError(f"stop ({self.stop}) comes before start ({self.start})")
        return self

    def is_active(self, iteration: int) -> bool:
        """Whether the term counts in an iteration (the first is 1)."""
        return self.start <= iteration and (self.stop is None or iteration <= self.stop)

    def loss_options(self) -> dict[str, Any]:
        """Arguments of :func:`basicsr.losses.build_loss`."""
        return {"type": self.type, **(self.model_extra or {})}


TERM_PARTS: dict[str, type[_Section]] = {"taps": TapsSection, "connector": ConnectorSection, "balance": BalanceSection}
"""Sections within a term."""

SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("", RunSection),
    ("network_t", NetworkSection),
    ("teacher", TeacherSection),
    ("student", StudentSection),
    ("path", PathSection),
    ("checkpoints", CheckpointsSection),
    ("datasets.train", TrainSetSection),
    ("datasets.train", CacheSection),
    ("train", NonfiniteSection),
    ("train", ResumeSection),
    ("train.amp", AmpSection),
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
    student: StudentSection = StudentSection()
    path: PathSection = PathSection()
    train_set: TrainSetSection = TrainSetSection()
    terms: dict[str, TermSection] = {}
    amp: AmpSection = AmpSection()
    grad_norm_log: GradNormLogSection = GradNormLogSection()
    nonfinite: NonfiniteSection = NonfiniteSection()
    resume: ResumeSection = ResumeSection()
    checkpoints: CheckpointsSection = CheckpointsSection()

    @property
    def has_taps(self) -> bool:
        """Whether a term compares feature maps."""
        return any(term.taps is not None for term in self.terms.values())
