"""Everything the plugin changes in BasicSR, each change with its reason and the condition under which it acts.

There are two kinds of change.

*Repairs* act only where stock BasicSR 1.4.2 can do nothing but raise, so that there is no behaviour to preserve:

- :func:`functional_tensor_module`: torchvision >= 0.17 has no ``functional_tensor``. Acts if the module is missing.
- :func:`_init_dist_pytorch`, :func:`_init_dist_slurm_cpu`: stock divides by the number of GPUs. Act if there is no CUDA
  device; the first also hands a time limit to stock, if the environment sets one.
- :func:`_model_to_device_cpu`: stock hands DDP a CUDA device id. Acts if there is no CUDA device and DDP is used.
- ``load_resume_state`` (:mod:`srkd_plugin.resume`): stock asks for the current GPU. Acts if there is no CUDA device.

*Changes for our own runs* act only if the options name something of ours (:func:`srkd_plugin.options.is_ours`):

- :func:`_parse_options`: options are checked before BasicSR archives an earlier experiment of the same name; a file
  that BasicSR cannot parse is one line instead of a traceback.
- ``load_resume_state`` (:mod:`srkd_plugin.resume`): stock rewrites the teacher's path and key on resume, looks for
  ``--auto_resume`` under the working directory although it writes under its root, and takes the newest state even if
  it is broken. Stock unpickles whatever is in the file where torch does.
- ``build_dataloader`` (:mod:`srkd_plugin.resume`): stock begins the epoch anew on resume. Acts for runs with
  ``datasets.train.exact_resume: true``, too, whatever their model. SIGTERM and Ctrl-C are heard from there on.
- ``build_model`` (:mod:`srkd_plugin.resume`): the model is handed the validation sets, for a validation that a killed
  run missed.

A run whose options name nothing of ours, on a machine with CUDA, runs the stock functions with the stock arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Optional

from srkd_plugin import options, options_file
from srkd_plugin.errors import OptionsError
from srkd_plugin.resume import Resumption
from srkd_plugin.utils import ranks

TRACEBACK_SWITCH = "SRKD_TRACEBACK"
"""Set to 1 in the environment to see where an options error was raised."""

NAMES_OURS = re.compile(r"^model_type\s*:\s*['\"]?DistillModel\b", re.MULTILINE)
"""How a file that cannot be read is known to be meant for a run of ours."""

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
        opt, args = _parse(check, stock, root_path, is_train)
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
            # an earlier run in this process may have changed it
            stock_build = getattr(caller[name], _MARK, caller[name])
            caller[name] = _bound(getattr(resumption, name), stock_build) if ours or exact else stock_build
    return opt, args


def _parse(
    check: Callable[[dict[str, Any]], None], stock: Callable[..., Any], root_path: str, is_train: bool
) -> tuple[dict[str, Any], Any]:
    """Parse as stock does; an error of it in a file of ours becomes one line."""
    try:
        return stock(root_path, is_train)
    except OptionsError:
        raise
    except Exception as error:
        if is_train:
            _explain(error, check)
        raise


def _bound(change: Callable[..., Any], stock: Callable[..., Any]) -> Callable[..., Any]:
    changed = functools.partial(change, stock)
    setattr(changed, _MARK, stock)
    return changed


def _explain(error: Exception, check: Callable[[dict[str, Any]], None]) -> None:
    """Say in one line why BasicSR could not parse a file that names something of ours; return if it names nothing.

    A part that stock needs is missing or of the wrong type, e.g. ``name``: the check finds it in the file as it is.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-opt", default="")
    file = Path(parser.parse_known_args()[0].opt)
    try:
        opt = options_file.read(file)
    except OptionsError as unreadable:
        if file.is_file() and NAMES_OURS.search(file.read_text("utf-8", "replace")):
            _leave(unreadable)
        return
    if options.is_ours(opt):
        _leave(_reason(error, opt, file, check))


def _reason(error: Exception, opt: dict[str, Any], file: Path, check: Callable[[dict[str, Any]], None]) -> OptionsError:
    try:
        check(opt)
    except OptionsError as found:
        return found
    except Exception:  # the check expects options that BasicSR has parsed
        pass
    problem = f"BasicSR cannot read it ({type(error).__name__}: {error})"
    return OptionsError("-opt", str(file), problem, "Compare it with the options files of the plugin.")


def parse_without_running(
    file: Path, root: Path, is_train: bool, check: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Options as BasicSR's ``parse_options`` returns them, of a file that is read and not run; nothing is checked.

    For commands that look at a file. BasicSR's own code fills in what it fills in, with our loader in place of its
    unsafe one; the random generators are seeded.

    Args:
        file: The options file.
        root: Folder below which BasicSR would write.
        is_train: Whether it is parsed for training or for testing.
        check: Called with the bare options if BasicSR cannot parse them, to say why; raises :class:`OptionsError`.

    Raises:
        OptionsError: The file cannot be read safely, or BasicSR cannot parse it.
    """
    from basicsr.utils import options as stock_options

    bare = options_file.read(file)
    stock = getattr(stock_options.parse_options, _MARK, stock_options.parse_options)
    arguments, loaders = sys.argv, stock_options.ordered_yaml
    sys.argv = [arguments[0], "-opt", str(file)]
    stock_options.ordered_yaml = lambda: (options_file.Loader, None)
    try:
        with contextlib.redirect_stdout(None):
            return stock(str(root), is_train)[0]
    except Exception as error:
        raise _reason(error, bare, file, check) from error
    finally:
        sys.argv, stock_options.ordered_yaml = arguments, loaders


def _leave(error: OptionsError) -> None:
    """End the process with one line instead of a traceback; exit code 2, as argparse does for a bad argument."""
    if os.environ.get(TRACEBACK_SWITCH) == "1":
        raise error
    print(f"srkd_plugin: options error: {error}", file=sys.stderr, flush=True)
    raise SystemExit(2)
