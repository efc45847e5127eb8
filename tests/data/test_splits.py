from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gemma_align.data.dedup import NEAR_DUPLICATE, NearIndex, jaccard
from gemma_align.data.splits import cut, fingerprint, hashed, subset
from gemma_align.data.text import normal_form, shingles, tidy
from gemma_align.types import Example, Turn


def examples(count):
    return [Example(id=f"e{i}", prompt=f"p{i}") for i in range(count)]


def test_hashes_are_the_same_on_every_machine():
    assert hashed(0, "a") == 5343935306724906182
    assert hashed(0, "a", "b") != hashed(0, "ab")
    assert hashed(1, "a") != hashed(0, "a")


def test_subsets_are_nested_ordered_and_seeded():
    rows = examples(100)
    small, large = subset(rows, 10, 0), subset(rows, 30, 0)
    assert len(small) == 10
    assert {e.id for e in small} < {e.id for e in large}
    assert list(large) == [e for e in rows if e in large]
    assert subset(rows, 10, 1) != small
    assert subset(rows, None, 0) == tuple(rows) == subset(rows, 100, 0)
    # Rows in another order are the same subset; a row that goes takes none of the others with it.
    assert {e.id for e in subset(rows[::-1], 10, 0)} == {e.id for e in small}
    without = [e for e in rows if e.id != small[0].id]
    assert {e.id for e in small[1:]} < {e.id for e in subset(without, 10, 0)}


def test_cut_takes_whole_groups_whatever_their_order():
    groups = [f"g{i % 50}" for i in range(500)]
    leaving = cut(groups, 0.1, 0, "tune")
    assert len(leaving) == 5
    assert leaving == cut(groups[::-1], 0.1, 0, "tune")
    assert leaving != cut(groups, 0.1, 1, "tune")
    assert len(cut(["a", "b"], 0.1, 0, "tune")) == 1


def test_fingerprint_sees_everything_and_the_order():
    base = Example(id="a", prompt="p", response="r", checks={"x": 1, "y": [2]})
    changed = [
        replace(base, id="b"),
        replace(base, prompt="q"),
        replace(base, response=None),
        replace(base, rejected="s"),
        replace(base, cue="c"),
        replace(base, history=(Turn("user", "u"),)),
        replace(base, checks={"x": 1, "y": [3]}),
    ]
    prints = {fingerprint([e]) for e in [base, *changed]}
    assert len(prints) == 8
    assert fingerprint([replace(base, checks={"y": [2], "x": 1})]) in prints
    assert fingerprint(changed) != fingerprint(changed[::-1])


def test_text_forms():
    assert tidy("a  b \r\n".replace("\r\n", "\n") + "\n\n c\t d ") == "a b\nc d"
    assert normal_form("Any PAIN?  No—none.") == "any pain no none"
    assert normal_form("?!") == "?!"
    assert shingles("a b c d") == {("a", "b", "c"), ("b", "c", "d")}
    assert shingles("a b") == {("a", "b")}


WORDS = st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join)


@given(st.lists(WORDS, max_size=12), WORDS, st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_near_index_finds_what_comparing_everything_finds(texts, text, threshold):
    best = max((jaccard(shingles(text), shingles(other)) for other in texts), default=0.0)
    expected = best if best >= threshold else 0.0
    assert NearIndex(texts, threshold).similarity(text) == expected


def test_near_duplicates_by_hand():
    index = NearIndex(["the quick brown fox jumps over the lazy dog again and again"])
    assert index.similarity("The quick brown fox jumps over the lazy dog, again and again!") == 1.0
    # One word more: ten shingles in both, eleven in either.
    assert index.similarity("the quick brown fox jumps over the lazy dog again and again and") == 10 / 11
    assert index.similarity("the quick brown cat jumps over the lazy dog again and again") == 0.0
    assert NEAR_DUPLICATE == 0.8
