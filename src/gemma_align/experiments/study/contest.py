"""From the records of one task to a comparison of its methods, and to planned claims. No folders are read here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from gemma_align.config.study import Claim, Study
from gemma_align.errors import UserError
from gemma_align.evaluation.comparison import LEAST_COMMON, Comparison, Contestant, compare
from gemma_align.evaluation.directions import direction
from gemma_align.evaluation.multiplicity import holm
from gemma_align.evaluation.names import is_best_of
from gemma_align.evaluation.statistics import Interval
from gemma_align.evaluation.verdicts import Row, Statement
from gemma_align.experiments.compare import require_comparable
from gemma_align.experiments.config_diff import flat_settings
from gemma_align.experiments.evaluated import Model, start_of
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


def require_better_ways(study: Study) -> None:
    """UserError where a study would decide by an unknown measure, or one of which neither more nor less is better."""
    deciding = {f"measures: {task}: the first": measures[0] for task, measures in study.measures.items()}
    deciding |= {f"claims: {claim.text!r}": claim.measure for claim in study.claims}
    wanted = "wanted a measure of which more or less is better (docs/evaluation.md)"
    for place, measure in deciding.items():
        if measure != LEARNING and direction(measure).better is None:
            raise UserError(f"{place}: {wanted}, given {measure!r}")


def contestants_of(records: Sequence[Record]) -> list[tuple[str, Contestant, tuple[Record, ...]]]:
    """Everything that was evaluated on one task: (name, values, records) of the methods, of their best of n, and of the
    untuned models, each of which is there once."""
    found: list[tuple[str, Contestant, tuple[Record, ...]]] = []
    for method in dict.fromkeys(r["method"] for r in records):
        own = sorted((r for r in records if r["method"] == method), key=lambda r: r["seed"])
        results = tuple(result_of(r, r["main"], f"{method}, seed {r['seed']}") for r in own)
        trained = not own[0]["evaluate"]
        if not trained:
            results = tuple(replace(result, label=method) for result in results)
        starts = tuple(start_of(flat_settings(r["config"])) or f"{method}, seed {r['seed']}" for r in own)
        starts = starts if trained else ()
        found.append((method, Contestant(method, results, trained, starts), tuple(own)))
        for extra in (name for name in own[0]["models"] if name not in (own[0]["main"], "base")):
            tuned = trained and is_best_of(extra)
            having = [i for i, r in enumerate(own) if extra in r["models"]][: None if tuned else 1]
            name = f"{method}, {extra}"
            values = tuple(
                result_of(own[i], extra, f"{name}, seed {own[i]['seed']}" if tuned else name) for i in having
            )
            began = tuple(starts[i] for i in having) if tuned else ()
            found.append((name, Contestant(name, values, tuned, began), tuple(own[i] for i in having)))
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
            absent = [name for name in (claim.better, claim.than) if name not in by_name]
            if absent:
                why_not = f"no cell of {' or '.join(absent)} is in here"
                outcomes.append(Outcome(claim, task, None, False, None, None, why_not))
            elif claim.measure == LEARNING:
                outcomes.append(_of_learning(claim, task, courses.get(task, {})))
            else:
                outcomes.append(_of_measure(claim, task, by_name[claim.than], by_name[claim.better]))
    # What isn't tested yet counts with p = 1: a claim that holds now must not be open when the others are done
    p = [1.0 if o.difference is None or o.difference.p is None else o.difference.p for o in outcomes]
    corrected = holm(p).tolist() if p else []
    return [_decided(outcome, own) for outcome, own in zip(outcomes, corrected, strict=True)]


def _of_measure(claim: Claim, task: str, than: Contestant, better: Contestant) -> Outcome:
    found = compared([than, better], [claim.measure], 0.95)
    rows = [row for pair in (found.pairs if found else ()) for row in pair.rows]
    row = next((row for row in rows if row.measure == claim.measure), None)
    if row is None:
        known = [sum(bool(claim.measure in r.measures) for r in side.results) for side in (than, better)]
        if not any(known):
            raise UserError(f"claims: {claim.text!r}: {task} has no measure {claim.measure!r}")
        why = f"fewer than {LEAST_COMMON} examples have {claim.measure} in both"
        return Outcome(claim, task, None, False, None, None, why)
    said = statement(row)
    return Outcome(claim, task, said.difference, said is row.method, None, None)


def _of_learning(claim: Claim, task: str, courses: Mapping[str, Sequence[Course]]) -> Outcome:
    """Welch's t interval over seeds of the difference of the areas."""
    sides = [courses.get(name, ()) for name in (claim.better, claim.than)]
    if not all(sides):
        return Outcome(claim, task, None, False, None, None, "one of the two never sampled")
    if len({course.reward_key for side in sides for course in side}) > 1:
        return Outcome(claim, task, None, False, None, None, "their rewards differ, and so what the numbers mean")
    budget = min(course.tokens[-1] for side in sides for course in side)
    ours, theirs = ([reward_per_token(course, budget) for course in side] for side in sides)
    mean = float(np.mean(ours) - np.mean(theirs))
    if min(len(ours), len(theirs)) < 2:
        return Outcome(claim, task, Interval(mean, None, None, 1), False, None, None, "one seed")
    if np.ptp(ours) == np.ptp(theirs) == 0:
        return Outcome(claim, task, Interval(mean, None, None, 2), False, None, None, "nothing varies over seeds")
    test = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = test.confidence_interval(0.95)
    interval = Interval(mean, float(low), float(high), len(ours) + len(theirs), p=float(test.pvalue))
    return Outcome(claim, task, interval, True, None, None)


