"""From the records of one task to a comparison of its methods, and to planned claims. No folders are read here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from gemma_align.config.study import Claim, Study
from gemma_align.errors import UserError
from gemma_align.evaluation.comparison import Comparison, Contestant, compare
from gemma_align.evaluation.directions import direction
from gemma_align.evaluation.multiplicity import holm
from gemma_align.evaluation.statistics import Interval
from gemma_align.evaluation.verdicts import Row, Statement
from gemma_align.experiments.compare import require_comparable
from gemma_align.experiments.evaluated import Model
from gemma_align.experiments.study.learning import Course, reward_per_token
from gemma_align.experiments.study.record import Record, result_of

LEARNING = "reward_per_token"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claim.

    difference  of `better` less `than`, of the methods where there are seeds enough, else of the runs
    of_methods  which of the two
    corrected   p by Holm over all claims of the study
    holds       True: shown; False: the opposite is shown; None: open
    why_not     why nothing can be said, where nothing was measured
    """

    claim: Claim
    task: str
    difference: Interval | None
    of_methods: bool
    corrected: float | None
    holds: bool | None
    why_not: str = ""


def contestants_of(records: Sequence[Record]) -> list[tuple[str, Contestant, tuple[Record, ...]]]:
    """Everything that was evaluated on one task: (name, values, records) of the methods and of the untuned models."""
    found: list[tuple[str, Contestant, tuple[Record, ...]]] = []
    for method in dict.fromkeys(r["method"] for r in records):
        own = sorted((r for r in records if r["method"] == method), key=lambda r: r["seed"])
        results = tuple(result_of(r, r["main"], f"{method}, seed {r['seed']}") for r in own)
        trained = not own[0]["evaluate"]
        if not trained:
            results = tuple(replace(result, label=method) for result in results)
        found.append((method, Contestant(method, results, trained), tuple(own)))
        for extra in (name for name in own[0]["models"] if name not in (own[0]["main"], "base")):
            having = [r for r in own if extra in r["models"]]
            name = f"{method}, {extra}"
            values = tuple(result_of(r, extra, f"{name}, seed {r['seed']}" if trained else name) for r in having)
            found.append((name, Contestant(name, values, trained and len(having) > 1), tuple(having)))
    return found


def require_same_examples(records: Sequence[Record]) -> None:
    """RunDirError that names what differs, where cells of one task were evaluated on other examples or otherwise."""
    models, names = [], []
    for record in records:
        for name, found in record["models"].items():
            if name == record["main"]:
                result = result_of(record, name, name)
                models.append(Model(name, found["about"], tuple(found["ids"]), result))
                names.append(f"{record['method']}, seed {record['seed']}")
    require_comparable(models, names, "All cells of a task need the same data and evaluation settings.")


def compared(contestants: Sequence[Contestant], measures: Sequence[str], confidence: float) -> Comparison | None:
    """Every pair on the measures that decide; None where there is nothing to be compared."""
    narrowed = [replace(c, results=tuple(_only(result, measures) for result in c.results)) for c in contestants]
    return compare(narrowed, confidence=confidence) if len(narrowed) > 1 else None


def _only(result: Any, measures: Sequence[str]) -> Any:
    columns = {name: column for name, column in result.columns.items() if name in measures}
    nats = result.nats if "response_loss" in measures else np.full_like(result.nats, np.nan)
    return replace(result, columns=columns, nats=nats)


def settled(
    study: Study, by_task: Mapping[str, Sequence[Contestant]], courses: Mapping[str, Mapping[str, Sequence[Course]]]
) -> list[Outcome]:
    """Each planned claim on each task that has both of its methods; corrected over all of them together."""
    outcomes: list[Outcome] = []
    for claim in study.claims:
        for task, contestants in by_task.items():
            by_name = {c.name: c for c in contestants}
            spec = [study.methods[name] for name in (claim.better, claim.than)]
            if any(s.tasks is not None and task not in s.tasks for s in spec):
                continue
            if claim.better not in by_name or claim.than not in by_name:
                outcomes.append(Outcome(claim, task, None, False, None, None, "its cells aren't done"))
            elif claim.measure == LEARNING:
                outcomes.append(_of_learning(claim, task, courses.get(task, {})))
            else:
                outcomes.append(_of_measure(claim, task, by_name[claim.than], by_name[claim.better]))
    p = {i: o.difference.p for i, o in enumerate(outcomes) if o.difference is not None and o.difference.p is not None}
    corrected = dict(zip(p, holm(list(p.values())).tolist(), strict=True)) if p else {}
    return [_decided(outcome, corrected.get(i)) for i, outcome in enumerate(outcomes)]


