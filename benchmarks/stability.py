"""Is the stability monitor right? Broken and healthy runs, limits fitted on one half of them, judged on the other.

    python -m benchmarks.stability run --model tiny          # resumable: a file a run, in build/stability
    python -m benchmarks.stability run --model real
    python -m benchmarks.stability table                     # fits, judges, writes docs/results/stability.json

A run is a stage of GRPO or PPO through the project's own loop; only its metrics are kept. What was broken is known
before the run, so a verdict on a broken run is a hit, none is a miss, and any verdict on a healthy one is a false
alarm. Limits are fitted on the runs of even seeds and judged on those of odd ones.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.table import Table

from benchmarks.pages import write_block
from gemma_align.config import ModelConfig, MonitorConfig, RewardConfig, RLConfig, TrainingConfig
from gemma_align.config.methods import GRPOConfig, PPOConfig
from gemma_align.config.monitor import WATCHED
from gemma_align.config.sections import DataConfig
from gemma_align.data.splits import hashed
from gemma_align.data.tasks import load_task
from gemma_align.evaluation.statistics import mean_interval
from gemma_align.experiments.files import write_json
from gemma_align.models.heap import keep_heap_compact
from gemma_align.models.policy import Policy
from gemma_align.models.reference import Reference
from gemma_align.rewards.clinical import ClinicalReward
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.trainers.grpo import GRPO
from gemma_align.trainers.loop import Loop
from gemma_align.trainers.ppo import PPO
from gemma_align.trainers.rollouts import Roller
from gemma_align.trainers.stability import READ, SIGNALS, replayed
from gemma_align.types import Answer, Batch, Example

FOLDER = Path("build/stability")
RESULT = Path("docs/results/stability.json")
HEALTHY = "healthy"
BROKEN = {
    "rate": "learning rate x 100",
    "sign": "wrong sign of the advantage",
    "no_kl": "no divergence in the loss, learning rate x 5",
    "frozen": "the reward says the same of everything",
    "length": "the reward pays for length alone",
    "template": "the end token isn't known as one",
    "critic": "PPO's critic at learning rate x 1000",
    "nan": "now and then a loss that isn't a number",
}
SEEDS = range(2)
"""Of every kind and method; healthy runs have twice as many."""


def cases(model: str) -> list[tuple[str, str, int]]:
    """(kind, method, seed) of all runs."""
    found = []
    for method in ("grpo", "ppo"):
        for kind in (HEALTHY, *BROKEN):
            if (kind == "critic" and method != "ppo") or (kind == "template" and model == "tiny"):
                continue  # a random model hardly ever ends
            seeds = range(2 * len(SEEDS)) if kind == HEALTHY else SEEDS
            found += [(kind, method, seed) for seed in seeds]
    return found


def trajectory(model: str, kind: str, method: str, seed: int, updates: int) -> list[dict[str, float]]:
    """The metrics of a run, update by update."""
    torch.manual_seed(seed)
    real = model == "real"
    policy = Policy.load(ModelConfig(checkpoint="bundled:gemma-3-270m" if real else "tiny", **_whole(real)))
    examples = _prompts(real)
    if real:
        _sft(policy, examples, seed)
    if kind == "template":
        policy.prompt_format = _Deaf(policy.prompt_format)  # type: ignore[assignment]
    rl = RLConfig(
        num_prompts=2 if real else 4,
        group_size=8,
        max_response_tokens=32 if real else 4,
        kl_coef=0.0 if kind == "no_kl" else 0.02,
    )
    rate = (3e-4 if real else 3e-3) * {"rate": 100.0, "no_kl": 5.0}.get(kind, 1.0)
    roller = Roller(policy, Reference(policy.trainable()), _reward(real, kind), rl, seed=seed)
    algorithm: _GRPO | _PPO
    if method == "grpo":
        algorithm = _GRPO(policy, roller, rl, GRPOConfig(num_passes=2))
    else:
        critic_rate = rate * 1000.0 if kind == "critic" else None
        settings = PPOConfig(num_passes=2, critic="own" if real else "trunk", critic_learning_rate=critic_rate)
        algorithm = _PPO(policy, roller, rl, settings, seed=seed)
    algorithm.broken = kind
    loop = Loop(
        algorithm,
        policy.trainable(),
        examples,
        TrainingConfig(
            learning_rate=rate, batch_size=rl.num_prompts, max_steps=updates, schedule="constant", warmup_fraction=0.05,
            max_tokens_per_microbatch=800,
        ),
        seed=seed,
        accelerator=Accelerator(cpu=True),
        timer=lambda phase: nullcontext(),
    )  # fmt: skip
    return [{name: update.metrics[name] for name in READ if name in update.metrics} for update in loop]


class _Breaks:
    """What goes wrong between the rollouts and the loss."""

    broken = HEALTHY
    _count = 0

    def prepare(self, examples: Sequence[Example]) -> Batch:
        batch = super().prepare(examples)  # type: ignore[misc]
        self._count += 1
        if self.broken == "sign":
            return replace(batch, advantages=-batch.advantages)
        if self.broken == "nan" and self._count % 7 == 5:
            return replace(batch, advantages=batch.advantages * float("nan"))
        return batch


class _GRPO(_Breaks, GRPO):  # type: ignore[misc]
    pass


class _PPO(_Breaks, PPO):  # type: ignore[misc]
    pass


class _Deaf:
    """A prompt format that doesn't know the end token."""

    stop_ids = ()

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _whole(real: bool) -> dict[str, Any]:
    return {"device": "cpu"} if real else {"device": "cpu", "lora": None}


