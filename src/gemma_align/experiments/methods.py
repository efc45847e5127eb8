"""The methods a stage may have: what each needs of an example, and how its two verbs are made."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from gemma_align.config import Config
from gemma_align.core.advantages import Total
from gemma_align.data.collate import Encoder, Lengths, PairEncoder, Prompts
from gemma_align.models.policy import Policy
from gemma_align.models.reference import Reference
from gemma_align.rewards.build import open_reward
from gemma_align.trainers.dpo import DPO
from gemma_align.trainers.grpo import GRPO
from gemma_align.trainers.ppo import PPO
from gemma_align.trainers.rejection import Rejection
from gemma_align.trainers.rollouts import Roller
from gemma_align.trainers.sft import SFT
from gemma_align.trainers.spares import Spares
from gemma_align.types import Algorithm, Example


class Tuner(Protocol):
    """Says how good the policy is on the tune split: an algorithm itself, or the roller of those that sample."""

    @property
    def tune_unit(self) -> str:
        """Of the tune loss, such as "nats a token"."""
        ...

    @property
    def shown(self) -> str:
        """Something that the policy said while it was trained, for people; empty where it says nothing."""
        ...

    def tune(self, examples: Sequence[Example]) -> tuple[dict[str, float], float]:
        """Sums over the examples, `loss` among them, and what they are to be divided by. No gradient."""
        ...


class Limited(Protocol):
    """Turns examples into tokens, and knows which of them fit."""

    def within_limit(self, examples: Sequence[Example]) -> tuple[list[Example], Lengths]:
        """See `Encoder.within_limit`."""
        ...


@dataclass(frozen=True, slots=True)
class Start:
    """What a stage starts from.

    config    the stage's
    policy    as the stage finds it, which is its reference
    encode    turns reference responses into tokens
    examples  of the train split, those that are too long too
    seed      of what the method draws
    open      holds what the method needs open until the stage ends
    total     adds numbers up over all processes
    """

    config: Config
    policy: Policy
    encode: Encoder
    examples: Sequence[Example]
    seed: int
    open: ExitStack
    total: Total = list


Made = tuple[Algorithm, Tuner, Limited]


@dataclass(frozen=True, slots=True)
class Method:
    """One method.

    needs  fields that its training examples must have
    make   its verbs, what says how good the policy is, and what turns its examples into tokens
    """

    needs: tuple[str, ...]
    make: Callable[[Start], Made]


def _sft(start: Start) -> Made:
    sft = SFT(start.policy, start.encode)
    return sft, sft, start.encode


def _dpo(start: Start) -> Made:
    pairs = PairEncoder(start.encode)
    dpo = DPO(start.policy, Reference(start.policy.trainable()), pairs, start.config.dpo)
    return dpo, dpo, pairs


def _grpo(start: Start) -> Made:
    roller, prompts = _sampled(start)
    settings, spares = start.config.grpo, None
    if settings.max_refills:
        spares = Spares(prompts.within_limit(start.examples)[0], settings.max_refills, start.seed)
    return GRPO(start.policy, roller, start.config.rl, settings, spares), roller, prompts


def _ppo(start: Start) -> Made:
    roller, prompts = _sampled(start)
    rl, settings = start.config.rl, start.config.ppo
    return PPO(start.policy, roller, rl, settings, seed=start.seed, total=start.total), roller, prompts


def _rejection(start: Start) -> Made:
    roller, prompts = _sampled(start)
    return Rejection(start.policy, roller), roller, prompts


def _sampled(start: Start) -> tuple[Roller, Prompts]:
    """Samples the policy and scores what it says; and which prompts leave room for a response."""
    config, policy = start.config, start.policy
    reward = start.open.enter_context(open_reward(config.task, config.reward, lambda: policy))
    roller = Roller(policy, Reference(policy.trainable()), reward, config.rl, seed=start.seed, total=start.total)
    return roller, Prompts(start.encode, config.rl.max_response_tokens)


METHODS: Mapping[str, Method] = {
    "sft": Method(needs=("response",), make=_sft),
    "dpo": Method(needs=("response", "rejected"), make=_dpo),
    "grpo": Method(needs=(), make=_grpo),
    "ppo": Method(needs=(), make=_ppo),
    "rejection": Method(needs=(), make=_rejection),
}
