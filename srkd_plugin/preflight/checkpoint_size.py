"""What the checkpoints of a training run take on the disk: the student's file, and the training state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor, nn

from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.reparameterize import fused_state_dict
from srkd_plugin.options.int8_network import as_trained
from srkd_plugin.options.registered_names import makes_lq
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.preflight.basicsr_sections import make_optimizer
from srkd_plugin.preflight.networks import trial

BYTES = 4
"""Size of one value of float32."""
OF_A_TENSOR = 300
"""What torch.save adds to a tensor: its name twice, headers, and the filling up to 64 bytes; about."""
OF_A_RANK = 12_000
"""The random states of Python, NumPy and torch, which a training state of ours has of each rank; about."""
OF_OURS = 2_000
"""The record of the options, by which a resumed run tells what has changed; about."""
PROBE = 64
"""Values of the parameter on which an optimizer's state is looked at."""


@dataclass(frozen=True)
class CheckpointSize:
    """Bytes of the two files of a checkpoint."""

    student: int
    """``net_g_*.pth``, with the average (EMA) where there is one."""
    state: int
    """The ``.state`` file."""

    @property
    def both(self) -> int:
        """The pair."""
        return self.student + self.state


def checkpoint_size(
    options: RunOptions, student: nn.Module, connectors: Optional[nn.Module] = None, reads_history: bool = False
) -> CheckpointSize:
    """Count what a checkpoint holds.

    Args:
        options: The run's options.
        student: The bare student, with branches where it trains with some.
        connectors: Those of the terms, which train too.
        reads_history: Whether a term reads the images of an earlier student.
    """
    if options.ours.quantize is not None:
        with trial():
            student = build_described("network_g", as_trained(options.raw))
    connectors, stock = connectors or nn.Identity(), options.stock
    plain = list(fused_state_dict(student).values())
    trained = [p for p in (*student.parameters(), *connectors.parameters()) if p.requires_grad]
    state = _moments(options.raw["train"], trained)
    if options.is_ours:
        state += OF_OURS + OF_A_RANK * stock.run.world_size + _size(connectors.state_dict().values())
        state += _size(student.state_dict().values()) if options.ours.student.reparameterize else 0
        state += _size(plain) if reads_history else 0
        between_steps = stock.logger.save_checkpoint_freq % options.ours.accumulation.accumulate
        state += _size(trained) if between_steps else 0
        state += _pool_bytes(options)
    return CheckpointSize(_size(plain) * (2 if stock.train.ema_decay > 0 else 1), state)


def pool_pairs(options: RunOptions) -> int:
    """How many pairs the training pair pool of a run has that makes its LQ images."""
    return int(options.raw.get("queue_size", 180))


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() + OF_A_TENSOR for tensor in tensors)


def _moments(train: Mapping[str, Any], trained: list[nn.Parameter]) -> int:
    """Bytes of the optimizer's state, seen on a parameter that makes one step."""
    parameter = torch.zeros(PROBE, requires_grad=True)
    parameter.grad = torch.zeros(PROBE)
    optimizer = make_optimizer(train, [parameter])
    optimizer.step()
    kept = [value for value in optimizer.state[parameter].values() if isinstance(value, Tensor)]
    large = sum(value.numel() == PROBE for value in kept)
    values = sum(p.numel() for p in trained)
    return large * values * BYTES + len(kept) * len(trained) * OF_A_TENSOR


def _pool_bytes(options: RunOptions) -> int:
    """What the training pair pools of all ranks add to a training state: 8 bits a value, but for sharpened GT."""
    if not makes_lq(options.raw) or not options.ours.train_set.exact_resume:
        return 0
    lq, gt = options.lq_shape[1], options.stock.train_set.gt_size
    pair = 3 * (lq * lq + gt * gt * (BYTES if options.raw["gt_usm"] else 1))
    return pool_pairs(options) * pair * options.stock.run.world_size
