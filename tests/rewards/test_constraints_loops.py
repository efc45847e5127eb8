"""The loop finder against an obvious one, and units with their places."""

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gemma_align.rewards.constraints.loops import Loop, longest_loop
from gemma_align.rewards.constraints.units import lines, sentences, words


def obvious(items: list[str], counts: list[bool], min_copies: float, min_repeated: int) -> int:
    """Repeated items of the longest loop, by trying every stretch with every period."""
    best = 0
    for period in range(1, len(items)):
        for start in range(len(items)):
            for end in range(start + period + 1, len(items) + 1):
                if items[end - 1] != items[end - 1 - period]:
                    break
                repeated = end - start - period
                if (end - start) / period >= min_copies - 1e-9 and repeated >= min_repeated and any(counts[start:end]):
                    best = max(best, repeated)
    return best


@settings(deadline=None)
@given(st.lists(st.sampled_from("ab0"), max_size=24), st.sampled_from([2.0, 2.5, 3.0]), st.integers(1, 6))
@example(list("aaaaaa"), 3.0, 1)
@example(list("0000ababab"), 3.0, 1)
def test_agrees_with_trying_everything(items: list[str], min_copies: float, min_repeated: int) -> None:
    counts = [item != "0" for item in items]
    loop = longest_loop(items, counts, min_copies, min_repeated)
    assert (loop.repeated if loop else 0) == obvious(items, counts, min_copies, min_repeated)
    if loop:
        assert items[loop.start + loop.period : loop.end] == items[loop.start : loop.end - loop.period]
        assert loop.copies >= min_copies - 1e-9


def test_a_loop_is_described_by_its_shortest_period() -> None:
    assert longest_loop(list("xabababy"), [True] * 8, 2, 1) == Loop(start=1, end=7, period=2)
    loop = longest_loop(["no"] * 9, [True] * 9, 3, 1)
    assert loop == Loop(0, 9, 1)
    assert (loop.repeated, loop.copies) == (8, 9.0)


@settings(deadline=None)
@given(st.text(alphabet="ab .!?\n\t'", max_size=40))
def test_units_stand_where_they_say(text: str) -> None:
    for word in words(text):
        assert text[slice(*word.span)].casefold() == word.text
    for units in (list(lines(text)), list(sentences(text))):
        assert all(text[start:end].strip() for start, end in units)
        assert all(a[1] <= b[0] for a, b in pairwise(units))
    joined = "".join(text[start:end] for start, end in sentences(text))
    assert [c for c in joined if c.isalpha()] == [c for c in text if c.isalpha()]


def test_sentences_by_hand() -> None:
    text = 'He said: "Go." Then\nnothing…  Right? i.e. 3.5 mg'
    assert [text[start:end] for start, end in sentences(text)] == [
        'He said: "Go."',
        "Then",
        "nothing…",
        "Right?",
        "i.e.",
        "3.5 mg",
    ]
