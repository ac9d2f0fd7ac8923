"""Schedules and balances of the terms: what a loss is multiplied with."""

import math

import pytest
import tiny
import torch

from srkd_plugin.distill.term_weights import MEASURED_AT_FIRST, Balance, TermWeights, interpolate
from srkd_plugin.errors import OptionsError
from srkd_plugin.options.term_sections import BalanceSection, TermSection
from srkd_plugin.options.terms import read_terms
from srkd_plugin.preflight import run_checks


def term(**keys):
    keys = {k: BalanceSection(**v) if k == "balance" else v for k, v in keys.items()}
    return TermSection(type="L1Loss", **keys)


@pytest.mark.parametrize(
    ("iteration", "factor"), [(1, 0.0), (10, 0.0), (11, 0.1), (15, 0.5), (20, 1.0), (25, 0.75), (30, 0.5), (99, 0.5)]
)
def test_a_schedule_is_linear_between_its_points_and_constant_outside(iteration, factor):
    assert interpolate([[10, 0.0], [20, 1.0], [30, 0.5]], iteration) == pytest.approx(factor)


def losses_of(weight, pix=3.0, term=0.5):
    """L_rec and a term whose gradients for ``weight`` (2 elements) have the norms pix and term."""
    direction = torch.tensor([0.6, 0.8])
    return {"l_pix": pix * (direction * weight).sum(), "l_t": term * (direction.flip(0) * weight).sum()}


def test_a_balanced_term_pulls_target_times_as_hard_as_l_rec():
    weight = torch.nn.Parameter(torch.ones(2))
    weights = TermWeights({"l_t": term(balance={"target": 2.0})})
    weighted, factors = weights.apply(losses_of(weight), 1, [weight])
    (gradient,) = torch.autograd.grad(weighted["l_t"], weight)
    assert gradient.norm().item() == pytest.approx(2.0 * 3.0)
    assert factors["factor/l_t"].item() == pytest.approx(12.0)
    assert weighted["l_pix"].item() == losses_of(weight)["l_pix"].item(), "L_rec keeps its weight"


def test_the_ratio_is_a_running_geometric_mean():
    balance = Balance(BalanceSection(target=1.0, momentum=0.5))
    assert balance.factor == 1.0
    balance.add(10.0, 1.0)
    assert balance.factor == pytest.approx(0.1)
    balance.add(0.1, 1.0)
    assert balance.factor == pytest.approx(1.0)
    for norm, reference in ((0.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (1.0, math.inf)):
        balance.add(norm, reference)
    assert (balance.factor, balance.measurements) == (pytest.approx(1.0), 2), "useless measurements are left out"


def test_it_is_measured_often_at_first_and_then_every_so_often():
    weight = torch.nn.Parameter(torch.ones(2))
    weights = TermWeights({"l_t": term(balance={"every": 20, "momentum": 0.0})})
    factors = []
    for i in range(1, 61):
        _, found = weights.apply(losses_of(weight, term=float(i)), i, [weight])
        factors.append(round(3.0 / found["factor/l_t"].item()))
    assert factors[:10] == list(range(1, MEASURED_AT_FIRST + 1))
    assert (factors[18], factors[19], factors[38], factors[39], factors[59]) == (10, 20, 20, 40, 60)


def test_schedule_and_balance_multiply():
    weight = torch.nn.Parameter(torch.ones(2))
    weights = TermWeights({"l_t": term(balance={}, schedule=[[1, 0.0], [11, 1.0]])})
    _, factors = weights.apply(losses_of(weight), 6, [weight])
    assert factors["factor/l_t"].item() == pytest.approx(0.5 * 3.0 / 0.5)


def test_a_term_that_does_not_count_in_this_iteration_is_left_alone():
    weight = torch.nn.Parameter(torch.ones(2))
    weights = TermWeights({"l_t": term(balance={}, start=5), "l_other": term()})
    only_pix = {"l_pix": losses_of(weight)["l_pix"]}
    weighted, factors = weights.apply(only_pix, 1, [weight])
    assert (weighted, factors) == (only_pix, {})


def test_the_state_goes_on_where_it_was():
    weight = torch.nn.Parameter(torch.ones(2))
    one, two = (TermWeights({"l_t": term(balance={})}) for _ in range(2))
    one.apply(losses_of(weight), 1, [weight])
    two.load_state_dict(one.state_dict())
    later = [w.apply(losses_of(weight, term=9.0), 2, [weight])[1]["factor/l_t"].item() for w in (one, two)]
    assert later[0] == later[1]
    fresh = TermWeights({"l_t": term(balance={}), "l_new": term(balance={})})
    fresh.load_state_dict(one.state_dict())
    assert fresh.balances["l_new"].factor == 1.0


def test_the_model_balances_logs_and_resumes(data, teacher_file, tmp_path):
    from basicsr.models import build_model

    opt = tiny.distill_options(data, teacher_file)
    opt["train"]["distill_opt"] = {"contrastive": {"type": "ContrastiveLoss", "balance": {"target": 1.5}}}
    opt = tiny.parsed(opt, tmp_path)
    for folder in ("models", "training_states"):
        (tmp_path / "experiments" / opt["name"] / folder).mkdir(parents=True)
    torch.manual_seed(0)
    model = build_model(opt)
    model.feed_data({"lq": torch.rand(4, 3, 8, 10), "gt": torch.rand(4, 3, 16, 20)})
    model.optimize_parameters(1)
    log = model.log_dict
    assert log["grad_norm/l_contrastive"] == pytest.approx(1.5 * log["grad_norm/l_pix"], rel=1e-4)
    assert log["factor/l_contrastive"] > 0
    model.save(0, 1)
    state = torch.load(tmp_path / "experiments" / opt["name"] / "training_states/1.state", weights_only=True)
    other = build_model(tiny.parsed(opt, tmp_path))
    other.resume_training(state)
    assert other.term_weights.state_dict() == model.term_weights.state_dict() != {}


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ([], "pairs"),
        ([[1, 0.0, 2.0]], "pairs"),
        ([[0, 1.0]], "iterations must be whole numbers from 1"),
        ([[5, 1.0], [5, 0.0]], "that rise"),
        ([[1.5, 1.0]], "whole numbers"),
        ([[1, -1.0]], "factors must be numbers from 0"),
    ],
)
def test_schedules_that_are_refused(schedule, message):
    with pytest.raises(OptionsError, match=rf"train.distill_opt.t.schedule .*{message}"):
        read_terms({"t": {"type": "L1Loss", "schedule": schedule}})


def test_a_balance_wants_no_weight_and_something_to_balance_with(data, teacher_file, tmp_path):
    with pytest.raises(OptionsError, match=r"t.loss_weight = 2.0: balance sets the weight"):
        read_terms({"t": {"type": "L1Loss", "loss_weight": 2.0, "balance": {}}})
    opt = tiny.distill_options(data, teacher_file)
    opt["train"]["distill_opt"] = {"output": {"type": "L1Loss", "balance": {"target": 1.0}}}
    del opt["train"]["pixel_opt"]
    with pytest.raises(OptionsError, match=r"output.balance = .*there is no train.pixel_opt. Add pixel_opt"):
        run_checks.check(tiny.parsed(opt, tmp_path))
