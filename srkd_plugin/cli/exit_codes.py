"""How the commands end."""

from __future__ import annotations

import os
import select
import sys
from typing import Callable

from srkd_plugin.errors import OptionsError, RegistrationError

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

MEANING = """\
exit codes:
  0    fine
  1    something that was measured is wrong, or a run failed
  2    bad input; one line on stderr names it, and nothing was changed, or it says what is done and kept
  75   a training run was asked to stop, saved, and can be resumed (--auto-resume)
  130  interrupted by Ctrl-C
"""


def run_command(command: Callable[[], int], on_interrupt: str = "the same command continues") -> int:
    """Run a command's work; an error in what the user gave becomes one line on stderr, and not a traceback.

    Args:
        command: Does the work; returns the exit code.
        on_interrupt: What to say after Ctrl-C; empty: nothing more than that it was interrupted.

    Returns:
        Its exit code; 2 after bad input, as argparse has it; 130 after Ctrl-C; 1 if whoever read the output has gone.
    """
    try:
        code = command()
        sys.stdout.flush()  # the pipe may be at its end, as in `srkd options list | head -1`
        return code
    except (OptionsError, FileNotFoundError, RegistrationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        if not _output_is_gone():
            raise  # another pipe, e.g. that of a worker
        return FAILED
    except OSError as error:  # a path that cannot be: below a file, too long, not allowed
        print(f"error: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("; ".join(filter(None, ("interrupted", on_interrupt))), file=sys.stderr)
        return INTERRUPTED


def _output_is_gone() -> bool:
    """Whether nobody reads stdout any more; then it is put aside, so that Python's last flush does not fail, too."""
    if not hasattr(select, "poll"):  # Windows
        return False
    stdout = select.poll()
    stdout.register(sys.stdout.fileno(), select.POLLERR)
    gone = bool(stdout.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone
