"""What a reward is held against: a measure of another family and on other data than the reward.

    evaluation.gold   the folder of an encoder that was fitted to the gold part of the pairs, on another backbone
    null              the task's own measures: facts of a note, all tests of a program; safety has none

A gold measure decides nothing in training; it says where a reward that goes up has stopped meaning anything.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemma_align.config import AUTO, Config
from gemma_align.errors import ConfigError
from gemma_align.evaluation import clinical, code
from gemma_align.experiments.subject import untrained
from gemma_align.rewards.build import FITTED_BY_RUNS
from gemma_align.rewards.encoder.files import open_encoder, read_record
from gemma_align.types import Answer, Example

Array = NDArray[np.float64]
FAMILIES = {"gemma_embeddings": "Gemma", "gemma": "Gemma", "minilm": "MiniLM"}
"""Backbones that share weights fail alike, so they are one family."""


@dataclass(frozen=True, slots=True)
class Gold:
    """A gold measure.

    about    what it is and how good, as JSON values
    measure  (N,) higher is better; NaN where an example has no such measure
    """

    name: str
    about: Mapping[str, Any]
    measure: Callable[[Sequence[Example], Sequence[Answer]], Array]


def open_gold(config: Config) -> Gold:
    """The gold measure of a configuration.

    Raises:
        ConfigError: safety without `evaluation.gold`, or an encoder that isn't apart from the reward's.
        CheckpointError: no encoder there, or one that stands on other weights.
    """
    if config.evaluation.gold is not None:
        return _encoder(config, Path(config.evaluation.gold))
    if config.task == "safety":
        raise ConfigError(
            "evaluation.gold is null, and the task safety has no measure of its own that a reward could be held "
            "against. Fit an encoder of another family to the gold part of the pairs (gemma-align reward fit … "
            "reward.encoder.backbone=minilm reward.encoder.part=gold) and give its folder with evaluation.gold=…"
        )
    if config.task == "clinical":
        return Gold("facts covered - facts invented, by evaluation's measures", {}, _notes)
    return Gold("share of all tests passed, hidden ones included", {}, _programs)


def _notes(examples: Sequence[Example], answers: Sequence[Answer]) -> Array:
    return np.array([_note(example, answer.text) for example, answer in zip(examples, answers, strict=True)])


def _note(example: Example, text: str) -> float:
    """Of known facts where there are any, else of the claims of the reference note."""
    measures, facts = clinical.measure(example, text), example.checks.get("facts")
    if facts:
        return measures["fact_coverage"] - measures["invented_facts"] / len(facts)
    if "claim_coverage" not in measures:
        return float("nan")
    return measures["claim_coverage"] - measures.get("unsupported_share", 0.0)


def _programs(examples: Sequence[Example], answers: Sequence[Answer]) -> Array:
    found = code.measure(examples, [answer.text for answer in answers])
    return np.array([measures.get("test_share", float("nan")) for measures in found])


def _encoder(config: Config, folder: Path) -> Gold:
    record = read_record(folder)
    if config.reward.alpha and config.reward.encoder.path is not None:
        if config.reward.encoder.path == AUTO:
            raise ConfigError(FITTED_BY_RUNS)
        require_apart(read_record(Path(config.reward.encoder.path)), record)
    encoder = open_encoder(folder, lambda: untrained(config))

    def measure(examples: Sequence[Example], answers: Sequence[Answer]) -> Array:
        return np.asarray(encoder.score(examples, answers).total.double().numpy())

    held_out = record.get("held_out") or {}
    about = {
        "encoder": record["encoder"],
        "data": record.get("data"),
        "num_pairs": (record.get("fit") or {}).get("num_pairs"),
        "accuracy": (held_out.get("accuracy") or {}).get("encoder"),
    }
    return Gold(f"{record['encoder']['backbone']} encoder of the gold part", about, measure)


def require_apart(reward: Mapping[str, Any], gold: Mapping[str, Any]) -> None:
    """ConfigError where the gold encoder shares family or pairs with the reward's; both are records of fits."""
    ours, theirs = reward.get("encoder", {}), gold.get("encoder", {})
    problems = []
    if FAMILIES.get(ours.get("backbone")) == FAMILIES.get(theirs.get("backbone")):
        problems.append(f"both stand on {FAMILIES.get(ours.get('backbone'))}: fit one of another backbone")
    if ours.get("part") != "proxy" or theirs.get("part") != "gold":
        problems.append(
            f"the reward's was fitted to part {ours.get('part')!r}, the gold one to {theirs.get('part')!r}: "
            "reward.encoder.part=proxy and =gold were wanted"
        )
    parting = ("train_fingerprint", "seed")
    seen = [[(r.get("data") or {}).get(key) for key in parting] for r in (reward, gold)]
    if seen[0] != seen[1] or ours.get("gold_share") != theirs.get("gold_share"):
        problems.append(
            "they were parted differently, so they may share pairs: fit both with the same data, data.seed and "
            "reward.encoder.gold_share"
        )
    if problems:
        raise ConfigError(f"evaluation.gold must be apart from reward.encoder.path; {'; '.join(problems)}")
