"""The training run that BasicSR's ``parse_options`` has begun in this process, and what it does in BasicSR's place.

BasicSR's trainer calls ``load_resume_state``, ``build_dataloader`` and ``build_model``; whoever writes a trainer of
their own calls them, too, or does without. The functions that stand for them ask here which run is going on; where
there is none of ours they are stock's. What a run of ours was promised and does not get is said before its first step.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any, Callable, Optional

from basicsr.utils import get_root_logger

from srkd_plugin.basicsr_patches import assumptions, progress_line
from srkd_plugin.basicsr_patches.replace import replace
from srkd_plugin.basicsr_patches.resume import find_on_all_ranks, take_on_seed, warn
from srkd_plugin.errors import OptionsError
from srkd_plugin.options import reader
from srkd_plugin.training import stop_signals
from srkd_plugin.training.named_reads import NamedReads
from srkd_plugin.training.train_loader import build_train_loader, with_own_generator
from srkd_plugin.training.trainer_data import TrainerData

LOADER_ARGUMENTS = ("num_gpu", "dist", "sampler", "seed")
"""What ``build_dataloader`` takes after the data set and its options, in its order."""
SAMPLER_HAS = ("epoch", "num_replicas", "rank")
"""What tells the position of a sampler's samples in the epoch; BasicSR's EnlargedSampler has them, and torch's."""

NO_PARSE = (
    "the options were not parsed by basicsr.utils.options.parse_options, so that they were not checked, a resumed run "
    "begins its epoch anew, and SIGTERM ends it without saving"
)
NO_LOADER = (
    "the training loader was not built by basicsr.data.build_dataloader with an EnlargedSampler, so that a resumed run "
    "begins its epoch anew, and SIGTERM ends it without saving"
)
NO_STATE = (
    "the training state was not loaded by load_resume_state as basicsr/train.py has it, so that the run begins its "
    "epoch anew, and a broken checkpoint is not passed over"
)

_current: Optional[TrainingRun] = None


class TrainingRun:
    """Finds the state to resume from, and lets the data go on at its position.

    Args:
        opt: The run's options as the trainer has them; the path of the state is written into them.
        leave: Ends the process with an error of the user's.
    """

    def __init__(self, opt: dict[str, Any], leave: Callable[[OptionsError], None]) -> None:
        self.opt = opt
        self.ours = reader.is_ours(opt)
        self.exact = reader.exact_data(opt)
        self._leave = leave
        self._state: Optional[dict[str, Any]] = None
        self._data = TrainerData()

    def load_resume_state(self, opt: dict[str, Any]) -> Optional[dict[str, Any]]:
        """Stand-in for ``load_resume_state``, for our runs and for machines without CUDA.

        The state is loaded to host memory: ``Optimizer.load_state_dict`` moves it to the parameters' device by itself.
        """
        from basicsr.utils.misc import check_resume

        try:
            found = find_on_all_ranks(opt)
        except OptionsError as error:
            self._leave(error)
            raise
        if found is None:
            if self.ours and opt["auto_resume"]:
                warn(opt, f"there is no training state in {opt['path']['training_states']}: the run starts anew")
            return None
        opt["path"]["resume_state"], self._state = found
        check_resume(opt, self._state["iter"])
        if self.exact:
            take_on_seed(opt, self._state)
        return self._state

    def build_dataloader(self, stock: Callable[..., Any], dataset: Any, dataset_opt: dict[str, Any], **kw: Any) -> Any:
        """Stand-in for ``build_dataloader``; keywords as it has them."""
        if not (self.ours or self.exact):
            return stock(dataset, dataset_opt, **kw)
        loader: Any
        dataset = NamedReads(dataset, f"data set {dataset_opt.get('name')} ({dataset_opt.get('phase')})")
        seed = self.opt["manual_seed"] if kw.get("seed") is None else kw["seed"]
        if dataset_opt.get("phase") != "train":
            loader = stock(dataset, dataset_opt, **kw)
            self._data.val_loaders.append(loader)
        elif all(hasattr(kw.get("sampler"), name) for name in SAMPLER_HAS):
            loader = build_train_loader(stock, dataset, dataset_opt, exact=self.exact, **{**kw, "seed": seed})
            loader.sampler.start = self._start(batches=len(loader), batch=loader.batch_size)
            self._data.iters_per_epoch = len(loader)
            if self.ours:
                stop_signals.listen()
        else:  # its position cannot be told; this is said before the first step
            return stock(dataset, dataset_opt, **kw)
        return with_own_generator(loader, seed) if self.exact else loader

    def watch(self, model: Any) -> None:
        """Tell a model what the trainer has; say so before its first step if the trainer went around this run."""
        if not (self.ours or self.exact):
            return
        model.trainer_data = self._data
        if not self._data.iters_per_epoch:
            _before(model, "optimize_parameters", self._check_loader)
        if self._state is None:
            _before(model, "resume_training", lambda: self._lacks(NO_STATE))

    def _check_loader(self) -> None:
        if not self._data.iters_per_epoch:
            self._lacks(NO_LOADER)

    def _lacks(self, what: str) -> None:
        try:
            report(what, self.exact)
        except OptionsError as error:
            self._leave(error)
            raise

    def _start(self, batches: int, batch: int) -> tuple[int, int]:
        if self._state is None:
            return 0, 0
        epoch, done = self._state["epoch"], self._state["iter"] - self._state["epoch"] * batches
        if not 0 <= done <= batches:
            warn(self.opt, "an epoch has another length now than in the run that is resumed: it is begun anew")
            return epoch, 0
        if not self.exact and done:
            hint = "random crops are drawn anew; for an exact resume start runs with datasets.train.exact_resume: true"
            warn(self.opt, f"the data go on at batch {done + 1:,d} of epoch {epoch}, but {hint}")
        return epoch, done * batch