def _prompts(real: bool) -> list[Example]:
    if real:
        return list(load_task("clinical", DataConfig(num_builtin=120)).examples("train"))
    return [Example(str(i), "say something " * (1 + i % 3), cue="Answer:") for i in range(24)]


def _reward(real: bool, kind: str) -> HybridReward:
    if kind in ("frozen", "length"):
        term = _constant if kind == "frozen" else _length
        return HybridReward("clinical", RewardConfig(alpha=0.0, beta=0.0), None, terms={kind: (term, 1.0)})
    if real:
        settings = RewardConfig(alpha=0.0, beta=1.0, programmatic=1.0)
        return HybridReward("clinical", settings, None, ClinicalReward(**settings.clinical.model_dump()))
    return HybridReward("clinical", RewardConfig(alpha=0.0, beta=0.0), None, terms={"early": (_early, 1.0)})


def _constant(example: Example, answer: Answer) -> float:
    return 0.5


def _length(example: Example, answer: Answer) -> float:
    return len(answer.text) / 20


def _early(example: Example, answer: Answer) -> float:
    """1 where the text begins with one of the first eight letters."""
    letters = [c for c in answer.text.lower() if c.isalpha()]
    return float(bool(letters) and letters[0] in "abcdefgh")


_tuned: dict[str, torch.Tensor] = {}


def _sft(policy: Policy, examples: list[Example], seed: int) -> None:
    """The start of the real runs: fifteen updates of SFT, so that notes end; the same for all of them."""
    from gemma_align.data.collate import Encoder
    from gemma_align.trainers.sft import SFT

    start = FOLDER / "start.pt.safetensors"
    from safetensors.torch import load_file, save_file

    if not _tuned and start.exists():
        _tuned.update(load_file(start))
    if not _tuned:
        torch.manual_seed(0)
        settings = TrainingConfig(learning_rate=1e-3, batch_size=8, max_steps=15)
        loop = Loop(
            SFT(policy, Encoder(policy.prompt_format, 1024)),
            policy.trainable(),
            examples,
            settings,
            seed=0,
            accelerator=Accelerator(cpu=True),
            timer=lambda phase: nullcontext(),
        )
        list(loop)
        _tuned.update({name: weight.detach().clone() for name, weight in policy.trainable().items()})
        start.parent.mkdir(parents=True, exist_ok=True)
        save_file(_tuned, start)
    with torch.no_grad():
        for name, weight in policy.trainable().items():
            weight.copy_(_tuned[name])


# --- the table


def judged(metrics: Sequence[Mapping[str, float]], settings: MonitorConfig) -> list[str]:
    """Names of the verdicts on a run."""
    return [verdict.name for verdict in replayed(metrics, settings).verdicts]


def fitted(runs: Mapping[str, Any], window: int, patience: int) -> MonitorConfig:
    """Limits beyond which no healthy run comes by far: each is the healthy runs' highest signal and once more what lies
    between their highest and their lowest, but never less than the default, which was chosen before any run.

    Broken runs decide nothing, so a kind of fault that nobody thought of has the same chance of being seen.
    """
    defaults = MonitorConfig(window=window, patience=patience)
    found = {}
    for name in WATCHED:
        healthy = [_highest(name, run["metrics"], window, patience) for run in runs.values() if run["kind"] == HEALTHY]
        known = [value for value in healthy if value is not None]
        usual = getattr(defaults, name).limit
        limit = max(usual, 2 * max(known) - min(known)) if known else usual
        found[name] = getattr(defaults, name).model_copy(update={"limit": round(limit, 3)})
    return defaults.model_copy(update=found)


def _highest(name: str, metrics: Sequence[Mapping[str, float]], window: int, patience: int) -> float | None:
    """The highest value that the signal held for `patience` updates in a row."""
    columns: dict[str, list[float]] = {}
    values: list[float | None] = []
    for line in metrics:
        for key, value in line.items():
            columns.setdefault(key, []).append(value)
        values.append(SIGNALS[name](columns, window))
    held = [
        min(part)  # type: ignore[type-var]
        for i in range(len(values) - patience + 1)
        if None not in (part := values[i : i + patience])
    ]
    return max(held, default=None)  # type: ignore[type-var]


