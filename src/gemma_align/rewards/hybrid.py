"""The hybrid reward: a learned encoder held by hard constraints, with a programmatic reward and own terms beside them.

    total = alpha x encoder + beta x (toxicity + repetition + length + fluency)
            + programmatic x the task's programmatic reward + sum of weight x term
    total = min(total, floor)        where a constraint with a floor fired

`combine.py` says what stands in the encoder's place; every part is kept beside the total.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gemma_align.config.reward import RewardConfig
from gemma_align.errors import RewardError
from gemma_align.rewards.combine import capped, pessimistic, shaped, weighted
from gemma_align.rewards.constraints import CONSTRAINTS, Finding, check_all
from gemma_align.rewards.encoder.model import RewardEncoder
from gemma_align.rewards.fluency import Reference, fluency
from gemma_align.rewards.lagrangian import Multiplier
from gemma_align.rewards.terms import Term, score_term
from gemma_align.types import Answer, Example, RewardModel, Scores


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores, and of each answer what every constraint found (`Finding`: span and reason), by name."""

    scores: Scores
    findings: tuple[Mapping[str, Finding], ...]


class HybridReward:
    """Fulfils `RewardModel`. Made by `rewards.build.build_reward`.

    Parts of `score`, where they are in use:

    encoder, encoder_spread  the encoder's mean over its heads, and their standard deviation
    shaped                   what stands in the encoder's place with `combine: shaped`; `pessimistic` likewise
    toxicity, repetition, length  penalties, 0 or less; `fluency` too where it has a weight
    violation                1 where any of them fired
    capped                   1 where a floor decided the total
    programmatic             the task's programmatic reward
    term/NAME                of a term of one's own, before its weight
    """

    def __init__(
        self,
        task: str,
        settings: RewardConfig,
        encoder: RewardEncoder | None,
        programmatic: RewardModel | None = None,
        terms: Mapping[str, tuple[Term, float]] | None = None,
        reference: Reference | None = None,
    ) -> None:
        """`encoder` is needed where `settings.alpha` is above 0, `programmatic` where its weight is, `reference` where
        fluency counts."""
        assert encoder is not None or settings.alpha == 0, "alpha above 0 wants an encoder"
        assert programmatic is not None or settings.programmatic == 0, "its weight wants a programmatic reward"
        self.task = task
        self.settings = settings
        self.reference = reference if settings.asks_reference else None
        assert (self.reference is not None) == settings.asks_reference, "fluency wants a reference policy"
        self.encoder = encoder if settings.alpha else None
        self.programmatic = programmatic if settings.programmatic else None
        self.terms = dict(terms or {})
        adapting = settings.lagrangian
        self.multiplier = Multiplier(
            settings.beta, adapting.target, adapting.step, adapting.low, adapting.high, adapting.delay
        )

    @property
    def beta(self) -> float:
        """The weight of the constraints now."""
        return self.multiplier.beta if self.settings.combine == "lagrangian" else self.settings.beta

    def score(self, examples: Sequence[Example], answers: Sequence[Answer], beta: float | None = None) -> Scores:
        """See `RewardModel` and `judge`."""
        return self.judge(examples, answers, beta).scores

    def judge(self, examples: Sequence[Example], answers: Sequence[Answer], beta: float | None = None) -> Judged:
        """Scores with the constraints' findings; `beta` takes the place of the weight that the constraints have now.

        Raises:
            RewardError: a part that can't be computed for an example, or isn't finite; it names the example.
        """
        parts: dict[str, Tensor] = {}
        encoder = torch.zeros(len(answers))
        if self.encoder is not None:
            encoder = self._encoder(self.encoder, examples, answers, parts)
        findings = check_all(examples, answers, self.task, self.settings.constraints)
        names: tuple[str, ...] = CONSTRAINTS
        if self.reference is not None:
            names = (*CONSTRAINTS, "fluency")
            read = self.reference.logprobs(examples, answers)
            for found, logprobs in zip(findings, read, strict=True):
                found["fluency"] = fluency(logprobs, self.settings.constraints.fluency)
        for name in names:
            parts[name] = torch.tensor([found[name].penalty for found in findings], dtype=torch.float32)
        fired = [any(found[name].fired for name in names) for found in findings]
        parts["violation"] = torch.tensor(fired, dtype=torch.float32)
        held: Tensor = sum((parts[name] for name in names), torch.zeros(len(answers)))
        total = weighted(encoder, held, self.settings.alpha, self.beta if beta is None else beta)
        if self.programmatic is not None:
            parts["programmatic"] = self.programmatic.score(examples, answers).total
            total = total + self.settings.programmatic * parts["programmatic"]
        for call, (term, weight) in self.terms.items():
            parts[f"term/{call}"] = torch.tensor(score_term(call, term, examples, answers), dtype=torch.float32)
            total = total + weight * parts[f"term/{call}"]
        uncapped = total
        total = capped(total, self._caps(findings))
        parts["capped"] = (total < uncapped).float()
        _require_finite(examples, {**parts, "total": total})
        return Judged(Scores(total, parts), tuple(findings))

    def observe(self, scores: Scores) -> None:
        """Tells the multiplier of `combine: lagrangian` about a batch of rollouts that were trained on."""
        if self.settings.combine != "lagrangian":
            return
        self.multiplier.observe(int(scores.parts["violation"].sum()), len(scores.total))

    def state_dict(self) -> dict[str, float]:
        """What changes while training, as JSON values."""
        return self.multiplier.state_dict()

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Takes back what `state_dict` gave."""
        self.multiplier.load_state_dict(state)

    def _encoder(
        self,
        encoder: RewardEncoder,
        examples: Sequence[Example],
        answers: Sequence[Answer],
        parts: dict[str, Tensor],
    ) -> Float[Tensor, "N"]:
        """What alpha multiplies; adds the encoder's parts."""
        heads = encoder.heads(examples, answers)
        parts["encoder"], parts["encoder_spread"] = heads.mean(dim=1), heads.std(dim=1, correction=0)
        match self.settings.combine:
            case "pessimistic":
                parts["pessimistic"] = pessimistic(heads, self.settings.pessimism, self.settings.pessimism_coef)
                return parts["pessimistic"]
            case "shaped":
                for example in examples:
                    if example.response is None:
                        raise RewardError(
                            f"example {example.id!r} has no reference response, which reward.combine=shaped compares "
                            "with: give `response`, or choose weighted"
                        )
                references = encoder.heads(examples, [Answer(example.response or "") for example in examples])
                parts["shaped"] = shaped(parts["encoder"], references.mean(dim=1))
                return parts["shaped"]
        return parts["encoder"]

    def _caps(self, findings: Sequence[Mapping[str, Finding]]) -> Float[Tensor, "N"]:
        """The lowest cap of each answer; infinite without one, and for all where beta is 0: constraints are off."""
        if self.settings.beta == 0:
            return torch.full((len(findings),), math.inf)
        caps = [[f.floor for f in found.values() if f.floor is not None] for found in findings]
        return torch.tensor([min(mine, default=math.inf) for mine in caps], dtype=torch.float32)


def _require_finite(examples: Sequence[Example], parts: Mapping[str, Tensor]) -> None:
    for name, values in parts.items():
        for example, finite in zip(examples, values.isfinite().tolist(), strict=True):
            if not finite:
                raise RewardError(
                    f"the reward's part {name!r} of the answer to example {example.id!r} is not finite; nothing is "
                    "scored as 0 in its place"
                )
