"""Names under which BasicSR's registries have the classes of the plugin."""

from __future__ import annotations

MODEL_TYPES = ("DistillModel",)
"""The plugin's models."""

SUFFIX = "srkd"
"""What follows the name of a class of ours where somebody else has registered one of the same name."""

TAKEN: set[str] = set()
"""Names of ours that somebody else has in this process; whoever changes BasicSR's registration adds to them."""


def registered_name(name: str) -> str:
    """The name that a class of ours is registered under: its own, or with the suffix where that is taken."""
    return f"{name}_{SUFFIX}" if name in TAKEN else name


def model_types() -> tuple[str, ...]:
    """The names that the plugin's models are registered under."""
    return tuple(map(registered_name, MODEL_TYPES))
