"""BasicSR's registries yield: a name of ours that somebody else registers is theirs, and ours gets a suffix.

Stock's registries refuse the second class of a name. Whether that is ours or theirs depends on what is imported first,
and would end a run that has nothing to do with us.
"""

from __future__ import annotations

from typing import Any, Callable

from srkd_plugin.options.registered_names import TAKEN, registered_name


def do_register(stock: Callable[..., None], registry: Any, name: str, obj: Any, suffix: Any = None) -> None:
    """Stand-in for ``Registry._do_register``; the second of two names of ours, or of others, is refused as by stock.

    Args:
        stock: BasicSR's.
        registry: The registry.
        name: The name.
        obj: What is registered under it.
        suffix: As in BasicSR 1.4; 1.3 has none.
    """
    name = f"{name}_{suffix}" if isinstance(suffix, str) else name
    holder = dict(iter(registry)).get(name)
    if holder is None or is_ours(holder) == is_ours(obj):
        return stock(registry, name, obj)
    TAKEN.add(name)
    if is_ours(obj):
        return stock(registry, registered_name(name), obj)
    del registry._obj_map[name]  # there is no public way to take a name back
    stock(registry, registered_name(name), holder)
    return stock(registry, name, obj)


def is_ours(obj: Any) -> bool:
    """Whether a class or function is one of the plugin's."""
    return getattr(obj, "__module__", "").startswith("srkd_plugin.")
