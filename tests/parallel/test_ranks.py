"""What ranks tell each other: one process, time limits, and a rank that says nothing. Two processes: integration."""

import pytest
import torch
import torch.distributed as dist

from srkd_plugin.errors import OptionsError
from srkd_plugin.parallel import ranks


def test_in_one_process_nothing_happens():
    x = torch.rand(2, 3, requires_grad=True)
    assert (ranks.count(), ranks.own()) == (1, 0)
    assert ranks.mean(x) is x
    assert ranks.gather_batches(x)[0] is x
    assert ranks.gather_objects("a") == ranks.exchange("a", "options") == ["a"]


@pytest.mark.parametrize("seconds", ["soon", "0", "-1", "nan", "inf"])
def test_a_time_limit_that_is_none_is_named(monkeypatch, seconds):
    monkeypatch.setenv(ranks.TIMEOUT_SWITCH, seconds)
    with pytest.raises(OptionsError, match=f"SRKD_DIST_TIMEOUT = '{seconds}': a number of seconds above 0"):
        ranks.timeout()


def test_the_time_limit_is_ten_minutes_or_what_the_environment_says(monkeypatch):
    monkeypatch.delenv(ranks.TIMEOUT_SWITCH, raising=False)
    assert ranks.timeout().total_seconds() == 600
    monkeypatch.setenv(ranks.TIMEOUT_SWITCH, "1.5")
    assert ranks.timeout().total_seconds() == 1.5


def test_a_rank_that_says_nothing_is_named_when_time_is_up(monkeypatch):
    """As when it was started with options that name nothing of ours: it goes on to train."""
    store = dist.HashStore()
    monkeypatch.setenv(ranks.TIMEOUT_SWITCH, "0.2")
    monkeypatch.setattr(ranks, "count", lambda: 2)
    monkeypatch.setattr(ranks, "own", lambda: 0)
    monkeypatch.setattr(dist.distributed_c10d, "_get_default_store", lambda: store)
    with pytest.raises(TimeoutError, match=r"rank 1 said nothing about its options within 0\.2 s"):
        ranks.exchange("a", "options")


def test_batches_of_different_n_are_refused_before_they_are_sent(monkeypatch):
    monkeypatch.setattr(ranks, "count", lambda: 2)
    with pytest.raises(ValueError, match="batches of one N expected"):
        ranks.gather_batches(torch.rand(2, 3, 4, 4), torch.rand(3, 3, 4, 4))
