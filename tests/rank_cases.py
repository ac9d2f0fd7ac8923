"""What the processes of ``test_distributed.py`` do, all cases in one pair of processes; each case returns its findings.

Run as a script it is one rank, started as SLURM would; imported, the same functions give the figures of one process.
"""

from __future__ import annotations

import copy
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import tiny
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.utils.dist_util import init_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import srkd_plugin.registration  # noqa: F401  (before BasicSR, as it has to be without the autoload)
from srkd_plugin.basicsr_patches import resume
from srkd_plugin.errors import OptionsError
from srkd_plugin.losses import ContrastiveLoss, VGGContrastiveLoss
from srkd_plugin.parallel import ranks
from srkd_plugin.preflight import on_all_ranks
from srkd_plugin.preflight.image_pairs import check_pairs
from srkd_plugin.training import stop_signals

SETTINGS = [
    {"similarity": similarity, "form": form, "negatives": negatives, "reduction": reduction}
    for (similarity, form), negatives, reduction in itertools.product(
        [("l1", None), ("cosine", "exp"), ("cosine", "infonce")],
        ["teacher", "student", "both", "lq_bicubic", "history"],
        ["sum", "mean"],
    )
]
SIZES = [(3, 3), (3, 2), (1, 4)]
"""Images of the two ranks: equal, an uneven last batch, and a rank whose one image has no negatives of its own."""


def own_part(batch: torch.Tensor, sizes: tuple[int, ...]) -> torch.Tensor:
    """What this rank has of a batch; all of it in one process."""
    return batch if ranks.count() == 1 else batch.split(sizes)[ranks.own()]


def loss_and_gradients(loss: nn.Module, sizes: tuple[int, ...]) -> dict[str, Any]:
    """A loss and the averaged gradients of a small network, float64."""
    torch.manual_seed(0)
    net: nn.Module = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)).double()
    lq = torch.rand(sum(sizes), 3, 4, 5, dtype=torch.float64)
    teacher = torch.rand(sum(sizes), 3, 8, 10, dtype=torch.float64)
    history = torch.rand(sum(sizes), 2, 3, 8, 10, dtype=torch.float64)  # image by image here
    parameters = list(net.parameters())
    if ranks.count() > 1:
        net = DistributedDataParallel(net)
    lq, teacher = own_part(lq, sizes), own_part(teacher, sizes)
    step = {"student": net(lq), "teacher": teacher, "lq": lq, "history": own_part(history, sizes).transpose(0, 1)}
    value = loss(*(step[name] for name in loss.reads))
    value.backward()
    return {"loss": ranks.mean(value.detach()), "gradients": [p.grad for p in parameters]}


def contrastive(settings: dict[str, Any], sizes: tuple[int, ...], gather: bool = True) -> dict[str, Any]:
    """:func:`loss_and_gradients` of the paper's loss."""
    return loss_and_gradients(ContrastiveLoss(**settings, gather_negatives=gather), sizes)


class AsVGG(nn.Module):
    """Five feature maps that need no file, in place of VGG19's."""

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images.double().sin() * weight for weight in (1.0, 2.0, 3.0, 4.0, 5.0)]


def vgg_contrastive(sizes: tuple[int, ...], **settings: Any) -> dict[str, Any]:
    """:func:`loss_and_gradients` of CSD's loss."""
    module = sys.modules[VGGContrastiveLoss.__module__]  # by name it is the function that is called so, too
    with mock.patch.object(module, "VGG19Features", lambda weights: AsVGG()):
        loss = VGGContrastiveLoss(**(settings or {"num_negatives": 2}), gather_negatives=True)
    return loss_and_gradients(loss, sizes)


def resumed() -> dict[str, str]:
    """What each rank is told of the checkpoints that they would go on from."""
    rank = ranks.own()
    wrong = OptionsError("--auto_resume", "states", "none can be resumed", "Put good files back.")
    cases = {
        "same": ("iteration 2, student aa", None),
        "other": (f"iteration {2 - rank}, student aa", None),
        "missing": ("iteration 2, student aa" if rank == 0 else None, None),
        "error": ("iteration 2, student aa" if rank == 0 else None, wrong if rank == 1 else None),
    }
    return {name: error_of(resume.check_resumed, "--auto_resume", *found) for name, found in cases.items()}


