"""Models on tasks, all measured in one way: `gemma-align evaluate --config … [--adapter RUN] [--task all]`.

Each task gets a folder of its own with the files of a run that has ended (`run_paths.py`), so that runs and evaluations
compare alike. With all tasks comes what an adapter costs elsewhere: the tasks it wasn't trained for, and the loss on
neutral prose. A killed evaluation keeps the models that it finished.
"""

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from gemma_align.config import Config, EvaluationConfig, RewardConfig, Stage, load_config, resolved_yaml
from gemma_align.data.builtin.neutral import PARAGRAPHS
from gemma_align.data.task import LoadedTask
from gemma_align.data.tasks import TASKS, load_task
from gemma_align.errors import ConfigError, RunDirError
from gemma_align.evaluation.evaluate import Evaluation
from gemma_align.evaluation.names import is_best_of
from gemma_align.evaluation.neutral import NAME as NEUTRAL
from gemma_align.evaluation.neutral import neutral_loss
from gemma_align.evaluation.summary import summary, summary_table
from gemma_align.experiments.evaluation_data import task_data
from gemma_align.experiments.files import write_json
from gemma_align.experiments.interrupts import Interrupts
from gemma_align.experiments.kept import evaluated_once
from gemma_align.experiments.measuring import measure, measure_best_of, write_results
from gemma_align.experiments.run_dir import AlreadyFinished, RunDir
from gemma_align.experiments.run_paths import RunPaths
from gemma_align.experiments.run_rules import how_to_begin, refuse_foreign
from gemma_align.experiments.subject import Subject, open_subject, subject_model
from gemma_align.models.heap import keep_heap_compact
from gemma_align.models.policy import Policy
from gemma_align.rewards.build import open_reward
from gemma_align.trainers.diagnostics import Diagnostics
from gemma_align.trainers.memory import peak_rss_gb

SUMMARY = "summary.json"
_NOTE = "# Of an evaluation: of a configuration only what is said here played a part. Stages and training did not.\n"
_REMEDY = "--out DIR"
_GO_ON = "Give the same command to go on: models that were done are kept"


def evaluate_models(
    config: Config, *, adapter: Path | None, tasks: Sequence[str], neutral: bool, data: str | None, out: Path
) -> dict[str, Path]:
    """Evaluates the base model, and the one a run tuned, on each task.

    Args:
        config: its model, data and evaluation settings count, and with `evaluation.best_of` its reward.
        adapter: a run folder; its policy is "tuned", and "base" is what it started from. None: the base model alone.
        tasks: names of tasks, in order.
        neutral: the loss on neutral prose as well.
        data: see `evaluation_data.task_data`.
        out: the folder of folders, one a task. What is there already of the same models and settings is kept.

    Returns:
        The folder of each task.

    Raises:
        UserError: data, weights or run can't be had, a folder that can't be written or holds another evaluation, or
            something that a task's measures need isn't there. Nothing is generated then.
    """
    keep_heap_compact()
    console = Console(highlight=False)
    if config.evaluation.best_of and config.task not in tasks:
        raise ConfigError(
            f"evaluation.best_of={config.evaluation.best_of}: the reward that chooses is one of the configuration's "
            f"task, {config.task}, which isn't evaluated: add it with --task, or set evaluation.best_of=0"
        )
    model = subject_model(config, adapter)
    wanted = {name: _of_task(config, name, data, len(tasks) > 1, out) for name in tasks}
    if neutral:
        wanted[NEUTRAL] = _of_neutral(config, out)
    wanted = {name: one.model_copy(update={"model": model}) for name, one in wanted.items()}
    for name, one in wanted.items():
        _require_usable(out / name, _yaml(one))
    loaded = {name: load_task(name, wanted[name].data) for name in tasks}
    for task in loaded.values():
        task.ready()
    subject = open_subject(config.model_copy(update={"model": model}), adapter)
    if config.evaluation.best_of:
        with open_reward(config.task, wanted[config.task].reward, lambda: subject.start):
            pass  # it can be had
    for name in wanted:
        _require_same_subject(out / name, subject.facts)
    for name, one in wanted.items():
        try:
            with (
                Interrupts(_GO_ON),
                RunDir.open(out / name, _yaml(one), resume=True, remedy=_REMEDY, trains=False) as folder,
            ):
                _evaluate(folder, subject, one, loaded.get(name), adapter)
        except AlreadyFinished:
            console.print(f"{out / name} is finished already; it is kept as it is.", soft_wrap=True)
    if len(wanted) > 1:
        trained_for = load_config(RunPaths(adapter).config).task if adapter is not None else None
        documents = {name: json.loads(RunPaths(out / name).evaluation.read_text("utf-8")) for name in wanted}
        rows = summary(documents)
        write_json(out / SUMMARY, rows)
        console.print(summary_table(rows, trained_for))
    console.print(f"peak memory {peak_rss_gb():.2f} GB; results: {out}", soft_wrap=True)
    return {name: out / name for name in wanted}


