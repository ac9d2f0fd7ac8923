"""Split validation in one process; what it gives on several ranks is in tests/integration/test_distributed.py."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import sr_model

from srkd_plugin.training import split_validation
from srkd_plugin.training.split_validation import validate_split


@pytest.fixture
def loader(data, tmp_path):
    section = tiny.parsed(tiny.stock_options(data), tmp_path)["datasets"]["val"]
    return build_dataloader(build_dataset(section), section)


@pytest.fixture
def model(data, teacher_file, tmp_path):
    model = tiny.model(tiny.distill_options(data, teacher_file), tmp_path)
    model.opt["val"]["pbar"] = True
    return model


class Bar:
    """Stands for tqdm."""

    opened: list

    def __init__(self, total, unit):
        self.total, self.done, self.closed = total, 0, False
        self.opened.append(self)

    def update(self, n):
        self.done += n

    def set_description(self, text):
        assert text.startswith("Test ")

    def close(self):
        self.closed = True


class Writer:
    """Stands for a TensorBoard logger."""

    def __init__(self):
        self.written = []

    def add_scalar(self, name, value, iteration):
        self.written.append((name, value, iteration))


def results(model):
    return model.metric_results, model.best_metric_results


def test_validating_draws_nothing_from_the_trainings_random_stream(loader):
    """A run that is resumed after a validation would otherwise go on with other random numbers."""
    net = torch.nn.Conv2d(1, 1, 1)
    model = SimpleNamespace(net_g=net, get_bare_model=lambda net: net, device="cpu", opt={"val": {}})
    seen = []
    before = torch.get_rng_state()
    validate_split(
        model, lambda share, *rest: seen.extend(image["lq_path"][0] for image in share), loader, 1, None, False
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert len(set(seen)) == len(loader.dataset) == 6


def test_the_progress_bar_is_closed_and_results_are_noted_once_and_as_stock(loader, model, monkeypatch):
    stock, ours = Writer(), Writer()
    model.nondist_validation(loader, 4, stock, False)
    expected = results(model)
    del model.best_metric_results
    monkeypatch.setattr(Bar, "opened", [], raising=False)
    monkeypatch.setattr(sr_model, "tqdm", Bar)

    validate_split(model, model.nondist_validation, loader, 4, ours, False)

    (bar,) = Bar.opened
    assert (bar.total, bar.done, bar.closed) == (6, 6, True)
    assert results(model) == expected
    assert ours.written == stock.written != []


def test_an_error_in_the_middle_leaves_the_model_as_it_was(loader, model):
    def fails(*arguments):
        raise RuntimeError("out of memory")

    before = set(vars(model))
    with pytest.raises(RuntimeError, match="out of memory"):
        validate_split(model, fails, loader, 4, None, False)
    assert set(vars(model)) == before


def test_a_rank_without_an_image_has_the_results_of_all(loader, model, monkeypatch):
    """Rank 7 of 8, and 6 images; BasicSR's validation cannot end without one."""
    measured = []
    monkeypatch.setattr(split_validation.ranks, "gather_objects", lambda found: measured.append(found) or [found])
    validate_split(model, model.nondist_validation, loader, 4, None, False)
    expected = results(model)
    del model.best_metric_results, model.metric_results
    of_others = {"gather_objects": lambda found: [measured[0], found], "make_equal": lambda *arguments: None}
    monkeypatch.setattr(split_validation, "ranks", SimpleNamespace(own=lambda: 7, count=lambda: 8, **of_others))

    validate_split(model, model.nondist_validation, loader, 4, None, False)

    assert results(model) == expected