def distill(opt: dict[str, Any], root: Path, iters: int = 4) -> Any:
    """Train on batches of 6 images; the model and its log of each iteration."""
    torch.manual_seed(7 + ranks.own())  # ranks start with other weights: DDP is to make them equal
    opt = tiny.parsed(copy.deepcopy(opt), root)
    opt.update(dist=ranks.count() > 1, rank=ranks.own(), world_size=ranks.count())
    model, logs = build_model(opt), []
    for i in range(1, iters + 1):
        torch.manual_seed(i)
        batch = {"lq": torch.rand(6, 3, 8, 10), "gt": torch.rand(6, 3, 16, 20)}
        model.feed_data({k: own_part(v, (3, 3)) for k, v in batch.items()})
        model.optimize_parameters(i)
        logs.append(dict(model.log_dict))
    return model, logs


def trained(opt: dict[str, Any], root: Path) -> dict[str, Any]:
    """Everything that a training has changed."""
    model, logs = distill(opt, root)
    bare = model.get_bare_model(model.net_g)
    return {
        "net_g": bare.state_dict(),
        "net_g_ema": model.net_g_ema.state_dict(),
        "connectors": model.step_losses.connectors.state_dict(),
        "balances": model.term_weights.state_dict(),
        "logs": logs,
    }


def accumulated(opt: dict[str, Any]) -> dict[str, Any]:
    """Two batches to a step."""
    opt = copy.deepcopy(opt)
    opt["train"].update(accumulate=2, accumulate_negatives="per_batch")
    return opt


def validate(opt: dict[str, Any], root: Path, keep: int = 6) -> list[Any]:
    """Validate a student and a worse one on the first images; metrics and best record each time."""
    torch.set_default_dtype(torch.float32)  # that of BasicSR's data sets
    model, _ = distill(opt, root, iters=0)
    section = model.opt["datasets"]["val"]
    dataset = build_dataset(section)
    dataset.paths = sorted(dataset.paths, key=lambda pair: pair["lq_path"])[:keep]
    loader = build_dataloader(dataset, section, dist=model.opt["dist"])
    found = []
    for i in (1, 2):
        model.validation(loader, i, None, True)
        found.append(copy.deepcopy([model.metric_results, model.best_metric_results]))
        for net in (model.net_g, getattr(model, "net_g_ema", model.net_g)):
            for parameter in net.parameters():
                parameter.data *= 1.01
    if ranks.count() > 1:
        dataset.paths = dataset.paths[:-1][:: 1 - 2 * ranks.own()]  # rank 1 lists an even number of them backwards
        found.append(error_of(model.validation, loader, 3, None, False))
    torch.set_default_dtype(torch.float64)
    return found


