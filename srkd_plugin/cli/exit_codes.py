"""How the commands end."""

from __future__ import annotations

import sys
from typing import Callable

from srkd_plugin.errors import OptionsError, RegistrationError

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

MEANING = """\
exit codes:
  0    fine
  1    something that was measured is wrong, or a run failed
  2    bad input; one line on stderr names it, and nothing was changed
  75   a training run was asked to stop, saved, and can be resumed (--auto-resume)
  130  interrupted by Ctrl-C
"""


def run_command(command: Callable[[], int], on_interrupt: str = "the same command continues") -> int:
    """Run a command's work; an error in what the user gave becomes one line on stderr, and not a traceback.

    Args:
        command: Does the work; returns the exit code.
        on_interrupt: What to say after Ctrl-C; empty: nothing more than that it was interrupted.

    Returns:
        Its exit code; 2 after bad input, as argparse has it; 130 after Ctrl-C.
    """
    try:
        return command()
    except (OptionsError, FileNotFoundError, RegistrationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("; ".join(filter(None, ("interrupted", on_interrupt))), file=sys.stderr)
        return INTERRUPTED
