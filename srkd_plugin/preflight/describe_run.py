"""What a run of an options file would be: sizes, terms, data, disk and folder; found without running or writing."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from basicsr.utils import registry

from srkd_plugin.distill.history import updates
from srkd_plugin.distill.targets.find import find_source
from srkd_plugin.errors import MISSING
from srkd_plugin.networks.build import describe_network
from srkd_plugin.options import reader, sections
from srkd_plugin.options.registered_names import find_class, makes_lq
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.preflight import run_checks
from srkd_plugin.preflight.checked_run import CheckedRun
from srkd_plugin.preflight.checkpoint_size import pool_pairs
from srkd_plugin.preflight.image_pairs import FoundPairs
from srkd_plugin.preflight.opened_by import opened_by
from srkd_plugin.preflight.output_names import check_output_names
from srkd_plugin.preflight.stock_runs import check_model_type, check_stock_run
from srkd_plugin.preflight.testing import check_test
from srkd_plugin.utils.byte_sizes import readable_size
from srkd_plugin.utils.owner import owner_of

VALUE_RANGE = (
    "images are in 0..1 here, so L1 is 1/255 of what it is in 0..255. A weight that is stated for 0..255 beside L1 is "
    "divided by 255 if its loss does not depend on the range (ratios, cosines, affinities), and stays as it is if its "
    "loss grows with the images as L1 does"
)


def describe(opt: Mapping[str, Any]) -> dict[str, Any]:
    """Check parsed options as a run of ours would, and say what the run would be.

    Args:
        opt: As BasicSR's ``parse_options`` returns them. Options that name nothing of ours are checked, too.

    Returns:
        Plain values, for people (:func:`lines`) and for JSON. Sizes are in bytes.

    Raises:
        OptionsError: The first thing that is wrong.
    """
    check_model_type(opt.get("model_type", MISSING))
    options = check_training(opt) if opt["is_train"] else None
    find_class(registry.ARCH_REGISTRY, "network_g", opt.get("network_g"))
    found, warnings = check_test(opt, reader.is_ours(opt)) if options is None else (options.data, options.warnings)
    check_output_names(opt)
    facts: dict[str, Any] = {
        "name": opt["name"],
        "purpose": "testing" if options is None else "training",
        "model_type": opt.get("model_type"),
        "of_this_plugin": reader.is_ours(opt),
        "scale": opt.get("scale"),
        "student": describe_network("network_g", opt["network_g"], opt["path"].get("pretrain_network_g")),
        "student_opened_by": opened_by(opt["network_g"]),
        "teacher": None if options is None or not options.is_ours else find_source(options).describe(),
        "data": [_data(phase, opt["datasets"][phase], pairs) for phase, pairs in found.items()],
        "folder": _folder(opt),
        "warnings": warnings,
    }
    if options is not None:
        facts.update(training=_training(options), terms=_terms(options), disk=_disk(options))
    return facts


def check_training(opt: Mapping[str, Any]) -> CheckedRun:
    """Check the parsed options of a training run, the plugin's or a stock one.

    Raises:
        OptionsError: The first thing that is wrong.
    """
    return run_checks.check(opt) if reader.is_ours(opt) else check_stock_run(opt)


def _data(phase: str, section: Mapping[str, Any], found: Optional[FoundPairs]) -> dict[str, Any]:
    return {
        "section": f"datasets.{phase}",
        "type": section["type"],
        "gt": section.get("dataroot_gt"),
        "pairs": None if found is None or found.gt_alone else found.pairs,
        "images": found.pairs if found is not None and found.gt_alone else None,
        "smallest_gt": None if found is None else list(found.smallest_gt),
    }


def _training(options: CheckedRun) -> dict[str, Any]:
    stock = options.stock
    return {
        "iterations": stock.train.total_iter,
        "images_a_gpu": stock.train_set.batch_size_per_gpu,
        "batches_per_step": options.ours.accumulation.accumulate,
        "gt_size": options.raw["datasets"]["train"].get("gt_size"),
        "optimizer": stock.optim_g.type,
        "lr": stock.optim_g.lr,
        "scheduler": stock.scheduler.type,
        "ema_decay": stock.train.ema_decay,
        "precision": options.ours.amp.precision,
        "also": _also(options),
    }


def _also(options: CheckedRun) -> list[str]:
    """What trains otherwise than a student of BasicSR's does, a line each."""
    lines, ours = [], options.ours
    samples, quantize, history = ours.samples, ours.quantize, ours.history
    if makes_lq(options.raw):
        saved = "saved" if ours.train_set.exact_resume else "filled anew when the run is resumed"
        lines.append(
            f"LQ: made of GT as RealESRNetModel does, drawn from a pool of {pool_pairs(options)} pairs, {saved}"
        )
    if ours.student.init == "teacher_slice":
        lines.append(f"student: starts as a slice of {_cut_from(ours)} (init: teacher_slice, by: {ours.student.by})")
    if ours.student.reparameterize:
        lines.append("student: 3x3 convolutions train as branches, and are saved as plain ones")
    if samples.adds_inputs:
        zoomed = f"{samples.zoom_in} zoomed-in blocks per image" if samples.zoom_in else ""
        lines.append(f"samples: {', '.join(filter(None, [zoomed, 'zoomed-out crops' if samples.zoom_out else '']))}")
    if ours.eco.end_iter:
        ramp = f"in the first {ours.eco.end_iter:,} iterations"
        lines.append(f"ECO: {ramp} inputs and targets go from the teacher's images to the data set's pairs")
    if options.reads_history:
        times = len(updates(history, int(options.stock.train.total_iter)))
        often = f"updated {times:,} times (every: {history.every}, keep: {history.keep:g})"
        lines.append(f"history: an earlier student gives {1 + history.noised} images per input; it is {often}")
    if quantize is not None:
        freeze = "never" if quantize.freeze is None else f"after {quantize.freeze:,}"
        phases = f"ranges follow batches for {quantize.observe:,} iterations, scales stay {freeze}"
        lines.append(f"INT8: {phases}; checkpoints are Int8Student's, for srkd test and srkd export")
    return lines


