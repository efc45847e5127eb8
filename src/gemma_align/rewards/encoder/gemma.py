"""Backbone `gemma`: the policy's own base model, read at the response's last token (Ouyang et al. 2022, section 3.4).

The policy's adapter is off while the reward reads, so the reward doesn't move with the policy. Not trained (the
default), the base model's last hidden state is a frozen feature. Trained, low-rank matrices of the reward's own stand
on the same frozen weights (`models/beside.py`).

A prompt with several responses is computed once, as the policy does it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemma_align.core.packing import microbatch_rows
from gemma_align.data.collate import sharing_prompts
from gemma_align.models.beside import Beside
from gemma_align.models.policy import Policy
from gemma_align.rewards.encoder.gemma_embeddings import gemma_row, require_frozen
from gemma_align.rewards.encoder.rows import Row
from gemma_align.types import Example, Responses


class Gemma(nn.Module):
    """See the top of this file. `rank` 0: not trained."""

    def __init__(self, policy: Policy, *, rank: int, max_length: int) -> None:
        super().__init__()
        require_frozen(policy, "gemma")
        self.beside = Beside(policy, rank)
        self.max_length = max_length
        self.fingerprint = policy.info.fingerprint
        self.reads = policy.prompt_format.name
        hidden = int(policy.causal_lm.config.hidden_size)
        self.frozen_size: int = 0 if rank else hidden
        self.learned_size: int = hidden if rank else 0

    @property
    def policy(self) -> Policy:
        """Whose base model it is."""
        return self.beside.policy

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
        row = self.policy.pack(responses)
        ends = responses.mask.sum(dim=1).cumsum(dim=0).to(self.device) - 1  # of each response among the mask's entries
        return self.beside.hidden(row)[row.sources[ends]].float()
