"""The teacher: a frozen network that is built, loaded and run apart from everything that trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.networks.build import build_described, describe_network
from srkd_plugin.networks.padding import run_padded, size_multiple
from srkd_plugin.networks.precision import compiled, run_in
from srkd_plugin.networks.spandrel_arch import SpandrelModel
from srkd_plugin.networks.weights_file import WeightsFile
from srkd_plugin.options.registered_names import registered_name
from srkd_plugin.options.sections import PathSection, PluginOptions, TeacherSection


class Teacher:
    """Runs a frozen teacher network.

    It is not an ``nn.Module``, so that no optimizer, DDP, EMA or checkpoint of the student can take hold of it.

    Args:
        net: The network with its weights; put into eval mode and frozen.
        device: Where it runs.
        section: Options of the teacher: precision and memory format, and whether it is compiled.
    """

    def __init__(self, net: nn.Module, device: torch.device, section: TeacherSection) -> None:
        self._memory_format = torch.channels_last if section.channels_last else torch.contiguous_format
        self._precision = section.precision
        layout: dict[str, Any] = {"memory_format": self._memory_format}  # not in every torch's type of Module.to
        self.net = net.eval().requires_grad_(False).to(device, **layout)
        self._run = compiled(self.net) if section.compile else self.net
        self._multiple: Optional[int] = None

    @property
    def parameter_count(self) -> int:
        """Number of the network's parameters."""
        return sum(p.numel() for p in self.net.parameters())

    @torch.no_grad()
    def __call__(self, lq: Tensor) -> Tensor:
        """The SR images of a batch.

        Args:
            lq: ``(N, C, h, w)`` in 0..1.

        Returns:
            ``(N, C, H, W)`` of the dtype of ``lq``, without autograd history.
        """
        return run_in(self._precision, self._run, lq.contiguous(memory_format=self._memory_format))

    def upscale(self, lq: Tensor, scale: int) -> Tensor:
        """Compute the SR images of whole images of any size: padded where the network takes multiples only.

        Args:
            lq: ``(N, C, h, w)`` in 0..1.
            scale: SR factor.

        Returns:
            ``(N, C, scale * h, scale * w)`` of the dtype of ``lq``.
        """
        if self._multiple is None:
            self._multiple = size_multiple(self.net, lq.shape[1], scale) or 1  # or the network says itself what fails
        return run_padded(self, lq, self._multiple, scale)


def build_teacher(ours: PluginOptions, device: torch.device) -> Teacher:
    """Build the options' teacher with its weights.

    The random state is left as it was, so that the student and the data order of a run do not depend on its teacher.

    Raises:
        OptionsError: The network cannot be built; or the weights are not given, not there or do not fit it.
    """
    net = _recognized(ours) if _is_recognized_by_its_weights(ours) else _described(ours)
    teacher = Teacher(net, device, ours.teacher)
    name = net.architecture if isinstance(net, SpandrelModel) else type(net).__name__
    get_root_logger().info(
        f"Teacher [{name}], with parameters: {teacher.parameter_count:,d}, "
        f"from {ours.path.pretrain_network_t}, precision {ours.teacher.precision}."
    )
    return teacher


def _described(ours: PluginOptions) -> nn.Module:
    """The teacher that ``network_t`` describes."""
    with torch.random.fork_rng(devices=[]):
        net = build_described("network_t", ours.network_t)
    _check_weights_are_wanted(ours.path, ours.teacher)
    if ours.path.pretrain_network_t is None:
        get_root_logger().warning("The teacher has random weights (teacher.random_init: true).")
    else:
        teacher_weights(ours).load_into(net)
    return net


def _recognized(ours: PluginOptions) -> SpandrelModel:
    """The teacher that its file describes."""
    path = ours.path
    if path.pretrain_network_t is None or ours.teacher.random_init:
        problem = "SpandrelModel is built from its weights, and there is no other teacher in them than theirs"
        remedy = "Give path.pretrain_network_t and leave teacher.random_init out, or describe the network in network_t."
        raise OptionsError("path.pretrain_network_t", path.pretrain_network_t, problem, remedy)
    if not path.strict_load_t:
        problem = "SpandrelModel is built from its weights, which are loaded whole"
        raise OptionsError("path.strict_load_t", False, problem, "Remove it.")
    return SpandrelModel.of(teacher_weights(ours).read(), path.pretrain_network_t)


