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

*Changes for our own runs* act only if the options name something of ours
(:func:`srkd_plugin.options.reader.is_ours`):

- ``parse_options`` (:mod:`~srkd_plugin.basicsr_patches.parse_options`): options are checked before BasicSR archives an
  earlier experiment of the same name; a file that BasicSR cannot parse is one line instead of a traceback.
- ``load_resume_state`` (:mod:`~srkd_plugin.basicsr_patches.resume`): stock rewrites the teacher's path and key on
  resume, looks for ``--auto_resume`` under the working directory although it writes under its root, and takes the
  newest state even if it is broken. Stock unpickles whatever is in the file where torch does.
- ``build_dataloader``: stock begins the epoch anew on resume. Acts for runs with ``datasets.train.exact_resume: true``,
  too, whatever their model. SIGTERM and Ctrl-C are heard from there on.
- ``build_model``: the model is handed the validation sets, for a validation that a killed run missed.

A run whose options name nothing of ours, on a machine with CUDA, runs the stock functions with the stock arguments.
"""

from __future__ import annotations

from typing import Any, Callable

from srkd_plugin.basicsr_patches.repairs import init_dist_pytorch, init_dist_slurm_cpu, model_to_device_cpu
from srkd_plugin.basicsr_patches.replace import replace


def apply() -> None:
    """Put the changes in place. Idempotent."""
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import dist_util
    from basicsr.utils import options as stock_options

    replace(dist_util, "_init_dist_pytorch", init_dist_pytorch)
    replace(dist_util, "_init_dist_slurm", init_dist_slurm_cpu)
    replace(BaseModel, "model_to_device", model_to_device_cpu)
    replace(stock_options, "parse_options", _parse_options)


def _parse_options(stock: Callable[..., Any], root_path: str, is_train: bool = True) -> Any:
    """Imported when a run begins: it needs BasicSR complete, and nobody needs it before."""
    from srkd_plugin.basicsr_patches.parse_options import parse_options

    return parse_options(stock, root_path, is_train)
