"""Reading the named terms of ``train.distill_opt``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from srkd_plugin.errors import OptionsError
from srkd_plugin.options.term_sections import TERM_PARTS, TermSection
from srkd_plugin.options.validate import check_section

RESERVED_TERMS = ("pix", "percep", "style")
"""Names under which SRModel logs its own losses (``l_pix`` ...)."""

TERM_NAME = re.compile(r"[A-Za-z0-9_-]+")


def read_terms(section: Mapping[str, Any]) -> dict[str, TermSection]:
    """Check and read ``train.distill_opt``.

    Args:
        section: Its content: terms by name.

    Raises:
        OptionsError: A name cannot be one, or a term is not a section that holds what a term may have.
    """
    terms = {}
    for name, term in section.items():
        key = f"train.distill_opt.{name}"
        if not TERM_NAME.fullmatch(str(name)):
            raise OptionsError(key, term, "a name has letters, digits, _ and - only", "Choose another name.")
        if name in RESERVED_TERMS:
            raise OptionsError(key, term, f"l_{name} is the log name of a loss of SRModel", "Choose another name.")
        if not isinstance(term, Mapping):
            raise OptionsError(
                key,
                term,
                "a named term is expected, a section with a type",
                "Write e.g. contrastive: {type: ContrastiveLoss, loss_weight: 10.0} under train.distill_opt.",
            )
        nested = {
            part: check_section(model, f"{key}.{part}", term[part])
            for part, model in TERM_PARTS.items()
            if part in term
        }
        if "balance" in nested and term.get("loss_weight", 1.0) != 1.0:
            problem = "balance sets the weight"
            raise OptionsError(
                f"{key}.loss_weight",
                term["loss_weight"],
                problem,
                "Remove loss_weight, or balance.",
            )
        terms[str(name)] = check_section(TermSection, key, {**term, **nested})
    return terms
