"""Fluency: how surprising an answer's tokens are to a policy that was trained on nothing but text.

    surprise  sum over tokens of max(0, -log p - `surprising`), nats: graded, costs `weight` a nat
    garbled   highest mean of -log p over `window` tokens in a row: from `garbled` on the floor applies

Words that a search puts into a text because a learned reward likes them are unlikely where they stand: one random word
adds about 6 nats of surprise, where a whole honest reply has 2 on average (docs/rewards.md). A mean over the text would
let a long answer carry more such words, so surprise is a sum.

p is the reference policy's, given the prompt. Where an answer brings its log-probabilities
(`Answer.reference_logprobs`, which reinforcement learning computes anyway) nothing is computed; else the reference
reads the text, which costs a forward pass of the whole model. End tokens don't count: whether an answer ended is the
length constraint's to say.
"""

from collections.abc import Sequence

import torch

from gemma_align.config.constraints import FluencyConfig
from gemma_align.data.collate import sharing_prompts
from gemma_align.data.templates import fit
from gemma_align.errors import RewardError
from gemma_align.models.policy import Policy
from gemma_align.rewards.constraints.base import Finding
from gemma_align.types import Answer, Example

Logprobs = Sequence[float]


def surprise(logprobs: Logprobs, surprising: float) -> float:
    """Nats above `surprising`, summed over tokens; 0 or more."""
    return sum(max(0.0, -value - surprising) for value in logprobs)


def worst_window(logprobs: Logprobs, window: int) -> float:
    """The highest mean of -log p, nats, over `window` tokens in a row, or over all where there are fewer; 0 of none."""
    width = min(window, len(logprobs))
    if not width:
        return 0.0
    return max(-sum(logprobs[i : i + width]) / width for i in range(len(logprobs) - width + 1))


def fluency(logprobs: Logprobs, settings: FluencyConfig) -> Finding:
    """What the constraint says of an answer with these log-probabilities. It fires where the text is garbled."""
    amount, worst = surprise(logprobs, settings.surprising), worst_window(logprobs, settings.window)
    penalty = -settings.weight * amount
    if worst < settings.garbled:
        return Finding(penalty, amount, False, "surprise")
    floor = None if settings.floor is None else settings.floor + penalty
    reason = f"{settings.window} tokens in a row cost {worst:.1f} nats each, under {settings.garbled:g} expected"
    return Finding(penalty, worst, True, "garbled", reason=reason, floor=floor)


class Reference:
    """The policy that answers are surprising to. Its adapter, if it has one, is off."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    @torch.no_grad()
    def logprobs(self, examples: Sequence[Example], answers: Sequence[Answer]) -> list[Logprobs]:
        """Log-probabilities of each answer's tokens in nats, as the answer brings them or as they are computed here.

        A prompt with several answers is read once. What is longer than the policy's `max_length` is cut by its rule.

        Raises:
            RewardError: a log-probability that isn't finite; it names the example.
        """
        found: list[Logprobs] = [answer.reference_logprobs or () for answer in answers]
        missing = [i for i, answer in enumerate(answers) if answer.reference_logprobs is None]
        read = self._read([examples[i] for i in missing], [answers[i].text for i in missing])
        for i, row in zip(missing, read, strict=True):
            found[i] = row
        for example, row in zip(examples, found, strict=True):
            if not all(value > float("-inf") for value in row):  # NaN isn't either
                raise RewardError(f"the reference's log-probabilities of example {example.id!r} aren't finite")
        return found

    def _read(self, examples: Sequence[Example], texts: Sequence[str]) -> list[Logprobs]:
        policy, speaks = self._policy, self._policy.prompt_format
        fitted = [
            fit(speaks.prompt_ids(e), speaks.response_ids(text)[:-1], policy.max_length, example_id=e.id)
            for e, text in zip(examples, texts, strict=True)
        ]
        if not any(f.response_ids for f in fitted):
            return [()] * len(fitted)
        responses = sharing_prompts([(f.prompt_ids, f.response_ids) for f in fitted])
        if policy.has_adapter:
            with policy.base():
                logprobs = policy.logprobs(responses)
        else:
            logprobs = policy.logprobs(responses)
        return [row[: len(f.response_ids)] for row, f in zip(logprobs.cpu().tolist(), fitted, strict=True)]
