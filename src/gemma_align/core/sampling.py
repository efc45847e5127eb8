"""Drawing tokens from logits, one uniform number a token, and what corrects for drawing from another distribution.

A token is the inverse of the cumulative distribution at a uniform number. Summing 262,144 probabilities for every
token is a waste: the vocabulary is cut into blocks, each block's mass comes from one pass over the logits, the number
picks a block, and only that block is summed word by word. Sums over blocks and within the block are in float64, so
that no word's share is lost in rounding; a word of probability 0 is never drawn.

The uniform number of a sample's position is a function of (seed, sample, position) alone, so a sample is the same
whatever batch it sits in, but for ties within rounding.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

BLOCK = 512  # words; about the square root of the vocabulary, so that both levels are short

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014; Stafford's variant 13): a bijection of 64 bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniforms(seed: int, sample_ids: Sequence[int], num_positions: int) -> Float[Tensor, "N T"]:
    """A number in [0, 1) for each sample and position: 53 random bits, float64, on the CPU.

    Counter-based: entry (n, t) depends on seed, sample_ids[n] and t and on nothing else.
    """
    samples = np.asarray(sample_ids, dtype=np.int64).astype(np.uint64).reshape(-1, 1)
    positions = np.arange(num_positions, dtype=np.uint64).reshape(1, -1)
    state = np.full((1, 1), seed % 2**64, dtype=np.uint64)
    for counter in (samples, positions):
        state = _mix(_mix(state + _GOLDEN) + (counter + np.uint64(1)) * _GOLDEN)
    return torch.from_numpy((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def log_normaliser(chunks: Sequence[Float[Tensor, "R _"]]) -> tuple[Float[Tensor, "R B"], Float[Tensor, "R"]]:
    """log of the mass of each block of BLOCK words, and of all, float64. Chunks start at multiples of BLOCK words."""
    masses = torch.cat([_log_mass(_blocks(chunk)) for chunk in chunks], dim=1).double()
    return masses, torch.logsumexp(masses, dim=1)


def _log_mass(logits: Float[Tensor, "R B K"]) -> Float[Tensor, "R B"]:
    """log of the sum of exp(logits). One fused pass over each block: two thirds of `torch.logsumexp`'s time."""
    top = logits.amax(dim=-1)
    return torch.where(top.isneginf(), top, top - torch.log_softmax(logits, dim=-1).amax(dim=-1))


def greedy(chunks: Sequence[Float[Tensor, "R _"]]) -> tuple[Int[Tensor, "R"], Float[Tensor, "R"]]:
    """The most probable word of each row and its log-probability.

    Args:
        chunks: logits of R rows, the vocabulary cut into consecutive chunks whose widths, but for the last, are
            multiples of BLOCK. Chunks stay in the processor's cache, and a head can make them one by one.
    """
    best = [chunk.max(dim=1) for chunk in chunks]
    values, which = torch.stack([top.values for top in best]).max(dim=0)
    within = torch.stack([top.indices for top in best]).gather(0, which[None])[0]
    tokens = which * chunks[0].shape[1] + within
    return tokens, (values - log_normaliser(chunks)[1]).float()


def sample(
    chunks: Sequence[Float[Tensor, "R _"]], uniform: Float[Tensor, "R"], *, top_k: int = 0, top_p: float = 1.0
) -> tuple[Int[Tensor, "R"], Float[Tensor, "R"]]:
    """One word a row, drawn with the row's uniform number.

    Args:
        chunks: logits at the sampling temperature, as in `greedy`.
        uniform: numbers in [0, 1), float64.
        top_k: draw among the k most probable words only; 0 is off.
        top_p: draw among the fewest words that have this mass together (after top_k); 1 is off.

    Returns:
        tokens, and their log-probabilities in nats under the FULL distribution at the sampling temperature, also
        where top_k or top_p left words out.
    """
    masses, total = log_normaliser(chunks)
    if top_k or top_p < 1.0:
        return _sample_top(torch.cat(list(chunks), dim=1), total, uniform, top_k, top_p)
    mass = torch.exp(masses - total[:, None])
    reach = mass.cumsum(dim=1)
    target = uniform[:, None] * reach[:, -1:]
    block = _first_above(reach, target)
    logits = _block_of_each_row(chunks, block[:, 0])
    within = torch.exp(logits.double() - total[:, None]).cumsum(dim=1)
    word = _first_above(within, target - (reach - mass).gather(1, block))
    logprobs = logits.gather(1, word)[:, 0] - total
    last = sum(chunk.shape[1] for chunk in chunks) - 1  # where logits are NaN, the word may be one that fills a block
    return (block * BLOCK + word)[:, 0].clamp_(max=last), logprobs.float()


