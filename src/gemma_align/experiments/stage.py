"""One stage of a run: updates, and between them evaluation, the best adapter, and checkpoints."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import torch

from gemma_align.config import Config, Stage
from gemma_align.data.collate import Encoder, Lengths, PairEncoder, Prompts
from gemma_align.errors import ConfigError
from gemma_align.evaluation.evaluate import evaluate
from gemma_align.experiments.session import Session
from gemma_align.models.policy import Policy
from gemma_align.models.reference import Reference
from gemma_align.rewards.build import open_reward
from gemma_align.trainers.checkpointing import Best, LoopState, capture_rng, restore_rng, save_checkpoint
from gemma_align.trainers.dpo import DPO
from gemma_align.trainers.grpo import GRPO
from gemma_align.trainers.loop import Loop, Update
from gemma_align.trainers.memory import release_free_memory
from gemma_align.trainers.processes import share, total
from gemma_align.trainers.rollouts import Roller
from gemma_align.trainers.sft import SFT
from gemma_align.types import Algorithm, Example

SAMPLING = ("grpo",)
"""Methods whose batches are prompts to be sampled: `rl.num_prompts` of them, and not `training.batch_size` examples."""


class StageAlgorithm(Algorithm, Protocol):
    """An algorithm that is a stage of a run: it can also say how good the policy is on the tune split."""

    @property
    def tune_unit(self) -> str:
        """Of the tune loss, such as "nats a token"."""
        ...

    def tune(self, examples: Sequence[Example]) -> tuple[dict[str, float], float]:
        """Sums over the examples, `loss` among them, and what they are to be divided by. No gradient."""
        ...


class Limited(Protocol):
    """Turns examples into tokens, and knows which of them fit."""

    def within_limit(self, examples: Sequence[Example]) -> tuple[list[Example], Lengths]:
        """See `Encoder.within_limit`."""
        ...


def make_algorithm(
    config: Config, method: str, policy: Policy, seed: int, stack: ExitStack
) -> tuple[StageAlgorithm, Limited]:
    """The two verbs of a method, and what turns its examples into tokens.

    Args:
        config: the stage's.
        method: its name.
        policy: as the stage finds it, which is its reference.
        seed: of what the method draws.
        stack: holds what the method needs open.
    """
    encoder = Encoder(policy.prompt_format, config.model.max_length, config.data.too_long)
    match method:
        case "sft":
            return SFT(policy, encoder), encoder
        case "dpo":
            pairs = PairEncoder(encoder)
            return DPO(policy, Reference(policy.trainable()), pairs, config.dpo), pairs
        case "grpo":
            reward = stack.enter_context(open_reward(config.task, config.reward, lambda: policy))
            roller = Roller(policy, Reference(policy.trainable()), reward, config.rl, seed=seed)
            return GRPO(policy, roller, config.rl, config.grpo), Prompts(encoder, config.rl.max_response_tokens)
    raise AssertionError(f"the configuration lets no method {method!r} through")


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
        self.config = session.config.for_stage(stage)
        self.name = stage.method if len(session.config.stages) == 1 else f"{index + 1}-{stage.method}"
        self.step = before.step if before else 0
        self.tokens_seen = before.tokens_seen if before else 0
        # What is best is best of its stage: another method's loss is another measure
        self.best = before.best if before is not None and before.stage == index else None
        self.task = session.tasks[index]
        seed = session.config.seed + index
        self._open = ExitStack()
        self.algorithm, encode = make_algorithm(self.config, stage.method, session.policy, seed, self._open)
        examples, lengths = encode.within_limit(self.task.examples("train"))
        self.tune_examples, _ = encode.within_limit(self.task.examples("tune"))
        if session.folder is not None:
            session.diagnostics.say(f"{self.name}: {lengths.describe()}")
        training = self.config.training
        if stage.method in SAMPLING:
            training = training.model_copy(update={"batch_size": self.config.rl.num_prompts})
        session.policy.recompute_above(0 if training.gradient_checkpointing else training.max_tokens_per_microbatch)
        self.loop = Loop(
            self.algorithm,
            session.policy.trainable(),
            examples,
            training,
            seed=seed,
            accelerator=session.accelerator,
            timer=session.diagnostics.timer,
        )
        if before is not None and before.stage == index:
            self.loop.restore(before)
            restore_rng(before.rng[session.accelerator.process_index])

    def run(self) -> LoopState:
        """All updates that are left; the state after the last one, which is saved."""
        every, eval_every = self.config.checkpoint.every, self.config.training.eval_every
        last = self.loop.total_steps
        with self._open, self.session.diagnostics.stage(self.name, last, done=self.loop.step):
            for update in self.loop:
                self._count(update)
                if update.step == last or (eval_every and update.step % eval_every == 0):
                    self._evaluate()
                if update.step == last or (every and update.step % every == 0):
                    self._save()
        return self.state()

    def state(self) -> LoopState:
        """The loop's state with the run's counters, random states and log positions."""
        state = self.loop.state()
        state.stage, state.step, state.tokens_seen, state.best = self.index, self.step, self.tokens_seen, self.best
        state.rng = _gathered(capture_rng(), self.session)
        if self.session.folder is not None:
            state.logs = self.session.folder.log_sizes()
        return state

    def _count(self, update: Update) -> None:
        self.step += 1
        self.tokens_seen += update.num_tokens
        progress = {
            "progress/epoch": self.loop.examples_seen / len(self.loop.examples),
            "progress/examples": self.loop.examples_seen,
            "progress/tokens": self.tokens_seen,
        }
        release_free_memory()
        self.session.diagnostics.update(self.step, {**update.metrics, **progress}, update.num_tokens)

    def _save(self) -> None:
        session = self.session
        with session.diagnostics.timer("checkpoint"):
            state = self.state()
            if session.folder is not None:
                save_checkpoint(session.folder.paths.checkpoints, state, self.config.checkpoint.keep)
                session.folder.write_folder(session.folder.paths.adapter, session.policy.save)
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
        better = self.best is None or (value < self.best.value if measure == "loss" else value > self.best.value)
        if better:
            self.best = Best(measure, value, self.step)
            if session.folder is not None:
                session.folder.write_folder(session.folder.paths.adapter_best, session.policy.save)
        if session.folder is not None:
            mark, unit = ", the best so far" if better else "", self.algorithm.tune_unit
            session.diagnostics.say(f"update {self.step}: tune loss {measures['loss']:.4f} {unit}{mark}")

    def _tune(self) -> dict[str, float]:
        """What the algorithm says of the tune split, over all processes."""
        with torch.no_grad():
            sums, count = self.algorithm.tune(share(self.tune_examples, self.session.accelerator))
        *summed, divisor = total([*sums.values(), count], self.session.accelerator)
        return {name: value / divisor for name, value in zip(sums, summed, strict=True)}

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
