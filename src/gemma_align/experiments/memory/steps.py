"""What a run of each method does that takes memory, at its worst, through the code that the run itself goes through.

Worst is: every example as long as the model may see (`model.max_length`), nearly all of it response, microbatches
filled to `training.max_tokens_per_microbatch`, and one longer than that where an example can be; a second microbatch,
when the first has left its gradients; a second update, when the optimizer has its state; prompts of the greatest
length for all rows that are decoded side by side.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Protocol, cast

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from gemma_align.config import Config
from gemma_align.core.packing import microbatch_rows
from gemma_align.experiments.memory.tracker import ACTIVATIONS, OPTIMIZER, WEIGHTS
from gemma_align.models.policy import Policy
from gemma_align.models.reference import Reference
from gemma_align.trainers.dpo import DPO, PairBatch
from gemma_align.trainers.grpo import GRPO, RolloutBatch
from gemma_align.trainers.loop import Loop
from gemma_align.trainers.ppo import PPO, PPOBatch
from gemma_align.trainers.rejection import Rejection
from gemma_align.trainers.rollouts import Roller
from gemma_align.trainers.sft import SFT
from gemma_align.types import Algorithm, Batch, Example, Responses, Sampling


class Meter(Protocol):
    """Who watches: the tracker in a forecast, the operating system's counter in a measurement."""

    def enter(self, phase: str) -> None:
        """From here on it is this phase."""
        ...

    def mark(self, tensors: Iterable[Tensor], kind: str) -> None:
        """These tensors are of this kind."""
        ...

    def mark_alive(self, made_in: str, kind: str) -> None:
        """What this phase made and is still alive is of this kind."""
        ...


def row_lengths(max_tokens: int, longest: int) -> list[int]:
    """Tokens of each example in the fullest microbatch: as long as they may be, and a shorter one to fill it."""
    longest = min(longest, max_tokens)
    whole, rest = divmod(max_tokens, longest)
    return [longest] * whole + ([rest] if rest > 1 else [])


def full_responses(lengths: Sequence[int], each: int = 1) -> Responses:
    """Examples of these lengths: a prompt of one token, the rest response, of which each prompt has so many."""
    mask = torch.arange(max(lengths) - 1) < torch.tensor(lengths)[:, None] - 1
    mask = mask.repeat_interleave(each, dim=0)
    prompt_of = torch.arange(len(lengths)).repeat_interleave(each)
    return Responses(((2,),) * len(lengths), prompt_of, _unlike(mask), mask)


def _unlike(mask: Tensor) -> Tensor:
    """Token ids of responses that begin differently from their neighbours: what several begin with is computed once."""
    return mask * (1 + torch.arange(len(mask)) % 2)[:, None]


@dataclass
class _OneProcess:
    """Stands in for accelerate, which would set up the devices of this machine."""

    meter: Meter
    num_processes: int = 1
    process_index: int = 0

    def backward(self, loss: Tensor) -> None:
        """The backward pass as a phase."""
        self.meter.mark_alive("forward", ACTIVATIONS)
        self.meter.enter("backward")
        loss.backward()
        self.meter.enter("forward")


def train_sft(policy: Policy, config: Config, meter: Meter) -> None:
    """A small update, so that the optimizer has its state, and one of at least two full microbatches.

    Where one example can be longer than the budget, it has a microbatch for itself, and its turn comes first.
    """
    meter.enter("prepare")
    batches = iter(_worst(config, each=1))
    _update(policy, config, meter, SFT(policy, lambda _: next(batches)))


def train_dpo(policy: Policy, config: Config, meter: Meter) -> None:
    """The same with pairs of two longest responses, which a microbatch never parts, and the reference's copy."""
    meter.enter("prepare")
    reference = Reference(policy.trainable())
    meter.mark(reference.state_dict().values(), WEIGHTS)
    batches = iter(_worst(config, each=2))
    _update(policy, config, meter, _GivenPairs(policy, reference, lambda _: next(batches), config.dpo))


