"""The table of differences: who is in it, who wins, and what is left open."""

from dataclasses import replace

import numpy as np
import pytest

from gemma_align.evaluation.comparison import Contestant, Result, compare
from gemma_align.evaluation.crossed import contrast
from gemma_align.evaluation.multiplicity import holm, smallest_effect

N = 120


def result(label, shift=0.0, seed=0, longer=1.0, **columns):
    rng = np.random.default_rng(seed)
    hard = np.random.default_rng(99).normal(0, 1, N)
    own = {"rougeL": hard + shift + rng.normal(0, 0.3, N), "num_words": np.full(N, 9.0)}
    lengths = np.round(50 * longer * rng.uniform(0.8, 1.2, N))
    tokens = np.random.default_rng(98).integers(5, 30, N).astype(float)
    return Result(label, own | columns, lengths, tokens * (1 - shift / 10 + rng.normal(0, 0.02, N)), tokens)


def single(name, *args, **kwargs):
    return Contestant(name, (result(name, *args, **kwargs),), trained=True)


def method(name, shift=0.0, num=3, first_seed=0, seed_sd=0.0):
    offsets = np.random.default_rng(first_seed).normal(0, seed_sd, num)
    runs = tuple(result(f"{name}{i}", shift + offsets[i], first_seed + i) for i in range(num))
    return Contestant(name, runs, trained=True)


def only_row(comparison, measure="rougeL"):
    (pair,) = comparison.pairs
    return next(row for row in pair.rows if row.measure == measure)


def test_a_clear_difference_has_a_winner_on_the_right_side():
    found = compare([single("a"), single("b", 0.5, 1)])
    better, lower_loss = only_row(found).runs, only_row(found, "response_loss").runs
    assert better.winner == "b"
    assert better.difference.mean == pytest.approx(0.5, abs=0.1)
    assert lower_loss.difference.mean < 0
    assert lower_loss.winner == "b"  # less loss is better
    assert compare([single("b", 0.5, 1), single("a")]).pairs[0].rows[0].runs.winner == "b"


def test_the_mean_share_of_a_method_lies_between_0_and_1_and_nothing_else_is_cut():
    shares = [np.r_[np.ones(N - k), np.zeros(k)] for k in (0, 3, 20)]
    runs = tuple(result(f"a{i}", seed=i, finished=s, invented_facts=s - 1, empty=1 - s) for i, s in enumerate(shares))
    values = compare([Contestant("a", runs, trained=True), single("b", 0.5, 9)]).methods["a"]
    wide = contrast(np.stack(shares)).half_width(0.05)
    finished, empty, facts = (values[name] for name in ("finished", "empty", "invented_facts"))
    assert finished.high == 1.0
    assert finished.mean + wide > 1.0
    assert finished.low == pytest.approx(finished.mean - wide)
    assert empty.low == 0.0
    assert empty.high == pytest.approx(empty.mean + wide)
    assert facts.high == pytest.approx(facts.mean + wide)  # a count, which may lie anywhere


def test_where_no_way_is_better_nobody_wins_and_nothing_is_corrected():
    row = only_row(compare([single("a"), single("b", 0.5, 1, num_words=np.arange(N) + 20.0)]), "num_words")
    assert row.runs.difference.excludes_zero
    assert (row.runs.winner, row.runs.corrected, row.runs.smallest) == (None, None, None)


def test_no_difference_stays_open_and_says_what_would_have_been_seen():
    row = only_row(compare([single("a"), single("b", 0.0, 1)]))
    assert row.runs.winner is None
    # two tests, none found: power 80 % at 0.05 / 2, about (2.27 + 0.85) standard errors
    assert row.runs.smallest == pytest.approx(3.12 * row.runs.difference.error, rel=0.01)


def test_correction_is_over_all_pairs_and_measures_that_can_be_won():
    found = compare([single("a"), single("b", 0.1, 1), single("c", 0.2, 2)])
    assert found.num_tests == (6, 0)  # three pairs, rougeL and response_loss
    rows = [row.runs for pair in found.pairs for row in pair.rows if row.runs.corrected is not None]
    np.testing.assert_allclose([r.corrected for r in rows], holm([r.difference.p for r in rows]))


