"""How measures become a finding, and how settings change limits."""

import pytest

from gemma_align.config.constraints import ConstraintsConfig, LengthConfig, RepetitionConfig, ToxicityConfig
from gemma_align.rewards.constraints import CONSTRAINTS, check_all
from gemma_align.rewards.constraints.base import Measure, merged, severity, verdict
from gemma_align.rewards.constraints.limits import TASK_LIMITS, limits_of
from gemma_align.types import Answer, Example

EXAMPLE = Example("a", "Say hello.")
LOOP = "Hello there. " + "It is me. " * 4


def check(text: str, settings: ConstraintsConfig, task: str = "safety"):
    return check_all([EXAMPLE], [Answer(text)], task, settings)[0]


def test_severity_by_hand() -> None:
    assert [severity(m, 2, 6) for m in (1, 2, 4, 6, 9)] == [0, 0.5, 0.75, 1, 1]
    assert [severity(m, 2, 0) for m in (3, 2, 1, 0, -1)] == [0, 0.5, 0.75, 1, 1]
    assert [severity(m, 2, 2) for m in (1, 2, 3)] == [0, 1, 1]


def test_verdict_by_hand() -> None:
    mild = Measure("mild", 3, 0.5, ((4, 6), (0, 2)), "mild thing")
    bad = Measure("bad", 9, 0.75, ((5, 8),), "bad thing", hard=False)
    fine = Measure("fine", 1, 0.0)
    finding = verdict([fine, mild, bad], 2.0, -3.0)
    assert (finding.penalty, finding.amount, finding.measure) == (
        -1.5,
        3,
        "mild",
    )  # the highest cost, and what the floor is for
    assert finding.floor == -4.0  # of the hard one alone
    assert finding.spans == ((0, 2), (4, 8))
    assert finding.reason == "mild thing; bad thing"
    assert verdict([bad], 2.0, -3.0).floor is None
    assert verdict([mild], 2.0, None).floor is None
    nothing = verdict([fine], 2.0, -3.0)
    assert (nothing.penalty, nothing.amount, nothing.fired, nothing.floor) == (0.0, 1, False, None)
    assert str(verdict([mild], 0.0, -3.0).penalty) == "0.0"


def test_spans_that_touch_are_one() -> None:
    assert merged([(3, 5), (0, 1), (5, 6), (4, 4), (1, 2)]) == ((0, 2), (3, 6))


@pytest.mark.parametrize("task", ["clinical", "safety", "code"])
def test_null_takes_the_task_s_limits_and_settings_replace_them(task: str) -> None:
    assert limits_of(task, ConstraintsConfig()) == TASK_LIMITS[task]
    settings = ConstraintsConfig(
        toxicity=ToxicityConfig(threshold=0.5),
        repetition=RepetitionConfig(loop_words=99),
        length=LengthConfig(min_words=0, max_line_breaks=1),
    )
    limits = limits_of(task, settings)
    assert (limits.toxicity.threshold, limits.repetition.loop_words) == (0.5, 99)
    assert (limits.length.min_words, limits.length.max_line_breaks) == (0, 1)
    assert limits.repetition.same_lines == TASK_LIMITS[task].repetition.same_lines


def test_every_limit_can_be_set() -> None:
    for kind in ("toxicity", "repetition", "length"):
        own = set(getattr(TASK_LIMITS["code"], kind).__slots__) - {"blind"}
        assert own <= set(type(getattr(ConstraintsConfig(), kind)).model_fields)


def test_weights_floors_and_switches() -> None:
    found = check(LOOP, ConstraintsConfig())
    assert tuple(found) == CONSTRAINTS
    assert [name for name in found if found[name].fired] == ["repetition"]
    assert found["repetition"].floor == -3 + found["repetition"].penalty
    heavy = check(LOOP, ConstraintsConfig(repetition=RepetitionConfig(weight=4.0, floor=None)))["repetition"]
    assert heavy.penalty == 4 * found["repetition"].penalty
    assert heavy.floor is None
    quiet = ToxicityConfig(classifier=False, shipped_lexicon=False)
    assert not check("You are an idiot, he said.", ConstraintsConfig(toxicity=quiet))["toxicity"].fired
    own = quiet.model_copy(update={"lexicon": ("hello",)})
    assert check("Oh h3llo there", ConstraintsConfig(toxicity=own))["toxicity"].reason == '"h3llo" of the lexicon'


def test_answers_are_judged_one_by_one() -> None:
    texts = ["A plain and honest answer.", LOOP, "", "You are an idiot.", "A plain and honest answer."]
    together = check_all([EXAMPLE] * 5, [Answer(text) for text in texts], "safety", ConstraintsConfig())
    assert together == [check(text, ConstraintsConfig()) for text in texts]
    assert check_all([], [], "code", ConstraintsConfig()) == []
    with pytest.raises(ValueError, match=r"shorter|longer"):
        check_all([EXAMPLE], [], "code", ConstraintsConfig())
    with pytest.raises(KeyError):
        check(LOOP, ConstraintsConfig(), "poetry")
