"""JSON schema of an options file, made of the models, from which editors complete keys and show their meaning.

Keys of ours are complete. Sections in which BasicSR or a fork may have more keys than are known here take any.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from srkd_plugin.options.reader import CACHE_DATASET
from srkd_plugin.options.reference import about_section, on_one_line
from srkd_plugin.options.sections import SECTIONS, CacheSection
from srkd_plugin.options.stock_sections import STOCK_SECTIONS, Run, Val
from srkd_plugin.options.terms import RESERVED_TERMS, TERM_NAME

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PATTERNS = {"<name>": ".", "datasets.val": "^(val|test)(_.*)?$"}
"""Parts of sections' paths, or whole paths, that stand for several keys, as regular expressions of these."""

Schema = dict[str, Any]


def json_schema() -> Schema:
    """JSON schema (draft 2020-12) of an options file for training or testing."""
    root = _section("A BasicSR options file, with the sections of srkd_plugin.", nullable=False)
    for path, model in (*STOCK_SECTIONS, *SECTIONS):
        _add(_at(root, path), model, path)
    root["required"] = ["name", "scale", "datasets", "network_g", "path"]
    root["if"] = {"required": ["train"]}
    root["then"] = {"required": _required(Run), "properties": {"val": {"required": _required(Val)}}}
    root["properties"]["val"].pop("required")
    terms = root["properties"]["train"]["properties"]["distill_opt"]
    terms["description"] = "Distillation terms, by the names under which they are logged."
    terms["propertyNames"] = {"pattern": f"^{TERM_NAME.pattern}$", "not": {"enum": list(RESERVED_TERMS)}}
    root["properties"]["teachers"]["description"] = "Several teachers in the place of network_t, by name."
    train_set = root["properties"]["datasets"]["properties"]["train"]
    train_set["required"] = [key for key in train_set["required"] if key not in CacheSection.model_fields]
    train_set["if"] = {"properties": {"type": {"const": CACHE_DATASET}}, "required": ["type"]}
    train_set["then"] = {"required": _required(CacheSection)}
    return {"$schema": DIALECT, "title": "BasicSR options with srkd_plugin", **root}


def _section(description: str, nullable: bool) -> Schema:
    return {"description": description, "type": ["object", "null"] if nullable else "object", "properties": {}}


def _at(root: Schema, path: str) -> Schema:
    """The schema of a section, which is made where there is none, or none but that of a field of its parent."""
    node, here = root, ""
    for part in path.split(".") if path else ():
        here = f"{here}.{part}" if here else part
        pattern = PATTERNS.get(here, PATTERNS.get(part))
        children = node.setdefault("patternProperties", {}) if pattern else node["properties"]
        name = pattern or part
        if "properties" not in children.get(name, {}):
            field = children.get(name, {})
            nullable = not pattern and name not in node.get("required", ()) and here != "datasets.train"
            children[name] = _section(field.get("description", ""), nullable)
        node = children[name]
    return node


def _add(node: Schema, model: type[BaseModel], path: str) -> None:
    """Add a model's fields to the schema of its section."""
    found = model.model_json_schema()
    for name, field in model.model_fields.items():
        if not field.exclude and "$ref" not in str(found["properties"][name]):  # a section has a path of its own
            node["properties"].setdefault(name, _plain(found["properties"][name]))
    if not node["description"]:
        node["description"] = about_section(model, path)
    node["required"] = [*node.get("required", ()), *_required(model)]
    is_closed = found.get("additionalProperties") is False and node.get("additionalProperties", False) is False
    node["additionalProperties"] = not is_closed


def _required(model: type[BaseModel]) -> list[str]:
    return [name for name, field in model.model_fields.items() if field.is_required()]


def _plain(field: Schema) -> Schema:
    """A field's schema without the title, which repeats its name, and without a default that says that it is absent."""
    kept = {key: value for key, value in field.items() if key != "title" and (key, value) != ("default", None)}
    if "description" in kept:
        kept["description"] = on_one_line(kept["description"])
    return kept