def _first_above(reach: Float[Tensor, "R K"], target: Float[Tensor, "R 1"]) -> Int[Tensor, "R 1"]:
    """Index of the first entry of the ascending `reach` above the target: never one that adds no mass.

    Targets that rounding carried outside of [0, last entry) are taken to its ends. NaN gives any valid index.
    """
    last = reach[:, -1:]
    below = torch.nextafter(last, torch.zeros_like(last))
    inside = torch.minimum(target.clamp(min=0.0), below)
    return torch.searchsorted(reach, inside, right=True).clamp_(max=reach.shape[1] - 1)


def _blocks(chunk: Float[Tensor, "R W"]) -> Float[Tensor, "R B K"]:
    """The chunk as blocks; a last block that isn't full is filled with impossible words."""
    missing = -chunk.shape[1] % BLOCK
    if missing:
        chunk = torch.nn.functional.pad(chunk, (0, missing), value=float("-inf"))
    return chunk.view(chunk.shape[0], -1, BLOCK)


def _block_of_each_row(chunks: Sequence[Float[Tensor, "R _"]], block: Int[Tensor, "R"]) -> Float[Tensor, "R K"]:
    """The logits of the block each row picked."""
    if len(chunks) == 1:
        return _blocks(chunks[0])[torch.arange(len(block), device=block.device), block]
    a_chunk = chunks[0].shape[1] // BLOCK
    rows = [_blocks(chunks[i // a_chunk][r : r + 1])[0, i % a_chunk] for r, i in enumerate(block.tolist())]
    return torch.stack(rows)


def _sample_top(
    logits: Float[Tensor, "R V"], total: Float[Tensor, "R"], uniform: Float[Tensor, "R"], top_k: int, top_p: float
) -> tuple[Int[Tensor, "R"], Float[Tensor, "R"]]:
    """Top-k, then top-p among what it left (Holtzman et al. 2020), in that order as transformers does."""
    vocab = logits.shape[1]
    size = min(top_k or 1024, vocab)
    while True:
        values, words = logits.topk(size, dim=1)
        probs = torch.exp(values.double() - total[:, None])
        if top_k or size == vocab or bool((probs.sum(dim=1) >= top_p).all()):
            break
        size = min(size * 8, vocab)
    before = probs.cumsum(dim=1) - probs
    all_mass = probs.sum(dim=1, keepdim=True) if top_k else 1.0
    reach = probs.where(before < top_p * all_mass, 0.0).cumsum(dim=1)
    index = _first_above(reach, uniform[:, None] * reach[:, -1:])
    logprobs = values.gather(1, index)[:, 0] - total
    return words.gather(1, index)[:, 0], logprobs.float()


def truncated_importance_weights(
    train_logprobs: Float[Tensor, "N T"],
    behaviour_logprobs: Float[Tensor, "N T"],
    mask: Bool[Tensor, "N T"],
    cap: float = 2.0,
) -> Float[Tensor, "N T"]:
    """min(p_train / p_behaviour, cap) for each token, 0 where masked; a constant to the gradient.

    Corrects a loss over tokens that another distribution drew (an int8 head, another kernel): multiply each token's
    loss by its weight. Truncation bounds the variance at the price of a bias (Ionides 2008, Truncated Importance
    Sampling). Equal distributions give exactly 1.
    """
    log_ratio = torch.where(mask, train_logprobs - behaviour_logprobs, 0.0).detach()
    return torch.where(mask, log_ratio.exp().clamp(max=cap), 0.0)
