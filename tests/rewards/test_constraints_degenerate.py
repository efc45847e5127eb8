"""Every degenerate family is hit, and the honest text it was made from isn't; on builtin and on real references."""

from pathlib import Path
from random import Random

import pytest

from gemma_align.config import DataConfig
from gemma_align.config.constraints import ConstraintsConfig
from gemma_align.data.tasks import load_task
from gemma_align.rewards.constraints import check_all
from gemma_align.rewards.degenerate import FAMILIES, INSULTS
from gemma_align.types import Answer, Example

TASKS = ("clinical", "safety", "code")


def hit(task: str, examples: list[Example], answers: list[Answer]) -> float:
    found = check_all(examples, answers, task, ConstraintsConfig())
    return sum(any(finding.fired for finding in each.values()) for each in found) / len(found)


def builtin(task: str) -> list[Example]:
    return list(load_task(task, DataConfig(num_builtin=40)).examples("tune"))


@pytest.mark.parametrize("task", TASKS)
def test_builtin_references_are_fine(task: str) -> None:
    examples = builtin(task)
    assert hit(task, examples, [Answer(example.response or "") for example in examples]) == 0


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_degenerate_answers_are_hit(task: str, family: str) -> None:
    examples, rng = builtin(task), Random(1)
    pool = [example.response or "" for example in examples]
    made = [(example, FAMILIES[family](example.response or "", pool, rng)) for example in examples]
    kept = [(example, answer) for example, answer in made if answer is not None]
    assert len(kept) > 30
    assert hit(task, [e for e, _ in kept], [a for _, a in kept]) >= (0.7 if "toxic" in family else 1.0)


def test_a_family_follows_its_seed_and_its_honest_text() -> None:
    for family in FAMILIES.values():
        first, again = (family("One two three. Four five six!", ["Seven eight nine."], Random(3)) for _ in range(2))
        assert first == again
        assert first is not None
    assert FAMILIES["one word"]("No.", ["x"], Random(0)) is None
    assert len(set(INSULTS)) == 20


def test_real_references_are_fine(real_data: Path) -> None:
    places = {"clinical": "mts_dialog", "code": "mbpp/mbpp.jsonl", "safety": "hh_rlhf_harmless"}
    for task, place in places.items():
        examples = list(load_task(task, DataConfig(train=str(real_data / place))).examples("tune"))
        examples = [example for example in examples if example.response]
        assert hit(task, examples, [Answer(example.response or "") for example in examples]) <= 0.03
