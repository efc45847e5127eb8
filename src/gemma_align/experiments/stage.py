"""One stage of a run: updates, and between them evaluation, the best adapter, and checkpoints."""

import shutil
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch

from gemma_align.config import Stage
from gemma_align.data.collate import Encoder
from gemma_align.errors import CheckpointError, ConfigError
from gemma_align.evaluation.directions import least_is_best
from gemma_align.evaluation.evaluate import evaluate
from gemma_align.experiments.methods import METHODS, Start
from gemma_align.experiments.run_paths import RunPaths
from gemma_align.experiments.session import Session
from gemma_align.trainers.checkpointing import (
    Best,
    LoopState,
    capture_rng,
    checkpoint_before,
    restore_rng,
    save_checkpoint,
)
from gemma_align.trainers.loop import Loop, Update
from gemma_align.trainers.processes import any_of, mean_metrics, share, total
from gemma_align.trainers.stability import Monitor, Verdict


class StageRun:
    """A stage in progress, with the counters that run over all stages.

    Args:
        session: the run.
        index: which stage, from 0.
        before: the state in which the stage before ended, or of a run that was stopped; None at the very start.
    """

    def __init__(self, session: Session, index: int, before: LoopState | None) -> None:
        stage: Stage = session.config.stages[index]
        self.session = session
        self.index = index
        self.config = session.staged[index]
        methods = [earlier.method for earlier in session.config.stages[: index + 1]]
        times = methods.count(stage.method)
        self.name = stage.method if times == 1 else f"{stage.method}-{times}"
        self.step = before.step if before else 0
        self.tokens_seen = before.tokens_seen if before else 0
        # What is best is best of its stage: another method's loss is another measure
        self.best = before.best if before is not None and before.stage == index else None
        self.task = session.tasks[index]
        seed = session.config.seed + index
        self._open = ExitStack()
        encoder = Encoder(session.policy.prompt_format, self.config.model.max_length, self.config.data.too_long)
        total_of = partial(total, accelerator=session.accelerator)
        train = self.task.examples("train")
        start = Start(self.config, session.policy, encoder, train, seed, self._open, total_of)
        self.algorithm, self.tuner, encode = METHODS[stage.method].make(start)
        examples, lengths = encode.within_limit(train)
        self.tune_examples, _ = encode.within_limit(self.task.examples("tune"))
        if session.folder is not None:
            session.diagnostics.say(f"{self.name}: {lengths.describe()}")
        training = self.config.training
        if stage.samples:
            training = training.model_copy(update={"batch_size": self.config.rl.num_prompts})
        session.policy.recompute_above(0 if training.gradient_checkpointing else training.max_tokens_per_microbatch)
        session.policy.use_dropout(stage.method == "sft")  # others hold a policy's log-probabilities against its own
        self.loop = Loop(
            self.algorithm,
            session.policy.trainable(),
            examples,
            training,
            seed=seed,
            accelerator=session.accelerator,
            timer=session.diagnostics.timer,
        )
        self.monitor = Monitor(self.config.monitor) if stage.samples else None
        self.stopped = False
        if before is not None and before.stage == index:
            try:
                self._restore(before)
            except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                raise CheckpointError(
                    f"The checkpoint of update {before.step} isn't one of this run ({type(error).__name__}: {error}). "
                    "Was it copied here? Delete it, or put back the run's own"
                ) from error

    def run(self) -> LoopState:
        """All updates that are left; the state after the last one, which is saved.

        Raises Interrupted after an update where a signal has asked for an end; its state is saved then too.
        """
        every, eval_every = self.config.checkpoint.every, self.config.training.eval_every
        session, interrupts = self.session, self.session.interrupts
        with (
            self._open,
            interrupts.held(told=session.folder is not None),
            session.diagnostics.stage(self.name, self.loop.total_steps, done=self.loop.step),
        ):
            if self.monitor is not None and self.loop.step == 0 and eval_every:
                self._evaluate()  # what a policy that is sampled has gained is held against its start
            for update in self.loop:
                self._count(update)
                self._watch(update)
                last = self.loop.total_steps  # nearer than it was where the monitor has stopped the stage
                if update.step == last or (eval_every and update.step % eval_every == 0):
                    self._evaluate()
                asked = any_of(interrupts.asked is not None, session.accelerator)
                due = update.step == last or bool(every and update.step % every == 0)
                if due or asked:
                    self._save(extra=not due)
                if asked:
                    interrupts.stop(f" after update {self.step}, which is saved")
        return self.state()

    def state(self) -> LoopState:
        """The loop's state with the run's counters, random states and log positions."""
        state = self.loop.state()
        state.stage, state.step, state.tokens_seen, state.best = self.index, self.step, self.tokens_seen, self.best
        state.stopped, state.monitor = self.stopped, self.monitor.state_dict() if self.monitor else {}
        state.rng = _gathered(capture_rng(), self.session)
        if self.session.folder is not None:
            state.logs = self.session.folder.log_sizes()
            state.log_sums = self.session.folder.log_sums()
        return state

    def _restore(self, before: LoopState) -> None:
        number = self.session.accelerator.process_index
        if number >= len(before.rng):
            raise ValueError(f"it was saved by {len(before.rng)} processes, and this is number {number + 1}")
        self.loop.restore(before)
        if before.stopped:
            self._stop()
        if self.monitor is not None:
            self.monitor.load_state_dict(before.monitor)
        restore_rng(before.rng[number])

    def _count(self, update: Update) -> None:
        self.step += 1
        self.tokens_seen += update.num_tokens
        progress = {
            "progress/epoch": self.loop.examples_seen / len(self.loop.examples),
            "progress/examples": self.loop.examples_seen,
            "progress/tokens": self.tokens_seen,
        }
        self.session.diagnostics.update(self.step, {**update.metrics, **progress}, update.num_tokens)

    def _watch(self, update: Update) -> None:
        """Verdicts of the stability monitor, and what the configuration wants done about them."""
        if self.monitor is None:
            return
        for verdict in self.monitor.see(self.step, update.metrics):
            self.session.diagnostics.verdict(self.step, verdict)
            match verdict.action:
                case "lower_rate":
                    self.loop.rate_scale *= self.config.monitor.lower_by
                case "rewind":
                    self._rewind(self.monitor, verdict)
                    break  # the other verdicts were of weights that are gone
                case "stop":
                    self._stop()

    def _rewind(self, monitor: Monitor, verdict: Verdict) -> None:
        """Weights and optimizer as they were before it began; the updates and their samples go on from here."""
        self.loop.rate_scale *= self.config.monitor.lower_by
        folder = RunPaths(self.config.output_dir).checkpoints
        state = checkpoint_before(folder, verdict.began, self.index, monitor.abandoned)
        self.session.accelerator.wait_for_everyone()
        if state is None:
            self.session.diagnostics.say(
                f"no checkpoint of this stage is kept from before update {verdict.began} (checkpoint.every, "
                "checkpoint.keep): the learning rate is lowered alone"
            )
            return
        self.loop.restore_weights(state)
        monitor.rewound(state.monitor, state.step, self.step)
        self.session.diagnostics.say(f"the weights are those of update {state.step} again")

    def _stop(self) -> None:
        self.stopped, self.loop.total_steps = True, self.loop.step

    def _save(self, *, extra: bool = False) -> None:
        session = self.session
        with session.diagnostics.timer("checkpoint"):
            state = self.state()
            if session.folder is not None:
                # The adapter first: after the last checkpoint there is no update left that would write it again
                session.folder.write_folder(session.folder.paths.adapter, session.policy.save)
                save_checkpoint(session.folder.paths.checkpoints, state, self.config.checkpoint.keep, extra=extra)
                # Of weights that a resume went back behind, where there is one
                shutil.rmtree(session.folder.paths.evaluated, ignore_errors=True)
            session.accelerator.wait_for_everyone()

    def _evaluate(self) -> None:
        """Measures of the tune split into the logs; a new best adapter is kept."""
        session, measure = self.session, self.config.checkpoint.measure
        with session.diagnostics.timer("eval"):
            measures = self._tune()
            if measure not in measures:
                measures |= self._tune_measures()
        session.diagnostics.log(self.step, {f"eval/{name}": value for name, value in measures.items()})
        value = measures[measure]
        least = least_is_best(measure)
        better = self.best is None or (value < self.best.value if least else value > self.best.value)
        if better:
            self.best = Best(measure, value, self.step)
            if session.folder is not None:
                session.folder.write_folder(session.folder.paths.adapter_best, session.policy.save)
        if session.folder is not None:
            mark, unit = ", the best so far" if better else "", self.tuner.tune_unit
            session.diagnostics.say(f"update {self.step}: tune loss {measures['loss']:.4f} {unit}{mark}")
            if self.tuner.shown:
                session.diagnostics.say(f"  sampled, {self.tuner.shown}")

    def _tune(self) -> dict[str, float]:
        """What is said of the tune split, over all processes."""
        with torch.no_grad():
            sums, count = self.tuner.tune(share(self.tune_examples, self.session.accelerator))
        return mean_metrics(sums, count, self.session.accelerator)

    def _tune_measures(self) -> dict[str, float]:
        """The task's measures of greedy responses to the tune split; every process computes all of them."""
        session, settings = self.session, self.config.evaluation
        done = evaluate(
            session.policy,
            self.task,
            self.tune_examples,
            split="tune",
            model=f"update {self.step}",
            max_new_tokens=self.config.max_new_tokens,
            num_rows=settings.num_rows,
            seed=session.config.data.seed,
        )
        measures = {name: interval.mean for name, interval in done.measures.items()}
        wanted = self.config.checkpoint.measure
        if wanted not in measures:
            raise ConfigError(
                f"checkpoint.measure={wanted!r}: the task {self.task.name} measures {', '.join(measures)}, and loss"
            )
        return measures


def _gathered(mine: dict[str, Any], session: Session) -> list[dict[str, Any]]:
    """Every process's random states, in the order of ranks."""
    if session.accelerator.num_processes == 1:
        return [mine]
    gathered: list[dict[str, Any] | None] = [None] * session.accelerator.num_processes
    torch.distributed.all_gather_object(gathered, mine)
    return [state for state in gathered if state is not None]