class _GivenPairs(DPO):
    """Takes what `encode` gives, whatever the examples are."""

    def prepare(self, examples: Sequence[Example]) -> PairBatch:
        responses = self.encode(examples)
        return PairBatch(responses, self.reference_logprobs(responses))


def train_grpo(policy: Policy, config: Config, meter: Meter) -> None:
    """Groups of longest responses to longest prompts: sampled, read by the reference, and trained on.

    What the reward takes isn't in it: an encoder is small beside the model, and reads when nothing else is alive.
    """
    _train_sampled(policy, config, meter, _LongestRollouts)


def train_ppo(policy: Policy, config: Config, meter: Meter) -> None:
    """The same with a critic."""
    _train_sampled(policy, config, meter, _LongestJudged)


def train_rejection(policy: Policy, config: Config, meter: Meter) -> None:
    """The same, and one response of each group is trained on."""
    _train_sampled(policy, config, meter, _LongestBest)


def _train_sampled(
    policy: Policy,
    config: Config,
    meter: Meter,
    make: "Callable[[Policy, Config, Roll, Meter], Algorithm]",
) -> None:
    meter.enter("prepare")
    reference = Reference(policy.trainable())
    meter.mark(reference.state_dict().values(), WEIGHTS)
    training = config.training.model_copy(update={"batch_size": config.rl.num_prompts})
    algorithm = make(policy, config, partial(_longest_rollouts, policy, reference, config, meter), meter)
    _update(policy, config.model_copy(update={"training": training}), meter, algorithm)


def _longest_rollouts(
    policy: Policy, reference: Reference, config: Config, meter: Meter, *, whole: bool = False
) -> tuple[Responses, Float[Tensor, "N T"]]:
    """Samples what is as long as it may be, and reads it as the reference does.

    Gives back what fills two microbatches, and two passes without a gradient: more of them take more time and no more
    memory. All of it where `whole`.
    """
    rl = config.rl
    asked = [Example(id=str(n), prompt="") for n in range(rl.num_prompts)]
    meter.enter("rollouts")
    policy.generate(asked, rl.group_size, Sampling(rl.max_response_tokens, temperature=rl.temperature))
    meter.enter("scoring rollouts")
    prompt_of = torch.arange(rl.num_prompts).repeat_interleave(rl.group_size)
    mask = torch.ones(len(prompt_of), rl.max_response_tokens, dtype=torch.bool)
    prompt = (2,) * (config.model.max_length - rl.max_response_tokens)
    responses = Responses((prompt,) * rl.num_prompts, prompt_of, _unlike(mask), mask)
    if not whole:
        fullest = microbatch_rows(responses, max(config.training.max_tokens_per_microbatch, policy.max_tokens))[:2]
        responses = responses.select(torch.cat(fullest).sort().values)
    with torch.no_grad(), reference.in_place():
        return responses, policy.logprobs(responses, rl.temperature)


class Roll(Protocol):
    """`_longest_rollouts` of a run."""

    def __call__(self, *, whole: bool = False) -> tuple[Responses, Float[Tensor, "N T"]]:
        """The responses, and their log-probabilities under the reference."""
        ...


class _LongestRollouts(GRPO):
    """Trains on the longest rollouts there can be."""

    def __init__(self, policy: Policy, config: Config, roll: Roll, meter: Meter) -> None:
        super().__init__(policy, cast(Roller, None), config.rl, config.grpo)
        self._roll = roll

    def prepare(self, examples: Sequence[Example]) -> RolloutBatch:
        responses, ref_logprobs = self._roll()
        shape = responses.mask.shape
        return RolloutBatch(responses, torch.zeros(shape), ref_logprobs, torch.ones(shape[0]))

    def told(self) -> tuple[dict[str, float], float]:
        return {}, 1.0


