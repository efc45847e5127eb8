"""Backbone `gemma`: the policy's own base model, read at the response's last token (Ouyang et al. 2022, section 3.4).

The policy's adapter is off while the reward reads, so the reward doesn't move with the policy. Not trained (the
default), the base model's last hidden state is a frozen feature. Trained, low-rank matrices of our own (Hu et al.
2021) stand on the same frozen weights through hooks that act only while this file reads: the policy's PEFT adapter,
its trainable weights and what it saves know nothing of them.

A prompt with several responses is computed once, as the policy does it.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gemma_align.core import attention
from gemma_align.core.packing import microbatch_rows, pack
from gemma_align.data.collate import sharing_prompts
from gemma_align.errors import ConfigError
from gemma_align.models.policy import SIZE_MULTIPLE, Policy
from gemma_align.rewards.encoder.gemma_embeddings import gemma_row
from gemma_align.rewards.encoder.rows import Row
from gemma_align.types import Example, Responses

TARGETS = ("q_proj", "v_proj")


class LowRank(nn.Module):
    """scale * B A x beside a linear layer; B starts at 0, so it starts as nothing."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, layer.in_features))
        self.b = nn.Parameter(torch.zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        """Scale 2, as alpha is twice the rank."""
        return 2.0 * F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype))


class Gemma(nn.Module):
    """See the top of this file. `rank` 0: not trained."""

    def __init__(self, policy: Policy, *, rank: int, max_length: int) -> None:
        super().__init__()
        if not policy.has_adapter and policy.trainable():
            raise ConfigError(
                "reward.encoder.backbone=gemma reads the frozen base model, but model.lora=null trains all of its "
                "weights: give model.lora, or another backbone"
            )
        self._policy = (policy,)  # in a tuple: not a submodule, so it is neither trained nor saved with us
        self.max_length = max_length
        self.fingerprint = policy.info.fingerprint
        self.reads = policy.prompt_format.name
        hidden = int(policy.causal_lm.config.hidden_size)
        self.frozen_size: int = 0 if rank else hidden
        self.learned_size: int = hidden if rank else 0
        self._layers = _linear_layers(policy.causal_lm) if rank else {}
        self.low_rank = nn.ModuleDict(
            {name.replace(".", "/"): LowRank(layer, rank) for name, layer in self._layers.items()}
        ).to(policy.device)

    @property
    def policy(self) -> Policy:
        """Whose base model it is."""
        return self._policy[0]

    @property
    def device(self) -> torch.device:
        """Where the base model is."""
        return self.policy.device

    def row(self, example: Example, text: str) -> Row:
        """See `gemma_row`."""
        return gemma_row(self.policy.prompt_format, example, text, self.max_length)

    @torch.no_grad()
    def frozen(self, rows: Sequence[Row]) -> Float[Tensor, "N H"]:
        """The last hidden state at the last token, split by the policy's own budget of tokens."""
        return self._read(rows, self.policy.max_tokens)

    def learned(self, rows: Sequence[Row]) -> Float[Tensor, "N H"]:
        """The same with our low-rank matrices; with gradients all rows go through in one pass."""
        return self._read(rows, None if torch.is_grad_enabled() else self.policy.max_tokens)

    def _read(self, rows: Sequence[Row], max_tokens: int | None) -> Tensor:
        """The state at a row's last token predicts the token after it, so a 0 is put there that nothing reads."""
        responses = sharing_prompts([(row.prompt_ids, (*row.response_ids, 0)) for row in rows])
        places = [torch.arange(len(rows))] if max_tokens is None else microbatch_rows(responses, max_tokens)
        found = torch.zeros(len(rows), self.policy.causal_lm.config.hidden_size, device=self.device)
        for part in places:
            found = found.index_copy(0, part.to(self.device), self._states(responses.select(part)))
        return found

    def _states(self, responses: Responses) -> Float[Tensor, "N H"]:
        policy = self.policy
        row = pack(responses, policy.device, SIZE_MULTIPLE)
        ends = responses.mask.sum(dim=1).cumsum(dim=0).to(policy.device) - 1  # of each response among the predictors
        mask = attention.PackedMask(row.groups)
        with self._applied():
            hidden = policy.causal_lm.model(
                input_ids=row.ids[None],
                position_ids=row.positions[None],
                attention_mask=dict.fromkeys(set(policy.causal_lm.config.layer_types), mask),
                use_cache=False,
            ).last_hidden_state[0]
        return hidden[row.predictors[ends]].float()

    @contextmanager
    def _applied(self) -> Iterator[None]:
        """Within it the base model carries our matrices and not the policy's adapter; its dropout is off."""
        policy = self.policy
        was_training = policy.model.training
        with ExitStack() as stack:
            if policy.has_adapter:
                stack.enter_context(policy.base())
            policy.model.eval()
            stack.callback(policy.model.train, was_training)
            for name, layer in self._layers.items():
                stack.enter_context(_hook(layer, self.low_rank[name.replace(".", "/")]))
            yield


@contextmanager
def _hook(layer: nn.Linear, ours: nn.Module) -> Iterator[None]:
    def add(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output + ours(inputs[0])

    handle = layer.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The base model's linear layers that get matrices, inside PEFT's wrappers where there are some.

    Named as they are without PEFT, so that what was fitted beside an adapter loads without one.
    """
    return {
        name.removesuffix(".base_layer"): module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.removesuffix(".base_layer").endswith(TARGETS)
    }
