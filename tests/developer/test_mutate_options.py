"""A bounded mutation campaign over all shipped options and table files; and that the campaign sees faults."""

import random

import mutate_options
import pytest
import torch
from mutations import mutate

COUNT = 40


@pytest.fixture
def random_states_kept():
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.usefixtures("random_states_kept")
def test_mutants_are_refused_in_one_line_or_train_a_step(tmp_path):
    verdicts = list(mutate_options.campaign(tmp_path, COUNT, seed=20))
    assert [verdict for verdict in verdicts if verdict[2].is_fault] == []
    kinds = [verdict.kind for _, _, verdict in verdicts]
    assert len(kinds) == COUNT
    assert {"accepted", "refused"} <= set(kinds)


def test_a_seed_gives_the_same_mutants():
    content = {"a": {"b": [1, 2], "c": "x"}, "d": 0.5}
    first, again, other = (mutate(content, random.Random(seed)) for seed in ("1/2", "1/2", "1/3"))
    assert first == again != other
    assert content == {"a": {"b": [1, 2], "c": "x"}, "d": 0.5}


def look(monkeypatch, tmp_path, command):
    monkeypatch.setattr(mutate_options, "srkd", command)
    monkeypatch.setattr(mutate_options, "LIMIT", 1)
    (tmp_path / "root").mkdir()
    return mutate_options._verdict(tmp_path / "mutant.yml", tmp_path / "root", tmp_path)


def endless(arguments):
    while True:
        pass


@pytest.mark.parametrize(
    ("command", "kind"), [(lambda a: 1 / 0, "traceback"), (lambda a: 2, "no line"), (endless, "hang")]
)
def test_faults_are_seen(monkeypatch, tmp_path, command, kind):
    verdict = look(monkeypatch, tmp_path, command)
    assert (verdict.kind, verdict.is_fault) == (kind, True)


def test_a_file_that_is_written_is_a_fault(monkeypatch, tmp_path):
    def write(arguments):
        (tmp_path / "root/experiments").mkdir()
        return 2

    verdict = look(monkeypatch, tmp_path, write)
    assert verdict.kind == "files" and "experiments" in verdict.text