def begin(run: Optional[TrainingRun]) -> None:
    """Let the functions that stand for BasicSR's act for this run from now on; None lets them be stock's."""
    global _current
    _current = run
    if run is None:
        return
    for module in list(sys.modules.values()):
        function = getattr(module, "__dict__", {}).get("load_resume_state")
        if _is_basicsrs(function):
            replace(module, "load_resume_state", load_resume_state)
    differences = assumptions.differences(a for a in assumptions.ASSUMPTIONS if a.name.startswith("basicsr.train:"))
    if differences and (run.ours or run.exact):
        warn(run.opt, assumptions.line(differences))


def _is_basicsrs(function: Any) -> bool:
    """Whether it is BasicSR's ``load_resume_state`` or a copy of it, as train.py scripts of others have one."""
    return isinstance(function, FunctionType) and "check_resume" in function.__code__.co_names


def load_resume_state(stock: Callable[..., Any], opt: dict[str, Any], *arguments: Any, **more: Any) -> Any:
    """Stand-in for ``load_resume_state`` of a train.py."""
    return stock(opt, *arguments, **more) if _current is None else _current.load_resume_state(opt)


def build_dataloader(
    stock: Callable[..., Any], dataset: Any, dataset_opt: dict[str, Any], *args: Any, **kw: Any
) -> Any:
    """Stand-in for ``basicsr.data.build_dataloader``."""
    if _current is None:
        return stock(dataset, dataset_opt, *args, **kw)
    return _current.build_dataloader(stock, dataset, dataset_opt, **dict(zip(LOADER_ARGUMENTS, args)), **kw)


def build_model(stock: Callable[..., Any], opt: dict[str, Any], *arguments: Any, **more: Any) -> Any:
    """Stand-in for ``basicsr.models.build_model``: the model is told what the trainer has."""
    model = stock(opt, *arguments, **more)
    if not opt.get("is_train"):
        return model
    progress_line.attach(model, opt)
    if _current is not None and _current.opt["path"].get("experiments_root") == opt["path"].get("experiments_root"):
        _current.watch(model)
    elif reader.is_ours(opt) or reader.exact_data(opt):
        _before(model, "optimize_parameters", lambda: report(NO_PARSE, reader.exact_data(opt)))
    return model


def report(lacks: str, exact: bool) -> None:
    """Say in one line what a run will not have.

    Raises:
        OptionsError: An exact resume was asked for, which is then impossible.
    """
    if exact:
        remedy = "Call that function, or remove exact_resume."
        raise OptionsError("datasets.train.exact_resume", True, lacks, remedy)
    get_root_logger().warning(f"srkd_plugin: {lacks}.")


def _before(model: Any, name: str, act: Callable[[], Any]) -> None:
    """Call ``act`` once, before the first call of a model's method; after that, the method is what it was before."""
    method, own = getattr(model, name, None), vars(model).get(name)
    if method is None:
        return

    def first(*arguments: Any, **more: Any) -> Any:
        if vars(model).get(name) is first:
            if own is None:
                delattr(model, name)
            else:
                setattr(model, name, own)
        act()
        return method(*arguments, **more)

    setattr(model, name, first)
