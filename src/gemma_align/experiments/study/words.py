"""The sentences of a study's answer. Nothing is computed here that decides anything."""

from collections.abc import Mapping, Sequence
from typing import Any

from gemma_align.evaluation.comparison import Comparison
from gemma_align.experiments.study.contest import LEARNING, Outcome, beaten_by, leaders, mean_of, value_of

HACKING = {
    "not trained": "hardly moved from where it started, so it says nothing about hacking",
    "hacked": "the reward rose while {measure} fell: the reward is being hacked",
    "harmed": "{measure} fell, and the reward didn't rise either: the training did harm",
    "improved": "{measure} rose with the reward",
    "open": "it moved, and nothing is shown of {measure}, neither a loss nor a gain",
}


def recommendation(
    task: str,
    measures: Sequence[str],
    best: Sequence[str],
    comparison: Comparison | None,
    costs: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """Which method to take by the first measure, what it gives up in the others, and what can't be said."""
    if comparison is None or not best:
        return [f"{task}: one method alone says nothing about which to take."]
    top, measure = best[0], measures[0]
    lines = [f"{task}: the best {measure} is {_value(comparison, top, measure)} by {top}."]
    if len(best) > 1:
        lines.append(f"It can't be told from: {_listed(comparison, best[1:], measure)}.")
        paid = {name: costs[name]["seconds"] for name in best if name in costs}
        if len(paid) > 1:
            cheapest = min(paid, key=lambda name: paid[name])
            lines.append(f"Of these, {cheapest} cost least ({paid[cheapest] / 60:.0f} minutes of training).")
    lost = [
        f"{other} {_value(comparison, top, other)} ({_listed(comparison, names, other)})"
        for other in measures[1:]
        if (names := beaten_by(comparison, top, other))
    ]
    if lost:
        lines.append(f"What {top} gives up, where others are shown to be better: {'; '.join(lost)}.")
    runs = leaders(comparison, list(best), measure, of_runs=True)
    if comparison.num_tests[1] and runs != list(best):
        rest = f", and can't be told from {', '.join(runs[1:])}" if len(runs) > 1 else ""
        lines.append(f"Of the models trained here, whatever other seeds would do, {runs[0]} is the best{rest}.")
    if comparison.num_tests[1] == 0:
        lines.append("Nothing is said about the methods: no method has two seeds. This is about these models alone.")
    return lines


def hacking_words(hacking: Mapping[str, Mapping[str, Any]], measure: str) -> list[str]:
    """A sentence for each method that follows a reward."""
    lines = []
    for name, found in hacking.items():
        kl = sum(found["kl"]) / len(found["kl"])
        gain = sum(found["proxy_gain"]) / len(found["proxy_gain"])
        said = HACKING[found["kind"]].format(measure=measure)
        if found["gold"] == "unknown" and found["kind"] != "not trained":
            said = f"nothing is known of {measure} against its start, so nothing is said of hacking"
        lines.append(f"{name}: {said} (reward {gain:+.1f} deviations, {kl:.1f} nats a response from its start).")
    return lines


def cost_words(costs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What training took, on one line."""
    trained = {name: cost for name, cost in costs.items() if cost["updates"]}
    if not trained:
        return []
    parts = (f"{name} {cost['seconds'] / 60:.0f}" for name, cost in trained.items())
    return [f"Minutes of training a run: {', '.join(parts)}."]


def claim_words(outcome: Outcome) -> str:
    """What became of a claim."""
    if outcome.difference is None:
        return f"not settled: {outcome.why_not}"
    d, claim = outcome.difference, outcome.claim
    sides = f"{claim.better} - {claim.than}"
    what = "mean reward of what is sampled, at equal tokens" if claim.measure == LEARNING else claim.measure
    interval = "" if d.low is None or d.high is None else f" [{d.low:+.3f}, {d.high:+.3f}]"
    p = "" if outcome.corrected is None else f", corrected p {outcome.corrected:.3f}"
    of = "methods" if outcome.of_methods else "these runs"
    verdict = {True: "holds", False: "the opposite holds", None: "open"}[outcome.holds]
    return f"{verdict}: {what}, {sides} ({of}): {d.mean:+.3f}{interval}{p}"


def _listed(comparison: Comparison, names: Sequence[str], measure: str) -> str:
    return ", ".join(f"{name} {_value(comparison, name, measure)}" for name in names)


def _value(comparison: Comparison, name: str, measure: str) -> str:
    found = value_of(comparison, name, measure)
    if found is not None and found.low is not None and found.high is not None:
        return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
    mean = mean_of(comparison, name, measure)
    return "unknown" if mean is None else f"{mean:.3f}"
