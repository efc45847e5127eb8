"""Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290): a chosen response against a rejected one.

    r(y)  = log p(y | x) - log p_ref(y | x)                  summed over y's tokens; the implicit reward is beta r
    loss  = mean over pairs of -log s(beta (r(chosen) - r(rejected)))

p_ref is the policy as the stage found it: after SFT the SFT policy, not the base model. Its log-probabilities of a
pair are computed once, when the pair is first met.

Options beside the paper: label smoothing, IPO's squared loss, r per token instead of per response, and a term of SFT on
the chosen response (Pang et al. 2024, arXiv 2404.19733, eq. 1). Without it the chosen response's own log-probability
usually falls, only more slowly than the rejected one's; `policy/chosen_logprob` shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gemma_align.config.methods import DPOConfig
from gemma_align.core.preference import dpo_loss, ipo_loss
from gemma_align.models.reference import Reference
from gemma_align.types import Batch, Example, Policy, Responses, Totals


@dataclass(frozen=True, slots=True)
class PairBatch(Batch):
    """P pairs as 2P responses to P prompts: 0, 2, 4 … are chosen, 1, 3, 5 … rejected."""

    whole_prompts: ClassVar[bool] = True  # a microbatch has both or neither

    ref_logprobs: Float[Tensor, "N"]  # of whole responses under the reference, nats


class DPO:
    """The two verbs of direct preference optimization."""

    metrics = (
        "loss/dpo",
        "loss/sft",
        "reward/chosen",
        "reward/rejected",
        "reward/margin",
        "reward/accuracy",
        "policy/chosen_logprob",
        "policy/rejected_logprob",
    )

    num_passes = 1
    num_minibatches = 1
    own = None
    shown = ""
    tune_unit = "nats a pair"

    def __init__(
        self,
        policy: Policy,
        reference: Reference,
        encode: Callable[[Sequence[Example]], Responses],
        settings: DPOConfig,
    ) -> None:
        """What is trained, on what, against what.

        Args:
            policy: what is trained.
            reference: the policy as it is when the stage begins.
            encode: turns P pairs into 2P responses, chosen and rejected in turns.
            settings: the configuration's `dpo`.
        """
        self.policy = policy
        self.reference = reference
        self.encode = encode
        self.settings = settings
        self._known: dict[str, tuple[float, float]] = {}  # of each pair under the reference, by id

    def prepare(self, examples: Sequence[Example]) -> PairBatch:
        """Tokens of the pairs, and the reference's log-probabilities of both responses."""
        new = [example for example in examples if example.id not in self._known]
        if new:
            found = self.reference_logprobs(self.encode(new)).view(-1, 2).tolist()
            self._known |= {example.id: (c, r) for example, (c, r) in zip(new, found, strict=True)}
        known = [value for example in examples for value in self._known[example.id]]
        return PairBatch(self.encode(examples), torch.tensor(known, dtype=torch.float32))

    def reference_logprobs(self, responses: Responses) -> Float[Tensor, "N"]:
        """log p_ref of whole responses, nats. No gradient."""
        with torch.no_grad(), self.reference.in_place():
            return self.policy.logprobs(responses).double().sum(dim=1).float().cpu()

    def loss(self, batch: Batch, totals: Totals) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Mean over pairs, in nats; rewards are beta r, log-probabilities those of whole responses."""
        assert isinstance(batch, PairBatch)
        settings, num_pairs = self.settings, totals.num_sequences / 2
        logprobs = self.policy.logprobs(batch.responses)
        mask = batch.responses.mask.to(logprobs.device)
        losses, ratios = self._losses(logprobs, batch.ref_logprobs.to(logprobs.device), mask)
        loss = losses.sum() / num_pairs
        sft = -(logprobs[0::2].sum(dim=1) / mask[0::2].sum(dim=1).clamp(min=1)).sum() / num_pairs
        if settings.sft_weight:
            loss = loss + settings.sft_weight * sft
        rewards = settings.beta * ratios.detach().view(-1, 2)
        margin = rewards[:, 0] - rewards[:, 1]
        whole = logprobs.detach().sum(dim=1).view(-1, 2)
        return loss, {
            "loss/dpo": losses.sum().item() / num_pairs,
            "loss/sft": sft.item(),
            "reward/chosen": rewards[:, 0].sum().item() / num_pairs,
            "reward/rejected": rewards[:, 1].sum().item() / num_pairs,
            "reward/margin": margin.sum().item() / num_pairs,
            "reward/accuracy": ((margin > 0).float() + 0.5 * (margin == 0).float()).sum().item() / num_pairs,
            "policy/chosen_logprob": whole[:, 0].sum().item() / num_pairs,
            "policy/rejected_logprob": whole[:, 1].sum().item() / num_pairs,
        }

    def told(self) -> tuple[dict[str, float], float]:
        """Nothing beside the loss."""
        return {}, 1.0

    def tune(self, examples: Sequence[Example]) -> tuple[dict[str, float], float]:
        """Of the tune split: loss, accuracy and margin of beta r, summed, to be divided by the pairs."""
        if not examples:
            return {"loss": 0.0, "accuracy": 0.0, "margin": 0.0}, 0.0
        batch = self.prepare(examples)
        logprobs = self.policy.logprobs(batch.responses)
        mask = batch.responses.mask.to(logprobs.device)
        losses, ratios = self._losses(logprobs, batch.ref_logprobs.to(logprobs.device), mask)
        chosen, rejected = (self.settings.beta * ratios).double().view(-1, 2).unbind(dim=1)
        right = (chosen > rejected).double() + 0.5 * (chosen == rejected).double()
        sums = {"loss": losses, "accuracy": right, "margin": chosen - rejected}
        return {name: float(values.double().sum()) for name, values in sums.items()}, float(len(examples))

    def _losses(
        self, logprobs: Float[Tensor, "N T"], ref: Float[Tensor, "N"], mask: Bool[Tensor, "N T"]
    ) -> tuple[Float[Tensor, "P"], Float[Tensor, "N"]]:
        """The pairs' losses, and the responses' r."""
        ratios = logprobs.masked_fill(~mask, 0.0).sum(dim=1) - ref
        if self.settings.length_normalised:
            ratios = ratios / mask.sum(dim=1).clamp(min=1)
        chosen, rejected = ratios.view(-1, 2).unbind(dim=1)
        if self.settings.loss == "ipo":
            return ipo_loss(chosen, rejected, self.settings.beta), ratios
        return dpo_loss(chosen, rejected, self.settings.beta, self.settings.label_smoothing), ratios

    def state_dict(self) -> dict[str, Any]:
        """The reference and what it said: the policy that is trained isn't it any more."""
        return {"reference": self.reference.state_dict(), "known": {k: list(v) for k, v in self._known.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.reference.load_state_dict(state["reference"])
        self._known = {name: (float(c), float(r)) for name, (c, r) in state["known"].items()}
