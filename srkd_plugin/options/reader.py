"""Reading the options of a training run: the file as one typed object, and what is asked of it before that.

    model_type: DistillModel
    trust_weights: false                          # RunSection, optional; tf32 beside it
    network_t: {type: EDSR, ...}                  # teacher, any registered architecture
    teacher: {precision: fp32, ...}               # TeacherSection, optional
    teachers: {a: {network_t: ..., ...}, b: ...}  # ListedTeacher each, in place of network_t
    student: {init: random}                       # StudentSection, optional
    path:
      pretrain_network_t: teacher.pth             # PathSection; the other keys of path are BasicSR's
      param_key_t: params
      strict_load_t: true
    train:
      distill_opt:                                # any number of named terms
        contrastive: {type: ContrastiveLoss, similarity: l1, loss_weight: 10.0}
      amp: {precision: fp32}                      # AmpSection, optional; as quantize: {bits: 8}, QuantizeSection
      grad_norm_log: {first: 3, every: 0}         # GradNormLogSection, optional
      accumulate: 1                               # AccumulationSection, optional; accumulate_negatives beside it
      nan_policy: raise                           # NonfiniteSection, optional; max_skipped beside it
      lr_on_resume: saved                         # ResumeSection, optional
    checkpoints: {keep_last: 3, keep_best: psnr}  # CheckpointsSection, optional
    logger: {progress: true, image_samples: 0}    # LoggerSection, optional; the other keys of logger are BasicSR's
    datasets:
      train:
        exact_resume: true                        # TrainSetSection, for any model; optional
        type: TeacherCacheDataset                 # optional: the teacher's images come from a cache
        dataroot_teacher: teacher.lmdb            # CacheSection; the other keys are PairedImageDataset's

Keys, defaults and meanings of these sections are in :mod:`srkd_plugin.options.sections`; those of BasicSR's, as far as
they are known, in :mod:`srkd_plugin.options.stock_sections`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Optional

from pydantic import BaseModel

from srkd_plugin.errors import MISSING, OptionsError, nearest
from srkd_plugin.options import sections
from srkd_plugin.options.key_names import own_keys, refuse_near_ours
from srkd_plugin.options.network_arguments import read_network
from srkd_plugin.options.registered_names import model_types, registered_name
from srkd_plugin.options.run_options import RunOptions, read_stock
from srkd_plugin.options.stock_datasets import with_sizes
from srkd_plugin.options.student import read_student
from srkd_plugin.options.teachers import read_teachers
from srkd_plugin.options.terms import read_terms
from srkd_plugin.options.validate import check_nested, check_section

TOP_KEYS = own_keys("")
TRAIN_KEYS = own_keys("train")
CACHE_DATASET = "TeacherCacheDataset"


def is_ours(opt: Mapping[str, Any]) -> bool:
    """Whether the options ask for a model or a data set of the plugin's.

    Sections alone do not count: other models have a ``network_t`` or a ``teacher`` of their own.
    """
    return opt.get("model_type") in model_types() or any(is_cache(section) for section in _data_sets(opt).values())


def is_cache(section: Mapping[str, Any]) -> bool:
    """Whether a data set section is one of the plugin's TeacherCacheDataset."""
    return section.get("type") == registered_name(CACHE_DATASET)


def exact_data(opt: Mapping[str, Any]) -> bool:
    """Whether each training sample draws from a random stream of its own (``datasets.train.exact_resume``).

    Raises:
        OptionsError: The key is neither true nor false.
    """
    return _train_set(opt).exact_resume


def _train_set(opt: Mapping[str, Any]) -> sections.TrainSetSection:
    return check_section(
        sections.TrainSetSection, "datasets.train", _only(_data_sets(opt).get("train", {}), sections.TrainSetSection)
    )


