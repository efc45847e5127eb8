"""Nothing of one builtin split stands in another: no example, no filling of the slots, no near duplicate."""

from itertools import combinations

import pytest

from gemma_align.data.builtin.draw import Draw, owner, pool
from gemma_align.data.dedup import NearIndex
from gemma_align.data.tasks import TASKS

SPLITS = ("train", "tune", "report")
SIZES = {"train": 600, "tune": 120, "report": 120}


@pytest.fixture(scope="module", params=list(TASKS))
def made(request):
    builtin = TASKS[request.param].builtin
    return {split: [builtin(0, split, i) for i in range(SIZES[split])] for split in SPLITS}


def test_no_near_duplicates(made):
    """Well under the threshold at which rows are dropped."""
    for a, b in combinations(SPLITS, 2):
        index = NearIndex((e.prompt.split("\n\n", 1)[-1] for e in made[a]), threshold=0.6)
        assert not [e.prompt for e in made[b] if index.similarity(e.prompt.split("\n\n", 1)[-1])]


def test_no_shared_ids_and_answers(made):
    ids = [e.id for split in SPLITS for e in made[split]]
    assert len(set(ids)) == len(ids)
    for a, b in combinations(SPLITS, 2):
        assert not {e.response for e in made[a]} & {e.response for e in made[b]}


def test_no_shared_fillings():
    builtin = TASKS["clinical"].builtin
    fillings = {
        split: {
            (e.checks["section"], *sorted((f["kind"], f["value"], f["negated"]) for f in e.checks["facts"]))
            for e in (builtin(0, split, i) for i in range(SIZES[split]))
        }
        for split in SPLITS
    }
    for a, b in combinations(SPLITS, 2):
        assert not fillings[a] & fillings[b]


def test_no_shared_content():
    """Medicines taken, allergens, operations, conditions and diagnoses come from pools of the split's own."""
    builtin = TASKS["clinical"].builtin
    kinds = ("allergy", "surgery", "condition", "diagnosis", "complaint", "occupation")
    content = {
        split: {
            (f["kind"], f["value"])
            for e in (builtin(0, split, i) for i in range(SIZES[split]))
            for f in e.checks["facts"]
            if f["kind"] in kinds and not f["negated"]
        }
        | {
            ("medication", f["value"].split()[0])
            for e in (builtin(0, split, i) for i in range(SIZES[split]))
            for f in e.checks["facts"]
            if f["kind"] == "medication" and not f["negated"]
        }
        for split in SPLITS
    }
    for a, b in combinations(SPLITS, 2):
        assert not content[a] & content[b]
    assert len(content["train"]) > 80


def test_pools_and_owners_part_everything():
    values = list(range(23))
    assert sorted(v for split in SPLITS for v in pool(values, split)) == values
    owners = [owner(0, i) for i in range(1000)]
    assert 0.55 < owners.count("train") / 1000 < 0.65
    assert 0.15 < owners.count("report") / 1000 < 0.25
    assert owners != [owner(1, i) for i in range(1000)]


def test_draws():
    draw = Draw(0, "x", "tune", 0)
    assert {draw.own(range(10)) for _ in range(50)} == {3, 8}
    assert {draw.own(range(10), lambda v: v > 5) for _ in range(20)} == {8}
    assert sorted(draw.some(range(4), 9, 9)) == [0, 1, 2, 3]
    assert {draw.whole(1, 3) for _ in range(60)} == {1, 2, 3}
