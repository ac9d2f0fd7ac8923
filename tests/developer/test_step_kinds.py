"""The steps that benchmarks/steps.py times: each one runs."""

import pytest
import step_kinds


@pytest.mark.parametrize("kind", sorted(step_kinds.STEPS))
def test_every_step_can_be_made_and_run(kind, monkeypatch):
    monkeypatch.setitem(step_kinds.SIZES, "tiny", {"teacher": (1, 8), "student": (1, 4), "batch": 2, "side": 8})
    assert step_kinds.STEPS[kind]("tiny", "cpu")() is None


def test_the_loss_of_an_option_is_that_of_the_plain_step(monkeypatch):
    monkeypatch.setitem(step_kinds.SIZES, "tiny", {"teacher": (1, 8), "student": (1, 4), "batch": 2, "side": 8})
    plain, other = (step_kinds.first_loss(name, "tiny", "cpu") for name in ("live", "teacher: {channels_last: true}"))
    assert other == pytest.approx(plain, rel=1e-3)
