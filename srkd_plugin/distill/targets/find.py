"""The choice of a run's source of targets by its options."""

from __future__ import annotations

import importlib
import pkgutil

from srkd_plugin.distill import targets
from srkd_plugin.distill.targets.live import LiveTeacher
from srkd_plugin.distill.targets.no_teacher import NoTeacher
from srkd_plugin.distill.targets.source import SOURCES, TargetSource
from srkd_plugin.errors import OptionsError
from srkd_plugin.options.run_options import RunOptions

for _module in pkgutil.iter_modules(targets.__path__):  # each registers its sources
    importlib.import_module(f"{targets.__name__}.{_module.name}")


def find_source(options: RunOptions) -> TargetSource:
    """The source that a run's options ask for, not built; where they ask for none, a live teacher, or no teacher.

    Raises:
        OptionsError: They ask for several, or the source's section is wrong.
    """
    asked_for = [cls for cls in SOURCES if cls.is_asked_for(options.raw)]
    if len(asked_for) > 1:
        first, second = asked_for[0].key, asked_for[1].key
        problem = f"the teacher's images come from {asked_for[0].__name__}, which {first} asks for"
        raise OptionsError(second, "...", problem, f"Remove {first} or {second}.")
    otherwise = NoTeacher if NoTeacher.fits(options) else LiveTeacher
    return (asked_for[0] if asked_for else otherwise)(options)
