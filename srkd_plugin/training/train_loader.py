"""The training data in an order with a position: resumable in the middle of an epoch, without loading what is skipped.

BasicSR's ``EnlargedSampler`` orders an epoch by the epoch's number alone. Its augmentations are drawn from random
streams of the workers, so that a sample depends on all that its worker has drawn before. Here (``exact_resume``) each
sample draws from random streams of its own, given by the run's seed, the epoch and its place in the epoch's order over
all ranks: whatever process makes it, and whenever, it is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Callable, Optional, Union

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from srkd_plugin.parallel.parent import end_with_parent
from srkd_plugin.training.random_state import seeded
from srkd_plugin.training.stop_signals import outlast_group_signals

Place = tuple[int, int, int]
"""Epoch, place in the epoch's order over all ranks, index in the dataset."""


class ResumableSampler(Sampler):
    """An ``EnlargedSampler`` that can begin in the middle of an epoch.

    Args:
        sampler: BasicSR's; the trainer goes on setting its epoch.
        places: Yield a :data:`Place` per sample, for :class:`SeededDataset`; otherwise the index.

    Attributes:
        start: Epoch and number of its samples (of this rank) that are skipped. Other epochs are whole.
    """

    def __init__(self, sampler: Any, places: bool) -> None:
        self.sampler = sampler
        self.places = places
        self.start = (0, 0)

    def __iter__(self) -> Iterator[Union[int, Place]]:
        """The samples of the epoch that the trainer has set."""
        epoch = self.sampler.epoch
        skipped = self.start[1] if epoch == self.start[0] else 0
        for number, index in enumerate(self.sampler):
            if number >= skipped:
                place = number * self.sampler.num_replicas + self.sampler.rank
                yield (epoch, place, index) if self.places else index

    def __len__(self) -> int:
        """Samples of a whole epoch."""
        return len(self.sampler)


class SeededDataset(Dataset):
    """A dataset whose sample at a place of the order is a function of the seed and that place.

    Works for every map-style dataset that draws from Python's ``random``, ``numpy.random`` or torch's CPU generator.

    Args:
        dataset: Any map-style dataset.
        seed: Seed of the run.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __getitem__(self, at: Place) -> Any:
        """The sample at a place of the order."""
        epoch, place, index = at
        with seeded((self.seed, epoch, place)):
            return self.dataset[index]

    def __len__(self) -> int:
        """Images of the dataset."""
        return len(self.dataset)


def build_train_loader(
    build: Callable[..., DataLoader],
    dataset: Any,
    dataset_opt: dict[str, Any],
    sampler: Any,
    seed: int,
    exact: bool,
    **more: Any,
) -> DataLoader:
    """BasicSR's training loader, with a :class:`ResumableSampler`, and workers that wait for their parent to end.

    Args:
        build: BasicSR's ``build_dataloader``.
        dataset: The training set.
        dataset_opt: Its options.
        sampler: BasicSR's.
        seed: The run's.
        exact: Each sample draws from its own random streams. ``prefetch_mode: cpu`` is left out then: its thread draws
            beside the training step, and with persistent workers BasicSR's first, abandoned thread takes batches away.
        **more: Further arguments of ``build``.
    """
    if exact:
        dataset = SeededDataset(dataset, seed)
        if dataset_opt.get("prefetch_mode") == "cpu":
            dataset_opt = {**dataset_opt, "prefetch_mode": None}
    resumable = ResumableSampler(sampler, places=exact)
    loader = build(dataset, dataset_opt, sampler=resumable, seed=seed, **more)
    loader.worker_init_fn = partial(_init_worker, loader.worker_init_fn)
    return loader


def with_own_generator(loader: DataLoader, seed: int) -> DataLoader:
    """Let a loader draw its workers' seeds from a generator of its own, so that it leaves torch's to the training."""
    loader.generator = torch.Generator().manual_seed(seed)
    return loader


def _init_worker(stock: Optional[Callable[[int], None]], worker: int) -> None:
    outlast_group_signals()
    end_with_parent()  # behind it: its thread must block the same signals
    if stock is not None:
        stock(worker)
