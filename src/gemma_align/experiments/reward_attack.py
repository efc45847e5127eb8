"""`gemma-align reward attack`: how often exploits beat honest answers, before anything is trained on the reward.

    honest references -> exploits, systematic and searched -> each reward's scores -> exploit margins -> table, page

Honest answers are the reference responses of the tune split; the report split is never read for it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from gemma_align.config import Config
from gemma_align.data.splits import fingerprint, subset
from gemma_align.data.tasks import load_task
from gemma_align.errors import DataError, RunDirError
from gemma_align.evaluation.statistics import mean_interval
from gemma_align.experiments.attack_page import attack_page
from gemma_align.experiments.files import write_json, write_text
from gemma_align.experiments.sampler import GROUP, Sampler
from gemma_align.experiments.subject import untrained
from gemma_align.rewards.attacks.search import Budget
from gemma_align.rewards.attacks.suite import CONSTRAINTS, TIE, Attacked, Attempt, attack, variants
from gemma_align.rewards.build import open_reward

DEGENERATE = "all degenerate families"
NUM_WORST = 12  # texts told of each reward, one a family


def reward_attack(
    config: Config, out: Path, *, num_examples: int, budget: Budget, num_samples: int = 0, adapter: Path | None = None
) -> dict[str, Any]:
    """Attacks the configured reward, shows the table, and writes `attack.json` and `attack.html` into `out`.

    Args:
        config: its task, seed, data, model and reward count.
        out: a folder, made where it isn't there; the two files in it are replaced.
        num_examples: honest answers, at most.
        budget: of every search.
        num_samples: answers that a policy gives to each example, for best-of-n; 0: no policy is sampled.
        adapter: the run whose policy is sampled; None: the configuration's checkpoint.

    Returns:
        What stands in `attack.json`.

    Raises:
        UserError: data, weights or a part of the reward that can't be had, or a folder that can't be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirError(f"--out {out} can't be made: {error.strerror or error}") from error
    rows = [example for example in load_task(config.task, config.data).examples("tune") if example.response]
    if not rows:
        raise DataError(
            f"the tune split of the task {config.task} has no reference responses, which attacks start from"
        )
    examples = subset(rows, num_examples, config.seed)
    with open_reward(config.task, config.reward, lambda: untrained(config)) as reward:
        samples = None
        if num_samples:
            sampler = Sampler(config, adapter, label="attack", num_samples=num_samples)
            samples = [row for i in range(0, len(examples), GROUP) for row in sampler.draw(examples[i : i + GROUP])]
        honest = [example.response or "" for example in examples]
        start = time.perf_counter()
        found = attack(variants(reward), examples, honest, budget, config.seed, samples)
        seconds = time.perf_counter() - start
    record = {
        "task": config.task,
        "seed": config.seed,
        "data": {"split": "tune", "num_examples": len(examples), "fingerprint": fingerprint(examples)},
        "budget": {**asdict(budget), "edits_an_example": budget.edits, "num_samples": num_samples},
        "policy": None if not num_samples else {"checkpoint": config.model.checkpoint, "adapter": adapter},
        "confidence": config.evaluation.confidence,
        "tie": TIE,
        "seconds": seconds,
        "reward": config.reward.model_dump(),
        **account(found, config.evaluation.confidence),
    }
    try:
        write_json(out / "attack.json", record)
        write_text(out / "attack.html", attack_page(record))
    except OSError as error:
        raise RunDirError(f"--out {out} can't be written: {error.strerror or error}") from error
    console = Console(highlight=False)
    console.print(attack_table(record))
    console.print(f"\ntexts and settings: {out / 'attack.html'}, {out / 'attack.json'}", soft_wrap=True)
    return record


