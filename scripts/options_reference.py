#!/usr/bin/env python
"""Write the tables of docs/options.md, and options/srkd.schema.json, from the code that reads the options."""

from __future__ import annotations

import json
from pathlib import Path

from srkd_plugin import registration  # noqa: F401  (first: it registers the losses)
from srkd_plugin.options import reference
from srkd_plugin.options.schema import json_schema

PROJECT = Path(__file__).resolve().parent.parent
DOCUMENT = PROJECT / "docs/options.md"
SCHEMA = PROJECT / "options/srkd.schema.json"


def document(text: str) -> str:
    """The document with the tables in their place."""
    from basicsr.utils.registry import LOSS_REGISTRY

    return reference.document(
        text, {name: loss for name, loss in LOSS_REGISTRY if loss.__module__.startswith("srkd_plugin.")}
    )


def schema() -> str:
    """The JSON schema's file."""
    return json.dumps(json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text("utf-8")), "utf-8")
    SCHEMA.write_text(schema(), "utf-8")
