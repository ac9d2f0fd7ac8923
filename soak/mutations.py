"""Seeded mutations of options files: what a tired, hurried or hostile hand makes of one, as text."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Union

import yaml

HUGE = (10**9, 10**20, 1e30, 1e300, -(10**9), 10**6)
OF_ANOTHER_TYPE: tuple[Any, ...] = (3, 0, 1.5, True, "x", "", [], [1, 2], {}, {"a": 1}, None)
TEXTS = ("ünïcödé", "模型", "a" * 300, "../../x", "a\nb", "\x1b[31m", "%s{}{0}", " ", "1e-4", "~/x")
RAW = (
    "2020-13-45",
    "2020-01-01",
    "!!float 1e-4x",
    "!!int",
    "!!python/object/apply:os.getcwd []",
    "!!binary abc=",
    "!!set {a, b}",
    "!unknown x",
    "&a [*a]",
    "*nowhere",
    "&m {<<: {type: x}, y: 1}",
    "[&b [1, 1, 1], [*b, *b, *b]]",
    "1" + 5000 * "0",
    "0x" + 40 * "f",
    ".nan",
    "-.inf",
    "12:30:45",
    "yes",
    "{{}}",
)
"""Values that are written as they are."""

Place = tuple[Union[str, int], ...]


class Mutant(NamedTuple):
    """A mutated file.

    Attributes:
        text: The file.
        done: What was done to it, for the report.
    """

    text: str
    done: str


def mutate(content: dict[str, Any], rng: random.Random) -> Mutant:
    """Do one to three things to a file.

    Args:
        content: The file; stays as it is.
        rng: Where the mutations come from: the same state gives the same mutant.
    """
    content, raw, done = copy.deepcopy(content), {}, []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        place = rng.choice(list(_places(content)))
        name, kind = rng.choice(KINDS)
        parent = _at(content, place[:-1])
        kind(parent, place[-1], rng, raw)
        done.append(f"{name} {'.'.join(map(str, place))}")
        if not content:
            break
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    for mark, written in raw.items():
        text = text.replace(mark, written)
    if rng.random() < 0.02:
        text, extra = _broken(text, rng)
        done.append(extra)
    return Mutant(text, ", ".join(done))


def _places(content: Any, above: Place = ()) -> Iterator[Place]:
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for name, value in items:
        yield (*above, name)
        if isinstance(value, (dict, list)):
            yield from _places(value, (*above, name))


def _at(content: Any, place: Place) -> Any:
    for name in place:
        content = content[name]
    return content


def _delete(parent: Any, name: Any, rng: random.Random, raw: dict[str, str]) -> None:
    del parent[name]


def _rename(parent: Any, name: Any, rng: random.Random, raw: dict[str, str]) -> None:
    letters = list(str(name))
    i = rng.randrange(len(letters))
    letters[i] = rng.choice(("", "x", letters[i] * 2))
    _put_as(parent, name, rng.choice(("".join(letters), "", 3, None, 1.5)) if rng.random() < 0.2 else "".join(letters))


def _swap_case(parent: Any, name: Any, rng: random.Random, raw: dict[str, str]) -> None:
    if isinstance(parent[name], str) and rng.random() < 0.7:
        parent[name] = parent[name].swapcase()
    else:
        _put_as(parent, name, str(name).swapcase())


def _put_as(parent: Any, name: Any, other: Any) -> None:
    if isinstance(parent, dict):
        parent[other] = parent.pop(name)
    else:
        parent.append(parent[name])


def _wrap(parent: Any, name: Any, rng: random.Random, raw: dict[str, str]) -> None:
    parent[name] = rng.choice(([parent[name]], {name: parent[name]}, {"type": parent[name]}, str(parent[name])))


def _another_type(parent: Any, name: Any, rng: random.Random, raw: dict[str, str]) -> None:
    parent[name] = copy.deepcopy(rng.choice(OF_ANOTHER_TYPE))


def _huge(parent: Any, name: Any, rng: random.Random, raw: dict[str, str]) -> None:
    parent[name] = rng.choice(HUGE)


def _negative(parent: Any, name: Any, rng: random.Random, raw: dict[str, str]) -> None:
    value = parent[name]
    parent[name] = -value if isinstance(value, (int, float)) and value else rng.choice((-1, -0.5, -1000))


def _scaled(parent: Any, name: Any, rng: random.Random, raw: dict[str, str]) -> None:
    value = parent[name]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    parent[name] = value * rng.choice((0, 2, 10, 0.5, 1000)) if is_number else rng.choice((0, 1, 2))


def _text(parent: Any, name: Any, rng: random.Random, raw: dict[str, str]) -> None:
    parent[name] = rng.choice(TEXTS)


def _written(parent: Any, name: Any, rng: random.Random, raw: dict[str, str]) -> None:
    mark = f"written{len(raw)}here"
    parent[name], raw[mark] = mark, rng.choice(RAW)


def _broken(text: str, rng: random.Random) -> tuple[str, str]:
    """A file that was cut off, or indented by a tab, or has a line twice, or another name for its encoding."""
    lines = text.splitlines()
    i = rng.randrange(len(lines))
    what = rng.choice(("cut off", "tab", "line twice", "empty", "byte order mark"))
    broken = {
        "cut off": text[: len(text) // 2],
        "tab": "\n".join([*lines[:i], "\t" + lines[i], *lines[i + 1 :]]),
        "line twice": "\n".join([*lines[:i], lines[i], *lines[i:]]),
        "empty": "",
        "byte order mark": "\ufeff" + text,
    }
    return broken[what], what


Kind = Callable[[Any, Any, random.Random, dict[str, str]], None]
KINDS: tuple[tuple[str, Kind], ...] = (
    ("delete", _delete),
    ("rename", _rename),
    ("swap case of", _swap_case),
    ("wrap", _wrap),
    ("another type for", _another_type),
    ("huge", _huge),
    ("negative", _negative),
    ("scale", _scaled),
    ("text for", _text),
    ("written value for", _written),
)
