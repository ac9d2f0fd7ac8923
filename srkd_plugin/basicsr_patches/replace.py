"""Putting a function of ours in the place of one of BasicSR's."""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable

MARK = "_srkd_stock"
"""Attribute of a function of ours that holds the stock function in whose place it stands."""


def replace(owner: Any, name: str, change: Callable[..., Any]) -> None:
    """Let ``change(stock, *args)`` stand for ``owner.name``, also where BasicSR has already imported it by name."""
    stock = getattr(owner, name)
    if hasattr(stock, MARK):
        return

    @functools.wraps(stock)
    def changed(*args: Any, **kwargs: Any) -> Any:
        return change(stock, *args, **kwargs)

    setattr(changed, MARK, stock)
    setattr(owner, name, changed)
    for module_name, module in list(sys.modules.items()):
        of_basicsr = module_name.split(".")[0] == "basicsr" or module_name == "__main__"
        if of_basicsr and getattr(module, "__dict__", {}).get(name) is stock:
            setattr(module, name, changed)
