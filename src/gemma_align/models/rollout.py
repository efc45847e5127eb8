"""Sampling many responses to many prompts with a full batch.

    queue of samples -> rows that are decoded side by side -> a row that ends leaves, the next sample takes its place

A prompt goes through the model once, however many samples it gets, and its keys and values are stored once. Its last
token is left to the samples: feeding it is their first step, so that every step is the same and needs no exceptions.
Prompts are taken longest first, so that those side by side are of about one length.

Which tokens a sample gets depends on the weights, its prompt, the seed and its id, and not on the company it keeps.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemma_align.core import sampling as draw
from gemma_align.errors import UserError
from gemma_align.models.decoder import Decoder
from gemma_align.models.kv_cache import KVCache, Shape
from gemma_align.types import Sampling

PREFILL_TOKENS = 512  # prompt tokens a pass: enough for full speed
CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Generated:
    """N = P x num_samples responses, grouped by prompt, T the tokens of the longest."""

    ids: Int[Tensor, "N T"]  # 0 where masked
    mask: Bool[Tensor, "N T"]  # the end token counts
    logprobs: Float[Tensor, "N T"]  # of the distribution sampled from, at its temperature; 0 where masked
    finished: Bool[Tensor, "N"]  # ended by itself, with a stop token


def plan(shape: Shape, prompts: Sequence[int], own: int, samples: int, rows: int, budget: int) -> tuple[int, int]:
    """How many rows are decoded side by side and how many prompts are held at once, within `budget` bytes.

    As many rows as fit when each prompt is shared by its samples; at least one of each, whatever the budget.

    Args:
        shape: of the model.
        prompts: tokens of each prompt.
        own: tokens of each sample.
        samples: per prompt.
        rows: wanted.
        budget: bytes of keys and values.
    """
    a_prompt, a_row = shape.num_bytes(max(prompts), 0), shape.num_bytes(0, own)
    rows = min(rows, len(prompts) * samples, max(int(budget / (a_row + a_prompt / samples)), 1))
    slots = min(rows, len(prompts), max((budget - rows * a_row) // max(a_prompt, 1), 1))
    return rows, slots


def generate(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    num_samples: int,
    sampling: Sampling,
    stop_ids: frozenset[int],
    num_rows: int = 16,
    sample_ids: Sequence[int] | None = None,
    cache_bytes: int = CACHE_BYTES,
    on_progress: Callable[[int, int], None] | None = None,
) -> Generated:
    """`num_samples` responses to each prompt.

    Log-probabilities are those of the distribution sampled from: at the sampling temperature (greedy: at 1), and with
    top_k or top_p those of the full distribution at that temperature. With the int8 head they are the int8 head's.

    Args:
        decoder: the weights.
        prompts: token ids, none empty.
        num_samples: responses to each prompt.
        sampling: temperature (0 is greedy), top_k, top_p, max_tokens, seed.
        stop_ids: a response ends with the first of these; it is part of the response.
        num_rows: samples decoded side by side; fewer if `cache_bytes` says so.
        sample_ids: what each of the N samples is called in the random numbers; 0 .. N - 1 if not given.
        cache_bytes: bound of keys and values held, in bytes.
        on_progress: called with (responses done, N) whenever a response is done.

    Raises:
        UserError: an empty prompt, a setting out of range, or a model that computes NaN.
    """
    total = len(prompts) * num_samples
    sample_ids = range(total) if sample_ids is None else sample_ids
    _check(prompts, sampling, num_samples, num_rows, len(sample_ids), total)
    tokens: list[list[int]] = [[] for _ in range(total)]
    logprobs: list[list[float]] = [[] for _ in range(total)]
    if total:
        with torch.inference_mode():
            uniform = draw.uniforms(sampling.seed, sample_ids, sampling.max_tokens).to(decoder.shape.device)
            lengths = [len(prompt) - 1 for prompt in prompts]
            size = plan(decoder.shape, lengths, sampling.max_tokens, num_samples, num_rows, cache_bytes)
            cache = KVCache(decoder.shape, size[1], size[0], max(lengths), sampling.max_tokens)
            batch = _Batch(decoder, cache, prompts, num_samples, size)
            done = 0
            while batch.fill():
                last = [tokens[n][-1] if tokens[n] else prompts[n // num_samples][-1] for n in batch.samples]
                hidden = decoder.step(torch.tensor(last, device=decoder.shape.device), cache)
                at = torch.tensor(batch.samples), torch.tensor([len(tokens[n]) for n in batch.samples])
                drawn, their_logprobs = _draw(decoder, hidden, uniform[at], sampling)
                for n, token, logprob in zip(batch.samples, drawn.tolist(), their_logprobs.tolist(), strict=True):
                    tokens[n].append(token)
                    logprobs[n].append(logprob)
                ended = [n for n in batch.samples if tokens[n][-1] in stop_ids or len(tokens[n]) == sampling.max_tokens]
                batch.drop(ended)
                for _ in ended:
                    done += 1
                    if on_progress is not None:
                        on_progress(done, total)
    return _collect(tokens, logprobs, stop_ids)


class _Batch:
    """Which sample sits in which row and which prompt in which slot; both as compact as the cache keeps them."""

    def __init__(
        self,
        decoder: Decoder,
        cache: KVCache,
        prompts: Sequence[Sequence[int]],
        num_samples: int,
        size: tuple[int, int],
    ) -> None:
        self.samples: list[int] = []  # of each row
        self._held: list[int] = []  # prompt of each slot
        self._decoder, self._cache = decoder, cache
        self._prompts, self._num_samples = prompts, num_samples
        self._num_rows, self._num_slots = size
        order = sorted(range(len(prompts)), key=lambda p: -len(prompts[p]))
        self._to_prefill = deque(order)
        self._ready: deque[tuple[int, list[Tensor], list[Tensor]]] = deque()
        self._queue = deque(p * num_samples + s for p in order for s in range(num_samples))

    def fill(self) -> bool:
        """Gives free rows to the next samples. Returns whether there is anything to decode."""
        while self._queue and len(self.samples) < self._num_rows:
            prompt = self._queue[0] // self._num_samples
            if prompt not in self._held:
                if len(self._held) == self._num_slots:
                    break
                self._hold(prompt)
            self.samples.append(self._queue.popleft())
            self._cache.add_row(self._held.index(prompt))
        return bool(self.samples)

    def _hold(self, prompt: int) -> None:
        if not self._ready:
            self._prefill()
        ready, keys, values = self._ready.popleft()
        assert ready == prompt
        self._cache.add_prompt(keys, values)
        self._held.append(prompt)

    def _prefill(self) -> None:
        """As many of the next prompts as one pass takes, but at least one."""
        chosen = [self._to_prefill.popleft()]
        tokens = len(self._prompts[chosen[0]])
        while self._to_prefill and (tokens := tokens + len(self._prompts[self._to_prefill[0]])) <= PREFILL_TOKENS:
            chosen.append(self._to_prefill.popleft())
        cached = self._decoder.prefill([self._prompts[p][:-1] for p in chosen])
        self._ready.extend((p, keys, values) for p, (keys, values) in zip(chosen, cached, strict=True))

    def drop(self, ended: Sequence[int]) -> None:
        """Takes samples out of their rows, and out of their slots the prompts that nobody needs any more."""
        for n in ended:
            row = self.samples.index(n)
            self._cache.drop_row(row)
            self.samples[row] = self.samples[-1]
            self.samples.pop()
        needed = {n // self._num_samples for n in self.samples}
        if self._queue:
            needed.add(self._queue[0] // self._num_samples)
        for slot in reversed(range(len(self._held))):
            if self._held[slot] not in needed:
                self._cache.drop_prompt(slot)
                self._held[slot] = self._held[-1]
                self._held.pop()


def _draw(decoder: Decoder, hidden: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """The next token of each row and its log-probability."""
    if sampling.temperature == 0:
        return draw.greedy(decoder.head(hidden))
    chunks = decoder.head(hidden, sampling.temperature)
    return draw.sample(chunks, uniform, top_k=sampling.top_k, top_p=sampling.top_p)


def _collect(tokens: list[list[int]], logprobs: list[list[float]], stop_ids: frozenset[int]) -> Generated:
    lengths = torch.tensor([len(row) for row in tokens], dtype=torch.long)
    width = int(lengths.max()) if tokens else 0
    mask = torch.arange(width)[None] < lengths[:, None]
    values = torch.tensor([value for row in logprobs for value in row], dtype=torch.float32)
    if not bool(torch.isfinite(values).all()):
        raise UserError(
            "sampling gave log-probabilities that aren't finite: the weights hold NaN or overflow in their precision; "
            "check the checkpoint, or train with a smaller learning rate from an earlier one"
        )
    ids = torch.tensor([token for row in tokens for token in row], dtype=torch.long)
    return Generated(
        ids=torch.zeros(mask.shape, dtype=torch.long).masked_scatter_(mask, ids),
        mask=mask,
        logprobs=torch.zeros(mask.shape).masked_scatter_(mask, values),
        finished=torch.tensor([row[-1] in stop_ids for row in tokens], dtype=torch.bool),
    )


def _check(
    prompts: Sequence[Sequence[int]], sampling: Sampling, num_samples: int, num_rows: int, num_ids: int, total: int
) -> None:
    empty = [p for p, prompt in enumerate(prompts) if not len(prompt)]
    problems = {
        f"prompts with at least one token, given none in prompt {empty[:1]}": bool(empty),
        f"max_tokens of at least 1, given {sampling.max_tokens}": sampling.max_tokens < 1,
        f"a temperature of 0 (greedy) or more, given {sampling.temperature}": not sampling.temperature >= 0,
        f"top_k of 0 (off) or more, given {sampling.top_k}": sampling.top_k < 0,
        f"top_p above 0 and at most 1, given {sampling.top_p}": not 0 < sampling.top_p <= 1,
        f"at least one sample a prompt and one row, given {num_samples} and {num_rows}": min(num_samples, num_rows) < 1,
        f"{total} sample ids, given {num_ids}": num_ids != total,
    }
    found = [problem for problem, is_one in problems.items() if is_one]
    if found:
        raise UserError(f"sampling wants {'; '.join(found)}")