def _decided(outcome: Outcome, corrected: float) -> Outcome:
    difference = outcome.difference
    if difference is None or difference.p is None:
        return outcome
    if corrected > 0.05 or not difference.excludes_zero:
        return replace(outcome, corrected=corrected)
    wanted = "higher" if outcome.claim.measure == LEARNING else direction(outcome.claim.measure).better
    return replace(outcome, corrected=corrected, holds=(difference.mean > 0) == (wanted != "lower"))


def statement(row: Row) -> Statement:
    """Of the methods where something is said of them, else of these runs, as where all seeds and examples are alike."""
    return row.runs if row.method is None or row.method.difference.low is None else row.method


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
    """The best of these on a measure, that none of them is shown to beat, and those that it isn't shown to beat.

    Of the methods, or of the trained models, whatever other seeds would do. Empty where each is beaten by another.
    """
    sign = -1 if direction(measure).better == "lower" else 1
    means = {
        name: sign * mean
        for name in names
        if (mean := mean_of(comparison, name, measure)) is not None and _enough(comparison, name, measure)
    }
    defeats = [pair for pair in _defeats(comparison, measure, of_runs) if pair[0] in means and pair[1] in means]
    unbeaten = means.keys() - {loser for _, loser in defeats}
    if not unbeaten:
        return []
    top = max(unbeaten, key=lambda name: means[name])
    rest = [name for name in means if name != top and (top, name) not in defeats]
    return [top, *sorted(rest, key=lambda name: -means[name])]


def spoken_of(contestants: Sequence[Contestant]) -> list[str]:
    """Those that something can be said of beyond these runs: methods of several seeds, and models that no seed has a
    part in. All, where no method has several."""
    known = [c.name for c in contestants if not c.trained or len(c.results) > 1]
    several = any(c.trained and len(c.results) > 1 for c in contestants)
    return known if several else [c.name for c in contestants]


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


def _enough(comparison: Comparison, name: str, measure: str) -> bool:
    """Whether each run has the measure on examples enough."""
    most = max(found[measure].n for found in comparison.runs.values() if measure in found)
    return min(run.n for run in _of_runs(comparison, name, measure)) >= min(LEAST_COMMON, most)


def _of_runs(comparison: Comparison, name: str, measure: str) -> list[Interval]:
    return [found[measure] for label, found in comparison.runs.items() if _belongs(label, name) and measure in found]


def row_between(comparison: Comparison, first: str, second: str, measure: str) -> tuple[Row, bool] | None:
    """What was found of the two, and whether it is first - second; None where they weren't compared."""
    for pair in comparison.pairs:
        if {pair.first, pair.second} == {first, second}:
            row = next((row for row in pair.rows if row.measure == measure), None)
            return None if row is None else (row, pair.first == second)
    return None


def _belongs(label: str, name: str) -> bool:
    return label == name or label.startswith(f"{name}, seed ")
