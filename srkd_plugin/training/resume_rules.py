"""What becomes of an option that is another one when its run is resumed, by its key.

It *takes effect*, *is ignored* or *is refused*; :data:`RULES` is the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Callable, Literal, NamedTuple, Optional

from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.options.term_sections import TERM_PARTS

RESET = "train.lr_on_resume: options"
MULTI_STEP = ("MultiStepLR", "MultiStepRestartLR")
"""BasicSR's two names of one class."""


class Situation(NamedTuple):
    """When and how a run is resumed."""

    iteration: int
    """The last one that is done."""
    resets_lr: bool
    """Whether the options ask for their own learning rate and schedule (``train.lr_on_resume``)."""


class Change(NamedTuple):
    """A value that differs; :data:`~srkd_plugin.errors.MISSING` where the key is not there."""

    key: str
    before: Any
    now: Any


Effect = Literal["takes effect", "is ignored", "is refused"]


@dataclass(frozen=True)
class Rule:
    """What becomes of a changed key.

    Attributes:
        pattern: Of the key, as :mod:`fnmatch` has it.
        effect: What becomes of it.
        text: Why or how, and for what is ignored how to get it; for what is refused, the problem.
        remedy: For what is refused.
        applies: Whether the rule holds for this change; otherwise the next one is asked.
    """

    pattern: str
    effect: Effect
    text: str
    remedy: str = ""
    applies: Callable[[Change, Situation], bool] = lambda change, situation: True


def _saved_lr(change: Change, situation: Situation) -> bool:
    return not situation.resets_lr


def _other_class(change: Change, situation: Situation) -> bool:
    return not situation.resets_lr and not (change.before in MULTI_STEP and change.now in MULTI_STEP)


def _in_warmup(change: Change, situation: Situation) -> bool:
    lengths = [value for value in (change.before, change.now) if isinstance(value, int)]
    return not situation.resets_lr and situation.iteration < max(lengths, default=0)


def _has_a_state(change: Change, situation: Situation) -> bool:
    _, _, _, *below = change.key.split(".")
    return not below or below[0] in TERM_PARTS


def _is_reached(change: Change, situation: Situation) -> bool:
    return isinstance(change.now, (int, float)) and change.now <= situation.iteration


ANEW = "or start a new run under another name (path.pretrain_network_g takes weights along)."
RULES = (
    Rule("scale", "is refused", "the run that is resumed was trained for {before}", f"Write {{before}}, {ANEW}"),
    Rule("network_g.type", "is refused", "the run that is resumed trains {before}", f"Write {{before}}, {ANEW}"),
    Rule("network_g*", "takes effect", "the weights go on, in a network with other settings"),
    Rule(
        "train.optim_g.type",
        "is refused",
        "the run that is resumed has the state of {before}",
        f"Write {{before}}, {ANEW}",
    ),
    Rule(
        "train.scheduler.type",
        "is refused",
        "the run that is resumed has the schedule of {before}",
        f"Write {RESET}, so that the learning rate becomes that of the new schedule; or write {{before}}.",
        _other_class,
    ),
    Rule(
        "train.warmup_iter",
        "is refused",
        "the run that is resumed is at iteration {iteration}, in the warm-up of the one or the other",
        f"Write {RESET}, so that the learning rate becomes that of the new warm-up; or write {{before}}.",
        _in_warmup,
    ),
    Rule("train.warmup_iter", "is ignored", f"the warm-up is over; to get its learning rate: {RESET}", "", _saved_lr),
    Rule("train.optim_g*", "is ignored", f"it stays as it was saved; to get it: {RESET}", "", _saved_lr),
    Rule(
        "train.scheduler.periods",
        "takes effect",
        "from iteration {next} on the learning rate is that which the new periods have there",
        "",
        _saved_lr,
    ),
    Rule(
        "train.scheduler.milestones",
        "takes effect",
        "those after iteration {iteration} count, and what earlier ones did to the learning rate stays; for the whole "
        f"new schedule: {RESET}",
        "",
        _saved_lr,
    ),
    Rule(
        "train.scheduler*",
        "takes effect",
        f"from iteration {{next}} on; what lies before stays as it was; for the whole new schedule: {RESET}",
        "",
        _saved_lr,
    ),
    *(
        Rule(key, "takes effect", "as if the run had had it from its first iteration (lr_on_resume: options)")
        for key in ("train.optim_g*", "train.scheduler*", "train.warmup_iter")
    ),
    Rule("train.amp.init_scale", "is ignored", "the loss scale goes on as it was saved"),
    Rule(
        "student.reparameterize",
        "is refused",
        "the run that is resumed trains its convolutions the other way",
        f"Write {{before}}, {ANEW}",
    ),
    Rule("train.quantize.crops", "is ignored", "the student is calibrated already"),
    Rule("train.quantize.observe", "takes effect", "from iteration {next} on"),
    Rule("train.quantize.freeze", "takes effect", "from iteration {next} on"),
    Rule(
        "train.quantize*",
        "is refused",
        "the run that is resumed trains the student in other numbers",
        f"Write {{before}}, {ANEW}",
    ),
    *(
        Rule(key, "is ignored", "it is for the start of a run; to get it, start a new run under another name")
        for key in ("student.init", "student.by", "student.cut_from*")
    ),
    Rule(
        "train.distill_opt.*",
        "takes effect",
        "from iteration {next} on; connectors and balances that are new start afresh, those that are gone are dropped",
        "",
        _has_a_state,
    ),
    Rule("train.total_iter", "takes effect", "the run has done as many, and ends at once", "", _is_reached),
    Rule("*", "takes effect", "from iteration {next} on"),
)
"""The first that fits a key and applies is asked."""


class Difference(NamedTuple):
    """A change, and what becomes of it."""

    change: Change
    rule: Rule
    situation: Situation

    def __str__(self) -> str:
        """One line for the log."""
        before, now = shown(self.change.before), shown(self.change.now)
        return f"{self.change.key} ({before} -> {now}) {self.rule.effect}: {self._filled(self.rule.text)}."

    def refuse(self) -> None:
        """Raise what is refused.

        Raises:
            OptionsError: It is.
        """
        if self.rule.effect == "is refused":
            raise OptionsError(
                self.change.key, self.change.now, self._filled(self.rule.text), self._filled(self.rule.remedy)
            )

    def _filled(self, text: str) -> str:
        iteration = self.situation.iteration
        before = shown(self.change.before)
        text = text.replace("{iteration}", str(iteration)).replace("{next}", str(iteration + 1))
        return text.replace("{before}", before)


def rule_for(change: Change, situation: Situation) -> Rule:
    """The rule that says what becomes of a change."""
    return next(r for r in RULES if fnmatchcase(change.key, r.pattern) and r.applies(change, situation))


def rule_for_file(before: Optional[list[str]], now: Optional[list[str]]) -> Rule:
    """Another file under another name was meant; under the same name it may be a mistake."""
    if before is None or now is None or before[0] != now[0]:
        return Rule("", "takes effect", "another teacher from iteration {next} on")
    problem = f"the run that is resumed began with another content of it (sha256 {before[1][:12]}, now {now[1][:12]})"
    remedy = "Put that back; or, to go on with the new one, give it another name and write this here."
    return Rule("", "is refused", problem, remedy)


def is_empty(value: Any) -> bool:
    """Whether a value of the options says nothing: not given, ``~``, or a section without keys."""
    return value is MISSING or value is None or value == {}


def shown(value: Any) -> str:
    """A value, for one line of text."""
    text = "not given" if is_empty(value) else str(value)
    return text if len(text) <= 100 else text[:97] + "..."