def _is_recognized_by_its_weights(ours: PluginOptions) -> bool:
    return ours.network_t.get("type") == registered_name("SpandrelModel")


def describe_teacher(ours: PluginOptions) -> dict[str, Any]:
    """Plain values about the options' teacher, as :func:`~srkd_plugin.networks.build.describe_network`.

    Raises:
        OptionsError: It cannot be built.
    """
    weights = ours.path.pretrain_network_t
    if not _is_recognized_by_its_weights(ours):
        return describe_network("network_t", ours.network_t, weights)
    net = _recognized(ours)
    parameters = sum(p.numel() for p in net.parameters())
    facts = {"type": ours.network_t["type"], "parameters": parameters, "weights": weights}
    return {**facts, "architecture": net.recognised_as}


def teacher_weights(ours: PluginOptions) -> WeightsFile:
    """The teacher's weights file, which the options must name.

    Of a teacher that is recognised by its weights, a file says itself where they are, unless the options do.
    """
    path, trust = ours.path, ours.run.trust_weights
    file, strict = str(path.pretrain_network_t), path.strict_load_t
    search = _is_recognized_by_its_weights(ours) and "param_key_t" not in path.model_fields_set
    return WeightsFile("t", file, path.param_key_t, None, strict, trust, path.param_key_prefix_t, search)


def _check_weights_are_wanted(path: PathSection, section: TeacherSection) -> None:
    file = path.pretrain_network_t
    if file is None and not section.random_init:
        raise OptionsError(
            "path.pretrain_network_t",
            None,
            "the teacher has no weights",
            "Give the path of its .pth file; or, if a random teacher is wanted, teacher: {random_init: true}.",
        )
    if file is not None and section.random_init:
        raise OptionsError(
            "teacher.random_init",
            True,
            f"path.pretrain_network_t gives the teacher weights ({file})",
            "Write teacher: {random_init: false}, or remove the weights.",
        )


def check_outputs(
    networks: Mapping[str, nn.Module], lq: Tensor, expected: torch.Size, color_key: str = "datasets.train.color"
) -> None:
    """Run networks on one small batch and check the shape of what comes out.

    Args:
        networks: Networks by the key of the options that describes them.
        lq: ``(N, C, h, w)``.
        expected: Shape of the SR images that the options' ``scale`` asks for.
        color_key: Key of the options that says how many channels the images have.

    Raises:
        OptionsError: A network fails, or its output has another shape; or it is one of images of other channels.
    """
    for key, net in networks.items():
        if isinstance(net, SpandrelModel):
            net.check_scale(expected[-1] // lq.shape[-1])
        try:
            with torch.no_grad():
                shape = tuple(net(lq).shape)
        except Exception as error:
            _refuse_other_channels(key, net, lq, color_key)
            problem = f"the network fails on an input of {tuple(lq.shape)} ({str(error).splitlines()[0]})"
            raise OptionsError(key, type(net).__name__, problem, "Correct its arguments.") from error
        if shape != tuple(expected):
            if shape[:1] + shape[2:] == tuple(expected[:1] + expected[2:]):
                _refuse_other_channels(key, net, lq, color_key)
            problem = f"its output for an input of {tuple(lq.shape)} is {shape}, where scale asks for {tuple(expected)}"
            raise OptionsError(key, type(net).__name__, problem, "Correct its scale (upscale) and its channels.")


def runs_on(net: nn.Module, channels: int, lq: Tensor) -> bool:
    """Whether a network makes images of this many channels of such ones, of the size of ``lq`` ``(N, C, h, w)``."""
    try:
        with torch.no_grad():
            return net(lq.new_zeros((len(lq), channels, *lq.shape[2:]))).shape[1] == channels
    except Exception:  # whatever the architecture makes of channels that it cannot take
        return False


def _refuse_other_channels(key: str, net: nn.Module, lq: Tensor, color_key: str) -> None:
    """Name ``color`` where a network is none for RGB images but for gray ones, or the other way round."""
    gray = lq.shape[1] == 1
    if runs_on(net, 3 if gray else 1, lq):
        problem = f"{key} ({type(net).__name__}) takes images of {'3 channels' if gray else '1 channel'}"
        problem += f", and these have {'1' if gray else '3'}"
        remedy = "Remove color: y from all data sets" if gray else "Write color: y for all data sets, to train on Y"
        value = "y" if gray else MISSING
        raise OptionsError(color_key, value, problem, f"{remedy}; or give {key} the other number of channels.")
