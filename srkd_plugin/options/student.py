"""Reading ``student``, and what its keys mean together."""

from __future__ import annotations

from typing import Any

from srkd_plugin.errors import OptionsError
from srkd_plugin.options.network_arguments import read_network
from srkd_plugin.options.network_sections import CutFromSection, StudentSection
from srkd_plugin.options.validate import check_nested


def read_student(section: Any) -> StudentSection:
    """Check and read ``student``.

    Args:
        section: Its content.

    Raises:
        OptionsError: A key is unknown, of the wrong type, or without the key that it belongs to.
    """
    student = check_nested(StudentSection, "student", section, cut_from=CutFromSection)
    other = student.cut_from
    if other is not None:
        read_network("student.cut_from.network_g", other.network_g)
        if (other.pretrain_network_g is None) != other.random_init:
            problem = (
                "the network is cut from its weights" if other.pretrain_network_g is None else "random_init is true"
            )
            remedy = "Give the path of its .pth file; or random_init: true, but not both."
            raise OptionsError("student.cut_from.pretrain_network_g", other.pretrain_network_g, problem, remedy)
    for key in ("by", "cut_from"):
        if student.init == "random" and section.get(key) is not None:
            problem = "it is of a student that is a slice, and this one starts with random weights"
            raise OptionsError(f"student.{key}", section[key], problem, "Write init: teacher_slice, or remove it.")
    return student