class _LongestJudged(PPO):
    """The same, and the critic reads them."""

    def __init__(self, policy: Policy, config: Config, roll: Roll, meter: Meter) -> None:
        once = config.ppo.model_copy(update={"num_passes": 1})  # each takes what the first one took
        super().__init__(policy, cast(Roller, None), config.rl, once, seed=config.seed)
        self._roll = roll
        meter.mark(self.own.weights.values(), WEIGHTS)

    def prepare(self, examples: Sequence[Example]) -> PPOBatch:
        responses, _ = self._roll()
        values = self.values(responses)
        return PPOBatch(responses, torch.zeros(values.shape), values, torch.ones(values.shape), values)

    def told(self) -> tuple[dict[str, float], float]:
        return {}, 1.0


class _LongestBest(Rejection):
    """The same, and one response of each group is kept."""

    def __init__(self, policy: Policy, config: Config, roll: Roll, meter: Meter) -> None:
        super().__init__(policy, cast(Roller, SimpleNamespace(rl=config.rl)))
        self._roll, self._each = roll, config.rl.group_size

    def prepare(self, examples: Sequence[Example]) -> Batch:
        responses, _ = self._roll(whole=True)
        return Batch(responses.select(torch.arange(0, len(responses), self._each)))

    def told(self) -> tuple[dict[str, float], float]:
        return {}, 1.0


def _worst(config: Config, each: int) -> tuple[Responses, Responses]:
    """A small batch, and one of at least two full microbatches; the longest come first where one is over the budget."""
    budget, longest = config.training.max_tokens_per_microbatch, config.model.max_length
    lengths = row_lengths(max(2, budget // each), longest)
    first = [longest, longest] if each * longest > budget else lengths
    return full_responses([2], each), full_responses(first + lengths, each)


def _update(policy: Policy, config: Config, meter: Meter, algorithm: Algorithm) -> None:
    settings = config.training.model_copy(update={"batch_size": 1, "max_steps": 2})
    # Not `loop.weights`: a timer that knows the loop makes a cycle, which keeps both alive until the garbage collector
    weights = {**policy.trainable(), **(algorithm.own.weights if algorithm.own else {})}

    @contextmanager
    def timer(phase: str) -> Iterator[None]:
        if phase == "optimizer":
            meter.mark((w.grad for w in weights.values() if w.grad is not None), OPTIMIZER)
        meter.enter({"update": "forward"}.get(phase, phase))
        yield

    loop = Loop(
        algorithm,
        policy.trainable(),
        [Example(id="longest", prompt="")],
        settings,
        seed=config.seed,
        accelerator=cast(Accelerator, _OneProcess(meter)),
        timer=timer,
    )
    for _ in loop:
        states = loop.optimizer.state.values()
        meter.mark((t for state in states for t in state.values() if isinstance(t, Tensor)), OPTIMIZER)


def evaluate(policy: Policy, config: Config, meter: Meter) -> None:
    """Greedy responses to the longest prompts, and the loss of the longest references.

    Where all weights were trained, the untuned model is loaded beside the tuned one.
    """
    settings = config.evaluation
    beside = () if policy.has_adapter or not settings.base else policy.model.parameters()
    untuned = [torch.empty_like(weight) for weight in beside]
    meter.mark(untuned, WEIGHTS)
    examples = [Example(id=str(n), prompt="") for n in range(settings.num_rows)]
    with torch.no_grad():
        meter.enter("generation")
        policy.generate(examples, 1, Sampling(max_tokens=config.max_new_tokens, temperature=0.0))
        meter.enter("scoring")  # when the sampler's copy of the weights is gone
        policy.logprobs(full_responses(row_lengths(policy.max_tokens, policy.max_length)))


TRAIN: Mapping[str, Callable[[Policy, Config, Meter], None]] = {
    "sft": train_sft,
    "dpo": train_dpo,
    "grpo": train_grpo,
    "ppo": train_ppo,
    "rejection": train_rejection,
}
"""How each method's updates go; the evaluation is the same for all."""
