"""Everything the plugin changes in BasicSR, each change with its reason and the condition under which it acts.

There are two kinds of change.

*Repairs* act only where stock BasicSR 1.4.2 can do nothing but raise, so that there is no behaviour to preserve:

- :func:`functional_tensor_module`: torchvision >= 0.17 has no ``functional_tensor``. Acts if the module is missing.
- :func:`_init_dist_pytorch`, :func:`_init_dist_slurm_cpu`: stock divides by the number of GPUs. Act if there is no CUDA
  device; the first also hands a time limit to stock, if the environment sets one.
- :func:`_model_to_device_cpu`: stock hands DDP a CUDA device id. Acts if there is no CUDA device and DDP is used.
- ``load_resume_state`` (:mod:`srkd_plugin.resume`): stock asks for the current GPU. Acts if there is no CUDA device.

*Changes for our own runs* act only if the options name something of ours (:func:`srkd_plugin.options.is_ours`):

- :func:`_parse_options`: options are checked before BasicSR archives an earlier experiment of the same name.
- ``load_resume_state`` (:mod:`srkd_plugin.resume`): stock rewrites the teacher's path and key on resume, looks for
  ``--auto_resume`` under the working directory although it writes under its root, and takes the newest state even if
  it is broken.
- ``build_dataloader`` (:mod:`srkd_plugin.resume`): stock begins the epoch anew on resume. Acts for runs with
  ``datasets.train.exact_resume: true``, too, whatever their model. SIGTERM and Ctrl-C are heard from there on.
- ``build_model`` (:mod:`srkd_plugin.resume`): the model is handed the validation sets, for a validation that a killed
  run missed.

A run whose options name nothing of ours, on a machine with CUDA, runs the stock functions with the stock arguments.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from types import ModuleType
from typing import Any, Callable, Optional

from srkd_plugin import options
from srkd_plugin.errors import OptionsError
from srkd_plugin.resume import Resumption
from srkd_plugin.utils import ranks

TRACEBACK_SWITCH = "SRKD_TRACEBACK"
"""Set to 1 in the environment to see where an options error was raised."""

_MARK = "_srkd_stock"


def apply(check: Callable[[dict[str, Any]], None]) -> None:
    """Put the changes in place. Idempotent.

    Args:
        check: Called with the parsed options of a training run of ours; raises :class:`OptionsError`.
    """
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import dist_util
    from basicsr.utils import options as stock_options

    _replace(dist_util, "_init_dist_pytorch", _init_dist_pytorch)
    _replace(dist_util, "_init_dist_slurm", _init_dist_slurm_cpu)
    _replace(BaseModel, "model_to_device", _model_to_device_cpu)
    _replace(stock_options, "parse_options", functools.partial(_parse_options, check))


def has_cuda() -> bool:
    """Whether there is a CUDA device to use; the condition of the repairs."""
    import torch

    return torch.cuda.is_available() and torch.cuda.device_count() > 0


def functional_tensor_module() -> ModuleType:
    """The stand-in for ``torchvision.transforms.functional_tensor``.

    BasicSR 1.4.2 takes only ``rgb_to_grayscale`` from it, which is public in ``torchvision.transforms.functional``.
    """
    from torchvision.transforms import functional

    module = ModuleType("torchvision.transforms.functional_tensor", doc="Supplied by srkd_plugin for BasicSR 1.4.2.")
    module.rgb_to_grayscale = functional.rgb_to_grayscale
    return module


def _replace(owner: Any, name: str, change: Callable[..., Any]) -> None:
    """Let ``change(stock, *args)`` stand for ``owner.name``, also where BasicSR has already imported it by name."""
    stock = getattr(owner, name)
    if hasattr(stock, _MARK):
        return

    @functools.wraps(stock)
    def changed(*args: Any, **kwargs: Any) -> Any:
        return change(stock, *args, **kwargs)

    setattr(changed, _MARK, stock)
    setattr(owner, name, changed)
    for module_name, module in list(sys.modules.items()):
        of_basicsr = module_name.split(".")[0] == "basicsr" or module_name == "__main__"
        if of_basicsr and getattr(module, "__dict__", {}).get(name) is stock:
            setattr(module, name, changed)


def _init_dist_pytorch(stock: Callable[..., None], backend: str, **kwargs: Any) -> None:
    """``--launcher pytorch`` without a GPU: gloo, and no CUDA device to select.

    With GPUs it is stock's, which hands what it is given to ``init_process_group``: a time limit, if one is asked for.
    """
    if has_cuda():
        if ranks.TIMEOUT_SWITCH in os.environ:
            kwargs.setdefault("timeout", ranks.timeout())
        return stock(backend, **kwargs)
    import torch.distributed as dist

    return dist.init_process_group(backend="gloo", **{"timeout": ranks.timeout(), **kwargs})


def _init_dist_slurm_cpu(stock: Callable[..., None], backend: str, port: Optional[int] = None) -> None:
    """``--launcher slurm`` without a GPU: stock's environment, gloo, and no CUDA device to select."""
    if has_cuda():
        stock(backend, port=port)
        return
    import torch.distributed as dist

    nodes = ["scontrol", "show", "hostname", os.environ["SLURM_NODELIST"]]
    first_node = subprocess.run(nodes, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]
    default_port = os.environ.get("MASTER_PORT", "29500")
    os.environ.update(
        MASTER_ADDR=first_node,
        MASTER_PORT=default_port if port is None else str(port),
        WORLD_SIZE=os.environ["SLURM_NTASKS"],
        RANK=os.environ["SLURM_PROCID"],
    )
    dist.init_process_group(backend="gloo", timeout=ranks.timeout())


