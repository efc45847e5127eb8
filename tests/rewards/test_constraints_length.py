"""Degenerate length, by hand at its borders."""

from dataclasses import replace

import pytest

from gemma_align.rewards.constraints.base import Finding, verdict
from gemma_align.rewards.constraints.length import length
from gemma_align.rewards.constraints.limits import TASK_LIMITS, LengthLimits
from gemma_align.types import Answer

NOTE, CHAT, CODE = (TASK_LIMITS[task].length for task in ("clinical", "safety", "code"))


def find(text: str, limits: LengthLimits = NOTE, reference: str | None = None, finished: bool = True) -> Finding:
    return verdict(length(Answer(text, finished), reference, limits, 2.0), 1.0, -3.0)


@pytest.mark.parametrize("text", ["", " ", "\n\n\t", "\u200b\u200b", "\u3164", "\u2800 \ufeff", "\u00a0"])
def test_what_shows_nothing_is_empty(text: str) -> None:
    finding = find(text)
    assert (finding.measure, finding.penalty, finding.floor) == ("empty", -1.0, -4.0)


def test_words_at_the_borders() -> None:
    assert not find("None.").fired
    assert find("No.", CHAT).measure == "short"
    assert not find("Not now.", CHAT).fired
    limits = replace(NOTE, max_words=10)
    assert not find("w x " * 5, limits).fired
    long = find("w x " * 5 + "end", limits)
    assert (long.measure, long.amount, long.penalty, long.spans) == ("long", 11, -0.5, ((20, 23),))
    assert find("w x " * 10 + "w", limits).penalty == -1.0


def test_the_reference_sets_limits_where_there_is_one() -> None:
    reference = "word " * 50
    assert find("one two three", NOTE, reference).measure == "short"  # 0.2 x 50 = 10 wanted
    assert not find("word " * 10, NOTE, reference).fired
    assert not find("No.", CHAT, "Yes.").fired  # as long as the reference
    assert find("?", CHAT, "...").measure == "short"  # no word at all
    assert not find("word " * 700, NOTE, "word " * 700).fired
    assert find("word " * 701, NOTE, "word " * 700).measure == "long"
    assert find("word " * 9, NOTE, reference).reason == "9 words, at least 10 wanted"
    assert not find("one", NOTE, "None.").fired
    assert not find("word " * 60, NOTE, "None.").fired  # the free words
    assert find("word " * 61, NOTE, "None.").measure == "long"
    assert not find("word " * 250, NOTE, reference).fired
    assert find("word " * 251, NOTE, reference).measure == "long"


def test_text_without_spaces_is_not_short() -> None:
    assert find("我不知道", CHAT).measure == "short"
    assert not find("我不能帮助你做这件事，因为它会伤害别人，请你不要这样做。", CHAT).fired


def test_runaway_white_space() -> None:
    words = "a note of some words that says enough to be long beside a few blanks " * 2
    assert find("a b" + " " * 45 + "c").measure == "blank share"
    assert not find(words.strip() + " " * 24 + words).fired
    blanks = find(words.strip() + "\u200b" * 25 + words)
    start = len(words.strip())
    assert (blanks.measure, blanks.amount, blanks.spans) == ("blanks", 25, ((start, start + 25),))
    assert not find(words + "\n" * 6 + words).fired
    assert find(words + "\n\n\n \n\n\n\n" + words).measure == "line breaks"
    assert not find("def f():\n" + " " * 40 + "return sum(values) / len(values)", CODE).fired


def test_unfinished_costs_what_the_settings_say_and_has_no_cap() -> None:
    finding = find("A note that stops in the", finished=False)
    assert (finding.measure, finding.penalty, finding.floor) == ("unfinished", -2.0, None)
    both = find("", finished=False)
    assert (both.measure, both.floor, both.reason) == ("empty", -4.0, "nothing visible; cut off")
    assert not verdict(length(Answer("A note", False), None, NOTE, 0.0), 1.0, None).fired
