"""Training each 3x3 convolution as several branches whose sum is one plain convolution.

A convolution is linear in its kernel, so branches that begin and end together are one kernel: here it is computed from
theirs in every forward pass, and the network runs one convolution as ever. So the fused network is the trained one, the
feature maps need no more memory, and only the small kernels have more parameters than the plain network has. The
branches change how the optimizer moves the kernel, and nothing else.

The kinds of branches are those of ECBSR (Zhang et al. 2021), RepVGG (Ding et al. 2021) and SPAN (Wan et al. 2024); to
compute the kernel from them in training is OREPA's idea (Hu et al. 2022).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from srkd_plugin.errors import OptionsError

WIDTH = 2
"""Channels inside the branch of three convolutions, as a multiple of the larger one of its ends."""
INSIDE = ".parametrizations.weight."
"""What torch puts into the names of a convolution's kernel and of its branches."""


class Branches(nn.Module):
    """Kernel of a 3x3 convolution with two branches beside it: 1x1 then 3x3 then 1x1, and 1x1 alone.

    The branches start at zero, through their last part, so that the network starts as it was, bit for bit.

    Args:
        kernel: ``(out, in, 3, 3)``; says the shapes, dtype and device.
    """

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        out, inside = kernel.shape[:2]
        width = WIDTH * max(out, inside)

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(kernel.new_zeros(shape))

        self.expand, self.middle = parameter(width, inside), parameter(width, width, 3, 3)
        self.project, self.point = parameter(out, width), parameter(out, inside)
        nn.init.kaiming_normal_(self.expand, nonlinearity="linear")
        nn.init.kaiming_normal_(self.middle, nonlinearity="linear")

    def forward(self, kernel: Tensor) -> Tensor:
        """The kernel that the convolution runs with.

        Args:
            kernel: ``(out, in, 3, 3)``, the convolution's own.

        Returns:
            The same shape: the kernel and those of the branches, summed in the kernel's dtype, also under autocast.
        """
        with torch.autocast(kernel.device.type, enabled=False):
            branch = torch.einsum("om,mnyx,ni->oiyx", self.project, self.middle, self.expand)
            return kernel + branch + nn.functional.pad(self.point[..., None, None], (1, 1, 1, 1))


def reparameterize(net: nn.Module) -> list[str]:
    """Give each 3x3 convolution of a network its :class:`Branches`, in place. What it computes stays the same.

    Convolutions in groups, and kernels that several modules share, stay as they are.

    Args:
        net: A network of any architecture, not wrapped in DDP or compiled.

    Returns:
        Names of the convolutions that have branches now.

    Raises:
        OptionsError: There is no convolution that could have branches.
    """
    found: dict[int, list[str]] = {}
    for name, module in net.named_modules(remove_duplicate=False):
        if type(module) is nn.Conv2d:
            found.setdefault(id(module.weight), []).append(name)
    names = [same[0] for same in found.values() if len(same) == 1]
    changed = []
    for name in names:
        conv = net.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        if conv.kernel_size == (3, 3) and conv.groups == 1:
            parametrize.register_parametrization(conv, "weight", Branches(conv.weight))
            changed.append(name)
    if not changed:
        problem = f"{type(net).__name__} has no 3x3 convolution that could have branches"
        raise OptionsError("student.reparameterize", True, problem, "Remove it.")
    return changed


@torch.no_grad()
def fused_state_dict(net: nn.Module) -> dict[str, Tensor]:
    """State dict of the plain network that computes what this one computes, bit for bit.

    Args:
        net: A network, after :func:`reparameterize` or without.

    Returns:
        Its entries, with each kernel in the place of its branches; a kernel that has none is the network's own tensor.
    """
    modules, fused = dict(net.named_modules()), {}
    for name, value in net.state_dict().items():
        conv, inside, part = name.partition(INSIDE)
        if not inside:
            fused[name] = value
        elif part == "original":
            kernel: Any = modules[conv].weight  # computed when it is asked for
            fused[f"{conv}.weight"] = kernel.detach()
    return fused
