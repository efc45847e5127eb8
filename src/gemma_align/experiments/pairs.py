"""Preference pairs for clinical notes and programs: `gemma-align pairs make --config …` (docs/pairs.md).

    examples -> samples -> scores -> chosen -> corruptions of it -> rejected -> pairs.jsonl, pairs.json

The scorer is the task's programmatic reward, which shares nothing with evaluation's measures: for notes the facts
covered and invented, for programs the visible tests.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from gemma_align.config import Config
from gemma_align.data.pairs.choice import Candidate, Pair, choose, deal, pair_example, worst
from gemma_align.data.splits import fingerprint, subset
from gemma_align.data.tasks import load_task
from gemma_align.errors import ConfigError, DataError
from gemma_align.experiments.pairs_scoring import CodeScorer, NoteScorer, Scorer
from gemma_align.experiments.work_folder import WorkFolder
from gemma_align.types import Example

if TYPE_CHECKING:
    from gemma_align.experiments.sampler import Sampler

GROUP = 8  # prompts whose samples are drawn, and whose programs are run, together


def make_pairs(config: Config, *, adapter: Path | None, out: Path) -> Path:
    """Makes the pairs that `config.pairs` asks for, or goes on with them.

    Args:
        config: task, seed, data, model, reward and pairs count.
        adapter: a run folder whose policy is sampled; None: the configuration's checkpoint.
        out: the folder.

    Returns:
        The file of pairs.

    Raises:
        UserError: a task that has published pairs, data or weights that can't be had, a folder of something else, or
            no pair at all.
    """
    console = Console(highlight=False)
    scorer = _scorer(config)
    task = load_task(config.task, config.data)
    examples = subset(task.examples(config.pairs.split), config.pairs.num_prompts, config.seed)
    sampler = _sampler(config, adapter) if _samples(config) else None
    made_of = {
        "task": config.task,
        "split": config.pairs.split,
        "data": fingerprint(examples),
        "num_prompts": len(examples),
        "settings": config.pairs.model_dump(exclude={"split", "num_prompts", "num_shown"}),
        "seed": config.seed,
        "scorer": scorer.name,
        "scorer_settings": scorer.settings,
        "policy": None if sampler is None else sampler.facts,
    }
    with closing(scorer), WorkFolder(out, made_of, "pairs") as folder:
        if folder.account is None:
            for group in (examples[i : i + GROUP] for i in range(0, len(examples), GROUP)):
                _make_group(group, folder, config, scorer, sampler)
            _finish(folder, examples, [source.name for source in task.report.sources])
        else:
            console.print(f"{out} is made already; it is kept as it is.", soft_wrap=True)
        assert folder.account is not None
        _show(console, folder, config.pairs.num_shown)
    return folder.rows


def _scorer(config: Config) -> Scorer:
    match config.task:
        case "clinical":
            return NoteScorer(config.reward.clinical.model_dump(), config.seed)
        case "code":
            return CodeScorer(config.reward.code.model_dump(), config.seed)
    raise ConfigError(
        f"task={config.task}: pairs are made for clinical and code. The task safety has published ones: give them as "
        "they are, data.train=FOLDER of HH-RLHF, or use the builtin ones"
    )


def _samples(config: Config) -> bool:
    return "samples" in config.pairs.sources or config.pairs.chosen == "best"


def _sampler(config: Config, adapter: Path | None) -> "Sampler":
    from gemma_align.experiments.sampler import Sampler  # torch and transformers

    settings = config.pairs
    return Sampler(
        config,
        adapter,
        label="pairs",
        num_samples=settings.num_samples,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
    )


def _make_group(
    examples: Sequence[Example], folder: WorkFolder, config: Config, scorer: Scorer, sampler: "Sampler | None"
) -> None:
    """One line a prompt. Where some have theirs already, all are made again, so that the samples are the same."""
    if all(example.id in folder.done for example in examples):
        return
    started, settings = time.perf_counter(), config.pairs
    drawn = sampler.draw(examples) if sampler is not None else [[] for _ in examples]
    sampled = time.perf_counter()
    reasons, references, samples = scorer.candidates(examples, drawn)
    chosen: list[Candidate | None] = []
    for i, example in enumerate(examples):
        found = None if reasons[i] else choose(references[i], samples[i], best=settings.chosen == "best")
        if found is None and not reasons[i]:
            reasons[i] = "no reference response" if example.response is None else "no finished sample"
        chosen.append(found)
    wanted = settings.pairs_per_prompt if "corruption" in settings.sources else 0
    corrupted = scorer.corruptions(examples, chosen, wanted)
    seconds = {"sampling": sampled - started, "scoring": time.perf_counter() - sampled}
    for i, (example, better) in enumerate(zip(examples, chosen, strict=True)):
        pairs: list[Pair] = []
        if better is not None:
            lower = worst(samples[i], better) if "samples" in settings.sources else []
            rejected = {"corruption": corrupted[i], "samples": lower}
            dealt = deal(settings.sources, rejected, example.id, settings.pairs_per_prompt, config.seed)  # type: ignore[arg-type]
            pairs = [Pair(example, better, other, number) for number, other in enumerate(dealt)]
        if example.id not in folder.done:
            folder.add(
                {
                    "id": example.id,
                    "rows": [_row(pair) for pair in pairs],
                    "dropped": reasons[i] if better is None else ("" if pairs else scorer.nothing_rejected),
                    "tokens": sum(answer.num_tokens or 0 for answer in drawn[i]),
                    "seconds": {name: value / len(examples) for name, value in seconds.items()},
                }
            )


def _row(pair: Pair) -> dict[str, Any]:
    """One line of pairs.jsonl. `pair` is no field of the schema; readers leave it alone."""
    example = pair_example(pair)
    row: dict[str, Any] = {
        "id": example.id,
        "prompt": example.prompt,
        "response": example.response,
        "rejected": example.rejected,
        "cue": example.cue,
        "checks": dict(example.checks),
        "pair": {
            "chosen": {"strategy": pair.chosen.strategy, "score": pair.chosen.score},
            "rejected": {"strategy": pair.rejected.strategy, "score": pair.rejected.score},
        },
    }
    if example.history:
        row["history"] = [{"role": turn.role, "content": turn.content} for turn in example.history]
    return row


def _finish(folder: WorkFolder, examples: Sequence[Example], sources: Sequence[str]) -> None:
    lines = [folder.done[example.id] for example in examples]
    rows = [row for line in lines for row in line["rows"]]
    dropped = Counter(line["dropped"] for line in lines if line["dropped"])
    if not rows:
        raise DataError(
            f"no pair could be made of {len(examples)} prompts: {dict(dropped)}. Give other data or sources"
        )
    rejected = [(row["pair"]["rejected"], row["pair"]["chosen"]) for row in rows]
    account = {
        "sources": list(sources),
        "num_pairs": len(rows),
        "num_prompts_with_pairs": sum(bool(line["rows"]) for line in lines),
        "rejected": dict(Counter(worse["strategy"] for worse, _ in rejected)),
        "chosen": dict(Counter(better["strategy"] for _, better in rejected)),
        # What the scorer thinks of its own pairs: corruptions are wrong by construction, whether it sees them or not.
        "scorer_agrees": sum(worse["score"] < better["score"] for worse, better in rejected) / len(rows),
        "dropped": dict(dropped),
        "cost": {
            "sampled_tokens": sum(line["tokens"] for line in lines),
            "seconds": {name: sum(line["seconds"][name] for line in lines) for name in ("sampling", "scoring")},
        },
    }
    folder.finish(rows, account)


def _show(console: Console, folder: WorkFolder, num_shown: int) -> None:
    account: Mapping[str, Any] = folder.account or {}
    table = Table(title=f"{account['num_pairs']:,} pairs of {account['made_of']['num_prompts']:,} prompts")
    table.add_column("")
    table.add_column("number", justify="right")
    for kind in ("rejected", "chosen", "dropped"):
        for name, count in sorted(account[kind].items(), key=lambda entry: (-entry[1], entry[0])):
            table.add_row(f"{kind}: {name}", f"{count:,}")
    table.add_row("pairs whose scores agree", f"{account['scorer_agrees']:.1%}")
    table.add_row("sampled tokens", f"{account['cost']['sampled_tokens']:,}")
    table.add_row("seconds", f"{sum(account['cost']['seconds'].values()):.1f}")
    console.print(table)
    rows = folder.read_rows()
    for row in rows[:: max(1, len(rows) // max(num_shown, 1))][:num_shown]:
        console.print(f"\n{row['id']}", markup=False, style="bold")
        for label, field in (("chosen", "response"), ("rejected", "rejected")):
            about = row["pair"][label]
            console.print(f"{label} ({about['strategy']}, score {about['score']:.2f}):", markup=False)
            console.print(row[field], markup=False, soft_wrap=True)
    console.print(f"\npairs: {folder.rows}", soft_wrap=True)
