"""How the scripts end."""

from __future__ import annotations

import argparse
import sys
from typing import Callable

from srkd_plugin.errors import OptionsError, RegistrationError

BAD_INPUT, INTERRUPTED = 2, 130


def run_command(command: Callable[[], int]) -> int:
    """Run a script's work; an error in what the user gave becomes one line on stderr, and not a traceback.

    Args:
        command: Does the work; returns the exit code.

    Returns:
        Its exit code; 2 after bad input, as argparse has it; 130 after Ctrl-C.
    """
    try:
        return command()
    except (OptionsError, FileNotFoundError, RegistrationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return INTERRUPTED


def positive_int(text: str) -> int:
    """Argparse type of an integer from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number
