"""What becomes of an option that is another one when its run is resumed."""

import pytest

from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.training.resume_rules import Change, Difference, Situation, rule_for

AT_100 = Situation(100, resets_lr=False)


def difference(key, before, now, situation=AT_100):
    change = Change(key, before, now)
    return Difference(change, rule_for(change, situation), situation)


@pytest.mark.parametrize(
    ("key", "before", "now", "effect"),
    [
        ("scale", 2, 4, "is refused"),
        ("network_g.type", "EDSR", "RCAN", "is refused"),
        ("network_g.res_scale", 1, 0.1, "takes effect"),
        ("train.optim_g.type", "Adam", "AdamW", "is refused"),
        ("train.optim_g.weight_decay", 0, 1e-4, "is ignored"),
        ("train.scheduler.type", "MultiStepLR", "MultiStepRestartLR", "takes effect"),
        ("train.scheduler.gamma", 0.5, 0.1, "takes effect"),
        ("train.warmup_iter", 50, -1, "is ignored"),
        ("train.warmup_iter", 200, -1, "is refused"),
        ("train.warmup_iter", MISSING, 200, "is refused"),
        ("train.amp.init_scale", 8.0, 16.0, "is ignored"),
        ("student.init", "random", "teacher_slice", "is ignored"),
        ("student.by", "first", "magnitude", "is ignored"),
        ("student.cut_from.pretrain_network_g", "a.pth", "b.pth", "is ignored"),
        ("student.reparameterize", False, True, "is refused"),
        ("train.ema_decay", 0.9, 0.99, "takes effect"),
        ("of_somebody_else.key", MISSING, 1, "takes effect"),
    ],
)
def test_each_change_has_one_effect(key, before, now, effect):
    found = difference(key, before, now)
    assert found.rule.effect == effect and "{" not in str(found) and "\n" not in str(found)


@pytest.mark.parametrize("key", ["train.optim_g.lr", "train.scheduler.type", "train.warmup_iter"])
def test_lr_on_resume_lets_all_of_the_learning_rate_take_effect(key):
    assert difference(key, 300, 400, Situation(100, resets_lr=True)).rule.effect == "takes effect"


def test_a_refusal_names_key_value_and_a_remedy():
    with pytest.raises(OptionsError, match=r"^scale = 4: the run .* was trained for 2\. Write 2, or start a new run"):
        difference("scale", 2, 4).refuse()
    difference("train.ema_decay", 0.9, 0.99).refuse()


def test_a_total_that_is_reached_is_said():
    assert "ends at once" in str(difference("train.total_iter", 200, 100))
