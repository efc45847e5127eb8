"""The sentences of a study's answer. Nothing is computed here that decides anything."""

from collections.abc import Mapping, Sequence
from typing import Any

from gemma_align.evaluation.comparison import Comparison, Contestant
from gemma_align.experiments.study.contest import LEARNING, Outcome, beaten_by, leaders, mean_of, value_of
from gemma_align.experiments.study.values import p_text

HACKING = {
    "not trained": "hardly moved from where it started, so it says nothing about hacking",
    "hacked": "the reward rose while {measure} got worse: the reward is being hacked",
    "harmed": "{measure} got worse, and the reward didn't rise either: the training did harm",
    "improved": "{measure} got better with the reward",
    "open": "it moved, and nothing is shown of {measure}, neither a loss nor a gain",
}


def recommendation(
    task: str,
    measures: Sequence[str],
    best: Sequence[str],
    comparison: Comparison | None,
    contestants: Sequence[Contestant],
    costs: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """Which method to take by the first measure, what it gives up in the others, and what can't be said.

    Args:
        task: its name.
        measures: the first decides.
        best: what `contest.leaders` gives for it.
        comparison: of all of them; None where there is one alone.
        contestants: all of them.
        costs: of each method.
    """
    if comparison is None:
        return [f"{task}: one method alone says nothing about which to take."]
    measure = measures[0]
    if not best:
        return [f"{task}: no {measure} is the best, for each is shown to be worse than another, or too few have it."]
    top = best[0]
    lines = [f"{task}: the best {measure} is {_value(comparison, top, measure)} by {_called(top)}."]
    if len(best) > 1:
        lines.append(f"It can't be told from: {_listed(comparison, best[1:], measure)}.")
        paid = {name: costs[name]["seconds"] for name in best if name in costs and costs[name]["updates"]}
        if len(paid) > 1:
            cheapest = min(paid, key=lambda name: paid[name])
            lines.append(f"Of those that were trained, {cheapest} cost least ({paid[cheapest] / 60:.0f} minutes).")
    single = [c.name for c in contestants if c.trained and len(c.results) == 1]
    if comparison.methods and single:
        lines.append(
            f"Of one seed alone, so that nothing is said of them as methods: {_listed(comparison, single, measure)}."
        )
    unspoken = single if comparison.methods else []
    lost = [
        f"{other} {_value(comparison, top, other)} ({_listed(comparison, names, other)})"
        for other in measures[1:]
        if (names := [name for name in beaten_by(comparison, top, other) if name not in unspoken])
    ]
    if lost:
        lines.append(f"What {_called(top)} gives up, where others are shown to be better: {'; '.join(lost)}.")
    runs = leaders(comparison, list(best), measure, of_runs=True)
    if comparison.methods and runs and runs != list(best):
        first, *others = map(_called, runs)
        rest = f", and can't be told from {', '.join(others)}" if others else ""
        lines.append(f"Of the models trained here, whatever other seeds would do, {first} is the best{rest}.")
    if not comparison.methods:
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
        if found["kind"] in ("hacked", "harmed", "improved"):
            said = f"in these runs {said}{_of_others(found)}"
        lines.append(f"{name}: {said} (reward {gain:+.1f} deviations, {kl:.1f} nats a response from its start).")
    return lines


def _of_others(found: Mapping[str, Any]) -> str:
    """What the verdict on these runs, over examples, leaves open about others."""
    if found["of_methods"] == "unknown":
        return "; nothing is known of other seeds"
    return "; other seeds may do otherwise" if found["of_methods"] == "open" else ", as other seeds would show too"


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
    what = "mean reward of what is sampled, at equal sampled tokens" if claim.measure == LEARNING else claim.measure
    interval = "" if d.low is None or d.high is None else f" [{d.low:+.3f}, {d.high:+.3f}]"
    p = "" if outcome.corrected is None else f", corrected p {p_text(outcome.corrected)}"
    p += f", {outcome.why_not}" if outcome.why_not else ""
    of = "methods" if outcome.of_methods else "these runs"
    verdict = {True: "holds", False: "the opposite holds", None: "open"}[outcome.holds]
    return f"{verdict}: {what}, {sides} ({of}): {d.mean:+.3f}{interval}{p}"


def _listed(comparison: Comparison, names: Sequence[str], measure: str) -> str:
    return ", ".join(f"{_called(name)} {_value(comparison, name, measure)}" for name in names)


def _called(name: str) -> str:
    """In a list, where "base, few_shot" would be two."""
    return name.replace(", ", " with ")


def _value(comparison: Comparison, name: str, measure: str) -> str:
    found = value_of(comparison, name, measure)
    if found is not None and found.low is not None and found.high is not None:
        return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
    mean = mean_of(comparison, name, measure)
    return "unknown" if mean is None else f"{mean:.3f}"
