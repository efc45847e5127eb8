"""A run from its configuration to its report: `gemma-align run --config configs/sft_lora_270m.yml`.

config -> task examples -> policy -> [ batches -> loss -> update ] -> evaluation -> report
"""

from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from gemma_align.config import Config, debug_config
from gemma_align.data.splits import subset
from gemma_align.evaluation.evaluate import Evaluation, evaluate
from gemma_align.evaluation.results import records, to_json
from gemma_align.evaluation.table import results_table, samples
from gemma_align.experiments.files import write_json
from gemma_align.experiments.run_dir import AlreadyFinished
from gemma_align.experiments.session import Session, start
from gemma_align.experiments.stage import StageRun
from gemma_align.models.policy import Policy


def run(config: Config, *, resume: bool = False) -> Path:
    """Carries out a configuration; returns the run folder.

    Args:
        config: a checked configuration (`config.load_config`).
        resume: go on with an unfinished run in the same folder; a finished one is left as it is.

    Raises:
        UserError: something the user can mend; nothing that was done is lost.
    """
    config = debug_config(config) if config.debug else config
    try:
        with start(config, resume=resume) as session:
            introduce(session)
            train(session)
            report(session, evaluate_policies(session))
    except AlreadyFinished as finished:
        Console(highlight=False).print(str(finished), soft_wrap=True)
    return Path(config.output_dir)


def introduce(session: Session) -> None:
    """Says what is about to be done with what."""
    if session.folder is None:
        return
    config, policy = session.config, session.policy
    trained = sum(weight.numel() for weight in policy.trainable().values())
    lines = [
        f"{config.task}: {' then '.join(stage.method for stage in config.stages)} of {policy.info.spec}, "
        f"{trained:,} trained weights, {policy.prompt_format.name} prompts, {policy.dtype} on {policy.device}",
        *(
            line
            for i, task in enumerate(session.tasks)
            if task not in session.tasks[:i]
            for line in task.report.lines()
        ),
    ]
    if session.resumed is not None:
        lines.append(f"going on after update {session.resumed.step}")
    for line in lines:
        session.diagnostics.say(line)


def train(session: Session) -> None:
    """The stages in order; each starts from the weights and the state the one before left."""
    state = session.resumed
    for index in range(state.stage if state else 0, len(session.config.stages)):
        state = StageRun(session, index, before=state).run()


def evaluate_policies(session: Session) -> list[Evaluation]:
    """The tuned model, and where asked for the untuned one, without and with worked examples, on the same examples.

    The main process does it alone.
    """
    if session.folder is None:
        return []
    settings, policy = session.config.evaluation, session.policy
    evaluations = [_evaluate(session, policy, "tuned", few_shot=0)]
    if settings.base:
        if not policy.has_adapter:  # all weights were trained: the start has to be loaded again
            policy = Policy.load(session.config.model, device=str(policy.device), num_rows=settings.num_rows)
        with policy.base() if policy.has_adapter else nullcontext():
            evaluations.append(_evaluate(session, policy, "base", few_shot=0))
            if settings.few_shot:
                evaluations.append(_evaluate(session, policy, "few_shot", few_shot=settings.few_shot))
    return evaluations


def _evaluate(session: Session, policy: Policy, model: str, few_shot: int) -> Evaluation:
    settings = session.config.evaluation
    examples = subset(session.task.examples(settings.split), settings.num_examples, session.config.seed)
    with session.diagnostics.bar(f"evaluating {model}", len(examples)) as advance:
        done = 0

        def progress(so_far: int, _total: int) -> None:
            nonlocal done
            advance(so_far - done)
            done = so_far

        return evaluate(
            policy,
            session.task,
            examples,
            split=settings.split,
            model=model,
            max_new_tokens=settings.max_new_tokens,
            num_rows=settings.num_rows,
            few_shot_from=session.task.examples("train"),
            few_shot=few_shot,
            num_samples=settings.num_samples if session.task.measure_samples is not None else 0,
            temperature=settings.temperature,
            confidence=settings.confidence,
            seed=session.config.seed,
            progress=progress,
        )


def report(session: Session, evaluations: list[Evaluation]) -> None:
    """evaluation.json, the responses in samples.jsonl, and on the screen tables and a few responses."""
    folder = session.folder
    if folder is None:
        return
    tuned, *others = evaluations
    write_json(folder.paths.evaluation, to_json(tuned, *others))
    for evaluation in evaluations:
        for record in records(evaluation):
            folder.samples.append(record)
    folder.finish()
    console = Console(highlight=False)
    for table in [results_table(tuned, other) for other in others] or [results_table(tuned)]:
        console.print(table)
    if session.config.evaluation.num_shown:
        console.print(samples(tuned, others[0] if others else None, session.config.evaluation.num_shown))
    console.print(f"run folder: {folder.paths.root}", soft_wrap=True)


if __name__ == "__main__":
    from gemma_align.cli import runner_main

    runner_main()