def error_of(function: Any, *arguments: Any) -> str:
    """The type and the text of what a call raises."""
    try:
        function(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def agreements(opt: dict[str, Any]) -> dict[str, str]:
    """What each rank is told when one of them differs from the others."""

    rank = ranks.own()  # within a check every rank believes to be alone

    def differing(**changes: Any) -> dict[str, Any]:
        changed = copy.deepcopy(opt)
        if rank == 1:
            for path, value in changes.items():
                *sections, key = path.split("__")
                section = changed
                for name in sections:
                    section = section[name]
                section[key] = value
        return tiny.parsed(changed, Path("nowhere"))

    def refuse_on_rank_1(opt: dict[str, Any]) -> Any:
        if rank == 1:
            raise OptionsError("path.pretrain_network_t", "t.pth", "there is no such file", "Copy it.")
        return accept(opt)

    def accept(opt: dict[str, Any]) -> Any:
        if rank == 0:
            ranks.mean(torch.zeros(1))  # a trial of one rank alone: it must not wait for the other
        sections = opt["datasets"].items()
        return mock.Mock(data={phase: check_pairs(phase, section, 2, train=False) for phase, section in sections})

    def one_image_less_on_rank_1(opt: dict[str, Any]) -> Any:
        checked = accept(opt)
        if rank == 1:
            checked.data["train"].images.pairs.pop()
        return checked

    cases = {
        "same": (accept, differing(manual_seed=99)),
        "options": (accept, differing(train__distill_opt__contrastive__loss_weight=9.0)),
        "surplus": (accept, differing(train__distill_opt__contrastive__eps=1e-3)),
        "error": (refuse_on_rank_1, differing()),
        "data": (one_image_less_on_rank_1, differing()),
    }
    told = {}
    for name, (check, options) in cases.items():
        told[name] = error_of(on_all_ranks.check_on_all_ranks, check, options)
    return told


def ended(opt: dict[str, Any], root: Path, saved: bool) -> Any:
    """The exit code and the states on disk after rank 0 alone gets SIGTERM, in an iteration that was saved or not."""
    stop_signals.listen()
    if ranks.own() == 0:
        os.kill(os.getpid(), signal.SIGTERM)
    model, _ = distill(opt, root, iters=1)
    stop_signals.forget()
    model.trainer_data.iters_per_epoch = 10
    for folder in ("models", "training_states"):
        Path(model.opt["path"][folder]).mkdir(parents=True, exist_ok=True)
    if saved:
        model.save(0, 1)
    try:
        model.update_learning_rate(2)
    except SystemExit as end:
        return end.code, sorted(file.name for file in Path(model.opt["path"]["training_states"]).iterdir())
    return "it went on"


def without_image_loss(opt: dict[str, Any]) -> dict[str, Any]:
    """Only feature maps inside of the student are compared: the loss does not depend on its last layers."""
    opt = copy.deepcopy(opt)
    del opt["train"]["pixel_opt"]
    opt["train"]["distill_opt"] = {
        "fakd": {"type": "SpatialAffinityLoss", "taps": {"student": ["body.0"], "teacher": ["body.1"]}}
    }
    return opt


def main(content: dict[str, Any], root: Path) -> None:
    """All cases on this rank, which SLURM's environment names; the last one kills rank 1."""
    init_dist("slurm", port=content["port"])
    torch.set_default_dtype(torch.float64)
    rank = ranks.own()
    found = {
        "losses": {(i, sizes): contrastive(s, sizes) for i, s in enumerate(SETTINGS) for sizes in SIZES},
        "local": contrastive({"reduction": "sum"}, (3, 3), gather=False),
        "vgg": {sizes: vgg_contrastive(sizes) for sizes in SIZES},
        "vgg_history": vgg_contrastive(SIZES[-1], negatives="history"),
        "shapes": error_of(ranks.gather_batches, torch.rand(2, 3, 4, 4 + rank)),
        "trained": trained(content["opt"], root),
        "validated": {
            (ema, keep): validate(content[f"opt_{ema}"], root / f"{ema}_{keep}", keep)
            for ema, keep in itertools.product(("ema", "plain"), (5, 1))
        },
        "random_teacher": distill(content["opt_random"], root, iters=1)[0].step_losses.source.teacher.net.state_dict(),
        "accumulated": trained(accumulated(content["opt"]), root),
        "pure": trained(without_image_loss(content["opt"]), root),
        "ended": {saved: ended(content["opt"], root / f"ended_{saved}", saved) for saved in (False, True)},
        "agreements": agreements(content["opt"]),
        "resumed": resumed(),
        "environment": {k: os.environ[k] for k in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE")},
    }
    model, _ = distill(content["opt_plain"], root, iters=1)
    torch.save(found, root / f"found_{rank}.pt")

    poison = torch.full((3, 3, 8, 10), torch.nan if rank == 1 else 0.5)
    before = copy.deepcopy(model.get_bare_model(model.net_g).state_dict())
    model.feed_data({"lq": poison, "gt": torch.rand(3, 3, 16, 20)})
    print(error_of(model.optimize_parameters, 2), flush=True)
    after = model.get_bare_model(model.net_g).state_dict()
    print("unchanged:", all(torch.equal(before[key], after[key]) for key in before), flush=True)
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    model.feed_data({"lq": torch.rand(3, 3, 8, 10), "gt": torch.rand(3, 3, 16, 20)})
    model.optimize_parameters(3)


if __name__ == "__main__":
    main(torch.load(sys.argv[1], weights_only=False), Path(sys.argv[2]))
