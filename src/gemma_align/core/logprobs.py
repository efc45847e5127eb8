"""log p(token) and entropy from hidden states, without ever holding the logits of 262,144 words.

One pass over slices of the vocabulary keeps a running maximum, a running sum and a running softmax-weighted sum of
the head's rows (the online softmax of Milakov & Gimelshein 2018, arXiv 1805.02867). With h a hidden state, W the
head, z = W h / temperature and p = softmax(z):

    log p(y) = z_y - logsumexp(z)          d log p(y) / d h = (W_y - sum_v p_v W_v) / temperature
    entropy  = logsumexp(z) - E[z]         d entropy / d h  = (E[z] sum_v p_v W_v - sum_v p_v z_v W_v) / temperature

Where the head is frozen, the gradient of a token is therefore a vector of H numbers that comes out of the forward
pass: two products a token in all (three where the entropy's gradient is wanted), nothing recomputed, and any loss
only multiplies it by a coefficient. Where the head is trained, backward goes over the slices once more.

This is also the one place that sets tokens against the hidden states that predict them: callers pass hidden states
already gathered by `core/packing.py`, so nothing else in the package shifts.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemma_align.core.matmul import product

Entropy = Literal["none", "value", "grad"]

# Logits held at once. On a CPU a slice should stay in the cache; a card wants larger products.
_SLICE_ELEMENTS = {"cpu": 2**21, "cuda": 2**27}
_MAX_TOKENS = 1024  # tokens a pass: bounds the running sums, and keeps slices wide enough to be fast


def slice_width(num_tokens: int, vocab: int, device_type: str) -> int:
    """Vocabulary words per slice, so that tokens x words stays within the device's share of memory."""
    elements = _SLICE_ELEMENTS.get(device_type, 2**24)
    width = max(elements // max(num_tokens, 1), 256) // 64 * 64
    return min(width, vocab)


class _Sums:
    """Running sums over vocabulary slices for m tokens, all relative to the running maximum."""

    def __init__(self, hidden: Tensor, want_gradient: bool, entropy: Entropy) -> None:
        m, h = hidden.shape
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        zeros = hidden.new_zeros(m, 1, dtype=wide)
        self.top = torch.full_like(zeros, float("-inf"))
        self.mass = zeros.clone()  # sum of exp(z - top)
        self.weighted = zeros.clone() if entropy != "none" else None  # sum of exp(z - top) * z
        self.rows = hidden.new_zeros(m, h, dtype=wide) if want_gradient else None  # ... times the head's rows
        self.weighted_rows = hidden.new_zeros(m, h, dtype=wide) if want_gradient and entropy == "grad" else None

    def add(self, logits: Tensor, head: Tensor) -> None:
        """Takes the logits (m, words) of one slice, which it overwrites, and the head's rows (words, H)."""
        top = torch.maximum(self.top, logits.amax(dim=1, keepdim=True))
        fade = torch.exp(self.top - top)
        self.top = top
        scores = logits.clone() if self.weighted is not None else None
        mass = logits.sub_(top).exp_()
        self.mass.mul_(fade).add_(mass.sum(dim=1, keepdim=True))
        if self.rows is not None:
            self.rows.mul_(fade).add_(product(mass.to(head.dtype), head.t()))
        if self.weighted is not None and scores is not None:
            scores.mul_(mass)
            self.weighted.mul_(fade).add_(scores.sum(dim=1, keepdim=True))
            if self.weighted_rows is not None:
                self.weighted_rows.mul_(fade).add_(product(scores.to(head.dtype), head.t()))


def _one_pass(
    hidden: Tensor, head: Tensor, targets: Tensor, temperature: float, entropy: Entropy, want_gradient: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """For m tokens: log p, entropy (zeros where not wanted), logsumexp, d log p / d h and d entropy / d h."""
    m, vocab = len(hidden), len(head)
    width = slice_width(m, vocab, hidden.device.type)
    scaled = hidden / temperature
    sums = _Sums(hidden, want_gradient, entropy)
    chosen = torch.zeros_like(sums.mass)
    for start in range(0, vocab, width):
        part = head[start : start + width]
        logits = product(scaled, part).to(sums.mass.dtype)
        inside = (targets >= start) & (targets < start + len(part))
        picked = logits.gather(1, (targets - start).clamp(0, len(part) - 1)[:, None])
        chosen = torch.where(inside[:, None], picked, chosen)
        sums.add(logits, part)
    lse = sums.top + sums.mass.log()
    logprobs = (chosen - lse)[:, 0]
    mean = sums.weighted / sums.mass if sums.weighted is not None else None
    entropies = (lse - mean)[:, 0] if mean is not None else torch.zeros_like(logprobs)
    gradient = entropy_gradient = None
    if sums.rows is not None:
        expected_row = sums.rows / sums.mass
        gradient = (head[targets] - expected_row) / temperature
        if sums.weighted_rows is not None and mean is not None:
            entropy_gradient = (mean * expected_row - sums.weighted_rows / sums.mass) / temperature
    return logprobs, entropies, lse[:, 0], gradient, entropy_gradient


def _forward(
    hidden: Tensor, head: Tensor, targets: Tensor, temperature: float, entropy: Entropy, want_gradient: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """`_one_pass` over groups of at most `_MAX_TOKENS` tokens, put together again."""
    groups = list(zip(hidden.split(_MAX_TOKENS), targets.split(_MAX_TOKENS), strict=True))
    parts = [_one_pass(h, head, y, temperature, entropy, want_gradient) for h, y in groups]
    if len(parts) == 1:
        return parts[0]
    logprobs, entropies, lse, gradients, entropy_gradients = zip(*parts, strict=True)

    def joined(pieces: tuple[Tensor | None, ...]) -> Tensor | None:
        found = [piece for piece in pieces if piece is not None]
        return torch.cat(found) if found else None

    return (
        torch.cat(logprobs),
        torch.cat(entropies),
        torch.cat(lse),
        joined(gradients),
        joined(entropy_gradients),
    )


class _FrozenHead(torch.autograd.Function):
    """The head takes no gradient: the gradient vectors are made in the forward pass and only scaled in backward."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, temperature: float, entropy: Entropy
    ) -> tuple[Tensor, Tensor]:
        logprobs, entropies, _, gradient, entropy_gradient = _forward(
            hidden, head, targets, temperature, entropy, want_gradient=True
        )
        ctx.save_for_backward(gradient, entropy_gradient)
        ctx.dtype = hidden.dtype
        if entropy_gradient is None:
            ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, grad: Tensor, entropy_grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        gradient, entropy_gradient = ctx.saved_tensors
        total = grad[:, None] * gradient
        if entropy_gradient is not None:
            total = total + entropy_grad[:, None] * entropy_gradient
        return total.to(ctx.dtype), None, None, None, None


class _TrainedHead(torch.autograd.Function):
    """The head is trained too: backward recomputes the logits slice by slice and adds to both gradients.

    With g the gradient of log p(y) and e that of the entropy, d loss / d z_v = g (1[v = y] - p_v) - e p_v (z_v - E[z]).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, temperature: float, entropy: Entropy
    ) -> tuple[Tensor, Tensor]:
        value: Entropy = "none" if entropy == "none" else "value"
        logprobs, entropies, lse, _, _ = _forward(hidden, head, targets, temperature, value, want_gradient=False)
        ctx.save_for_backward(hidden, head, targets, lse, lse - entropies)
        ctx.temperature, ctx.with_entropy = temperature, entropy == "grad"
        if entropy != "grad":
            ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, grad: Tensor, entropy_grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        hidden, head, targets, lse, mean = ctx.saved_tensors
        grad_hidden = torch.zeros_like(hidden, dtype=lse.dtype)
        grad_head = torch.zeros_like(head)
        width = slice_width(min(len(hidden), _MAX_TOKENS), len(head), hidden.device.type)
        for rows in torch.arange(len(hidden), device=hidden.device).split(_MAX_TOKENS):
            scaled = hidden[rows] / ctx.temperature
            g, y = grad[rows], targets[rows]
            for start in range(0, len(head), width):
                part = head[start : start + width]
                logits = product(scaled, part).to(lse.dtype)
                p = torch.exp(logits - lse[rows, None])
                grad_logits = -g[:, None] * p
                if ctx.with_entropy:
                    grad_logits -= entropy_grad[rows, None] * p * (logits - mean[rows, None])
                inside = ((y >= start) & (y < start + len(part))).nonzero()[:, 0]
                grad_logits[inside, y[inside] - start] += g[inside]
                grad_logits = grad_logits.to(head.dtype)
                grad_hidden[rows] += product(grad_logits, part.t()) / ctx.temperature
                grad_head[start : start + width] += product(grad_logits.t().contiguous(), scaled.t())
        return grad_hidden.to(hidden.dtype), grad_head, None, None, None


def token_logprobs(
    hidden: Float[Tensor, "M H"],
    head: Float[Tensor, "V H"],
    targets: Int[Tensor, "M"],
    *,
    temperature: float = 1.0,
    entropy: Entropy = "none",
) -> tuple[Float[Tensor, "M"], Float[Tensor, "M"]]:
    """log p(target) and entropy, in nats, under softmax(head @ hidden / temperature).

    Args:
        hidden: the hidden states that predict the targets, after the final norm.
        head: the output matrix.
        targets: the word each hidden state should predict.
        temperature: > 0; divides the logits.
        entropy: "none" (zeros are returned), "value", or "grad" (also differentiable, one product a token more).

    Returns:
        Two tensors (M,), in float32 (float64 for float64 input). The first is differentiable in `hidden`, and in
        `head` where that takes a gradient.

    Raises:
        ValueError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature of log-probabilities must be above 0, got {temperature}")
    if len(hidden) == 0:
        empty = hidden.sum() * hidden.new_zeros(0)
        return empty, empty.detach()
    wants = torch.is_grad_enabled() and (hidden.requires_grad or head.requires_grad)
    if not wants:
        value: Entropy = "none" if entropy == "none" else "value"
        logprobs, entropies, *_ = _forward(hidden, head, targets, temperature, value, want_gradient=False)
        return logprobs, entropies
    function = _TrainedHead if head.requires_grad else _FrozenHead
    return function.apply(hidden, head, targets, temperature, entropy)
