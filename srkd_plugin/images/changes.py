"""What became of images from which something was made before: which are unchanged, and which must be made again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Optional

from srkd_plugin.images.listing import named


class Changes(NamedTuple):
    """Keys of images, by what became of them."""

    kept: list[str]
    """There and unchanged: what was made of them is used."""
    changed: list[str]
    removed: list[str]
    """Gone: what was made of them is dropped."""
    added: list[str]

    @property
    def some(self) -> bool:
        """Whether anything is not as it was."""
        return bool(self.changed or self.removed or self.added)

    @property
    def another_set(self) -> Optional[str]:
        """What tells these images from those of before, if most of those are gone or changed; otherwise None.

        A mistaken path must not cost the work of hours, as it would if what is not there were always dropped.
        """
        before = len(self.kept) + len(self.changed) + len(self.removed)
        if 2 * len(self.kept) >= before:
            return None
        return f"of {before} images that it was made from, {len(self.kept)} are unchanged here"

    def describe(self) -> str:
        """A line for people."""
        kinds = (
            ("changed, which are made again", self.changed),
            ("added", self.added),
            ("removed, which are dropped", self.removed),
        )
        found = [f"{len(keys)} {kind} ({named(keys)})" for kind, keys in kinds if keys]
        return f"{', '.join(found)}; {len(self.kept)} made before are unchanged and kept"


def compare(before: Iterable[str], now: Iterable[str], changed: Iterable[str], finished: bool) -> Changes:
    """Compare images with those of before.

    Args:
        before: Keys of the images of which something was made.
        now: Keys of the images that are there.
        changed: Those of both that are not the same image.
        finished: Whether something had been made of all images: only then what is new has been added since.
    """
    before, now, changed = dict.fromkeys(before), dict.fromkeys(now), dict.fromkeys(changed)
    return Changes(
        kept=[key for key in before if key in now and key not in changed],
        changed=[key for key in before if key in changed],
        removed=[key for key in before if key not in now],
        added=[key for key in now if key not in before] if finished else [],
    )
