"""One model measured on one task as a configuration says, and the results of several written into a run folder.

Runs (`runner.py`) and evaluations (`evaluation.py`) both end here, so their numbers compare.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256

from rich.console import Console

from gemma_align.config import Config
from gemma_align.data.splits import subset
from gemma_align.data.task import LoadedTask
from gemma_align.evaluation.best_of import BestOf
from gemma_align.evaluation.evaluate import Draw, Evaluation, evaluate, num_steps
from gemma_align.evaluation.names import best_of_name
from gemma_align.evaluation.results import records, to_json
from gemma_align.evaluation.table import results_table, samples
from gemma_align.experiments.files import json_text, write_json
from gemma_align.experiments.run_dir import RunDir
from gemma_align.models.heap import release_free_memory
from gemma_align.models.policy import Policy
from gemma_align.rewards.build import open_reward
from gemma_align.trainers.diagnostics import Diagnostics, PhaseTimes


def measure(
    policy: Policy,
    task: LoadedTask,
    config: Config,
    diagnostics: Diagnostics,
    *,
    model: str,
    few_shot: int = 0,
    draw: Draw | None = None,
) -> Evaluation:
    """The policy, as it is, on the split that `evaluation.split` names.

    Args:
        policy: the model.
        task: the examples and how they are measured; the configuration's own.
        config: its data.seed and evaluation settings count.
        diagnostics: shows how far it is.
        model: what the model is called in the results.
        few_shot: worked examples before each prompt: the set's published ones where it has some, else training ones.
        draw: draws the responses; None: greedily.
    """
    settings = config.evaluation
    examples = subset(task.examples(settings.split), settings.num_examples, config.data.seed)
    num_samples = settings.num_samples if task.measure_samples is not None and draw is None else 0
    title = f"{task.name}: evaluating {model}"
    times = PhaseTimes()

    @contextmanager
    def timer(part: str) -> Iterator[None]:
        with diagnostics.timer(f"{model}: {part}"), times(part):
            yield

    with diagnostics.bar(title, num_steps(len(examples), num_samples, references=draw is None)) as advance:
        done = 0

        def progress(so_far: int, _total: int) -> None:
            nonlocal done
            advance(so_far - done)
            done = so_far

        found = evaluate(
            policy,
            task,
            examples,
            split=settings.split,
            model=model,
            max_new_tokens=config.max_new_tokens,
            num_rows=settings.num_rows,
            few_shot_from=task.examples("train"),
            published_shots=task.shots,
            few_shot=few_shot,
            num_samples=num_samples,
            temperature=settings.temperature,
            draw=draw,
            confidence=settings.confidence,
            seed=config.data.seed,
            progress=progress,
            timer=timer,
        )
    diagnostics.say(_speed(title, len(examples), times.take()))
    if found.spent:
        told = ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in found.spent.items())
        diagnostics.say(f"{title}: {told}")
    return replace(found, left_out=task.left_out())


def measure_best_of(
    policy: Policy, stands_on: Callable[[], Policy], task: LoadedTask, config: Config, diagnostics: Diagnostics
) -> Evaluation:
    """The best of `evaluation.best_of` samples by the configuration's reward, as a model of its own.

    Args:
        policy: what is sampled.
        stands_on: the weights that the reward reads, see `subject.reward_policy`.
        task: as in `measure`.
        config: its reward counts too.
        diagnostics: as in `measure`.

    Raises:
        UserError: a reward that can't be had, or can't score an example.
    """
    settings = config.evaluation
    # Where its encoder lies, which a seed may decide, isn't what tells one reward from another
    decides = config.reward.model_dump(mode="json", exclude={"encoder": {"path"}})
    name = sha256(json_text(decides).encode()).hexdigest()[:12]
    with open_reward(config.task, config.reward, stands_on) as reward:
        draw = BestOf(reward, settings.best_of, settings.best_of_temperature, reward_name=name)
        return measure(policy, task, config, diagnostics, model=best_of_name(settings.best_of), draw=draw)


def _speed(title: str, num_examples: int, seconds: Mapping[str, float]) -> str:
    """Such as "clinical: evaluating base: 200 examples, 0.8 a second (generate 93 %, references 5 %, measure 2 %)"."""
    total = max(seconds["total"], 1e-9)
    parts = ", ".join(f"{part} {value / total:.0%}" for part, value in seconds.items() if part != "total")
    return f"{title}: {num_examples} examples, {num_examples / total:.2g} a second ({parts})"


def write_results(folder: RunDir, evaluations: Sequence[Evaluation], num_shown: int) -> None:
    """evaluation.json, the responses in samples.jsonl, and on the screen tables and a few responses; the folder is
    finished then.

    Args:
        folder: an open run folder.
        evaluations: the model in question first, then those that it is held against.
        num_shown: responses printed.
    """
    first, *others = evaluations
    for evaluation in evaluations:
        for record in records(evaluation):
            folder.samples.append(record)
    write_json(folder.paths.evaluation, to_json(first, *others))
    folder.finish()
    shutil.rmtree(folder.paths.evaluated, ignore_errors=True)
    release_free_memory()
    console = Console(highlight=False)
    for table in [results_table(first, other) for other in others] or [results_table(first)]:
        console.print(table)
    if num_shown:
        console.print(samples(first, others[0] if others else None, num_shown))
    console.print(f"results: {folder.paths.root}", soft_wrap=True)
