"""A quick form of `make simulate`, and that the page shows what was kept."""

import json
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `benchmarks` is no part of the package

from benchmarks.simulate import ALPHA, Cell, coverage, draw, false_winners, false_winners_of_runs
from benchmarks.simulation_page import KEPT, PAGE, render

from gemma_align.evaluation.crossed import contrast
from gemma_align.evaluation.multiplicity import holm


@pytest.mark.parametrize("values", ["normal", "0.5", "0.1"])
@pytest.mark.parametrize(("seeds", "share"), [((3, 3), 0.0), ((3, 3), 0.01), ((5, 5), 0.002), ((3, 5), 0.1)])
def test_coverage_of_a_difference_of_methods(values, seeds, share):
    found = coverage(Cell(values, seeds, 150, share), 1_200)
    assert 0.93 <= found["crossed"] <= 0.995  # of a true 95 %, 1,200 studies stray below 93 % once in 600
    assert 0.95 < found["width"] < 1.75


def test_examples_alone_say_nothing_about_methods():
    assert coverage(Cell("normal", (3, 3), 500, 0.1), 400)["examples_only"] < 0.5


def test_uneven_seeds_are_covered_too():
    assert coverage(Cell("normal", (3, 3), 150, 0.1, spreads=(1.0, 0.0)), 1_500)["crossed"] >= 0.93
    assert coverage(Cell("normal", (3, 5), 150, 0.1, spreads=(1.0, 3.0)), 1_500)["crossed"] >= 0.93


@pytest.mark.parametrize("values", ["normal", "0.5"])
@pytest.mark.parametrize(("seeds", "share"), [((3, 3, 3, 3), 0.01), ((3, 3, 5, 5), 0.0), ((5, 5, 5, 5), 0.1)])
def test_false_winners_among_methods(values, seeds, share):
    found = false_winners(Cell(values, seeds, 150, share), 1_000)
    assert found["pairs"] <= 0.065  # of a true 5 %, 1,000 studies stray above once in 60; most are well below
    assert found["base"] <= 0.065


def test_without_correction_there_would_be_false_winners():
    cell = Cell("normal", (5, 5, 5, 5), 150, 0.0)
    methods = draw(cell, 600, cell.rng())
    wrong = np.zeros(600, dtype=bool)
    for a, b in combinations(methods, 2):
        found = contrast(a, b)
        wrong |= np.abs(found.difference) > found.half_width(ALPHA)
    assert wrong.mean() > 0.1


def test_the_shortcut_names_the_winners_that_holm_names():
    cell = Cell("normal", (3, 3, 3), 50, 0.01)
    methods = draw(cell, 200, cell.rng("short"))
    pairs = [contrast(a, b) for a, b in combinations(methods, 2)]
    by_holm = (holm(np.stack([c.p_value() for c in pairs], axis=-1)) <= 0.3).any(axis=-1)
    at_once = np.any([np.abs(c.difference) > c.half_width(0.3 / 3) for c in pairs], axis=0)
    assert 0 < by_holm.sum() < 200
    np.testing.assert_array_equal(by_holm, at_once)


@pytest.mark.parametrize("values", ["normal", "lognormal", "0 but for one in ten", "0.1"])
def test_false_winners_among_given_runs(values):
    assert false_winners_of_runs(values, 50, 150)["pairs"] <= 0.1  # of a true 5 %, once in 150


def test_values_have_the_variance_and_the_share_that_a_cell_says():
    cell = Cell("normal", (3, 3), 40, 0.3)
    a, b = draw(cell, 20_000, cell.rng())
    assert a.var() == pytest.approx(1, rel=0.02)
    seed_means = a.mean(-1)
    assert (seed_means - seed_means.mean(-1, keepdims=True)).var() * 1.5 == pytest.approx(
        0.3 + 0.7 * 0.3 / 40, rel=0.03
    )
    assert np.corrcoef(a[:, 0, 0], b[:, 0, 0])[0, 1] == pytest.approx(0.7 * 0.5, abs=0.02)
    ones, _ = draw(replace(cell, values="0.1", spreads=(3.0, 1.0)), 20_000, cell.rng())
    assert ones.mean() == pytest.approx(0.1, abs=0.005)


def test_the_page_shows_what_was_kept_and_it_is_what_was_promised():
    document = json.loads(KEPT.read_text())
    assert render(document) in PAGE.read_text()
    rows = document["rows"]
    assert document["num_studies"] >= 2_000
    normal = [r for r in rows if r["kind"] == "coverage"]
    assert {tuple(r["seeds"]) for r in normal} >= {(3, 3), (5, 5), (3, 5)}
    assert {r["share"] for r in normal} >= {0.0, 0.5}
    assert min(r["crossed"] for r in normal) >= 0.93
    even = [r for r in rows if r["kind"] == "winners" and not r["bimodal"]]
    assert max(r["pairs"] for r in even + [r for r in rows if r["kind"] == "runs"]) <= 0.06
    assert max(r["base"] for r in even if r["values"] == "normal") <= 0.06
