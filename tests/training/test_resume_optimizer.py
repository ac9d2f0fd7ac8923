"""Learning rates after a resume with other options, against runs that had those options all along."""

import copy

import pytest
import tiny

from srkd_plugin.errors import OptionsError

END = 8
COSINE = {"type": "CosineAnnealingRestartLR", "periods": [END], "restart_weights": [1], "eta_min": 1e-7}
STEPS = {"type": "MultiStepLR", "milestones": [3, 6], "gamma": 0.5}
RESTARTS = {**STEPS, "type": "MultiStepRestartLR", "restarts": [0, 4], "restart_weights": [1, 0.8]}
LONGER = {  # the schedule of a run that is resumed to go on to 2 * END
    "cosine": (COSINE, {**COSINE, "periods": [2 * END]}),
    "cosine with restarts": (COSINE, {**COSINE, "periods": [END, END], "restart_weights": [1, 0.5]}),
    "steps": (STEPS, {**STEPS, "milestones": [3, 6, 9, 12, 14]}),
    "restarts": (RESTARTS, {**RESTARTS, "restarts": [0, 4, 10], "restart_weights": [1, 0.8, 0.6]}),
}
matrix = [
    pytest.mark.parametrize("kind", LONGER),
    pytest.mark.parametrize("at", [pytest.param(4, id="in the middle"), pytest.param(END, id="at the end")]),
    pytest.mark.parametrize("warmup", [-1, 3], ids=["no warm-up", "warm-up"]),
]


def in_the_matrix(test):
    for mark in matrix:
        test = mark(test)
    return test


@pytest.fixture
def options(data):
    """Options of a run, with ``train`` changed; the student is as small as it can be."""

    def make(schedule, warmup=-1, total_iter=END, **train):
        opt = tiny.distill_options(data, None)
        opt["train"].update(scheduler=schedule, warmup_iter=warmup, total_iter=total_iter, **train)
        return copy.deepcopy(opt)

    return make


@pytest.fixture
def train(tmp_path):
    """Take a new model, or one that goes on from a state, to an iteration: its learning rates, and its state."""

    def run(opt, last, state=None):
        model = tiny.model(opt, tmp_path)
        if state is not None:
            model.resume_training(copy.deepcopy(state))
        rates = {}
        for iteration in range(1 if state is None else state["iter"] + 1, last + 1):
            model.update_learning_rate(iteration, opt["train"]["warmup_iter"])
            model.optimizer_g.step()
            rates[iteration] = model.get_current_learning_rate()
        return rates, model._training_state(0, last)

    return run


def ahead(rates, at):
    return {iteration: values for iteration, values in rates.items() if iteration > at}


@in_the_matrix
def test_a_run_that_goes_on_longer_has_the_rates_of_one_that_was_to_be_as_long(options, train, kind, at, warmup):
    """As far as the schedule is the same up to where it is resumed: but for one cosine, it is."""
    short, long = LONGER[kind]
    _, state = train(options(short, warmup), at)
    rates, _ = train(options(long, warmup, 2 * END), 2 * END, state)
    assert rates == ahead(train(options(long, warmup, 2 * END), 2 * END)[0], at)


@in_the_matrix
def test_the_same_options_change_nothing(options, train, kind, at, warmup):
    schedule = LONGER[kind][1]
    opt = options(schedule, warmup, 2 * END)
    rates, state = train(opt, at)
    after, _ = train(opt, 2 * END, state)
    assert after == ahead(train(opt, 2 * END)[0], at) and rates.keys() | after.keys() == set(range(1, 2 * END + 1))


@pytest.mark.parametrize("at", [2, 4, END])
@pytest.mark.parametrize("warmup", [-1, 3, 7])
@pytest.mark.parametrize("before", [COSINE, STEPS], ids=["from cosine", "from steps"])
@pytest.mark.parametrize("now", [COSINE, STEPS, RESTARTS], ids=["to cosine", "to steps", "to restarts"])
def test_lr_on_resume_has_the_rates_of_a_run_that_began_with_the_options(options, train, before, now, warmup, at):
    _, state = train(options(before, 3), at)
    now = {**now, "periods": [2 * END]} if now is COSINE else now
    opt = options(now, warmup, 2 * END, lr_on_resume="options")
    opt["train"]["optim_g"].update(lr=3e-3, betas=[0.8, 0.9])
    rates, after = train(opt, 2 * END, state)
    expected, undisturbed = train(opt, 2 * END)
    assert rates == ahead(expected, at)
    assert after["schedulers"] == undisturbed["schedulers"]
    (group,), (other,) = (s["optimizers"][0]["param_groups"] for s in (after, undisturbed))
    assert group == other and list(group["betas"]) == [0.8, 0.9]


def test_a_rate_that_was_got_stays_without_the_key(options, train, caplog):
    """It is the run's own from then on: the next resume is one without differences."""
    _, state = train(options(STEPS), 2)
    opt = options(STEPS, lr_on_resume="options")
    opt["train"]["optim_g"]["lr"] = 5e-3
    _, state = train(opt, 4, state)
    del opt["train"]["lr_on_resume"]
    caplog.clear()
    rates, _ = train(opt, END, state)
    assert rates == {5: [2.5e-3], 6: [2.5e-3], 7: [1.25e-3], 8: [1.25e-3]}
    assert "Options that are others" not in caplog.text


def test_a_rate_that_is_ignored_is_said_at_every_resume(options, train, caplog):
    _, state = train(options(STEPS), 2)
    opt = options(STEPS)
    opt["train"]["optim_g"]["lr"] = 5e-3
    for last in (4, 6):
        caplog.clear()
        rates, state = train(opt, last, state)
        assert caplog.text.count("train.optim_g.lr (0.001 -> 0.005) is ignored") == 1
        assert "to get it: train.lr_on_resume: options" in caplog.text
    assert rates == {5: [5e-4], 6: [5e-4]}


def test_another_kind_of_schedule_and_a_warmup_that_is_not_over_are_refused(options, train):
    _, state = train(options(COSINE, warmup=6), 4)
    with pytest.raises(
        OptionsError, match=r"train\.scheduler\.type = 'MultiStepLR'.*Write train\.lr_on_resume: options"
    ):
        train(options(STEPS, warmup=6), END, state)
    with pytest.raises(OptionsError, match=r"train\.warmup_iter = -1: .* iteration 4, in the warm-up"):
        train(options(COSINE), END, state)


def test_a_state_without_a_record_goes_on_with_the_schedule_that_lies_ahead(options, train, caplog):
    _, state = train(options(COSINE), END)
    del state["run_options"]
    caplog.clear()
    long = options({**COSINE, "periods": [2 * END]}, -1, 2 * END)
    long["train"]["optim_g"]["lr"] = 1.0
    rates, _ = train(long, 2 * END, state)
    assert len(rates) == END and max(rates.values()) < [1e-3]
    assert caplog.text.count("has no record of its run's options") == 1
    assert f"train.scheduler.periods ([{END}] -> [{2 * END}]) takes effect: from iteration {END + 1} on" in caplog.text
    assert "train.optim_g.lr (0.001 -> 1.0) is ignored" in caplog.text
    with pytest.raises(OptionsError, match="schedule of CosineAnnealingRestartLR"):
        train(options(STEPS), END, state)


def test_a_state_of_a_model_with_two_optimizers_is_refused(options, train):
    _, state = train(options(STEPS), 2)
    state["optimizers"] *= 2
    with pytest.raises(OptionsError, match="it has 2 optimizers and 1 schedules"):
        train(options(STEPS), 4, state)
