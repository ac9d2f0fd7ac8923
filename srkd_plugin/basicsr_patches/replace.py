"""Putting a function of ours in the place of one of BasicSR's."""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable

MARK = "_srkd_stock"
"""Attribute of a function of ours that holds the stock function in whose place it stands."""


def replace(owner: Any, name: str, change: Callable[..., Any]) -> None:
    """Let ``change(stock, *args)`` stand for ``owner.name``, also in every module that has imported it by that name.

    Idempotent. What a BasicSR does not have is left out: :mod:`~srkd_plugin.basicsr_patches.assumptions` tells of it.
    """
    stock = getattr(owner, name, None)
    if stock is None or hasattr(stock, MARK):
        return

    @functools.wraps(stock)
    def changed(*args: Any, **kwargs: Any) -> Any:
        return change(stock, *args, **kwargs)

    setattr(changed, MARK, stock)
    setattr(owner, name, changed)
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get(name) is stock:
            setattr(module, name, changed)