def table(runs: Mapping[str, Any], window: int, patience: int) -> dict[str, Any]:
    """Fitted on even seeds, judged on odd ones, tiny and real models each by limits of their own."""
    record: dict[str, Any] = {"window": window, "patience": patience, "models": {}}
    for model in sorted({run["model"] for run in runs.values()}):
        own = {name: run for name, run in runs.items() if run["model"] == model}
        fit = {name: run for name, run in own.items() if run["seed"] % 2 == 0}
        settings = fitted(fit, window, patience)
        held = {name: run for name, run in own.items() if run["seed"] % 2 == 1}
        rows: dict[str, Any] = {}
        for run in held.values():
            row = rows.setdefault(run["kind"], {"runs": 0, "called": 0, "verdicts": {}})
            names = judged(run["metrics"], settings)
            row["runs"] += 1
            row["called"] += bool(names)
            for name in names:
                row["verdicts"][name] = row["verdicts"].get(name, 0) + 1
        broken = [rows[kind] for kind in rows if kind != HEALTHY]
        counts = {
            "hits": (sum(row["called"] for row in broken), sum(row["runs"] for row in broken)),
            "false_alarms": (rows.get(HEALTHY, {}).get("called", 0), rows.get(HEALTHY, {}).get("runs", 0)),
        }
        record["models"][model] = {
            "num_runs": len(own),
            "updates": sorted({len(run["metrics"]) for run in own.values()}),
            "limits": {name: getattr(settings, name).limit for name in WATCHED},
            "rows": rows,
            **{name: {"count": k, "of": n, "interval": _interval(k, n)} for name, (k, n) in counts.items()},
        }
    return record


def page(record: Mapping[str, Any]) -> str:
    """For docs/algorithms.md: a row a kind of run."""
    lines = []
    for model, told in record["models"].items():
        hits, alarms = told["hits"], told["false_alarms"]
        lines += [
            f"{model} model, {told['num_runs']} runs of {' or '.join(map(str, told['updates']))} updates; "
            f"on the half that fitted nothing {hits['count']} of {hits['of']} broken runs were found, and "
            f"{alarms['count']} of {alarms['of']} healthy ones called unstable:",
            "",
            "Limits above the defaults: "
            + (", ".join(f"{n} {told['limits'][n]:g}" for n in WATCHED if told["limits"][n] > _usual(n)) or "none")
            + ".",
            "",
            "| runs | what is wrong | judged | called unstable | verdicts |",
            "| --- | --- | --- | --- | --- |",
        ]
        for kind, row in told["rows"].items():
            names = ", ".join(f"{name} {count}" for name, count in sorted(row["verdicts"].items()))
            wrong = BROKEN.get(kind, "nothing")
            lines.append(f"| {kind} | {wrong} | {row['runs']} | {row['called']} | {names} |")
        lines.append("")
    return "\n".join(lines)


def _usual(name: str) -> float:
    return float(getattr(MonitorConfig(), name).limit)


def _interval(k: int, n: int) -> list[float] | None:
    if not n:
        return None
    interval = mean_interval([1.0] * k + [0.0] * (n - k), 0.95)
    return [float(interval.low or 0.0), float(interval.high or 0.0)]


def read_runs() -> dict[str, Any]:
    """All runs that are done."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def run_all(model: str, updates: int, only: Callable[[tuple[str, str, int]], bool]) -> None:
    """The runs that aren't there yet."""
    keep_heap_compact()
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = [case for case in cases(model) if only(case)]
    wanted.sort(key=lambda case: (case[2], hashed(0, *case)))  # seed by seed, so that a part is a balanced table
    for kind, method, seed in wanted:
        path = FOLDER / f"{model}-{kind}-{method}-{seed}.json"
        if not path.exists():
            metrics = trajectory(model, kind, method, seed, updates)
            write_json(path, {"model": model, "kind": kind, "method": method, "seed": seed, "metrics": metrics})
            print(path.stem, judged(metrics, MonitorConfig()), flush=True)


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--model", choices=("tiny", "real"), default="tiny")
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=2 * len(SEEDS), help="seeds below this number alone")
    parser.add_argument("--kinds", nargs="*", default=[HEALTHY, *BROKEN])
    given = parser.parse_args()
    if given.what == "run":
        run_all(given.model, given.updates, lambda case: case[2] < given.seeds and case[0] in given.kinds)
        return
    settings = MonitorConfig()
    record = table(read_runs(), settings.window, settings.patience)
    write_json(RESULT, record)
    write_block(Path("docs/algorithms.md"), "stability", page(record))
    console = Console()
    for model, told in record["models"].items():
        shown = Table(title=f"{model}: {told['num_runs']} runs")
        for column in ("kind", "judged", "called unstable", "verdicts"):
            shown.add_column(column)
        for kind, row in told["rows"].items():
            names = ", ".join(f"{name} {count}" for name, count in sorted(row["verdicts"].items()))
            shown.add_row(kind, str(row["runs"]), str(row["called"]), names)
        console.print(shown)
        console.print({name: told[name] for name in ("hits", "false_alarms", "limits")})


if __name__ == "__main__":
    main()
