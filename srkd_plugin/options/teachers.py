"""Reading ``teachers``, the section of several teachers, and the options of a run that has one of them alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional, Union

from srkd_plugin.errors import MISSING, InputError, OptionsError, nearest
from srkd_plugin.options.network_arguments import read_network
from srkd_plugin.options.network_sections import ListedTeacher
from srkd_plugin.options.terms import TERM_NAME
from srkd_plugin.options.validate import check_section

KEY = "teachers"
OF_PATH = ("pretrain_network_t", "param_key_t", "strict_load_t", "param_key_prefix_t")
"""Keys of a listed teacher that are those of ``path`` where there is one."""


def read_teachers(opt: Mapping[str, Any]) -> dict[str, ListedTeacher]:
    """Check and read ``teachers``, and what else the options say of a teacher, as far as the two contradict each other.

    Args:
        opt: The options.

    Returns:
        The teachers by name; none where the options have no such section.

    Raises:
        OptionsError: A name cannot be one, a teacher is described wrongly, or also elsewhere.
    """
    section = opt.get(KEY)
    if section is None:
        _refuse_keys_of_several(opt)
        return {}
    if not isinstance(section, Mapping) or not section:
        remedy = "Write e.g. edsr: {network_t: {...}, pretrain_network_t: FILE} under it."
        raise OptionsError(KEY, section, "a section of named teachers is expected", remedy)
    found = {}
    for name, values in section.items():
        key = f"{KEY}.{name}"
        if not TERM_NAME.fullmatch(str(name)):
            raise OptionsError(key, values, "a name has letters, digits, _ and - only", "Choose another name.")
        found[str(name)] = check_section(ListedTeacher, key, values)
        read_network(f"{key}.network_t", found[str(name)].network_t)
    _refuse_keys_of_one(opt)
    _check_weights(opt, found)
    _check_caches(opt, found)
    return found


def with_one_teacher(opt: Mapping[str, Any], name: str, teacher: ListedTeacher) -> dict[str, Any]:
    """Options of the same run with one of its teachers alone, live or cached.

    Args:
        opt: The options, with ``teachers``.
        name: The teacher's name.
        teacher: Its section.
    """
    given = {key: getattr(teacher, key) for key in OF_PATH if key in teacher.model_fields_set}
    path = {key: value for key, value in opt["path"].items() if key not in OF_PATH}
    teacher_section = {**(opt.get("teacher") or {}), "random_init": teacher.random_init}
    teacher_section.pop("combine", None)
    train = dict(_train_set(opt))
    cache = caches_of(opt).get(name)
    if "dataroot_teacher" in train:
        del train["dataroot_teacher"]
        train.update({"type": "PairedImageDataset"} if cache is None else {"dataroot_teacher": cache})
    return {
        **{key: value for key, value in opt.items() if key != KEY},
        "network_t": teacher.network_t,
        "teacher": teacher_section,
        "path": {**path, **given},
        "datasets": {**(opt.get("datasets") or {}), **({"train": train} if train else {})},
    }


def caches_of(opt: Mapping[str, Any]) -> Mapping[str, Union[str, list[str]]]:
    """The caches of several teachers by the teacher's name; those that are not in it run live."""
    caches = _train_set(opt).get("dataroot_teacher")
    return caches if isinstance(caches, Mapping) else {}


def _train_set(opt: Mapping[str, Any]) -> Mapping[str, Any]:
    datasets = opt.get("datasets")
    train = datasets.get("train") if isinstance(datasets, Mapping) else None
    return train if isinstance(train, Mapping) else {}


def choose_teacher(
    opt: Mapping[str, Any], teachers: Mapping[str, ListedTeacher], name: Optional[str]
) -> Mapping[str, Any]:
    """Options of the one teacher that a command works on.

    Args:
        opt: The options of a run with one teacher, or several.
        teachers: Several, as they were read; none of one.
        name: Which of several; None: there is one.

    Raises:
        InputError: There are several and none is named, or there is none of that name.
    """
    if not teachers:
        if name is not None:
            raise InputError("--teacher", name, "the options have no section teachers", "Remove it.")
        return opt
    if name is None:
        remedy = f"Name one of: {', '.join(teachers)}."
        raise InputError("--teacher", MISSING, "the options have several teachers", remedy)
    if name not in teachers:
        raise InputError("--teacher", name, "there is no such teacher", nearest(name, teachers))
    return with_one_teacher(opt, name, teachers[name])


def _refuse_keys_of_several(opt: Mapping[str, Any]) -> None:
    """Refuse what only several teachers have."""
    combine = (opt.get("teacher") or {}).get("combine") if isinstance(opt.get("teacher"), Mapping) else None
    if combine is not None:
        raise OptionsError("teacher.combine", combine, "there are no teachers to combine", f"Add {KEY}, or remove it.")
    caches = caches_of(opt)
    if caches:
        problem = "several caches are those of several teachers"
        raise OptionsError("datasets.train.dataroot_teacher", caches, problem, f"Add {KEY}, or name one cache.")


def _refuse_keys_of_one(opt: Mapping[str, Any]) -> None:
    """Refuse what describes a further teacher, beside those of the section."""
    network, file = opt.get("network_t"), opt["path"].get("pretrain_network_t")
    random_init = (opt.get("teacher") or {}).get("random_init")
    for key, value in (("network_t", network), ("path.pretrain_network_t", file), ("teacher.random_init", random_init)):
        if value:
            problem = f"{KEY} describes every teacher of the run"
            raise OptionsError(
                key, value, problem, f"Remove it, and write it to the teacher in {KEY}; or remove {KEY}."
            )


def _check_weights(opt: Mapping[str, Any], teachers: Mapping[str, ListedTeacher]) -> None:
    if (opt.get("teacher") or {}).get("combine") != "nearest_gt":
        return
    for name, teacher in teachers.items():
        if "weight" in teacher.model_fields_set:
            problem = "with teacher.combine: nearest_gt each pixel is one teacher's, and nothing is weighted"
            raise OptionsError(f"{KEY}.{name}.weight", teacher.weight, problem, "Remove it, or write combine: mean.")


def _check_caches(opt: Mapping[str, Any], teachers: Mapping[str, ListedTeacher]) -> None:
    key, caches = "datasets.train.dataroot_teacher", _train_set(opt).get("dataroot_teacher")
    if isinstance(caches, (str, list)):
        problem = f"{KEY} has {len(teachers)}, and each has a cache of its own"
        example = ", ".join(f"{name}: CACHE" for name in teachers)
        raise OptionsError(key, caches, problem, f"Write {{{example}}}; those that are left out run live.")
    for name in caches_of(opt):
        if name not in teachers:
            raise OptionsError(
                f"{key}.{name}", caches_of(opt)[name], f"{KEY} has no such teacher", nearest(name, teachers)
            )
