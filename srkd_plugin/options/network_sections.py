"""Sections of a run's networks as pydantic models: the teacher or teachers, and how the student starts and runs."""

from __future__ import annotations

from typing import Any, Literal, Optional

from pydantic import BaseModel, ConfigDict, Field

from srkd_plugin.options.section import Section


class NetworkSection(BaseModel):
    """``network_t``: the teacher, any registered architecture, with its arguments beside ``type``."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, use_attribute_docstrings=True)
    type: str
    """Name of the architecture, as in BasicSR's ``network_g``; or ``SpandrelModel``: what the weights' file is of."""


class TeacherSection(Section):
    """``teacher``: how the teacher is run."""

    random_init: bool = False
    """Distil from a teacher with random weights (for tests of the machinery); otherwise a weights file is required."""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Precision of the teacher's forward pass (autocast); its output is handed on as fp32."""
    channels_last: bool = False
    """Keep the teacher's weights and inputs in channels_last memory format."""
    compile: bool = False
    """Run the teacher through torch.compile."""
    combine: Literal["mean", "nearest_gt"] = "mean"
    """How the images of several ``teachers`` become one: their weighted ``mean``, or each pixel from the teacher that
    is nearest to GT there."""


class ListedTeacher(Section):
    """``teachers.<name>``: one of several teachers, which stand in the place of ``network_t``; ``teacher`` says how
    they are run. One whose name is in ``datasets.train.dataroot_teacher`` is read from its cache."""

    network_t: dict[str, Any]
    """The architecture, as ``network_t`` of a run with one teacher."""
    pretrain_network_t: Optional[str] = None
    """File of its weights."""
    param_key_t: Optional[str] = "params"
    """Key of the state dict in that file; none for a bare state dict."""
    strict_load_t: bool = True
    """Refuse weights that do not fit exactly."""
    param_key_prefix_t: str = ""
    """What the names of its entries begin with in the file."""
    random_init: bool = False
    """Distil from random weights (for tests of the machinery); otherwise a weights file is required."""
    weight: float = Field(default=1.0, gt=0, le=1e6)
    """Its share of the mean, relative to the others'."""


class CutFromSection(Section):
    """``student.cut_from``: another network that the student is cut from, e.g. a larger student of an earlier run."""

    network_g: dict[str, Any]
    """The network, as ``network_g`` of its own run describes it."""
    pretrain_network_g: Optional[str] = None
    """File of its weights."""
    param_key_g: Optional[str] = "params"
    """Key of the state dict in that file; none for a bare state dict."""
    random_init: bool = False
    """Cut the student from random weights (for tests of the machinery); otherwise a weights file is required."""


class StudentSection(Section):
    """``student``: how the student starts and runs. (From a file: BasicSR's own ``path.pretrain_network_g``.)"""

    init: Literal["random", "teacher_slice"] = "random"
    """``random``, or ``teacher_slice``: a part of the teacher's channels, and evenly spread blocks. A run that uses the
    teacher for this alone needs no ``train.distill_opt``."""
    by: Literal["first", "magnitude"] = "first"
    """Which channels a slice has: the ``first``, or those of largest L1 norm (``magnitude``), the same wherever they
    are added, and whole groups of a pixel shuffle."""
    cut_from: Optional[CutFromSection] = None
    """The network that the slice is cut from in the teacher's place."""
    compile: bool = False
    """Train the student through torch.compile. Validation and checkpoints are those of the network itself."""
    reparameterize: bool = False
    """Train each 3x3 convolution as several branches; every checkpoint is the plain network that they sum up to, and
    the branches are kept in the training state."""
