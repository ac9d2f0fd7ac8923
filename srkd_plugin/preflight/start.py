"""The last look before BasicSR moves or makes a folder for a run of ours, after which the folder is this process's."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from srkd_plugin.errors import OptionsError
from srkd_plugin.parallel.rank_facts import raise_first_error, told_by_all
from srkd_plugin.preflight.on_all_ranks import check_on_all_ranks
from srkd_plugin.preflight.run_checks import check
from srkd_plugin.preflight.testing import check_test
from srkd_plugin.utils.owner import own_until_exit


def check_start(opt: Mapping[str, Any]) -> None:
    """Check a training or a test that is about to begin, and own its folder until this process ends.

    Args:
        opt: The options as BasicSR's ``parse_options`` returns them.

    Raises:
        OptionsError: The first thing that is wrong; also that another process writes there. On every rank.
        TimeoutError: A rank did not come here.
    """
    _refuse_forgotten_launcher(opt)
    if opt["is_train"]:
        _say(check_on_all_ranks(check, opt).warnings, opt["rank"])
    else:
        _say(check_test(opt, of_ours=True)[1], opt["rank"])
    _own_folder(opt)


def _say(warnings: list[str], rank: int) -> None:
    """Print a warning; the logger is the trainer's, as whoever asks for it first decides whether it has a file."""
    for warning in warnings if rank == 0 else ():
        print(f"srkd_plugin: warning: {warning}", file=sys.stderr, flush=True)


def _refuse_forgotten_launcher(opt: Mapping[str, Any]) -> None:
    """Refuse to be one of several processes that do not know of each other.

    Raises:
        OptionsError: torchrun has started several, and BasicSR was not told.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if not opt["dist"] and count.isdigit() and int(count) > 1:
        problem = f"torchrun has started {count} processes, and each of them would do the whole run"
        raise OptionsError("--launcher", "none", problem, "Add --launcher pytorch, or start one process.")


def _own_folder(opt: Mapping[str, Any]) -> None:
    """Own what BasicSR will archive and write to; rank 0 does, as the others write nothing.

    Without an owner, the second start of a run would rename the folder into which the first writes, and the first would
    go on in the second's.
    """
    error: Optional[OptionsError] = None
    if opt["rank"] == 0:
        try:
            own_until_exit("name", Path(opt["path"]["experiments_root" if opt["is_train"] else "results_root"]))
        except OptionsError as found:
            error = found
    raise_first_error(told_by_all({}, error, "owner"), error)