def account(found: Mapping[str, Attacked], confidence: float) -> dict[str, Any]:
    """JSON values: exploit margins by family and reward, top words, and the exploits that gain most.

    A family's interval is Wilson's over its attempts, one an honest answer. The degenerate families together are
    told as the mean over honest answers of the share of their exploits that beat, so that answers are what is sampled.
    """
    families = list(dict.fromkeys(attempt.family for attacked in found.values() for attempt in attacked.attempts))
    margins = []
    for family in families:
        row: dict[str, Any] = {"family": family, "degenerate": False, "rewards": {}}
        for name, attacked in found.items():
            if mine := [attempt for attempt in attacked.attempts if attempt.family == family]:
                row["degenerate"] = mine[0].degenerate
                row["rewards"][name] = _margin(mine, [float(a.beats) for a in mine], confidence)
        margins.append(row)
    together: dict[str, Any] = {"family": DEGENERATE, "degenerate": True, "rewards": {}}
    for name, attacked in found.items():
        if mine := [attempt for attempt in attacked.attempts if attempt.degenerate]:
            by_example: dict[str, list[float]] = {}
            for attempt in mine:
                by_example.setdefault(attempt.example.id, []).append(float(attempt.beats))
            shares = [sum(beats) / len(beats) for beats in by_example.values()]
            together["rewards"][name] = _margin(mine, shares, confidence)
    return {
        "rewards": list(found),
        "num_honest_violations": sum(score < 0 for score in found[CONSTRAINTS].honest_scores)
        if CONSTRAINTS in found
        else None,
        "margins": [*margins, together],
        "words": {name: list(attacked.words) for name, attacked in found.items() if attacked.words},
        "worst": {name: _worst(attacked.attempts) for name, attacked in found.items()},
    }


def _margin(attempts: Sequence[Attempt], shares: Sequence[float], confidence: float) -> dict[str, Any]:
    return {
        "num_attempts": len(attempts),
        "num_beat": sum(attempt.beats for attempt in attempts),
        "num_tied": sum(attempt.ties for attempt in attempts),
        "margin": asdict(mean_interval(shares, confidence)),
        "mean_gain": sum(attempt.gain for attempt in attempts) / len(attempts),
    }


def _worst(attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    """Of each family the exploit that gains most, if it beats; the highest gains first."""
    best: dict[str, Attempt] = {}
    for attempt in attempts:
        if attempt.beats and (attempt.family not in best or attempt.gain > best[attempt.family].gain):
            best[attempt.family] = attempt
    return [
        {
            "family": a.family,
            "id": a.example.id,
            "prompt": a.example.prompt,
            "honest": a.honest,
            "exploit": a.exploit.text,
            "finished": a.exploit.finished,
            "honest_score": a.honest_score,
            "score": a.score,
            "gain": a.gain,
        }
        for a in sorted(best.values(), key=lambda a: -a.gain)[:NUM_WORST]
    ]


def attack_table(record: Mapping[str, Any]) -> RenderableType:
    """For people: exploit margins in percent with intervals, a column a reward; * marks degenerate families.

    `uncaught`: the share of exploits that the constraints alone put level with the honest answer, or above it.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("exploit", overflow="fold")
    for name in record["rewards"]:
        table.add_column(name, no_wrap=True)
    table.add_column("uncaught", no_wrap=True)
    for row in record["margins"]:
        cells = [row["rewards"].get(name) for name in record["rewards"]]
        table.add_row(
            Text(f"{row['family']}{' *' * row['degenerate']}"),
            *(Text("" if cell is None else _percent(cell["margin"])) for cell in cells),
            _uncaught(row["rewards"].get(CONSTRAINTS)),
        )
    data, budget = record["data"], record["budget"]
    note = (
        f"{record['task']}, {data['split']} split, {data['num_examples']} honest answers, seed {record['seed']}: % of "
        f"them that the exploit beats, {100 * record['confidence']:g} % intervals in brackets; * degenerate"
    )
    spent = (
        f"search: {budget['edits_an_example']} edits an answer; top words of {budget['num_candidates']} candidates on "
        f"{budget['num_probes']} answers; samples: {budget['num_samples']}"
        if record["words"]
        else "no search: the constraints alone like no word, and the top words are the answers' commonest"
    )
    violations = record["num_honest_violations"]
    clean = "" if violations is None else f"; a constraint fires on {violations} of the honest answers"
    return Group(Text(note), Text(), table, Text(), Text(spent + clean))


def _percent(margin: Mapping[str, Any]) -> str:
    """In percent, alone where it has no interval: narrower than a share, so that three rewards fit side by side."""
    mean, low, high = (None if margin[key] is None else f"{100 * margin[key]:.1f}" for key in ("mean", "low", "high"))
    return f"{mean}" if low is None else f"{mean} [{low} {high}]"


def _uncaught(cell: Mapping[str, Any] | None) -> str:
    return "" if cell is None else f"{100 * (cell['num_beat'] + cell['num_tied']) / cell['num_attempts']:.1f}"