def _of_measure(claim: Claim, task: str, than: Contestant, better: Contestant) -> Outcome:
    found = compared([than, better], [claim.measure], 0.95)
    rows = [row for pair in (found.pairs if found else ()) for row in pair.rows]
    row = next((row for row in rows if row.measure == claim.measure), None)
    if row is None:
        raise UserError(f"claims: {claim.text!r}: {task} has no measure {claim.measure!r} in both methods")
    statement = row.method or row.runs
    return Outcome(claim, task, statement.difference, row.method is not None, None, None)


def _of_learning(claim: Claim, task: str, courses: Mapping[str, Sequence[Course]]) -> Outcome:
    """Welch's t interval over seeds of the difference of the areas."""
    sides = [courses.get(name, ()) for name in (claim.better, claim.than)]
    if not all(sides):
        return Outcome(claim, task, None, False, None, None, "one of the two never sampled")
    budget = min(course.tokens[-1] for side in sides for course in side)
    ours, theirs = ([reward_per_token(course, budget) for course in side] for side in sides)
    mean = float(np.mean(ours) - np.mean(theirs))
    if min(len(ours), len(theirs)) < 2:
        return Outcome(claim, task, Interval(mean, None, None, 1), False, None, None, "one seed")
    test = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = test.confidence_interval(0.95)
    interval = Interval(mean, float(low), float(high), len(ours) + len(theirs), p=float(test.pvalue))
    return Outcome(claim, task, interval, True, None, None)


def _decided(outcome: Outcome, corrected: float | None) -> Outcome:
    difference = outcome.difference
    if difference is None or corrected is None or corrected > 0.05 or not difference.excludes_zero:
        return replace(outcome, corrected=corrected)
    wanted = "higher" if outcome.claim.measure == LEARNING else direction(outcome.claim.measure).better
    return replace(outcome, corrected=corrected, holds=(difference.mean > 0) == (wanted != "lower"))


def statement(row: Row) -> Statement:
    """Of the methods where something is said of them, else of these runs."""
    return row.method or row.runs


def _defeats(comparison: Comparison, measure: str, of_runs: bool) -> list[tuple[str, str]]:
    """(winner, loser) wherever one is shown to be better."""
    return [
        (winner, pair.first if winner == pair.second else pair.second)
        for pair in comparison.pairs
        for row in pair.rows
        if row.measure == measure and (winner := (row.runs if of_runs else statement(row)).winner) is not None
    ]


def beaten_by(comparison: Comparison, name: str, measure: str) -> list[str]:
    """The methods that are shown to be better than this one on a measure."""
    return [winner for winner, loser in _defeats(comparison, measure, of_runs=False) if loser == name]


def leaders(comparison: Comparison, names: Sequence[str], measure: str, *, of_runs: bool = False) -> list[str]:
    """The methods that nothing beats on a measure, the best mean first; or the trained models, whatever a seed does."""
    means = {name: mean for name in names if (mean := mean_of(comparison, name, measure)) is not None}
    beaten = {loser for _, loser in _defeats(comparison, measure, of_runs)}
    sign = -1 if direction(measure).better == "lower" else 1
    return sorted((name for name in means if name not in beaten), key=lambda name: -sign * means[name])


def value_of(comparison: Comparison, name: str, measure: str) -> Interval | None:
    """A method's value over seeds and examples; of a single run or model, over examples."""
    if name in comparison.methods:
        return comparison.methods[name].get(measure)
    runs = _of_runs(comparison, name, measure)
    return runs[0] if len(runs) == 1 else None


def mean_of(comparison: Comparison, name: str, measure: str) -> float | None:
    """Of all runs of a method."""
    runs = _of_runs(comparison, name, measure)
    return float(np.mean([run.mean for run in runs])) if runs else None


def _of_runs(comparison: Comparison, name: str, measure: str) -> list[Interval]:
    return [found[measure] for label, found in comparison.runs.items() if _belongs(label, name) and measure in found]


def difference_of_runs(comparison: Comparison, first: str, second: str, measure: str) -> tuple[Statement, bool] | None:
    """second - first of the runs that there are, and whether it is turned round; None where it wasn't compared.

    Whether a reward was hacked is a question about the policies that were trained, so examples alone are resampled;
    what other seeds would do is another question.
    """
    for pair in comparison.pairs:
        if {pair.first, pair.second} == {first, second}:
            row = next((row for row in pair.rows if row.measure == measure), None)
            return None if row is None else (row.runs, pair.first == second)
    return None


def _belongs(label: str, name: str) -> bool:
    return label == name or label.startswith(f"{name}, seed ")
