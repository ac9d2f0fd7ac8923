"""Precision in which the networks run, whether they are compiled, and what a GPU may round."""

from __future__ import annotations

import os
import shutil
import warnings
from typing import Any, Optional

import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.optim import Optimizer

from srkd_plugin.errors import OptionsError
from srkd_plugin.options.sections import AmpSection

AUTOCAST_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def run_in(precision: str, net: nn.Module, lq: Tensor) -> Tensor:
    """Run a network under autocast to ``fp16`` or ``bf16``, or as it is.

    Args:
        precision: ``fp32`` for no autocast.
        net: The network; its parameters stay as they are.
        lq: ``(N, C, h, w)``.

    Returns:
        ``(N, C, H, W)`` of the dtype of ``lq``.
    """
    if precision not in AUTOCAST_DTYPES:
        return net(lq)
    with torch.autocast(lq.device.type, dtype=AUTOCAST_DTYPES[precision]):
        output = net(lq)
    return output.to(lq.dtype)


class MixedPrecision:
    """The student's precision in training (``train.amp``), with the loss scale that float16's small range needs.

    The student alone runs under autocast; its output and feature maps are handed on as they would be without, so all
    losses are computed in float32. A gradient that is not finite although all losses are is, with ``fp16``, first of
    all a sign that the loss scale is too high: the iteration is left out and the scale halved. Only at a scale of 1 it
    is a fault, as it is without a scale.

    Args:
        section: ``train.amp``.
        device: Where the student runs.
    """

    def __init__(self, section: AmpSection, device: torch.device) -> None:
        self.section = section
        self._scaler = _grad_scaler(section, device) if section.precision == "fp16" else None

    def scale(self) -> float:
        """What losses are multiplied with before the backward pass; on CUDA this waits for the GPU."""
        return 1.0 if self._scaler is None else self._scaler.get_scale()

    def forward(self, net: nn.Module, lq: Tensor) -> Tensor:
        """The student's output, ``(N, C, H, W)``, of the dtype of ``lq``."""
        return run_in(self.section.precision, net, lq)

    def backward(self, loss: Tensor, optimizer: Optimizer) -> None:
        """The backward pass; the gradients are those of the loss itself, scaled back."""
        if self._scaler is None:
            loss.backward()
            return
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(optimizer)

    def is_overflow(self, iteration: int) -> bool:
        """Whether a gradient that is not finite may be the loss scale's doing; says so in the log."""
        scale = self.scale()
        if scale <= 1:
            return False
        text = f"iteration {iteration}: the gradient overflows at a loss scale of {scale:g}; left out"
        get_root_logger().warning(f"{text}, and the scale is halved.")
        return True

    def end_iteration(self) -> None:
        """Adapt the scale; after every iteration, left out or not."""
        if self._scaler is not None:
            self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """The loss scale's state, for the training state."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take on a saved state; one of a run without a scale leaves the scale as it starts."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(state)


def _grad_scaler(section: AmpSection, device: torch.device) -> Any:
    arguments: dict[str, Any] = {"init_scale": section.init_scale, "growth_interval": section.growth_interval}
    if hasattr(torch.amp, "GradScaler"):  # torch 2.3
        return torch.amp.GradScaler(device.type, **arguments)
    return torch.cuda.amp.GradScaler(**arguments)


def check_precision(key: str, precision: str, device: torch.device) -> None:
    """Check that a precision can be had on a device.

    Args:
        key: Path of the option.
        precision: Value of the key.
        device: Where the network will run.

    Raises:
        OptionsError: This torch has no autocast to it there (fp16 on the CPU, before torch 2.4).
    """
    dtype = AUTOCAST_DTYPES.get(precision)
    if dtype is None:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # some versions warn and go on in fp32
            with torch.autocast(device.type, dtype=dtype):
                pass
    except (RuntimeError, UserWarning) as error:
        problem = f"torch {torch.__version__} has no autocast to it on {device.type}"
        raise OptionsError(key, precision, problem, "Write fp32 or bf16.") from error


def check_compiles(key: str, device: torch.device, taps: bool = False) -> None:
    """Check that torch.compile can work here, as far as that is seen without compiling anything.

    Args:
        key: Path of the option that asks for it.
        device: Where the network will run.
        taps: Whether feature maps are recorded in it.

    Raises:
        OptionsError: This torch does not compile on this Python, or not with taps, or there is no C++ compiler for the
            CPU's code.
    """
    if taps and not traces_hooks():
        problem = f"torch {torch.__version__} leaves out the hooks of a compiled network, which taps are"
        raise OptionsError(key, True, problem, f"Install torch 2.1 or newer, or write {key}: false.")
    try:
        torch.compile(nn.Identity())
    except RuntimeError as error:
        problem = f"torch {torch.__version__} does not compile here ({str(error).splitlines()[0]})"
        raise OptionsError(key, True, problem, f"Write {key}: false.") from error
    compilers = (os.environ.get("CXX"), "g++", "clang++", "c++")
    if device.type == "cpu" and not any(name and shutil.which(name) for name in compilers):
        problem = "torch.compile needs a C++ compiler for the CPU, and there is none in PATH"
        raise OptionsError(key, True, problem, f"Install g++, or write {key}: false.")


def traces_hooks() -> bool:
    """Whether torch.compile keeps the hooks of a network's modules; torch 2.0 does not."""
    return tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 1)


def compiled(net: nn.Module) -> Any:
    """A network that runs compiled, beside the network itself, whose names and weights it shares.

    Every shape of input is compiled for itself: training has one, and code for any shape is slower, and on the CPU did
    not compile in torch 2.14.
    """
    return torch.compile(net, dynamic=False)


def set_tf32(allowed: Optional[bool]) -> None:
    """Allow or forbid TF32 in convolutions and matrix products on CUDA, for the whole process.

    Args:
        allowed: None leaves torch's settings as they are (since 1.12: convolutions yes, matrix products no).
    """
    if allowed is not None:
        torch.backends.cudnn.allow_tf32 = allowed
        torch.backends.cuda.matmul.allow_tf32 = allowed