def test_no_winner_where_the_interval_excludes_zero_but_the_table_is_large():
    rng = np.random.default_rng(7)
    noise = rng.normal(0, 1, N)
    nudge = noise - noise.mean() + 2.1 * noise.std(ddof=1) / np.sqrt(N)  # p = 0.04
    names = [f"pass@{k}" for k in range(2, 30)]
    a = single("a", **{name: np.zeros(N) for name in names}, **{"rouge1": np.zeros(N)})
    b = single("b", seed=1, **{name: rng.normal(0, 1, N) for name in names}, **{"rouge1": nudge})
    row = only_row(compare([a, b]), "rouge1")
    assert row.runs.difference.excludes_zero
    assert row.runs.winner is None


def test_seeds_make_statements_about_methods():
    found = compare([method("sft"), method("dpo", 0.5, first_seed=10)])
    row = only_row(found)
    assert row.method is not None
    assert row.method.winner == row.runs.winner == "dpo"
    assert row.method.difference.mean == pytest.approx(row.runs.difference.mean)
    assert set(found.methods) == {"sft", "dpo"}
    assert set(found.runs) == {"sft0", "sft1", "sft2", "dpo0", "dpo1", "dpo2"}


def test_runs_can_differ_where_methods_do_not():
    found = compare([method("sft", seed_sd=0.6, first_seed=3), method("dpo", 0.1, seed_sd=0.6, first_seed=20)])
    row = only_row(found)
    assert row.runs.winner is not None  # these six models
    assert row.method.winner is None  # other seeds may turn it round
    assert row.seed_share > 0.8


def test_runs_that_began_from_the_same_start_are_held_against_each_other():
    """What the start brings to both is no noise of their difference; what it brings to one of them is."""
    starts = tuple(f"sft, seed {i}" for i in range(3))
    a, b = method("sft", seed_sd=0.5, first_seed=3), method("dpo", first_seed=20)
    shifts = [run.columns["rougeL"].mean() for run in a.results]
    together = tuple(
        replace(run, columns=dict(run.columns) | {"rougeL": run.columns["rougeL"] + sign * shift})
        for sign in (1, -1)
        for run, shift in zip(b.results, shifts, strict=True)
    )
    with_it, against_it = (Contestant("dpo", runs, trained=True) for runs in (together[:3], together[3:]))
    widths = {}
    for name, other in (("with", with_it), ("against", against_it)):
        for kind, known in (("paired", starts), ("nested", ())):
            row = only_row(compare([replace(a, starts=known), replace(other, starts=known)]))
            widths[name, kind] = row.method.difference.high - row.method.difference.low
            if known:
                expected = contrast(_values(other) - _values(a))
                assert row.method.difference.mean == pytest.approx(float(expected.difference))
                assert widths[name, kind] == pytest.approx(2 * float(expected.half_width(0.05)))
    assert widths["with", "paired"] < widths["with", "nested"] == pytest.approx(widths["against", "nested"], rel=0.5)
    assert widths["against", "paired"] > 2 * widths["with", "paired"]


def test_the_runs_of_common_starts_decide_and_one_alone_says_nothing():
    a = replace(method("sft"), starts=("0", "1", "2"))
    b = replace(method("dpo", 0.5, num=2, first_seed=10), starts=("2", "0"))
    row = only_row(compare([a, b]))
    expected = contrast(_values(b) - _values(a)[[2, 0]])
    assert row.method.difference.mean == pytest.approx(float(expected.difference))
    assert row.runs.difference.n == N
    found = compare([a, replace(b, starts=("2", "7"))])
    assert found.pairs[0].no_method == "only one run of sft and dpo began from the same start"
    assert only_row(found).method is None


