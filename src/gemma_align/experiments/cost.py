"""What a run cost, from its logs; its first stages included also where they were taken from another run."""

from dataclasses import dataclass
from typing import Any

from gemma_align.errors import RunDirError
from gemma_align.experiments.jsonl import read_lines
from gemma_align.experiments.run_paths import RunPaths

TRAINING = ("prepare", "update", "optimizer")  # phases of updates: rollouts, scoring, gradients


@dataclass(frozen=True, slots=True)
class Cost:
    """Of training; the evaluation afterwards is the same for all methods.

    updates          of the loop
    training_tokens  tokens of the prompts and responses that updates learned from, once however many passes took them
    sampled_tokens   tokens of rollouts
    reward_calls     responses scored
    seconds          of updates with their rollouts and scoring; evaluation and checkpoints left out
    phases           seconds by phase, everything
    peak_gb          highest resident memory of the process
    """

    updates: int
    training_tokens: int
    sampled_tokens: int
    reward_calls: int
    seconds: float
    phases: dict[str, float]
    peak_gb: float


def cost_of(paths: RunPaths) -> Cost:
    """Of a run, or of an evaluation, which has no updates.

    Raises:
        RunDirError: a log is damaged.
    """
    try:
        return _summed(read_lines(paths.metrics), read_lines(paths.timings))
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # a flipped bit in a key is still valid JSON
        logs, what = f"{paths.metrics.name} or {paths.timings.name} in {paths.root}", f"{type(error).__name__}: {error}"
        raise RunDirError(f"{logs} is damaged ({what}). Put back a good copy") from error


def _summed(metrics: list[dict[str, Any]], times: list[dict[str, Any]]) -> Cost:
    updates = [record for record in metrics if "tokens" in record]
    calls, sampled = 0, 0.0
    for record in updates:
        if record.get("rollout/tokens"):
            calls += round(record["rollout/all_tokens"] / record["rollout/tokens"])  # by those of a response
            sampled += record["rollout/all_tokens"]
    phases = _phases(times)
    return Cost(
        updates=len(updates),
        training_tokens=sum(int(record["tokens"]) for record in updates),
        sampled_tokens=round(sampled),
        reward_calls=calls,
        seconds=sum(seconds for name, seconds in phases.items() if name in TRAINING),
        phases=phases,
        peak_gb=max((float(record.get("peak_rss_gb", 0.0)) for record in times), default=0.0),
    )


def _phases(times: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds by phase, of everything that the log of times knows."""
    found: dict[str, float] = {}
    for record in times:
        for phase, value in record["seconds"].items():
            if phase != "total":
                found[phase] = found.get(phase, 0.0) + float(value)
    return found
