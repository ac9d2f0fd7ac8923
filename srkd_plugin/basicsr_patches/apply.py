"""Puts the plugin's changes to BasicSR in place; each is described where it is made.

There are two kinds of change.

*Repairs* (:mod:`~srkd_plugin.basicsr_patches.repairs`, :mod:`~srkd_plugin.basicsr_patches.functional_tensor`) act only
where stock BasicSR 1.4.2 can do nothing but raise, so that there is no behaviour to preserve:

- ``functional_tensor_module``: torchvision >= 0.17 has no ``functional_tensor``. Acts if the module is missing.
- ``init_dist_pytorch``, ``init_dist_slurm_cpu``: stock divides by the number of GPUs. Act if there is no CUDA device;
  the first also hands a time limit to stock, if the environment sets one.
- ``model_to_device_cpu``: stock hands DDP a CUDA device id. Acts if there is no CUDA device and DDP is used.
- ``load_resume_state`` (:mod:`~srkd_plugin.basicsr_patches.resume`): stock asks for the current GPU. Acts if there is
  no CUDA device.
- ``init_wandb_logger``: stock calls a function that today's wandb no longer has. Acts if it is missing.
- ``cuda_if_there_is_one``, ``realesr_init``, ``realesr_pool``: stock's models of Real-ESRGAN put what degrades, and the
  training pair pool, on a CUDA device. Act if there is none, or the networks are on the CPU (``num_gpu: 0``).
- ``filter2d``: stock takes a view of images that are not contiguous. Acts on images in host memory.
- ``Registry._do_register`` (:mod:`~srkd_plugin.basicsr_patches.registry`): stock refuses a second class of a name. Acts
  if one of the two is ours, which then gets a suffix.

*Changes for our own runs* act only if the options name something of ours
(:func:`srkd_plugin.options.reader.is_ours`):

- ``parse_options`` (:mod:`~srkd_plugin.basicsr_patches.parse_options`): options are checked before BasicSR archives an
  earlier experiment of the same name; a file that BasicSR cannot parse is one line instead of a traceback. A run of
  ours begins here, and with it what follows acts (:mod:`~srkd_plugin.basicsr_patches.training_run`).
- ``load_resume_state``, in every loaded module that has BasicSR's or a copy of it, when a run begins: stock looks for
  ``--auto_resume`` under the working directory although it writes under its root, takes the newest state even if it is
  broken, and unpickles whatever is in the file where torch does.
- ``check_resume``: stock rewrites the teacher's path and key.
- ``build_dataloader``: stock begins the epoch anew on resume. Acts for runs with ``datasets.train.exact_resume: true``,
  too, whatever their model. SIGTERM and Ctrl-C are heard from there on.
- ``build_model``: the model is handed the validation sets, for a validation that a killed run missed. A trainer that
  went around the functions above is told so before its first step. At a terminal the training has a line of progress
  (:mod:`~srkd_plugin.basicsr_patches.progress_line`); under ``srkd train``, stock runs have it, too.

A run whose options name nothing of ours, on a machine with CUDA, runs the stock functions with the stock arguments.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Callable

from srkd_plugin.basicsr_patches.registry import do_register
from srkd_plugin.basicsr_patches.repairs import (
    cuda_if_there_is_one,
    filter2d,
    init_dist_pytorch,
    init_dist_slurm_cpu,
    init_wandb_logger,
    model_to_device_cpu,
    realesr_init,
    realesr_pool,
)
from srkd_plugin.basicsr_patches.replace import replace


def let_registries_yield() -> None:
    """Let our names in BasicSR's registries give way to those of others; before ours are registered. Idempotent."""
    from basicsr.utils.registry import Registry

    replace(Registry, "_do_register", do_register)


def apply() -> None:
    """Put the changes in place. Idempotent."""
    from basicsr import data, models
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import dist_util, logger, misc
    from basicsr.utils import options as stock_options

    replace(dist_util, "_init_dist_pytorch", init_dist_pytorch)
    replace(dist_util, "_init_dist_slurm", init_dist_slurm_cpu)
    replace(BaseModel, "model_to_device", model_to_device_cpu)
    replace(logger, "init_wandb_logger", init_wandb_logger)
    replace(stock_options, "parse_options", _later("parse_options", "parse_options"))
    replace(misc, "check_resume", _later("resume", "check_resume_with_teacher"))
    replace(data, "build_dataloader", _later("training_run", "build_dataloader"))
    replace(models, "build_model", _later("training_run", "build_model"))
    _let_realesr_degrade_on_the_cpu()


def _let_realesr_degrade_on_the_cpu() -> None:
    """Repair what BasicSR has imported of Real-ESRGAN's models; forks have none of them."""
    for name in ("RealESRNetModel", "RealESRGANModel"):
        module = sys.modules.get(f"basicsr.models.{name[:-5].lower()}_model")
        if module is not None:
            replace(sys.modules["basicsr.utils.img_process_util"], "filter2D", filter2d)
            replace(module.DiffJPEG, "cuda", cuda_if_there_is_one)
            replace(module.USMSharp, "cuda", cuda_if_there_is_one)
            model = getattr(module, name)
            replace(model, "__init__", realesr_init)
            replace(model, "_dequeue_and_enqueue", realesr_pool)


def _later(module: str, name: str) -> Callable[..., Any]:
    """A function of one of our modules, which is imported when it is called: nobody needs it before a run begins."""

    def change(stock: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        return getattr(import_module(f"{__package__}.{module}"), name)(stock, *arguments, **more)

    return change
