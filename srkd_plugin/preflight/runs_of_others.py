"""Runs that are not the plugin's, and whose options nevertheless look as if they were meant to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from basicsr.utils.registry import MODEL_REGISTRY

from srkd_plugin.errors import OptionsError, nearest
from srkd_plugin.options import reader
from srkd_plugin.options.registered_names import TAKEN, model_types, registered_name

STOCK_MODELS = ("SRModel", "SRGANModel", "ESRGANModel", "RealESRNetModel", "RealESRGANModel", "SwinIRModel")
"""Models that BasicSR brings for images; of any other it is not known which sections it reads."""


def unread_sections(opt: Mapping[str, Any]) -> Optional[str]:
    """A line about sections that look like the plugin's in a run that is not; None where there is nothing to say.

    Args:
        opt: The options; :func:`srkd_plugin.options.reader.is_ours` is False of them.

    Raises:
        OptionsError: ``model_type`` is a misspelt name of the plugin's, which no model is registered under.
    """
    named, model_type = reader.names_of_ours(opt), opt.get("model_type")
    if not named or not isinstance(model_type, str):
        return None
    if model_type in STOCK_MODELS:
        return (
            f"model_type: {model_type} is BasicSR's; the plugin leaves {named} alone. "
            f"To distil, write model_type: {model_types()[0]}."
        )
    if model_type in TAKEN:
        return (
            f"model_type: {model_type} is that of {dict(iter(MODEL_REGISTRY))[model_type].__module__}, whose name it "
            f"is in this process; the plugin leaves {named} alone. Its own is {registered_name(model_type)}."
        )
    hint = nearest(model_type, model_types())
    if "?" in hint and model_type not in MODEL_REGISTRY:
        raise OptionsError("model_type", model_type, "no model is registered under this name", hint)
    return None
