"""Repairs: they act only where stock BasicSR 1.4.2 can do nothing but raise."""

from __future__ import annotations

import os
import secrets
import string
import subprocess
from typing import Any, Callable, Optional

from srkd_plugin.parallel import gloo, ranks
from srkd_plugin.parallel.cuda import has_cuda


def init_dist_pytorch(stock: Callable[..., None], backend: str, **kwargs: Any) -> None:
    """``--launcher pytorch`` without a GPU: gloo, and no CUDA device to select.

    With GPUs it is stock's, which hands what it is given to ``init_process_group``: a time limit, if one is asked for.
    """
    if has_cuda():
        if ranks.TIMEOUT_SWITCH in os.environ:
            kwargs.setdefault("timeout", ranks.timeout())
        return stock(backend, **kwargs)
    return _begin_gloo(**kwargs)


def init_dist_slurm_cpu(stock: Callable[..., None], backend: str, port: Optional[int] = None) -> None:
    """``--launcher slurm`` without a GPU: stock's environment, gloo, and no CUDA device to select."""
    if has_cuda():
        stock(backend, port=port)
        return
    nodes = ["scontrol", "show", "hostname", os.environ["SLURM_NODELIST"]]
    first_node = subprocess.run(nodes, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]
    default_port = os.environ.get("MASTER_PORT", "29500")
    os.environ.update(
        MASTER_ADDR=first_node,
        MASTER_PORT=default_port if port is None else str(port),
        WORLD_SIZE=os.environ["SLURM_NTASKS"],
        RANK=os.environ["SLURM_PROCID"],
    )
    _begin_gloo()


def _begin_gloo(**kwargs: Any) -> None:
    gloo.begin(**{"timeout": ranks.timeout(), **kwargs})


def model_to_device_cpu(stock: Callable[..., Any], model: Any, net: Any) -> Any:
    """DDP of a network on the CPU takes no device ids."""
    if has_cuda() or not model.opt["dist"]:
        return stock(model, net)
    from torch.nn.parallel import DistributedDataParallel

    unused = model.opt.get("find_unused_parameters", False)
    return DistributedDataParallel(net.to(model.device), find_unused_parameters=unused)


def init_wandb_logger(stock: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """``wandb.util.generate_id``, which stock calls for a new run's id, is gone from newer versions of wandb."""
    try:
        from wandb import util
    except ImportError:  # stock says so, on the rank that logs
        return stock(*arguments, **more)
    if not hasattr(util, "generate_id"):
        util.generate_id = _wandb_id
    return stock(*arguments, **more)


def _wandb_id(length: int = 8) -> str:
    """Letters and digits, as wandb's own; not drawn from the random generators that the training uses."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(length))


def cuda_if_there_is_one(stock: Callable[..., Any], module: Any, *arguments: Any) -> Any:
    """``.cuda()`` of RealESRNetModel's JPEG and sharpening, without a GPU: the module where it is."""
    return stock(module, *arguments) if has_cuda() else module


def realesr_init(stock: Callable[..., None], model: Any, opt: Any) -> None:
    """RealESRNetModel and RealESRGANModel with ``num_gpu: 0``: what degrades is where the images are."""
    stock(model, opt)
    if model.device.type != "cuda":
        model.jpeger.to(model.device)
        model.usm_sharpener.to(model.device)


def realesr_pool(stock: Callable[..., None], model: Any) -> None:
    """The training pair pool of both models with ``num_gpu: 0``: stock makes it on a GPU."""
    if model.device.type != "cuda" and not hasattr(model, "queue_lr"):
        size, images = model.queue_size, len(model.lq)
        assert size % images == 0, f"queue size {size} should be divisible by batch size {images}"  # stock's
        model.queue_lr, model.queue_gt = (model.lq.new_zeros(size, *i.shape[1:]) for i in (model.lq, model.gt))
        model.queue_ptr = 0
    stock(model)


def filter2d(stock: Callable[..., Any], img: Any, kernel: Any) -> Any:
    """Blur of images in host memory: padding keeps channels last there, as JPEG leaves them, and stock wants a view."""
    return stock(img if img.is_cuda else img.contiguous(), kernel)
