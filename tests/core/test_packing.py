"""Rows without padding: what they hold, how they are split, and that nothing is lost on the way."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemma_align.core.packing import common_beginning, join, microbatch_rows, pack
from gemma_align.types import Responses

CPU = torch.device("cpu")


def responses(prompts, answers):
    """answers: (prompt, tokens) pairs."""
    width = max((len(tokens) for _, tokens in answers), default=0)
    ids = torch.zeros(len(answers), width, dtype=torch.long)
    mask = torch.zeros(len(answers), width, dtype=torch.bool)
    for n, (_, tokens) in enumerate(answers):
        ids[n, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
        mask[n, : len(tokens)] = True
    return Responses(tuple(map(tuple, prompts)), torch.tensor([p for p, _ in answers], dtype=torch.long), ids, mask)


def test_two_responses_share_a_prompt_and_lose_their_last_token():
    row = pack(responses([[1, 2, 3], [9]], [(0, [4, 5]), (1, [8]), (0, [6, 7, 1])]), CPU)
    assert row.ids.tolist() == [1, 2, 3, 4, 6, 7, 9]
    assert row.positions.tolist() == [0, 1, 2, 3, 3, 4, 0]
    # 4 is predicted by the prompt's last token, 5 by 4; 8 by the prompt 9; 6 by the prompt's last, 7 by 6, 1 by 7
    assert row.predictors.tolist() == [2, 3, 6, 2, 4, 5]
    assert [(g.start, g.end, g.input_lengths) for g in row.groups] == [(0, 6, (1, 2)), (6, 7, (0,))]
    assert [(g.responses, g.lengths) for g in row.groups] == [((0, 2), (2, 3)), ((1,), (1,))]


def test_what_all_responses_to_a_prompt_begin_with_is_computed_once():
    row = pack(responses([[1, 2], [9]], [(0, [4, 5, 6]), (1, [3, 3]), (0, [4, 5, 7, 8])]), CPU)
    assert row.ids.tolist() == [1, 2, 4, 5, 7, 9, 3]  # 6, 8 and the last 3 predict nothing
    assert row.positions.tolist() == [0, 1, 2, 3, 4, 0, 1]
    # 4 and 5 are predicted by 2 and 4, once; then 5 predicts the first response's 6; 9 predicts 3 and 3 predicts 3
    assert row.predictors.tolist() == [1, 2, 3, 5, 6, 3, 4]
    assert row.targets.tolist() == [4, 5, 6, 3, 3, 7, 8]
    assert row.scatter(torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])).tolist() == [
        pytest.approx([0.1, 0.2, 0.3, 0.0]),
        pytest.approx([0.4, 0.5, 0.0, 0.0]),
        pytest.approx([0.1, 0.2, 0.6, 0.7]),
    ]
    assert (row.groups[0].prompt_length, row.groups[0].lengths, row.groups[0].num_common) == (4, (1, 2), 2)


@pytest.mark.parametrize(
    ("rows", "common"),
    [
        ([], []),
        ([[1, 2]], []),
        ([[1, 2, 3], [1, 2, 4]], [1, 2]),
        ([[1, 2], [1, 2, 3]], [1]),  # the last token of a response isn't in the row
        ([[1, 2], [1, 2]], [1]),
        ([[5], [5]], []),
        ([[1, 2, 3], [1, 2, 3], [1, 4, 3]], [1]),
        ([[1, 2], [3, 2]], []),
    ],
)
def test_common_beginnings(rows, common):
    assert common_beginning(rows) == common


def test_scatter_puts_values_where_the_mask_is_true_and_zero_elsewhere():
    row = pack(responses([[1]], [(0, [4]), (0, [5, 6])]), CPU)
    assert row.scatter(torch.tensor([1.0, 2.0, 3.0])).tolist() == [[1.0, 0.0], [2.0, 3.0]]


def test_an_empty_response_takes_no_place():
    row = pack(responses([[1, 2]], [(0, []), (0, [5])]), CPU)
    assert row.ids.tolist() == [1, 2]
    assert row.predictors.tolist() == [1]
    assert row.groups[0].responses == (1,)


problems = st.integers(1, 6).flatmap(
    lambda p: st.tuples(
        st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=p, max_size=p),
        st.lists(st.tuples(st.integers(0, p - 1), st.lists(st.integers(1, 9), max_size=7)), min_size=1, max_size=12),
        st.integers(1, 40),
    )
)


@given(problems)
def test_microbatches_hold_every_response_once_and_keep_to_the_budget(problem):
    prompts, answers, budget = problem
    whole = responses(prompts, answers)
    parts = microbatch_rows(whole, budget)
    assert sorted(n for rows in parts for n in rows.tolist()) == list(range(len(answers)))
    for rows in parts:
        assert len(pack(whole.select(rows), CPU).ids) <= budget or len(rows) == 1
    kept_whole = microbatch_rows(whole, budget, whole_prompts=True)
    assert sorted(n for rows in kept_whole for n in rows.tolist()) == list(range(len(answers)))
    for rows in kept_whole:
        used = {answers[n][0] for n in rows.tolist()}
        assert len(pack(whole.select(rows), CPU).ids) <= budget or len(used) == 1
        assert {n for n, (p, _) in enumerate(answers) if p in used} == set(rows.tolist())


def test_what_responses_share_counts_once_towards_the_budget():
    whole = responses([[1] * 4, [2] * 4], [(p, [3, 4, 5, end, 7]) for p in (0, 1) for end in (8, 9)])
    assert len(pack(whole, CPU).ids) == 2 * (4 + 3 + 2)
    assert [rows.tolist() for rows in microbatch_rows(whole, 18)] == [[0, 1, 2, 3]]
    assert [rows.tolist() for rows in microbatch_rows(whole, 17)] == [[0, 1], [2, 3]]


@given(problems)
def test_every_token_is_predicted_from_the_one_before_it_at_its_place(problem):
    prompts, answers, multiple = problem
    whole = responses(prompts, answers)
    row = pack(whole, CPU, multiple)
    assert torch.equal(row.targets[row.sources], whole.ids[whole.mask])
    before = [[*prompts[p], *tokens][len(prompts[p]) - 1 : -1] for p, tokens in answers if tokens]
    places = [len(prompts[p]) - 1 + t for p, tokens in answers for t in range(len(tokens))]
    predictors = row.predictors[row.sources]
    assert row.ids[predictors].tolist() == [token for tokens in before for token in tokens]
    assert row.positions[predictors].tolist() == places


@given(problems)
def test_select_and_join_bring_everything_back(problem):
    prompts, answers, budget = problem
    whole = responses(prompts, answers)
    parts = []
    for rows in microbatch_rows(whole, budget):
        part = whole.select(rows)
        for n, tokens, mask, p in zip(rows.tolist(), part.ids, part.mask, part.prompt_of.tolist(), strict=True):
            assert tokens[mask].tolist() == answers[n][1]
            assert list(part.prompt_ids[p]) == prompts[answers[n][0]]
        parts.append((rows, part.ids.float()))
    assert torch.equal(join(parts, *whole.ids.shape), whole.ids.float())


def test_a_group_that_fits_is_not_split():
    whole = responses([[1] * 10, [2] * 10], [(p, [first] * 6) for p, first in ((0, 3), (1, 3), (0, 4), (1, 4))])
    assert [rows.tolist() for rows in microbatch_rows(whole, 20)] == [[0, 2], [1, 3]]
    assert [rows.tolist() for rows in microbatch_rows(whole, 40)] == [[0, 1, 2, 3]]
    assert [rows.tolist() for rows in microbatch_rows(whole, 15)] == [[0], [1], [2], [3]]