def test_one_seed_says_nothing_about_a_method():
    found = compare([method("sft"), single("dpo", 0.5, 9)])
    (pair,) = found.pairs
    assert pair.no_method == "dpo has one training seed"
    assert all(row.method is None for row in pair.rows)
    assert only_row(found).runs.winner == "dpo"
    assert compare([single("a"), single("b")]).pairs[0].no_method == "a and b have one training seed each"


def test_the_base_is_given_and_needs_no_seeds():
    base = Contestant("base", (result("base", seed=50),), trained=False)
    found = compare([base, method("sft", 0.5), method("dpo", 0.5, first_seed=10)], against="base")
    assert [(pair.first, pair.second) for pair in found.pairs] == [("base", "sft"), ("base", "dpo")]
    assert all(row.method is not None for pair in found.pairs for row in pair.rows)
    assert "base" in found.runs
    assert "base" not in found.methods


def test_examples_without_the_measure_are_left_out_on_both_sides():
    some, others = np.ones(N), np.zeros(N)
    some[:20], others[10:30] = np.nan, np.nan
    found = compare([single("a", bleu=some), single("b", bleu=others)])
    assert only_row(found, "bleu").runs.difference.n == N - 30
    nowhere = np.full(N, np.nan)
    nowhere[:9] = 1.0  # too few, even where both have it
    same = compare([single("a", bleu=nowhere), single("b", bleu=nowhere)])
    assert "bleu" not in [row.measure for row in same.pairs[0].rows]
    nowhere[9] = 1.0
    same = compare([single("a", bleu=nowhere), single("b", bleu=nowhere)])
    assert only_row(same, "bleu").runs.difference.n == 10
    both = compare([single("a", bleu=nowhere), single("b", bleu=np.roll(nowhere, 10))])
    assert "bleu" not in [row.measure for row in both.pairs[0].rows]


def test_references_read_as_other_tokens_have_no_difference_of_loss():
    a, b = single("a"), single("b", seed=1)
    other = replace(b.results[0], tokens=b.results[0].tokens + 1)
    found = compare([a, Contestant("b", (other,), True)])
    assert "response_loss" not in [row.measure for row in found.pairs[0].rows]


def test_a_measure_that_one_lacks_has_no_difference():
    found = compare([single("a", bleu=np.ones(N)), single("b")])
    assert "bleu" in found.runs["a"]
    assert "bleu" not in [row.measure for row in found.pairs[0].rows]


def test_a_share_of_which_not_even_the_largest_difference_would_be_seen():
    few = np.array([1.0, 0.0] * 5 + [np.nan] * (N - 10))
    found = compare([single("a", exact_match=few), single("b", seed=1, exact_match=1 - few)])
    row = only_row(found, "exact_match")
    assert row.runs.smallest is None


def test_lengths_are_compared_and_controlled_beside_quality():
    found = compare([single("a"), single("b", 0.3, 1, longer=1.5)])
    (pair,) = found.pairs
    assert pair.lengths.mean == pytest.approx(1.5, rel=0.05)
    assert only_row(found).at_equal_length is not None
    assert only_row(found, "num_words").at_equal_length is None
    assert only_row(found, "response_loss").at_equal_length is None
    silent = Contestant("c", (replace(result("c"), lengths=np.zeros(N)),), True)
    assert compare([single("a"), silent]).pairs[0].lengths is None


def test_the_smallest_effect_of_methods_needs_more_than_that_of_runs():
    row = only_row(compare([method("sft", seed_sd=0.3), method("dpo", first_seed=20, seed_sd=0.3)]))
    level = 0.05 / 2  # two tests
    found = contrast(_values(method("dpo", first_seed=20, seed_sd=0.3)), _values(method("sft", seed_sd=0.3)))
    expected = smallest_effect(float(found.error), float(found.half_width(level)), float(found.satterthwaite_df()))
    assert row.method.winner is None
    assert row.method.smallest == pytest.approx(expected)
    assert row.method.smallest > 3 * row.runs.difference.error


def _values(method):
    return np.stack([r.columns["rougeL"] for r in method.results])
