"""The errors that the plugin raises for what a user wrote, and for a BasicSR that it cannot work with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

MISSING = object()
"""Stands for the value of a key that is not there."""


class OptionsError(ValueError):
    """An options file asks for something that cannot be.

    Its text is one line that names the key, the value and the remedy. It is raised before anything on disk is touched.

    Args:
        key: Path of the key, e.g. ``train.distill_opt.contrastive.similarity``.
        value: The offending value, or :data:`MISSING` where the key is not there.
        problem: What is wrong with it.
        remedy: What to write instead.
    """

    def __init__(self, key: str, value: Any, problem: str, remedy: str) -> None:
        self.key, self.value, self.problem, self.remedy = key, value, problem, remedy
        shown = "is missing" if value is MISSING else f"= {_short(value)}"
        text = f"{key} {shown}: {problem}. {remedy}"
        super().__init__(printable(text))


class InputError(OptionsError):
    """A file, folder or argument given to one of the commands is not what the command needs.

    Its text is one line that names the option or file, the value and the remedy.
    """

    def with_more(self, text: str) -> InputError:
        """The same error, with a further sentence behind the remedy."""
        return type(self)(self.key, self.value, self.problem, f"{self.remedy} {text}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep all parts when the error is sent from a worker process; exceptions keep their text only."""
        return type(self), (self.key, self.value, self.problem, self.remedy)


class RegistrationError(ImportError):
    """The plugin could not register; BasicSR's registries are as they were before. Its text is one line."""


def printable(text: str) -> str:
    """Text on one line that cannot steer a terminal: characters that do not print, e.g. of files of others, become ?.

    Example:
        >>> printable("a  b\\nc\\x1b[2Jd")
        'a b c?[2Jd'
    """
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def nearest(
    name: Any, known: Iterable[str], prefix: str = "Did you mean", least: float = 0.6, or_all: bool = True
) -> str:
    """A sentence with the known name nearest to ``name`` (or names, on a tie), or with all of them if none is near.

    Args:
        name: What was written.
        known: What could have been meant.
        prefix: How the sentence begins.
        least: Likeness that is near, 0 to 1.
        or_all: Whether all are named if none is near; otherwise the sentence is empty then.

    Example:
        >>> nearest("precison", ["precision", "compile"])
        "Did you mean 'precision'?"
        >>> nearest("PRECISION", ["precision", "compile"])
        "Did you mean 'precision'?"
        >>> nearest("foo", ["precision", "compile"])
        'Known: compile, precision.'
    """
    known = sorted(set(known))
    likeness = {word: difflib.SequenceMatcher(None, str(name).lower(), word.lower()).ratio() for word in known}
    best = max(likeness.values(), default=0.0)
    if best >= least:
        return f"{prefix} {' or '.join(repr(word) for word in known if likeness[word] == best)}?"
    return f"Known: {', '.join(known)}." if known and or_all else ""


def _short(value: Any, limit: int = 120) -> str:
    text = repr(dict(value) if isinstance(value, dict) else value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
