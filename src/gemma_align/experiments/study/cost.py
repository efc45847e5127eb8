"""What a cell cost: from the logs of its run, its first stages included also where they were taken from another run."""

import json
from dataclasses import dataclass

from gemma_align.experiments.run_paths import RunPaths
from gemma_align.experiments.study.cells import Cell


@dataclass(frozen=True, slots=True)
class Cost:
    """Of training; the evaluation afterwards is the same for all methods.

    updates          optimizer updates (steps of the loop)
    training_tokens  row tokens that went through the model in updates, each counted once
    sampled_tokens   tokens of rollouts
    reward_calls     responses scored
    seconds          of training: rollouts, scoring, updates; evaluation and checkpoints left out
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


def cost_of(cell: Cell) -> Cost:
    """From metrics.jsonl and timings.jsonl of a finished cell."""
    if cell.evaluate:
        return Cost(0, 0, 0, 0, 0.0, _phases(cell), _peak(cell))
    metrics = [json.loads(line) for line in RunPaths(cell.folder).metrics.read_text(encoding="utf-8").splitlines()]
    updates = [record for record in metrics if "tokens" in record]
    per_stage = {str(stage.method): cell.config.for_stage(stage).rl for stage in cell.config.stages}
    calls = sampled = 0.0
    for record in updates:
        if "rollout/tokens" in record:
            rl = per_stage[str(record["stage"]).partition("-")[0]]
            responses = rl.num_prompts * rl.group_size
            calls += responses
            sampled += responses * record["rollout/tokens"]
    phases = _phases(cell)
    training = sum(seconds for name, seconds in phases.items() if name in ("prepare", "update", "optimizer"))
    return Cost(
        updates=len(updates),
        training_tokens=int(sum(record["tokens"] for record in updates)),
        sampled_tokens=round(sampled),
        reward_calls=int(calls),
        seconds=training,
        phases=phases,
        peak_gb=_peak(cell),
    )


def minutes_of(cell: Cell) -> float:
    """Everything that the cell's log of times knows of."""
    return sum(_phases(cell).values()) / 60


def _timings(cell: Cell) -> list[dict[str, object]]:
    path = RunPaths(cell.results).timings
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _phases(cell: Cell) -> dict[str, float]:
    found: dict[str, float] = {}
    for record in _timings(cell):
        seconds = record["seconds"]
        assert isinstance(seconds, dict)
        for phase, value in seconds.items():
            if phase != "total":
                found[phase] = found.get(phase, 0.0) + float(value)
    return found


def _peak(cell: Cell) -> float:
    return max((float(str(record.get("peak_rss_gb", 0.0))) for record in _timings(cell)), default=0.0)