def _data_sets(opt: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    sections = opt.get("datasets")
    sections = sections.items() if isinstance(sections, Mapping) else ()
    return {phase: section for phase, section in sections if isinstance(section, Mapping)}


def trusts_weights(opt: Mapping[str, Any]) -> bool:
    """Whether files that hold more than tensors may be loaded (:class:`RunSection`)."""
    return opt.get("trust_weights") is True


_last: Optional[tuple[str, RunOptions]] = None
"""The options that were read last, and their content then; see :func:`read`."""


def read(opt: Mapping[str, Any]) -> RunOptions:
    """Check and read the options of a training run, of ours or a stock one.

    The check before the run and the model get one object, although BasicSR gives the model a deep copy of the options
    and adds ``root_path`` to them in between: the same content is read once. Content, not identity, so that options
    that were changed, as on resume, are read anew. (As text, since 1 equals True, and only one of them is a number.)

    Args:
        opt: As BasicSR's ``parse_options`` returns them.

    Raises:
        OptionsError: A key is unknown, missing or of the wrong type.
    """
    global _last
    content = repr({key: value for key, value in opt.items() if key != "root_path"})
    if _last is None or _last[0] != content:
        _last = content, _read(opt)
    return dataclasses.replace(_last[1], raw=opt)


def _read(opt: Mapping[str, Any]) -> RunOptions:
    ours = is_ours(opt)
    plugin = read_plugin_sections(opt) if ours else sections.PluginOptions(train_set=_train_set(opt))
    stock, warnings = read_stock(opt if ours else with_sizes(opt))
    options = RunOptions(opt, ours, plugin, stock)
    options.warn(warnings)
    return options


def read_plugin_sections(opt: Mapping[str, Any]) -> sections.PluginOptions:
    """Check and read the plugin's sections of a run's options, for commands that need no more of them.

    Raises:
        OptionsError: A key is unknown, missing or of the wrong type.
    """
    _check_top_level(opt)
    train, path, quantize = opt["train"], opt["path"], opt["train"].get("quantize")
    student = read_student(_given(opt, "student"))
    samples = check_nested(
        sections.SamplesSection, "train.samples", _given(train, "samples"), augment=sections.AugmentSection
    )
    eco = check_section(sections.EcoSection, "train.eco", _given(train, "eco"))
    # reasons of their own for a run of ours: none of them needs a term
    own = (student.init != "random", student.reparameterize, samples.adds_inputs, quantize is not None, eco.end_iter)
    if not any(own):
        _require(train, "distill_opt", "train.", "It holds the distillation terms by name.")
    _check_cache_keys(opt)
    return sections.PluginOptions(
        network_t=read_network("network_t", opt["network_t"]) if opt.get("network_t") else {},
        run=check_section(
            sections.RunSection, "", {key: opt[key] for key in sections.RunSection.model_fields if key in opt}
        ),
        teacher=check_section(sections.TeacherSection, "teacher", _given(opt, "teacher")),
        teachers=read_teachers(opt),
        student=student,
        path=check_section(sections.PathSection, "path", _only(path, sections.PathSection)),
        train_set=_train_set(opt),
        terms=read_terms(train.get("distill_opt") or {}),
        amp=check_section(sections.AmpSection, "train.amp", _given(train, "amp")),
        quantize=None if quantize is None else check_section(sections.QuantizeSection, "train.quantize", quantize),
        samples=samples,
        eco=eco,
        history=check_section(sections.HistorySection, "train.history", _given(train, "history")),
        grad_norm_log=check_section(sections.GradNormLogSection, "train.grad_norm_log", _given(train, "grad_norm_log")),
        accumulation=check_section(sections.AccumulationSection, "train", _only(train, sections.AccumulationSection)),
        nonfinite=check_section(sections.NonfiniteSection, "train", _only(train, sections.NonfiniteSection)),
        resume=check_section(sections.ResumeSection, "train", _only(train, sections.ResumeSection)),
        checkpoints=check_section(sections.CheckpointsSection, "checkpoints", _given(opt, "checkpoints")),
        logger=check_section(sections.LoggerSection, "logger", _only(opt.get("logger"), sections.LoggerSection)),
    )


def _given(section: Mapping[str, Any], key: str) -> Any:
    """A subsection; one that is left out, or ~, is empty, and an empty value of another type is none."""
    value = section.get(key)
    return {} if value is None else value


def _only(section: Any, model: type[BaseModel]) -> dict[str, Any]:
    """A section's keys that a model has; none of what is no section, which is refused where BasicSR's are checked."""
    return {key: section[key] for key in model.model_fields if key in section} if isinstance(section, Mapping) else {}


def refuse_other_models(opt: Mapping[str, Any]) -> None:
    """Refuse options with sections of the plugin's that their model does not read.

    Raises:
        OptionsError: ``model_type`` is not one of the plugin's.
    """
    model_type = opt.get("model_type", MISSING)
    if model_type not in model_types():
        raise OptionsError(
            "model_type",
            model_type,
            "the options have distillation sections, which only DistillModel reads",
            f"Write model_type: {model_types()[0]}, or remove {names_of_ours(opt)}.",
        )


def _check_top_level(opt: Mapping[str, Any]) -> None:
    refuse_other_models(opt)
    if "network_t" in opt and not opt.get("teachers"):
        require_network_t(opt)
    _require(opt, "path", "", "It holds pretrain_network_t, the teacher's weights.")
    _require(opt, "train", "", "It holds distill_opt.")
    refuse_near_ours("", opt, TOP_KEYS)
    for section in ("train", "path"):
        refuse_near_ours(section, opt[section], own_keys(section))
    refuse_near_ours("datasets.train", _data_sets(opt).get("train", {}), tuple(sections.TrainSetSection.model_fields))


def names_of_ours(opt: Mapping[str, Any]) -> str:
    """Keys and types of the plugin's that the options have, for a message; empty if there are none."""
    train = opt.get("train")
    named = [key for key in TOP_KEYS if key in opt]
    named += [CACHE_DATASET] if any(is_cache(s) for s in _data_sets(opt).values()) else []
    return ", ".join(named + [f"train.{key}" for key in TRAIN_KEYS if isinstance(train, Mapping) and key in train])


def _require(section: Mapping[str, Any], key: str, where: str, purpose: str) -> None:
    value = section.get(key, MISSING)
    if value is MISSING or not value:
        near = nearest(key, [k for k in section if k != key], prefix="Is it there as")
        raise OptionsError(where + key, value, "DistillModel needs it", f"{purpose} {near if '?' in near else ''}")
    if not isinstance(value, Mapping):
        raise OptionsError(where + key, value, "a section of keys is expected", purpose)


def read_cache_section(section: Mapping[str, Any]) -> sections.CacheSection:
    """Check and read our key of ``datasets.train``, if it is a TeacherCacheDataset.

    Raises:
        OptionsError: It is missing, or other keys would make the cached images wrong.
    """
    where = "datasets.train"
    refuse_near_ours(where, section, tuple(sections.CacheSection.model_fields))
    for key in ("mean", "std"):
        if section.get(key) is not None:
            problem = "a cache holds the teacher's images for inputs that are not normalised"
            raise OptionsError(f"{where}.{key}", section[key], problem, f"Remove it, or {CACHE_DATASET}.")
    return check_section(sections.CacheSection, where, _only(section, sections.CacheSection))


def require_network_t(opt: Mapping[str, Any]) -> None:
    """Check that the options describe a teacher network, for whoever needs one.

    Raises:
        OptionsError: ``network_t`` is missing, empty or no section.
    """
    _require(opt, "network_t", "", "It describes the teacher, e.g. {type: EDSR, num_feat: 256, ...}.")


def reads_cache(opt: Mapping[str, Any]) -> bool:
    """Whether the training set reads the teacher's images from a cache."""
    return is_cache(_data_sets(opt).get("train", {}))


def _check_cache_keys(opt: Mapping[str, Any]) -> None:
    """Check the keys of a teacher cache, which are for a training set of its type alone."""
    for phase, section in _data_sets(opt).items():
        key = f"datasets.{phase}"
        cached = is_cache(section)
        if cached and phase != "train":
            problem = "a teacher cache is for training"
            raise OptionsError(f"{key}.type", CACHE_DATASET, problem, "Write PairedImageDataset.")
        if not cached and "dataroot_teacher" in section:
            problem, remedy = f"{section.get('type')} does not read it", f"Write type: {CACHE_DATASET}, or remove it."
            raise OptionsError(f"{key}.dataroot_teacher", section["dataroot_teacher"], problem, remedy)
    if reads_cache(opt):
        read_cache_section(_data_sets(opt)["train"])