def _model_to_device_cpu(stock: Callable[..., Any], model: Any, net: Any) -> Any:
    """DDP of a network on the CPU takes no device ids."""
    if has_cuda() or not model.opt["dist"]:
        return stock(model, net)
    from torch.nn.parallel import DistributedDataParallel

    unused = model.opt.get("find_unused_parameters", False)
    return DistributedDataParallel(net.to(model.device), find_unused_parameters=unused)


def _parse_options(
    check: Callable[[dict[str, Any]], None], stock: Callable[..., Any], root_path: str, is_train: bool = True
) -> Any:
    """Parse as stock does; then check a run of ours and let the trainer that called us resume as it should.

    ``load_resume_state`` is defined in BasicSR's ``train.py``, which exists a second time as ``__main__`` when it is
    run as a script. The one that is about to be used is found in the globals of the caller.
    """
    try:
        opt, args = stock(root_path, is_train)
        ours = options.is_ours(opt)
        exact = options.exact_data(opt)
        if ours and is_train:
            check(opt)
    except OptionsError as error:
        _leave(error)
    caller = sys._getframe(2).f_globals  # 0: here, 1: `changed` of _replace, 2: train_pipeline
    resumption = Resumption(opt, _leave)
    if "load_resume_state" in caller and (ours or exact or not has_cuda()):
        caller["load_resume_state"] = resumption.load_resume_state
    for name in ("build_dataloader", "build_model"):
        if name in caller and is_train:
            stock_build = getattr(
                caller[name], _MARK, caller[name]
            )  # an earlier run of the process may have changed it
            caller[name] = _bound(getattr(resumption, name), stock_build) if ours or exact else stock_build
    return opt, args


def _bound(change: Callable[..., Any], stock: Callable[..., Any]) -> Callable[..., Any]:
    changed = functools.partial(change, stock)
    setattr(changed, _MARK, stock)
    return changed


def _leave(error: OptionsError) -> None:
    """End the process with one line instead of a traceback; exit code 2, as argparse does for a bad argument."""
    if os.environ.get(TRACEBACK_SWITCH) == "1":
        raise error
    print(f"srkd_plugin: options error: {error}", file=sys.stderr, flush=True)
    raise SystemExit(2)
