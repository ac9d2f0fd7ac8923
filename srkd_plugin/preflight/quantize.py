"""Checks of ``train.quantize``: whether the student can be trained in INT8, and what cannot be had beside it."""

from __future__ import annotations

from srkd_plugin.distill.int8_training import crops_of
from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.networks.build import build_described
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.options.sections import QuantizeSection
from srkd_plugin.preflight.networks import trial
from srkd_plugin.quantization.fold import folded
from srkd_plugin.quantization.network import Int8Network
from srkd_plugin.quantization.ptq import steps_by_name

KEY = "train.quantize"


def check_quantize(options: RunOptions, has_weights: bool = True) -> None:
    """Check the section, if there is one; a network is built and thrown away.

    Args:
        options: The run's.
        has_weights: Whether the weights to start from are there; those that are yet to be made are not asked for.

    Raises:
        OptionsError: The student has no weights to start from, or its network, another key or the training images
            will not do.
    """
    section, path = options.ours.quantize, options.stock.path
    if section is None:
        return
    _check_others(options)
    resumes = options.raw.get("auto_resume") or options.raw["path"].get("resume_state")
    if has_weights and not path.pretrain_network_g and not resumes:
        problem = f"{KEY} fine-tunes a student that is trained"
        raise OptionsError("path.pretrain_network_g", MISSING, problem, "Name its weights file.")
    last = int(options.stock.train.total_iter)
    late = {key: value for key in ("observe", "freeze") if (value := getattr(section, key) or 0) > last}
    if late:
        names, values = (" and ".join(map(str, each)) for each in (late, late.values()))
        raise OptionsError(f"{KEY}.{names}", values, f"the run ends before, with iteration {last}", "Write less.")
    _check_network(options, section)
    crops_of(options.raw, section.crops)


def _check_others(options: RunOptions) -> None:
    ours, run = options.ours, options.stock.run
    beside = f"it is not supported beside {KEY}"
    if ours.amp.precision != "fp32":
        problem = f"{beside}, whose levels need float32"
        raise OptionsError("train.amp.precision", ours.amp.precision, problem, "Write fp32.")
    for key, value in (("compile", ours.student.compile), ("reparameterize", ours.student.reparameterize)):
        if value:
            raise OptionsError(f"student.{key}", True, beside, "Remove it.")
    if ours.has_taps:
        problem = "terms with taps are not supported beside it: an INT8 network has no modules that give feature maps"
        raise OptionsError(KEY, "...", problem, "Compare images instead.")
    if not run.dist and run.num_gpu > 1:
        problem = f"{beside} in one process: each GPU would have ranges of its own"
        raise OptionsError("num_gpu", run.num_gpu, problem, "Start with torchrun and --launcher pytorch, or write 1.")


def _check_network(options: RunOptions, section: QuantizeSection) -> None:
    with trial():
        steps, _ = folded(build_described("network_g", options.raw["network_g"]))
    try:
        steps_by_name(Int8Network(steps), section.float_layers)
    except OptionsError as error:
        raise OptionsError(f"{KEY}.float_layers", error.value, error.problem, error.remedy) from error
