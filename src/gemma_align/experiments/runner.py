"""A run from its configuration to its report: `gemma-align run --config configs/sft_lora_270m.yml`.

config -> task examples -> policy -> [ batches -> loss -> update ] -> evaluation -> report
"""

import logging
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from gemma_align.config import Config, debug_config
from gemma_align.errors import RunDirError
from gemma_align.evaluation.evaluate import Evaluation
from gemma_align.evaluation.names import best_of_name
from gemma_align.experiments.interrupts import Interrupts
from gemma_align.experiments.kept import evaluated_once
from gemma_align.experiments.measuring import measure, measure_best_of, write_results
from gemma_align.experiments.run_card import write_run_cards
from gemma_align.experiments.run_dir import AlreadyFinished
from gemma_align.experiments.session import Session, start
from gemma_align.experiments.stage import StageRun
from gemma_align.experiments.subject import reward_policy
from gemma_align.models.policy import Policy

log = logging.getLogger(__name__)

_GO_ON = "Give the same command with --resume to go on; status.json says how far it is"


def run(config: Config, *, resume: bool = False) -> Path:
    """Carries out a configuration; returns the run folder.

    Args:
        config: a checked configuration (`config.load_config`).
        resume: go on with an unfinished run in the same folder; a finished one is left as it is.

    Raises:
        UserError: something the user can mend; nothing that was done is lost.
        Interrupted: a signal asked for an end (`interrupts.py`); what was done is saved.
    """
    config = debug_config(config) if config.debug else config
    try:
        with Interrupts(_GO_ON) as interrupts, start(config, resume=resume, interrupts=interrupts) as session:
            introduce(session)
            train(session)
            with session.diagnostics.afterwards("evaluation"):
                evaluations = evaluate_policies(session)
            report(session, evaluations)
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
        *(line for i, task in enumerate(session.tasks) if task not in session.tasks[:i] for line in task.lines()),
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
        if state.stopped:
            session.diagnostics.say("the stability monitor ended the run here; what there is, is evaluated")
            return
        if session.folder is not None and index < session.kept.num_supervised:
            try:
                session.kept.put(session.folder, index + 1)
            except OSError as error:
                session.diagnostics.say(f"this stage isn't kept for other runs: {error.strerror or error}")


def evaluate_policies(session: Session) -> list[Evaluation]:
    """The tuned model, and where asked for the untuned one, without and with worked examples, and the best of n samples
    of the tuned one by the last stage's reward; all on the same examples.

    The main process does it alone. Models that were done before a run was stopped aren't done again.
    """
    folder = session.folder
    if folder is None:
        return []
    settings, policy = session.config.evaluation, session.policy

    def measured(model: str, few_shot: int = 0) -> Evaluation:
        return evaluated_once(
            folder.paths.evaluated,
            model,
            lambda: measure(policy, session.task, session.config, session.diagnostics, model=model, few_shot=few_shot),
        )

    evaluations = [measured("tuned")]
    if settings.base:
        if not policy.has_adapter:  # all weights were trained: the start has to be loaded again
            model = session.config.model.for_training()
            policy = Policy.load(model, device=str(policy.device), num_rows=settings.num_rows)
        with policy.base() if policy.has_adapter else nullcontext():
            evaluations.append(measured("base"))
            if settings.few_shot:
                evaluations.append(measured("few_shot", settings.few_shot))
    if settings.best_of:
        config = session.config.model_copy(update={"reward": session.staged[-1].reward})
        evaluations.append(
            evaluated_once(
                folder.paths.evaluated,
                best_of_name(settings.best_of),
                lambda: measure_best_of(
                    session.policy,
                    lambda: reward_policy(config, session.policy),
                    session.task,
                    config,
                    session.diagnostics,
                ),
            )
        )
    return evaluations


def report(session: Session, evaluations: list[Evaluation]) -> None:
    """evaluation.json, the responses in samples.jsonl, and on the screen tables and a few responses."""
    if session.folder is not None:
        write_results(session.folder, evaluations, session.config.evaluation.num_shown)
        try:
            write_run_cards(session.folder.paths, session.config, session.policy.info)
        except RunDirError as error:  # the run is done, and its results are written
            log.warning("the adapters go without a model card: %s", error)


if __name__ == "__main__":
    from gemma_align.cli import runner_main

    runner_main()