def _cut_from(ours: sections.PluginOptions) -> str:
    other = ours.student.cut_from
    if other is not None:
        return other.pretrain_network_g or "a network with random weights"
    return f"the teacher {next(iter(ours.teachers))}" if ours.teachers else "the teacher"


def _terms(options: RunOptions) -> list[dict[str, Any]]:
    """The losses with their weights, those of SRModel first."""
    train = options.stock.train
    stock = [
        {"name": name, "type": section["type"], "weight": _weight(section), "when": "always"}
        for section, name in ((train.pixel_opt, "l_pix"), (train.perceptual_opt, "l_percep"))
        if section
    ]
    return stock + [
        {
            "name": f"l_{name}",
            "type": term.type,
            "weight": _weight(term.loss_options()) if term.balance is None else None,
            "balance": None if term.balance is None else term.balance.target,
            "taps": None if term.taps is None else term.taps.model_dump(),
            "when": _when(term),
        }
        for name, term in options.ours.terms.items()
    ]


def _weight(section: Mapping[str, Any]) -> Optional[float]:
    """``loss_weight`` as the options or the loss's signature have it; None where the loss has no such argument."""
    cls = find_class(registry.LOSS_REGISTRY, "", section)
    parameter = inspect.signature(cls).parameters.get("loss_weight")
    return section.get("loss_weight", None if parameter is None else parameter.default)


def _when(term: sections.TermSection) -> str:
    when = "always" if term.start == 1 and term.stop is None else f"from {term.start} to {term.stop or 'the end'}"
    return when if term.schedule is None else f"{when}, times {term.schedule}"


