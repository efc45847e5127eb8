"""`gemma-align reward curve`: how far a reward can be optimised by best-of-n before the gold measure falls.

    prompts -> S samples each -> reward, violations, gold of all -> best of n = 1, 2, 4 … S -> curves, fits, table

Nothing is trained: choosing the best of n optimises the reward as a policy would, at a distance that is known
(`core/best_of_n.py`). The samples are kept, so that another reward is held against the same ones in a minute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from gemma_align.config import Config
from gemma_align.core.best_of_n import best_of_n, kl_bound
from gemma_align.data.splits import fingerprint, subset
from gemma_align.data.tasks import load_task
from gemma_align.errors import DataError, RunDirError
from gemma_align.evaluation.overoptimisation import at_proxy_maximum, fit_examples, stop_without_gold
from gemma_align.evaluation.statistics import Interval, mean_interval, paired_interval
from gemma_align.evaluation.table import shown
from gemma_align.experiments.files import write_json
from gemma_align.experiments.gold import Gold, open_gold
from gemma_align.experiments.sampler import GROUP, Sampler
from gemma_align.experiments.subject import untrained
from gemma_align.experiments.work_folder import WorkFolder
from gemma_align.rewards.attacks.suite import CONSTRAINTS, ENCODER, HYBRID, variants
from gemma_align.rewards.build import open_reward
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.trainers.progress import choose_progress
from gemma_align.types import Answer, Example, RewardModel, Scores

Array = NDArray[np.float64]
BATCH = 256  # answers scored at a time
MIN_SAMPLES = 8  # four points: fewer say nothing about a curve


def reward_curve(
    config: Config, out: Path, *, num_prompts: int, num_samples: int, adapter: Path | None = None
) -> dict[str, Any]:
    """Makes the curves of the configured reward and its parts, shows them, and writes `curve.json` into `out`.

    Args:
        config: its task, seed, data, model, reward, and of `evaluation` split, gold, tokens and confidence count.
        out: a folder; the samples lie in `out/samples`, where a killed making goes on.
        num_prompts: at most.
        num_samples: of each prompt, at least MIN_SAMPLES.
        adapter: the run whose policy is sampled; None: the configuration's checkpoint.

    Raises:
        UserError: data, weights, reward or gold measure that can't be had, or a folder of something else.
    """
    task, split = load_task(config.task, config.data), config.evaluation.split
    examples = subset(task.examples(split), num_prompts, config.data.seed)
    if not examples:
        raise DataError(f"the {split} split of the task {config.task} has no prompts")
    gold = open_gold(config)
    with open_reward(config.task, config.reward, lambda: untrained(config)) as reward:
        samples, made_of = _samples(config, examples, num_samples, adapter, out / "samples")
        measured = _measured(reward, gold, examples, samples)
    usable = np.isfinite(measured["gold"]).all(axis=1)
    if usable.sum() < 2:
        raise DataError(f"{gold.name}: {int(usable.sum())} of {len(examples)} prompts have it; at least 2 were wanted")
    values = {name: column[usable] for name, column in measured.items()}
    record = {
        "task": config.task,
        "split": split,
        "num_prompts": int(usable.sum()),
        "num_without_gold": int((~usable).sum()),
        "confidence": config.evaluation.confidence,
        "samples": made_of,
        "gold": {"name": gold.name, **gold.about},
        "reward": config.reward.model_dump(),
        **curves(values, config.evaluation.confidence),
    }
    try:
        write_json(out / "curve.json", record)
    except OSError as error:
        raise RunDirError(f"--out {out} can't be written: {error.strerror or error}") from error
    console = Console(highlight=False)
    console.print(curve_table(record))
    console.print(f"\nnumbers and settings: {out / 'curve.json'}", soft_wrap=True)
    return record


def curves(values: Mapping[str, Array], confidence: float) -> dict[str, Any]:
    """JSON values: of every reward the points n = 1, 2, 4 … S, the fitted law and where one would have stopped.

    Args:
        values: (prompts, samples) each: `gold`, `violation`, `tokens`, `finished`, and `proxy: NAME` of every reward.
        confidence: of the intervals, which are over prompts.
    """
    num_samples = values["gold"].shape[1]
    counts = [2**i for i in range(num_samples.bit_length()) if 2**i <= num_samples]
    distances = [float(np.sqrt(kl_bound(n))) for n in counts]
    found: dict[str, Any] = {}
    last: dict[str, dict[str, Array]] = {}
    for key, proxy in values.items():
        if not key.startswith(_PROXY):
            continue
        told = {name: [best_of_n(proxy, column, n) for n in counts] for name, column in _told(values, proxy).items()}
        points = [
            {
                "n": n,
                "kl": kl_bound(n),
                "distance": distances[i],
                "proxy": asdict(mean_interval(told["proxy"][i], confidence)),
                "gold": asdict(mean_interval(told["gold"][i], confidence)),
                "gold_gain": asdict(paired_interval(told["gold"][i], told["gold"][0], confidence)),
                "violations": asdict(mean_interval(told["violation"][i], confidence)),
                "tokens": float(told["tokens"][i].mean()),
                "finished": float(told["finished"][i].mean()),
            }
            for i, n in enumerate(counts)
        ]
        gains = np.stack(told["gold"], axis=1) - told["gold"][0][:, None]
        means = {name: [float(column.mean()) for column in told[name]] for name in told}
        kl = [kl_bound(n) for n in counts]
        stops = {
            "proxy maximum": at_proxy_maximum(means["proxy"], means["gold"]),
            "without gold": stop_without_gold(
                means["proxy"], means["gold"], means["violation"], kl, max_kl=float("inf")
            ),
        }
        name = key.removeprefix(_PROXY)
        found[name] = {
            "points": points,
            "fit": asdict(fit_examples(distances, gains, "best_of_n", confidence)),
            "stops": {rule: {**asdict(s), "n": counts[s.index], "lost": s.lost} for rule, s in stops.items()},
        }
        last[name] = {name: column[-1] for name, column in told.items()}
    return {"rewards": found, "differences": _differences(last, confidence)}


def curve_table(record: Mapping[str, Any]) -> RenderableType:
    """For people: a table a reward, and what its curve says in words."""
    parts: list[RenderableType] = []
    gold = record["gold"]
    accuracy = gold.get("accuracy")
    about = "" if not accuracy else f", right in {100 * accuracy['mean']:.1f} % of held-out pairs"
    head = (
        f"{record['task']}, {record['split']} split, {record['num_prompts']} prompts, {100 * record['confidence']:g} % "
        f"intervals in brackets; gold: {gold['name']}{about}"
    )
    parts.append(Text(head))
    if record["num_without_gold"]:
        parts.append(Text(f"{record['num_without_gold']} prompts have no gold measure and are left out"))
    for name, curve in record["rewards"].items():
        table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False, title=f"best of n by {name}")
        for column in ("n", "sqrt(KL)", "reward", "gold - gold at n = 1", "violations", "tokens"):
            table.add_column(column, justify="right", no_wrap=True)
        for point in curve["points"]:
            table.add_row(
                str(point["n"]),
                f"{point['distance']:.2f}",
                f"{point['proxy']['mean']:.2f}",
                "" if point["n"] == 1 else shown(Interval(**point["gold_gain"]), sign="+"),
                f"{100 * point['violations']['mean']:.1f} %",
                f"{point['tokens']:.0f}",
            )
        parts += [Text(), table, Text(_verdict(curve))]
    for name, difference in record["differences"].items():
        parts.append(Text(f"{name}, at the largest n: gold {shown(Interval(**difference['gold']), sign='+')}"))
    return Group(*parts)


def _verdict(curve: Mapping[str, Any]) -> str:
    fit, last = curve["fit"], curve["points"][-1]
    low, high = last["gold_gain"]["low"], last["gold_gain"]["high"]
    if fit["peak"] is not None:
        said = f"gold peaks at sqrt(KL) {fit['peak']:.2f}, {fit['peak_value']:+.2f} over the start, and falls after it"
    elif low is not None and low > 0:
        said = f"no peak found up to n = {last['n']}: gold still stands higher there than at the start"
    elif high is not None and high < 0:
        said = f"no peak found: gold is lower at n = {last['n']} than at the start"
    else:
        said = f"no peak found up to n = {last['n']}, and no change of gold there that could be told from chance"
    stop = curve["stops"]["without gold"]
    return f"{said}. Stopped where violations rise: n = {stop['n']}, {stop['lost']:.2f} of gold given away"


_PROXY = "proxy: "


def _told(values: Mapping[str, Array], proxy: Array) -> dict[str, Array]:
    shared = {name: column for name, column in values.items() if not name.startswith(_PROXY)}
    return {"proxy": proxy, **shared}


def _differences(last: Mapping[str, Mapping[str, Array]], confidence: float) -> dict[str, Any]:
    """The hybrid less the encoder alone at the largest n, paired by prompt."""
    if ENCODER not in last or HYBRID not in last:
        return {}
    ours, theirs = last[HYBRID], last[ENCODER]
    pairs = {name: asdict(paired_interval(ours[name], theirs[name], confidence)) for name in ("gold", "violation")}
    return {f"{HYBRID} - {ENCODER}": pairs}


def _samples(
    config: Config, examples: Sequence[Example], num_samples: int, adapter: Path | None, folder: Path
) -> tuple[list[list[Answer]], dict[str, Any]]:
    """The samples of every example, drawn or as they lie in the folder, and what they are made of."""
    sampler = Sampler(config, adapter, label="curve", num_samples=num_samples)
    made_of = {
        "data": fingerprint(examples),
        "num_prompts": len(examples),
        "num_samples": num_samples,
        "seed": config.seed,
        "policy": sampler.facts,
    }
    progress = choose_progress()
    with WorkFolder(folder, made_of, "samples") as work:
        if work.account is None:
            bar = progress.bar("samples", len(examples), len(work.done))
            for group in (examples[i : i + GROUP] for i in range(0, len(examples), GROUP)):
                if all(example.id in work.done for example in group):
                    continue
                for example, answers in zip(group, sampler.draw(group), strict=True):
                    if example.id not in work.done:
                        work.add({"id": example.id, "prompt": example.prompt, "samples": [asdict(a) for a in answers]})
                bar.show(len(work.done), "")
            bar.close()
            rows = [work.done[example.id] for example in examples]
            work.finish(rows, {"tokens": sum(s["num_tokens"] for row in rows for s in row["samples"])})
        else:
            progress.say(f"{folder}: the samples are there already")
        rows = work.read_rows()
    return [[Answer(**sample) for sample in row["samples"]] for row in rows], made_of


def _measured(
    reward: HybridReward, gold: Gold, examples: Sequence[Example], samples: Sequence[Sequence[Answer]]
) -> dict[str, Array]:
    """(prompts, samples) of each number that is told of a sample."""
    asked = [example for example, row in zip(examples, samples, strict=True) for _ in row]
    answers = [answer for row in samples for answer in row]
    shape = (len(samples), len(samples[0]))

    def scored(model: RewardModel) -> tuple[Array, Array]:
        """Totals, and whether a constraint fired."""
        found: list[Scores] = []
        for i in range(0, len(asked), BATCH):
            found.append(model.score(asked[i : i + BATCH], answers[i : i + BATCH]))
        columns = ([scores.total for scores in found], [scores.parts["violation"] for scores in found])
        total, violation = (np.concatenate([part.double().numpy() for part in column]) for column in columns)
        return total.reshape(shape), violation.reshape(shape)

    rewards = {name: model for name, model in variants(reward).items() if name != CONSTRAINTS} or variants(reward)
    scores = {name: scored(model) for name, model in rewards.items()}
    _, violation = list(scores.values())[-1]  # of the whole reward, which stands last: parts of it may look at less
    return {
        **{f"{_PROXY}{name}": total for name, (total, _) in scores.items()},
        "gold": gold.measure(asked, answers).reshape(shape),
        "violation": violation,
        "tokens": np.array([float(answer.num_tokens or 0) for answer in answers]).reshape(shape),
        "finished": np.array([float(answer.finished) for answer in answers]).reshape(shape),
    }
