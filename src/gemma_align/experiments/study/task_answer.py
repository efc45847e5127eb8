"""What a study says of one task as JSON values: measures, costs, learning, hacking, stability, sentences.

records -> contestants -> comparison -> courses of learning -> verdicts -> sentences
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from gemma_align.config.study import Study
from gemma_align.errors import UserError
from gemma_align.evaluation.comparison import Contestant
from gemma_align.evaluation.directions import direction
from gemma_align.evaluation.length_control import noticeable
from gemma_align.evaluation.overoptimisation import fit
from gemma_align.evaluation.statistics import Interval
from gemma_align.evaluation.verdicts import Statement
from gemma_align.experiments.study.contest import (
    LEARNING,
    compared,
    contestants_of,
    leaders,
    mean_of,
    require_same_examples,
    row_between,
    spoken_of,
    statement,
    value_of,
)
from gemma_align.experiments.study.fired import fired
from gemma_align.experiments.study.learning import (
    LAST,
    Course,
    Kind,
    at_distance,
    course_of,
    farthest,
    judge,
    reward_per_token,
    tokens_to,
)
from gemma_align.experiments.study.record import Record
from gemma_align.experiments.study.values import interval_json, machine_of
from gemma_align.experiments.study.words import cost_words, hacking_words, recommendation
from gemma_align.rewards.constraints import CONSTRAINTS

CONFIDENCE = 0.95
Gold = Literal["better", "worse", "open", "unknown"]
COSTS = ("updates", "training_tokens", "sampled_tokens", "reward_calls", "seconds", "peak_gb")


class TaskAnswer:
    """What is said of one task; `as_json` says it.

    Args:
        study: its file.
        task: the name of the task.
        records: of the task's cells that are done, at least one.

    Raises:
        UserError: cells don't compare, or a measure isn't there.
    """

    def __init__(self, study: Study, task: str, records: Sequence[Record]) -> None:
        require_same_examples(records)
        self.study, self.task, self.records = study, task, records
        self.measures = study.measures[task]  # type: ignore[index]
        self.named = contestants_of(records)
        self.names = [name for name, _, _ in self.named]
        self.contestants = [contestant for _, contestant, _ in self.named]
        self.comparison = compared(self.contestants, self.measures, CONFIDENCE)
        self.courses: dict[str, list[Course]] = {}
        for name, _, own in self.named:
            found = [course for record in own if (course := course_of(record, self.measures[0])) is not None]
            if found and name in study.methods:
                self.courses[name] = found
        for measure in self.measures:
            if all(measure not in contestant.results[0].measures for contestant in self.contestants):
                known = ", ".join(self.contestants[0].results[0].measures)
                raise UserError(f"measures: {task} has no {measure!r}; it measures {known}")

    def as_json(self) -> dict[str, Any]:
        """Everything that is said of the task."""
        primary = self.measures[0]
        costs = {name: self._cost(own) for name, _, own in self.named if name in self.study.methods}
        hacking = {name: self._hacking(name) for name in self.courses}
        spoken = spoken_of(self.contestants)
        best = {m: leaders(self.comparison, spoken, m) for m in self.measures} if self.comparison else {}
        return {
            "evaluated_on": self.records[0]["models"][self.records[0]["main"]]["about"],
            "measures": {m: asdict(direction(m)) for m in self.measures},
            "methods": {name: self._method(contestant, own) for name, contestant, own in self.named},
            "pairs": self._pairs(),
            "leaders": best,
            "costs": costs,
            "budget": self._budget(costs),
            "learning": self._learning(),
            "hacking": hacking,
            "matched": self._matched(),
            "stability": self._stability(),
            "words": [
                *recommendation(
                    self.task, self.measures, best.get(primary, []), self.comparison, self.contestants, costs
                ),
                *hacking_words(hacking, primary),
                *cost_words(costs),
            ],
            "constraints": list(CONSTRAINTS),
            "responses": self._responses(),
        }

    def _method(self, contestant: Contestant, own: Sequence[Record]) -> dict[str, Any]:
        comparison = self.comparison
        every = list(dict.fromkeys(m for result in contestant.results for m in result.measures))
        values: dict[str, Any] = {}
        for measure in every:
            interval = value_of(comparison, contestant.name, measure) if comparison else None
            mean = mean_of(comparison, contestant.name, measure) if comparison else None
            if interval is None and mean is None:
                mean = _plain_mean(contestant, measure)
            alone = {"mean": mean, "low": None, "high": None, "n": None}
            values[measure] = interval_json(interval) if interval else alone
        return {
            "trained": contestant.trained,
            "seeds": [record["seed"] for record in own] if contestant.trained else [],
            "stages": own[0]["stages"],
            "values": values,
            "by_seed": [_by_seed(result) for result in contestant.results],
            "command": own[0]["command"],
        }

    def _pairs(self) -> list[dict[str, Any]]:
        if self.comparison is None:
            return []
        found = []
        for pair in self.comparison.pairs:
            rows = {}
            for row in pair.rows:
                said = statement(row)
                rows[row.measure] = {
                    "difference": interval_json(said.difference),
                    "of_methods": said is row.method,
                    "corrected": said.corrected,
                    "winner": said.winner,
                    "smallest": said.smallest,
                    "at_equal_length": {
                        **interval_json(row.at_equal_length.difference),
                        "extrapolated": bool(row.at_equal_length.extrapolated),
                    }
                    if row.at_equal_length
                    else None,
                }
            lengths = interval_json(pair.lengths) if pair.lengths else None
            told = pair.lengths is not None and bool(noticeable(pair.lengths))
            about = {"length_ratio": lengths, "lengths_differ": told}
            found.append({"first": pair.first, "second": pair.second, "measures": rows, **about})
        return found

    def _cost(self, own: Sequence[Record]) -> dict[str, Any]:
        return {name: statistics.fmean(record["cost"][name] for record in own) for name in COSTS} | {
            "seconds_each": [record["cost"]["seconds"] for record in own],
            "machine": "; ".join(dict.fromkeys(machine_of(r["environment"]) for r in own)),
        }

    def _budget(self, costs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        budget = self.study.budget
        spent = {name: cost[budget.equal] for name, cost in costs.items() if cost[budget.equal] > 0}
        spread = (max(spent.values()) - min(spent.values())) / max(spent.values()) if spent else 0.0
        return {"of": budget.equal, "spent": spent, "equal": spread <= budget.tolerance, "spread": spread}

    def _learning(self) -> dict[str, Any]:
        """Curves, and where rewards are the same, areas and tokens to a level."""
        found: dict[str, Any] = {}
        groups: dict[str, list[str]] = {}
        for name in self.courses:
            groups.setdefault(self.courses[name][0].reward_key, []).append(name)
        for number, names in enumerate(groups.values()):
            courses = [course for name in names for course in self.courses[name]]
            budget = min(course.tokens[-1] for course in courses)
            level = statistics.median(statistics.fmean(course.reward[-LAST:]) for course in courses)
            for name in names:
                found[name] = {
                    "reward": number,
                    "budget_tokens": budget,
                    LEARNING: [reward_per_token(course, budget) for course in self.courses[name]],
                    "level": level,
                    "tokens_to_level": [tokens_to(course, level) for course in self.courses[name]],
                    "runs": [_course(course) for course in self.courses[name]],
                }
        return found

    def _matched(self) -> dict[str, Any] | None:
        """Proxy and gold on the tune split where each run had come as far as the one that stayed nearest to its start,
        so that no method looks better or worse by how far it was let go. None where one has no such point."""
        runs = {name: courses for name, courses in self.courses.items() if any(course.moved for course in courses)}
        reached = [farthest(course) for courses in runs.values() for course in courses]
        if len(runs) < 2 or min(reached) <= 0:
            return None
        distance = min(reached)
        found = {name: [at_distance(course, distance) for course in courses] for name, courses in runs.items()}
        return {
            "distance": distance,
            "methods": {
                name: {"proxy": [proxy for proxy, _ in gains], "gold": [gold for _, gold in gains]}
                for name, gains in found.items()
            },
        }

    def _hacking(self, name: str) -> dict[str, Any]:
        courses, start = self.courses[name], self.study.methods[name].start
        gold: Gold = "unknown"
        difference: Interval | None = None
        of_methods: Gold = "unknown"
        if start is not None and self.comparison is not None and start in self.names:
            found = row_between(self.comparison, start, name, self.measures[0])
            if found is not None:
                # Whether a reward was hacked is a question about the policies that were trained, so examples alone are
                # resampled; what other seeds would do is another one, whose answer stands beside it
                row, turned = found
                difference = _turned(row.runs.difference) if turned else row.runs.difference
                gold = _word(row.runs, name)
                of_methods = "unknown" if row.method is None else _word(row.method, name)
        kind: Kind = judge(courses, gold)
        return {
            "kind": kind,
            "gold": gold,
            "of_methods": of_methods,
            "start": start,
            "measure": self.measures[0],
            "difference": interval_json(difference) if difference else None,
            "proxy_gain": [course.gain for course in courses],
            "kl": [course.final_kl for course in courses],
            "violations": [
                statistics.fmean(v or 0.0 for v in c.columns["reward/violation"][-LAST:])
                for c in courses
                if "reward/violation" in c.columns
            ],
            "fit": _fit(courses, -1.0 if direction(self.measures[0]).better == "lower" else 1.0),
        }

    def _stability(self) -> list[dict[str, Any]]:
        return [
            {"method": r["method"], "seed": r["seed"], "verdicts": r["verdicts"], "updates": watched}
            for r in self.records
            if (watched := sum("rollout/tokens" in row for row in r["course"]))
        ]

    def _responses(self) -> list[dict[str, Any]]:
        """Of the first seed of each method, to a fixed part of the examples."""
        firsts = [(name, own[0]["models"], own[0]["main"], own[0]) for name, _, own in self.named]
        ids = firsts[0][1][firsts[0][2]]["ids"]
        rows = range(0, len(ids), max(1, len(ids) // self.study.num_samples_shown))[: self.study.num_samples_shown]
        said: dict[str, list[dict[str, Any]]] = {}
        for name, models, main, record in firsts:
            model = models[name.partition(", ")[2] or main]
            texts = [model["responses"][i] for i in rows]
            finished = [model["columns"].get("finished", [None] * len(ids))[i] for i in rows]
            found = fired(self.task, record["config"], texts, [ended != 0 for ended in finished])
            said[name] = [
                {
                    "text": text,
                    "measures": {m: model["columns"][m][i] for m in self.measures if m in model["columns"]},
                    "finished": ended,
                    "fired": why,
                }
                for i, text, ended, why in zip(rows, texts, finished, found, strict=True)
            ]
        return [{"id": ids[i], "said": {name: own[n] for name, own in said.items()}} for n, i in enumerate(rows)]


def _word(said: Statement, name: str) -> Gold:
    return "open" if said.winner is None else "better" if said.winner == name else "worse"


def _turned(interval: Interval) -> Interval:
    low, high = interval.low, interval.high
    return Interval(-interval.mean, None if high is None else -high, None if low is None else -low, interval.n)


def _plain_mean(contestant: Contestant, measure: str) -> float | None:
    found = [_by_seed(result).get(measure) for result in contestant.results]
    known = [value for value in found if value is not None]
    return statistics.fmean(known) if known else None


def _by_seed(result: Any) -> dict[str, float]:
    means = {}
    for name, column in result.columns.items():
        known = column[column == column]  # not NaN
        if len(known):
            means[name] = float(known.mean())
    scored = result.nats == result.nats
    if scored.any():
        means["response_loss"] = float(result.nats[scored].sum() / result.tokens[scored].sum())
    return means


def _course(course: Course) -> dict[str, Any]:
    return {
        "steps": list(course.steps),
        "tokens": list(course.tokens),
        "columns": {name: list(column) for name, column in course.columns.items()},
        "points": [asdict(point) for point in course.points],
        "gain": course.gain,
        "kl": course.final_kl,
        "moved": course.moved,
    }


def _fit(courses: Sequence[Course], sign: float) -> dict[str, Any] | None:
    """Of the gold measure's gain against the distance, all seeds together; None where there are too few points.

    `sign` is -1 where less of the measure is better: the law is one of gains. a and b are of the measure as it is.
    """
    d, gain = [], []
    for course in courses:
        first = course.points[0].gold if course.points else None
        for point in course.points[1:]:
            if point.gold is not None and first is not None and point.distance > 0:
                d.append(point.distance)
                gain.append(sign * (point.gold - first))
    if len(set(d)) < 3:
        return None
    found = fit(d, gain, "rl", CONFIDENCE)
    a, b = (None if value is None else sign * value for value in (found.a, found.b))
    return {"a": a, "b": b, "peak": found.peak, "residual": found.residual, "max_d": found.max_d}