def _disk(options: CheckedRun) -> dict[str, int]:
    """Bytes of the checkpoints, if all are kept, and of the weights that are saved at the end beside them."""
    stock, size = options.stock, options.size
    saves = int(stock.train.total_iter // stock.logger.save_checkpoint_freq)
    root = Path(stock.path.experiments_root)
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    needed = size.both * saves + size.student
    free = shutil.disk_usage(there).free
    return {"checkpoint": size.both, "checkpoints": saves, "latest": size.student, "needed": needed, "free": free}


def _folder(opt: Mapping[str, Any]) -> dict[str, Any]:
    path = opt["path"]
    folder = Path(path["experiments_root"] if opt["is_train"] else path["results_root"])
    states = [int(file.stem) for file in folder.glob("training_states/*.state") if file.stem.isdigit()]
    return {
        "path": str(folder),
        "is_there": folder.is_dir(),
        "newest_state": max(states, default=None),
        "in_use_by": owner_of(folder),
    }


def _scale(scale: Optional[int]) -> str:
    return "" if scale is None else f", x{scale}"


def lines(facts: Mapping[str, Any]) -> list[str]:
    """The facts of :func:`describe`, for people."""
    own = "" if facts["of_this_plugin"] else "; it names nothing of srkd_plugin: a stock BasicSR run"
    text = [f"{facts['name']}: {facts['purpose']}, {facts['model_type']}{_scale(facts['scale'])}{own}"]
    for role in ("student", "teacher"):
        net = facts[role]
        if net is not None:
            text.append(f"{role}: {_network_line(net)}")
        if role == "student":
            text.append(f"student's file is opened by: {facts['student_opened_by']}")
    if facts["purpose"] == "training":
        text += _training_lines(facts)
    for found in facts["data"]:
        h, w = found["smallest_gt"] or ("?", "?")
        counts = [
            f"{found[of]:,} {of}, smallest GT seen {h}x{w}" for of in ("pairs", "images") if found[of] is not None
        ]
        text.append(f"{found['section']}: {''.join(counts) or 'not looked into'} ({found['gt']})")
    return [*text, *_folder_lines(facts), *(f"warning: {warning}" for warning in facts["warnings"])]


def _network_line(facts: Mapping[str, Any]) -> str:
    """The student's or the teacher's facts; a source of targets has others than a network."""
    size = [f"{facts['parameters']:,} parameters"] if "parameters" in facts else []
    others = [
        f"{name}: ({_network_line(value)})" if isinstance(value, Mapping) else f"{name}: {value}"
        for name, value in facts.items()
        if name not in ("type", "parameters")
    ]
    return ", ".join([str(facts["type"]), *size, *others])


def _training_lines(facts: Mapping[str, Any]) -> list[str]:
    train, disk = facts["training"], facts["disk"]
    crops = "" if train["gt_size"] is None else f"gt_size {train['gt_size']}, "
    batches = "" if train["batches_per_step"] == 1 else f" times {train['batches_per_step']} batches per step"
    text = [
        f"training: {train['iterations']:,} iterations, {train['images_a_gpu']} images per GPU{batches}, "
        f"{crops}{train['optimizer']} with lr {train['lr']}, {train['scheduler']}, "
        f"EMA {train['ema_decay'] or 'off'}, {train['precision']}"
    ]
    text += train["also"]
    for term in facts["terms"]:
        weight = f"weight {term['weight']}" if term["weight"] is not None else "no loss_weight"
        if term.get("balance") is not None:
            weight = f"balanced to {term['balance']} times the gradient of l_pix"
        taps = f", taps {term['taps']['student']} to {term['taps']['teacher']}" if term.get("taps") else ""
        text.append(f"term {term['name']}: {term['type']}, {weight}, {term['when']}{taps}")
    if facts["of_this_plugin"]:
        text.append(f"value range: {VALUE_RANGE}")
    short = " MORE THAN IS FREE" if disk["needed"] > disk["free"] else ""
    text.append(
        f"disk: {disk['checkpoints']} checkpoints of about {readable_size(disk['checkpoint'])}, and "
        f"{readable_size(disk['latest'])} at the end, are {readable_size(disk['needed'])}, "
        f"{readable_size(disk['free'])} are free{short}"
    )
    return text


def _folder_lines(facts: Mapping[str, Any]) -> list[str]:
    folder = facts["folder"]
    if folder["in_use_by"] is not None:
        return [f"writes to: {folder['path']}, which is in use: a start is refused: {folder['in_use_by']}"]
    if not folder["is_there"]:
        return [f"writes to: {folder['path']} (new)"]
    text = [f"writes to: {folder['path']}, which is there: it would be renamed to {facts['name']}_archived_<time>"]
    if folder["newest_state"] is not None:
        text.append(f"with --auto_resume: it goes on there after iteration {folder['newest_state']:,}")
    return text
