"""How likely a policy finds the reference responses, and whether it prefers them to the rejected ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from gemma_align.types import Example, Policy, Responses


class Scorer(Policy, Protocol):
    """A policy that knows how an example's response is encoded."""

    def encode(self, examples: Sequence[Example]) -> Responses:
        """The reference responses, one an example, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Of one example's reference.

    loss        nats per token, the end token included; None without a reference
    num_tokens  of the reference; 0 without one
    preferred   1 where the chosen response is likelier than the rejected one, log-probabilities summed over tokens
                (what DPO raises; Rafailov et al. 2023, eq. 7 without a reference), 0.5 where equal, else 0; None
                without a pair
    """

    loss: float | None = None
    num_tokens: int = 0
    preferred: float | None = None


def likelihoods(policy: Scorer, examples: Sequence[Example]) -> list[Likelihood]:
    """Those of the examples' references, in order; needs no gradient."""
    rejected = [replace(e, response=e.rejected if e.response is not None else None) for e in examples]
    return [_likelihood(*nats) for nats in zip(_nats(policy, examples), _nats(policy, rejected), strict=True)]


def _likelihood(chosen: tuple[float, int] | None, rejected: tuple[float, int] | None) -> Likelihood:
    if chosen is None:
        return Likelihood()
    nats, num_tokens = chosen
    preferred = None
    if rejected is not None:
        preferred = 0.5 if nats == rejected[0] else float(nats < rejected[0])
    return Likelihood(nats / num_tokens, num_tokens, preferred)


def _nats(policy: Scorer, examples: Sequence[Example]) -> list[tuple[float, int] | None]:
    """-log p(response | prompt) in nats, and the tokens of the response; None without one."""
    found: list[tuple[float, int] | None] = [None] * len(examples)
    having = [i for i, example in enumerate(examples) if example.response is not None]
    if not having:
        return found
    responses = policy.encode([examples[i] for i in having])
    mask = responses.mask.cpu()
    nats = torch.where(mask, -policy.logprobs(responses).cpu().double(), 0.0).sum(dim=1)
    tokens = mask.sum(dim=1)
    assert len(tokens) == len(having), "the policy encodes one response an example"
    for i, total, count in zip(having, nats.tolist(), tokens.tolist(), strict=True):
        if count:
            found[i] = (total, count)
    return found
