"""State dicts from files, and whether they fit a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

from basicsr.utils import get_root_logger
from torch import Tensor, nn

from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.options import reader
from srkd_plugin.utils.weights import (
    first_nonfinite,
    is_state_dict,
    load_weights_file,
    without_prefix,
    without_wrappers,
)

OFFICIAL_EDSR = {"head.0.weight", "body.0.body.0.weight"}
"""Entries by which EDSR's official files are known."""
KNOWN_KEYS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net")
"""Keys under which files of several projects have their weights, the better of two first."""


class WeightsFile(NamedTuple):
    """A weights file as a run's options name it."""

    role: str
    """Last letter of its keys: ``t`` for the teacher, ``g`` for the student."""
    file: str
    param_key: Optional[str]
    """Key of the state dict in the file; None where the file is the state dict."""
    fallback_key: Optional[str] = None
    """Key that is taken where the file does not have ``param_key``."""
    strict: bool = True
    """Refuse weights that do not fit the network exactly; otherwise those that fit are loaded."""
    trust: bool = False
    """See :func:`~srkd_plugin.utils.weights.load_weights_file`."""
    prefix: str = ""
    """What the names of the network's entries begin with in the file, e.g. ``net.``; other entries are left out."""
    search: bool = False
    """Instead of ``param_key``: take a bare state dict, or the first of :data:`KNOWN_KEYS` that the file has."""

    flags: Mapping[str, str] = MappingProxyType({})
    """What a command's flags are called where they name the file and the key: ``file`` and ``param_key``."""

    @property
    def key(self) -> str:
        """What names the file: a key of the options, or a flag."""
        return self.flags.get("file", f"path.pretrain_network_{self.role}")

    def read(self) -> dict[str, Tensor]:
        """The state dict, without the prefixes that wrappers leave, and without :attr:`prefix`.

        Raises:
            OptionsError: The file is not there, not readable or not trusted, has no such key, or holds NaN or infinity.
        """
        content = load_weights_file(self.key, self.file, self.trust)
        weights = self._find_weights(content)
        if not is_state_dict(weights):
            key = self.flags.get("param_key", f"path.param_key_{self.role}")
            value = MISSING if self.search else self.param_key
            problem = f"{self.file} has no weights under this key"
            raise OptionsError(key, value, problem, _keys_found(content, key))
        weights = without_prefix(without_wrappers(weights), self.prefix)
        bad = first_nonfinite(weights)
        if bad is not None:
            problem = f"{bad} has values that are NaN or infinite"
            raise OptionsError(self.key, self.file, problem, "Name a checkpoint from before the training broke.")
        return weights

    def _find_weights(self, content: Any) -> Any:
        """The state dict in a file's content, or what is there in its place."""
        if is_state_dict(content) and (self.search or Path(self.file).suffix == ".safetensors"):
            return content  # it holds one state dict, under no key
        sections = content if isinstance(content, Mapping) else {}
        if self.search:
            return next((sections[key] for key in KNOWN_KEYS if is_state_dict(sections.get(key))), MISSING)
        if self.param_key is None:
            return content
        return sections.get(self.param_key, sections.get(self.fallback_key, MISSING))

    def load_into(self, net: nn.Module) -> None:
        """Read the weights and load them.

        Raises:
            OptionsError: As :meth:`read`; or they do not fit.
        """
        weights, expected = self.read(), net.state_dict()
        fitting = {k: v for k, v in weights.items() if k in expected and v.shape == expected[k].shape}
        if fitting.keys() == expected.keys() == weights.keys():
            net.load_state_dict(fitting)
            return
        difference = _describe_difference(expected, weights)
        if self.strict or not fitting:
            problem = f"the weights do not fit network_{self.role}: {difference}"
            raise OptionsError(self.key, self.file, problem, self._remedy(expected, weights))
        name = {"t": "teacher", "g": "student"}.get(self.role, self.role)
        get_root_logger().warning(f"strict_load_{self.role} is false; the {name} is loaded in part only: {difference}")
        net.load_state_dict(fitting, strict=False)

    def _remedy(self, expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
        if weights.keys() >= OFFICIAL_EDSR:
            return f"This is EDSR's official format: srkd teacher convert {self.file} --out {Path(self.file).stem}.pth"
        if any(name.endswith(".weight_scale") for name in weights):
            return (
                f"This is a student in INT8: write network_{self.role}: {{type: Int8Student, network: {{type: ...}}}} "
                "with the network of its run."
            )
        for name in weights:
            prefix = name[: name.find(".") + 1]
            if prefix and expected.keys() <= without_prefix(weights, prefix).keys():
                return (
                    f"They fit without {prefix!r} before their names: write path.param_key_prefix_{self.role}: {prefix}"
                )
        return f"Make network_{self.role} describe the network that the file was saved from."


def _keys_found(content: Any, key: str) -> str:
    if not isinstance(content, Mapping):
        return "The file holds no dictionary of weights."
    if is_state_dict(content):
        remedy = f"leave {key} out." if key.startswith("-") else f"write {key.split('.')[-1]}: ~"
        return f"The file is a bare state dict: {remedy}"
    return f"The file has: {', '.join(map(str, content))}."


def _describe_difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    shapes = [
        f"{k} is {tuple(found[k].shape)} in the file and {tuple(expected[k].shape)} in the network"
        for k in expected
        if k in found and expected[k].shape != found[k].shape
    ]
    missing = [k for k in expected if k not in found]
    surplus = [k for k in found if k not in expected]
    parts = [
        *shapes[:1],
        *([f"{missing[0]} is not in the file"] if missing else []),
        *([f"{surplus[0]} is not in the network"] if surplus else []),
    ]
    return f"{'; '.join(parts)} ({len(shapes) + len(missing) + len(surplus)} differences in all)"


def student_weights(opt: Mapping[str, Any], file: str, param_key: Optional[str], strict: bool) -> WeightsFile:
    """The student's weights file; like BasicSR, ``params`` stands in for a key that the file does not have."""
    path = opt["path"]
    prefix = "" if path.get("resume_state") else path.get("param_key_prefix_g") or ""  # a run's own files have none
    return WeightsFile("g", file, param_key, "params", strict, reader.trusts_weights(opt), prefix)
