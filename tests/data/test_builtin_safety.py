"""Builtin requests: good and bad replies are of the right kind."""

from gemma_align.data.builtin.safety import _OVER_REFUSALS, _REFUSALS, safety_example
from gemma_align.data.builtin.values_requests import BORDERLINE, HARMFUL, HARMLESS

SPLITS = ("train", "tune", "report")


def requests(count=150):
    return [safety_example(0, split, i) for split in SPLITS for i in range(count)]


def refuses(text):
    return text.startswith((*_REFUSALS, *_OVER_REFUSALS))


def test_good_replies_refuse_what_harms_and_only_that():
    seen = set()
    for example in requests():
        seen.add(example.checks["category"])
        assert example.checks["harmful"] == (example.checks["category"] == "harmful")
        assert refuses(example.response) == example.checks["harmful"]
        assert example.response != example.rejected
        if example.checks["harmful"]:
            assert not refuses(example.rejected)
    assert seen == {"harmless", "borderline", "harmful"}


def test_bad_replies_to_harmful_requests_hold_no_detail_of_them():
    """They are the same few sentences whatever was asked."""
    bad = {example.rejected for example in requests() if example.checks["harmful"]}
    assert len(bad) <= 4


def test_conversations_alternate():
    with_history = [example for example in requests() if example.history]
    assert 0.1 < len(with_history) / 450 < 0.3
    for example in with_history:
        assert [turn.role for turn in example.history] == ["user", "assistant"]


def test_splits_share_no_topic():
    topics = [what for what, _ in (*HARMLESS, *BORDERLINE, *HARMFUL)]
    assert len(set(topics)) == 75
    used = {
        split: {what for i in range(300) for what in topics if what in safety_example(0, split, i).prompt}
        for split in SPLITS
    }
    assert [len(used[split]) for split in SPLITS] == [45, 15, 15]
    assert not used["train"] & used["tune"]
    assert not used["report"] & (used["train"] | used["tune"])


def test_examples_do_not_depend_on_how_many_are_made():
    assert [safety_example(3, "tune", i) for i in range(10)][9] == safety_example(3, "tune", 9)
