"""What a table's trainings have in common: scale, networks, data and budget, as its page says them in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from srkd_plugin.tables.plan import Run
from srkd_plugin.tables.table_sections import TEACHER

SHOWN = 3
"""Different values of a fact that are written out."""
NOT_SIZE = frozenset({"num_in_ch", "num_out_ch", "upscale", "scale", "res_scale"})
"""Whole numbers among a network's options that do not say how large it is."""

Json = Mapping[str, Any]


def setting(runs: Sequence[Run]) -> dict[str, str]:
    """Facts about the trainings of a table's students, by name; what rows have otherwise is said with their number.

    Args:
        runs: The runs that the table asks for.

    Returns:
        Text by fact; facts that no training names are left out.
    """
    first: dict[str, Json] = {}
    for run in runs:
        if run.train is not None:
            first.setdefault(run.method, run.train)
    teachers = [describe_network(one["network_t"]) for one in first.values() if one.get("network_t")]
    trained = first.pop(TEACHER, None)
    if trained is not None:
        teachers.insert(0, describe_network(trained["network_g"]))
    students = list(first.values())
    facts: dict[str, Sequence[Optional[str]]] = {
        "scale": [f"x{one['scale']}" for one in students if "scale" in one],
        "student": [describe_network(one["network_g"]) for one in students if one.get("network_g")],
        "teacher": list(dict.fromkeys(teachers)),
        "training images": [_images(one) for one in students],
        "batch": [_batch(one) for one in students],
        "iterations": [f"{one['train']['total_iter']:,}" for one in students if "total_iter" in one.get("train", {})],
    }
    counted = {name: _counted(values, is_of_rows=name != "teacher") for name, values in facts.items()}
    return {name: text for name, text in counted.items() if text}


def describe_network(network: Json) -> str:
    """Type of a network and its options that are whole numbers, without those of its images.

    Example:
        >>> describe_network({"type": "EDSR", "num_in_ch": 3, "num_feat": 16, "num_block": 4, "res_scale": 1.0})
        'EDSR, num_feat 16, num_block 4'
    """
    sizes = [f"{key} {value}" for key, value in network.items() if type(value) is int and key not in NOT_SIZE]
    return ", ".join([str(network.get("type", "?")), *sizes])


def _images(options: Json) -> Optional[str]:
    data = options.get("datasets", {}).get("train", {})
    return " in ".join(str(data[key]) for key in ("name", "dataroot_gt") if data.get(key)) or None


def _batch(options: Json) -> Optional[str]:
    data = options.get("datasets", {}).get("train", {})
    if "batch_size_per_gpu" not in data:
        return None
    crop = f" crops of {data['gt_size']}x{data['gt_size']} HR pixels" if "gt_size" in data else " images"
    return f"{data['batch_size_per_gpu']}{crop} per process"


def _counted(values: Sequence[Optional[str]], is_of_rows: bool) -> str:
    """The values, the most frequent first, with how many rows have each of the others."""
    counts = Counter(value for value in values if value is not None).most_common()
    if not counts:
        return ""
    others = [
        f"{value} ({count} {'row' if count == 1 else 'rows'})" if is_of_rows else value for value, count in counts[1:]
    ]
    more = [f"{len(others) - SHOWN + 1} others"] if len(others) >= SHOWN else []
    return "; ".join([counts[0][0], *others[: SHOWN - 1], *more])
