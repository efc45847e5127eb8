"""Truncation, padding and grouping of rows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_align.rewards.encoder.backbone import distinct_root_mean
from gemma_align.rewards.encoder.rows import Row, alike, cut, ends, pad


def test_what_is_cut_by_hand():
    prompt, response = tuple(range(10)), tuple(range(100, 110))
    assert cut(prompt, response, 20) == Row(prompt, response)
    # 12 tokens: the response may have 9 and loses its middle, the prompt keeps its last 3
    assert cut(prompt, response, 12) == Row((7, 8, 9), (100, 101, 102, 103, 104, 106, 107, 108, 109), 7, 1)
    # a short response leaves its room to the prompt, and the other way round
    assert cut(prompt, response[:2], 8) == Row((4, 5, 6, 7, 8, 9), (100, 101), 4, 0)
    assert cut(prompt[:1], response, 8) == Row((0,), (100, 101, 102, 103, 107, 108, 109), 0, 3)
    assert cut(prompt, (), 4) == Row((6, 7, 8, 9), (), 6, 0)
    assert ends((1, 2, 3), 2) == (1, 3)
    assert ends((1, 2, 3), 1) == (1,)


tokens = st.lists(st.integers(1, 500), max_size=60).map(tuple)


@settings(deadline=None, max_examples=40)
@given(tokens, tokens, st.integers(8, 70))
def test_a_row_fits_and_loses_no_more_than_it_must(prompt, response, max_length):
    row = cut(prompt, response, max_length)
    assert len(row) == min(max_length, len(prompt) + len(response))
    assert len(row.prompt_ids) + row.prompt_cut == len(prompt)
    assert len(row.response_ids) + row.response_cut == len(response)
    assert row.prompt_ids == prompt[row.prompt_cut :]
    if row.response_cut:
        assert len(row.response_ids) >= 3 * max_length // 4


rows = st.lists(st.builds(Row, tokens.filter(len), tokens), min_size=1, max_size=20)


@settings(deadline=None, max_examples=40)
@given(rows, st.integers(1, 200))
def test_groups_hold_every_row_once_within_the_budget(rows, budget):
    groups = list(alike(rows, budget))
    assert sorted(n for group in groups for n in group) == list(range(len(rows)))
    for group in groups:
        width = max(len(rows[n]) for n in group)
        assert len(group) == 1 or len(group) * width <= budget
        assert all(4 * len(rows[n]) >= 4 * (3 * width // 4) for n in group)


@settings(deadline=None, max_examples=40)
@given(rows)
def test_padded_rows_give_back_their_tokens(rows):
    padded = pad(rows)
    for n, row in enumerate(rows):
        assert tuple(padded.ids[n][padded.response_mask[n]].tolist()) == row.response_ids
        assert tuple(padded.ids[n][padded.mask[n] & ~padded.response_mask[n]].tolist()) == row.prompt_ids
        assert padded.ids[n][~padded.mask[n]].eq(0).all()


def test_pooled_embeddings_by_hand():
    table = torch.tensor([[0.0, 9.0], [1.0, 0.0], [0.0, 2.0], [4.0, 4.0]])
    found = distinct_root_mean(table, [(1, 2), (1, 1, 1), (), (3, 2, 1, 2)])
    root2, root3 = 2**0.5, 3**0.5
    wanted = [[1 / root2, 2 / root2], [1.0, 0.0], [0.0, 0.0], [5 / root3, 6 / root3]]
    torch.testing.assert_close(found, torch.tensor(wanted))


def test_saying_a_thing_again_adds_nothing():
    table = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    once, often = distinct_root_mean(table, [(3, 4, 5), (3, 4, 5) * 20])
    assert torch.equal(once, often)
    assert not torch.allclose(once, distinct_root_mean(table, [(3, 4, 6)])[0])


def test_a_row_without_room_for_either_side_still_says_what_was_cut():
    row = cut(tuple(range(1, 101)), tuple(range(200, 300)), 8)
    assert (len(row.prompt_ids), len(row.response_ids)) == (2, 6)
    assert row.was_cut
    assert row.prompt_cut + row.response_cut == 200 - 8
    with pytest.raises(AttributeError):
        row.prompt_cut = 0  # type: ignore[misc]
