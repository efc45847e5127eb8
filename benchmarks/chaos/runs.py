"""One run through as many lives as it takes, and whether it ended as a run that was never stopped."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos.faults import counted
from benchmarks.chaos.lives import Ended, Fault, Life, real_run
from benchmarks.kept import ROOT
from gemma_align.errors import CheckpointError
from gemma_align.trainers.checkpointing import latest_checkpoint, load_checkpoint_state

METHODS = {
    "sft": "sft",
    "dpo": "staged_sft_then_dpo",
    "grpo": "grpo",
    "ppo": "ppo",
    "rejection": "rejection",
}
SMALL = (
    "checkpoint.every=1",
    "training.batch_size=2",
    "data.max_train_examples=12",
    "data.max_tune_examples=2",
    "evaluation.num_examples=2",
    "evaluation.max_new_tokens=8",
    "rl.max_response_tokens=6",
)
COMPARED = ("metrics.jsonl", "samples.jsonl", "evaluation.json", "adapter/adapter_model.safetensors")


@dataclass(frozen=True, slots=True)
class Plan:
    """A method's unbroken run: what it left, how long it took, and how often what can be broken happens in it."""

    files: dict[str, bytes]
    seconds: float
    saves: int
    calls: int  # into C while a checkpoint is saved
    steps: int  # of decoding


@dataclass
class Bench:
    """Where the runs are, and what they are held against."""

    work: Path
    chance: random.Random
    real: bool = True  # the unbroken runs are made by real processes, too
    plans: dict[tuple[str, ...], Plan] = field(default_factory=dict)
    num_runs: int = 0

    def plan(self, method: str, *settings: str) -> Plan:
        """Made when it is asked for first, in a forked process that counts; a real one has to agree."""
        key = (method, *settings)
        if key not in self.plans:
            forked, counts = Run(self, method, *settings), self.work / f"{self.num_runs}.counts"
            timed = forked.life(counted(counts)).end()
            assert timed.status == 0, timed.said
            if self.real:
                real = Run(self, method, *settings)
                ended = real_run(real.arguments)
                assert ended.status == 0, ended.said
                assert real.files() == forked.files(), f"{method}: a forked run isn't a real one"
            self.plans[key] = Plan(forked.files(), timed.seconds, **json.loads(counts.read_text()))
        return self.plans[key]


class Run:
    """One run in a folder of its own, so that it finds nothing that another one made."""

    def __init__(self, bench: Bench, method: str, *settings: str, parent: Path | None = None) -> None:
        bench.num_runs += 1
        self.bench, self.method, self.settings = bench, method, settings
        self.name = f"{bench.num_runs:03d}-{method}"
        self.folder = (parent or bench.work / self.name) / "run"
        self.log = bench.work / f"{self.name}.log"

    @property
    def arguments(self) -> Sequence[str]:
        config = ROOT / "configs" / "smoke" / f"{METHODS[self.method]}.yml"
        settings = (*SMALL, *self.settings, f"output_dir={self.folder}")
        return ("run", "--resume", "--config", str(config), *settings)

    @property
    def plan(self) -> Plan:
        return self.bench.plan(self.method, *self.settings)

    def life(self, fault: Fault | None = None, *more: str) -> Life:
        """The same command again."""
        return Life([*self.arguments, *more], self.log, fault)

    def reached(self) -> int:
        """The update of the newest good checkpoint; -1 without any."""
        try:
            newest = latest_checkpoint(self.folder / "checkpoints")
        except CheckpointError:
            return -1
        return -1 if newest is None else load_checkpoint_state(newest).step

    def files(self) -> dict[str, bytes]:
        """All that has to be the same bits."""
        return {name: (self.folder / name).read_bytes() for name in COMPARED if (self.folder / name).exists()}

    def problem(self, ended: Ended, files: dict[str, bytes] | None = None) -> str:
        """Why a run that was let go on to its end is not what the unbroken one is; "" if it is."""
        if ended.status != 0:
            return f"it ended with status {ended.status}: {ended.said[-1500:]}"
        mine, theirs = self.files(), self.plan.files if files is None else files
        different = sorted(name for name in theirs if mine.get(name) != theirs[name])
        return f"{', '.join(different)} differ" if different else ""
