"""What a run cost, from its logs; its first stages included also where they were taken from another run."""

from dataclasses import dataclass

from gemma_align.config import Config
from gemma_align.experiments.jsonl import read_lines
from gemma_align.experiments.run_paths import RunPaths

TRAINING = ("prepare", "update", "optimizer")  # phases of updates: rollouts, scoring, gradients


@dataclass(frozen=True, slots=True)
class Cost:
    """Of training; the evaluation afterwards is the same for all methods.

    updates          of the loop
    training_tokens  row tokens that went through the model in updates, each counted once
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


def cost_of(paths: RunPaths, config: Config) -> Cost:
    """Of a run, or of an evaluation, which has no updates.

    Args:
        paths: its folder.
        config: the run's; says how many responses a stage samples.
    """
    updates = [record for record in read_lines(paths.metrics) if "tokens" in record]
    rl = {str(stage.method): config.for_stage(stage).rl for stage in config.stages}
    calls, sampled = 0, 0.0
    for record in updates:
        if "rollout/tokens" in record:
            own = rl[str(record["stage"]).partition("-")[0]]
            calls += round((own.num_prompts + record["rollout/refills"]) * own.group_size)
            sampled += record["rollout/all_tokens"]
    phases = _phases(paths)
    return Cost(
        updates=len(updates),
        training_tokens=sum(int(record["tokens"]) for record in updates),
        sampled_tokens=round(sampled),
        reward_calls=calls,
        seconds=sum(seconds for name, seconds in phases.items() if name in TRAINING),
        phases=phases,
        peak_gb=max((float(record.get("peak_rss_gb", 0.0)) for record in read_lines(paths.timings)), default=0.0),
    )


def _phases(paths: RunPaths) -> dict[str, float]:
    """Seconds by phase, of everything that the log of times knows."""
    found: dict[str, float] = {}
    for record in read_lines(paths.timings):
        for phase, value in record["seconds"].items():
            if phase != "total":
                found[phase] = found.get(phase, 0.0) + float(value)
    return found
