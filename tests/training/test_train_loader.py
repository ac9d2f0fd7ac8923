"""The data stream: a sample is a function of seed, epoch and place, whoever loads it, and can be begun anywhere."""

import random

import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader
from basicsr.data.data_sampler import EnlargedSampler
from torch.utils.data import Dataset

from srkd_plugin.training.train_loader import build_train_loader, with_own_generator


class Drawing(Dataset):
    """Gives its index and a number of each generator that a dataset may use; counts what is loaded here."""

    def __init__(self):
        self.loaded = 0

    def __len__(self):
        return 7

    def __getitem__(self, index):
        self.loaded += 1
        return {"index": index, "drawn": torch.tensor([random.random(), np.random.rand(), torch.rand(1).item()])}


def loader_of(exact=True, workers=0, ranks=1, rank=0, batch=2, dataset=None, **options):
    dataset = dataset or Drawing()
    opt = {"phase": "train", "batch_size_per_gpu": batch, "num_worker_per_gpu": workers, **options}
    sampler = EnlargedSampler(dataset, ranks, rank, 4)
    return build_train_loader(build_dataloader, dataset, opt, sampler, 5, exact, dist=True), sampler


def epoch_of(loader, sampler, epoch):
    sampler.set_epoch(epoch)
    return [(batch["index"].tolist(), batch["drawn"].tolist()) for batch in loader]


@pytest.mark.parametrize(
    "how", [{}, {"workers": 1}, {"workers": 2, "persistent_workers": True}, {"prefetch_mode": "cpu"}]
)
def test_the_samples_are_the_same_however_they_are_loaded(how):
    reference = [epoch_of(*loader_of(), epoch) for epoch in range(2)]
    loader, sampler = loader_of(**how)
    iter(loader)  # BasicSR's prefetchers begin once before the first epoch
    random.seed(99), np.random.seed(99), torch.manual_seed(99)
    assert [epoch_of(loader, sampler, epoch) for epoch in range(2)] == reference
    assert len({tuple(row) for epoch in reference for _, drawn in epoch for row in drawn}) == 2 * 28


@pytest.mark.parametrize("exact", [True, False])
def test_it_begins_in_the_middle_without_loading_what_is_skipped(exact):
    whole = epoch_of(*loader_of(exact), 3)
    dataset = Drawing()
    loader, sampler = loader_of(exact, dataset=dataset)
    loader.sampler.start = (3, 5 * 2)
    rest, after = epoch_of(loader, sampler, 3), dataset.loaded
    assert [indices for indices, _ in rest] == [indices for indices, _ in whole[5:]]
    assert (rest == whole[5:]) == exact
    assert after == 2 * len(rest)
    assert len(epoch_of(loader, sampler, 4)) == len(whole), "other epochs are whole"
    loader.sampler.start = (3, 2 * len(whole))
    assert epoch_of(loader, sampler, 3) == []


def test_the_order_is_that_of_basicsr():
    loader, sampler = loader_of(exact=False)
    stock = build_dataloader(
        Drawing(), {"phase": "train", "batch_size_per_gpu": 2, "num_worker_per_gpu": 0}, dist=True, sampler=sampler
    )
    for exact in (False, True):
        loader, sampler = loader_of(exact)
        assert [i for i, _ in epoch_of(loader, sampler, 2)] == [i for i, _ in epoch_of(stock, stock.sampler, 2)]


def test_two_ranks_load_the_samples_of_one():
    one = epoch_of(*loader_of(batch=2), 1)
    two = [epoch_of(*loader_of(ranks=2, rank=rank, batch=1), 1) for rank in range(2)]
    together = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(*two)]
    assert together == one


def test_loading_leaves_the_random_streams_of_the_training_alone():
    loader, sampler = loader_of()
    with_own_generator(loader, 5)
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    expected = torch.rand(1).item(), random.random(), np.random.rand()
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    assert len(epoch_of(loader, sampler, 0)) == 14
    assert (torch.rand(1).item(), random.random(), np.random.rand()) == expected
