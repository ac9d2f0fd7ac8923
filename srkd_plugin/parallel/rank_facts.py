"""Facts about which the ranks of a distributed run must agree, and errors that one of them has found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional

from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.parallel import ranks


def told_by_all(facts: Mapping[str, Any], error: Optional[OptionsError], label: str) -> list[dict[str, Any]]:
    """What every rank has found, by rank, as JSON gives it back; with its error under ``error``.

    Args:
        facts: Sections of facts by name.
        error: What this rank has found wrong; the others are told.
        label: What it is about, for the error.

    Raises:
        TimeoutError: A rank said nothing.
    """
    told = {**facts, "error": error and _parts(error)}
    return [json.loads(text) for text in ranks.exchange(json.dumps(told, default=str), label)]


def _parts(error: OptionsError) -> dict[str, Any]:
    value = {} if error.value is MISSING else {"value": str(error.value)}
    return {"key": error.key, "problem": error.problem, "remedy": error.remedy, **value}


def raise_first_error(by_rank: list[dict[str, Any]], own: Optional[OptionsError]) -> None:
    """Raise this rank's own error, or else the first of another.

    Raises:
        OptionsError: There is one.
    """
    if own:
        raise own
    for rank, told in enumerate(by_rank):
        if told["error"]:
            parts = told["error"]
            value, problem = parts.get("value", MISSING), f"{parts['problem']} (on rank {rank})"
            raise OptionsError(parts["key"], value, problem, parts["remedy"])


def refuse_differences(what: str, by_rank: list[dict[str, Any]], remedy: str) -> None:
    """Refuse the first key in which a rank differs from rank 0.

    Args:
        what: The section of facts.
        by_rank: What :func:`told_by_all` returned.
        remedy: Remedy that the error names.

    Raises:
        OptionsError: They differ; on every rank.
    """
    first = by_rank[0][what]
    for rank, told in enumerate(by_rank):
        for key in (*first, *told[what]):
            values = first.get(key, "(nothing)"), told[what].get(key, "(nothing)")
            if json.dumps(values[0]) != json.dumps(values[1]):  # not by ==: NaN equals NaN here
                shown = {"rank 0": values[0], f"rank {rank}": values[1]}
                raise OptionsError(key, shown, f"the ranks differ in their {what}", remedy)