def _evaluate(folder: RunDir, subject: Subject, config: Config, task: LoadedTask | None, adapter: Path | None) -> None:
    """One task, or neutral prose where there is none, by every model."""
    policy = subject.policy
    trained_by = RunPaths(adapter).config.read_text(encoding="utf-8") if adapter is not None else None
    facts: dict[str, Any] = {
        "evaluated": {
            "adapter": None if adapter is None else str(adapter.resolve()),
            "config": trained_by,  # the run may be moved or deleted afterwards
            **subject.facts,
        },
        "seed": config.data.seed,
        "device": str(policy.device),
        "precision": str(policy.dtype).removeprefix("torch."),
        "checkpoint": policy.info.as_json(),
        "prompt_format": policy.prompt_format.name,
        "data": [] if task is None else [task.report.to_dict()],
    }
    folder.add_environment(facts)
    folder.rewind({})
    evaluations = []
    with Diagnostics(folder, trackers=()) as diagnostics:
        for line in task.lines() if task else ():
            diagnostics.say(line)
        models = [name for name in subject.models if _takes(config, task, name)]
        with diagnostics.stage("evaluate", len(models)):
            for model in models:
                with subject.use(model) as used, diagnostics.timer(model):
                    found = evaluated_once(
                        folder.paths.evaluated,
                        model,
                        partial(_measured, used, subject.start, task, config, diagnostics, model),
                    )
                    evaluations.append(found)
    write_results(folder, evaluations, config.evaluation.num_shown if task else 0)


def _takes(config: Config, task: LoadedTask | None, model: str) -> bool:
    """Neutral prose isn't answered; and the reward that takes the best of n is one of a single task."""
    if is_best_of(model):
        return config.evaluation.best_of > 0
    return task is not None or model != "few_shot"


def _measured(
    policy: Policy, start: Policy, task: LoadedTask | None, config: Config, diagnostics: Diagnostics, model: str
) -> Evaluation:
    if task is None:
        confidence, seed = config.evaluation.confidence, config.data.seed
        return neutral_loss(policy, PARAGRAPHS, model=model, confidence=confidence, seed=seed)
    if is_best_of(model):
        return measure_best_of(policy, lambda: start, task, config, diagnostics)
    few_shot = config.evaluation.few_shot if model == "few_shot" else 0
    return measure(policy, task, config, diagnostics, model=model, few_shot=few_shot)


def _of_task(config: Config, task: str, data: str | None, several: bool, out: Path) -> Config:
    """What decides the numbers of one task. Everything else stands at its default, so that evaluations of one model
    with configurations of several methods are the same evaluation."""
    own = config.for_stage(config.stages[-1])
    best_of = config.evaluation.best_of if task == config.task else 0
    return Config(
        task=task,  # type: ignore[arg-type]
        stages=(Stage(method="sft"),),
        output_dir=str(out / task),
        data=task_data(config, task, data, several=several),
        reward=own.reward if best_of else RewardConfig(),
        evaluation=config.evaluation.model_copy(update={"judge": None, "gold": None, "best_of": best_of}),
    )


def _of_neutral(config: Config, out: Path) -> Config:
    settings = EvaluationConfig(confidence=config.evaluation.confidence, base=config.evaluation.base)
    return Config(
        task=config.task,
        stages=(Stage(method="sft"),),
        output_dir=str(out / NEUTRAL),
        evaluation=settings,
    )


def _yaml(config: Config) -> str:
    return _NOTE + resolved_yaml(config)


def _require_usable(folder: Path, config_yaml: str) -> None:
    """RunDirError where the folder can't be written or holds something else; found before any work is done."""
    paths = RunPaths(folder)
    refuse_foreign(paths, _REMEDY)
    try:
        how_to_begin(paths, config_yaml, resume=True, remedy=_REMEDY, trains=False)
    except AlreadyFinished:
        return
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "can't be written to" if there.is_dir() else "is a file"
        raise RunDirError(f"Can't write an evaluation to {folder}: {there} {why}. Choose another folder with {_REMEDY}")


def _require_same_subject(folder: Path, facts: Mapping[str, Any]) -> None:
    """RunDirError where a folder holds the evaluation of another model: one folder keeps one."""
    if not RunPaths(folder).has_results():
        return
    try:
        before = json.loads(RunPaths(folder).environment.read_text(encoding="utf-8"))["evaluated"]
        known, adapter = {name: before[name] for name in facts}, before["adapter"]
    except (OSError, ValueError, KeyError, TypeError):
        known, adapter = {}, None
    if known != facts:
        whose = f"what {adapter} held then" if adapter else "a base model"
        raise RunDirError(
            f"{folder} holds an evaluation of other weights ({whose}): choose another folder with {_REMEDY}, or "
            f"delete {folder}"
        )


assert NEUTRAL not in TASKS
