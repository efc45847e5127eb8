"""Critics: what a response can still be expected to earn, token by token (PPO).

    own     low-rank matrices and a head of its own beside the frozen base model: the policy can't be moved by it
    trunk   a head on the policy's own states: no second pass, but its gradient goes into the policy's weights

The value of token t is read at the state that predicts t, before t is known.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemma_align.core.packing import join, microbatch_rows
from gemma_align.models.beside import Beside
from gemma_align.models.policy import Policy
from gemma_align.types import Responses

HeadStart = Literal["inverse", "inverse_sqrt"]


class Head(nn.Module):
    """Linear, from a state to one number; in float32 whatever the model computes in."""

    def __init__(self, hidden_size: int, start: HeadStart, device: torch.device) -> None:
        """Near zero: standard deviation 1 / (h + 1), as in OpenRLHF, or 1 / sqrt(h + 1), as in the N+ details."""
        super().__init__()
        deviation = (hidden_size + 1) ** (-1.0 if start == "inverse" else -0.5)
        self.weight = nn.Parameter((deviation * torch.randn(hidden_size)).to(device))
        self.bias = nn.Parameter(torch.zeros((), device=device))

    def forward(self, states: Float[Tensor, "M H"]) -> Float[Tensor, "M"]:
        """One value a state."""
        return states.float() @ self.weight + self.bias


class OwnCritic(nn.Module):
    """See the top of this file."""

    def __init__(self, policy: Policy, rank: int, start: HeadStart) -> None:
        super().__init__()
        self.beside = Beside(policy, rank)
        self.head = Head(int(policy.causal_lm.config.hidden_size), start, policy.device)

    def forward(self, responses: Responses) -> Float[Tensor, "N T"]:
        """Values, 0 where masked. With gradients all responses go through in one pass, as the loop has split them."""
        if torch.is_grad_enabled():
            return self._one_pass(responses)
        parts = [
            (rows, self._one_pass(responses.select(rows)))
            for rows in microbatch_rows(responses, self.beside.policy.max_tokens)
        ]
        return join(parts, *responses.ids.shape)

    def _one_pass(self, responses: Responses) -> Float[Tensor, "N T"]:
        row = self.beside.policy.pack(responses)
        return row.scatter(self.head(self.beside.hidden(row)))
