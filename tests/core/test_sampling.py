"""Drawing tokens against the obvious formula, and against chi-square; importance weights by hand."""

import numpy as np
import pytest
import torch
from scipy import stats

from gemma_align.core.sampling import BLOCK, greedy, sample, truncated_importance_weights, uniforms


def obvious(logits, uniform):
    """One float64 sum over the whole vocabulary."""
    probs = logits.double().softmax(-1)
    reach = probs.cumsum(-1)
    tokens = (reach <= uniform[:, None] * reach[:, -1:]).sum(-1)
    return tokens, probs.log().gather(1, tokens[:, None])[:, 0]


def in_chunks(logits, width):
    return list(logits.split(width, dim=1))


@pytest.mark.parametrize(
    ("vocab", "width"), [(7, 512), (512, 512), (1300, 512), (1300, 1024), (5000, 1024), (5000, 5000)]
)
def test_sample_is_the_inverse_of_the_cumulative_distribution(vocab, width):
    generator = torch.Generator().manual_seed(vocab + width)
    logits = 3 * torch.randn(64, vocab, generator=generator)
    uniform = torch.rand(64, generator=generator, dtype=torch.float64)
    tokens, logprobs = sample(in_chunks(logits, width), uniform)
    expected_tokens, expected_logprobs = obvious(logits, uniform)
    assert tokens.tolist() == expected_tokens.tolist()
    torch.testing.assert_close(logprobs, expected_logprobs.float(), atol=2e-6, rtol=0)


def test_every_word_is_drawn_as_often_as_it_is_probable():
    """An even grid of numbers draws each word in proportion, to within one draw: no block or word is favoured."""
    logits = torch.randn(1, 3000, generator=torch.Generator().manual_seed(0))
    n = 20_000
    grid = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    tokens, _ = sample(in_chunks(logits.expand(n, -1).contiguous(), 1024), grid)
    counts = torch.bincount(tokens, minlength=3000)
    assert (counts - n * logits[0].double().softmax(-1)).abs().max() <= 1.0001


def test_uniform_numbers_give_the_distribution():
    """Chi-square over 40 words with the numbers that samples really get; level 0.001, and the numbers are fixed."""
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(1))
    n = 20_000
    uniform = uniforms(3, range(n), 1)[:, 0]
    tokens, _ = sample([logits.expand(n, -1).contiguous()], uniform)
    observed = torch.bincount(tokens, minlength=40).numpy()
    assert stats.chisquare(observed, n * logits[0].double().softmax(-1).numpy()).pvalue > 0.001


def test_ends_of_the_unit_interval_and_impossible_words():
    logits = torch.full((4, 1200), float("-inf"))
    logits[:, [3, 700, 1100]] = torch.tensor([0.0, 1.0, -2.0])
    almost_one = np.nextafter(1.0, 0.0)
    tokens, logprobs = sample(in_chunks(logits, 512), torch.tensor([0.0, almost_one, 0.3, 0.9], dtype=torch.float64))
    assert tokens.tolist() == [3, 1100, 700, 700]
    assert torch.isfinite(logprobs).all()


def test_a_rare_word_keeps_its_share():
    """A word of probability 1e-9 is lost in a float32 sum; here the numbers just below 1 still reach it."""
    logits = torch.zeros(2, 262_144)
    logits[:, -1] = -8.2  # about 1e-9
    tail = torch.exp(torch.tensor(-8.2, dtype=torch.float64)) / (262_143 + np.exp(-8.2))
    uniform = torch.stack([1 - tail / 2, 1 - tail * 1.5])
    tokens, _ = sample(in_chunks(logits, 64 * BLOCK), uniform)
    assert tokens.tolist() == [262_143, 262_142]


def test_nan_gives_a_word_of_the_vocabulary_and_nan():
    logits = torch.full((2, 1000), float("nan"))
    tokens, logprobs = sample(in_chunks(logits, 512), torch.tensor([0.1, 0.9], dtype=torch.float64))
    assert ((tokens >= 0) & (tokens < 1000)).all()
    assert torch.isnan(logprobs).all()


@pytest.mark.parametrize(("vocab", "width"), [(7, 512), (1300, 512), (2048, 1024)])
def test_greedy_is_argmax(vocab, width):
    logits = torch.randn(16, vocab, generator=torch.Generator().manual_seed(2))
    tokens, logprobs = greedy(in_chunks(logits, width))
    assert tokens.tolist() == logits.argmax(1).tolist()
    torch.testing.assert_close(logprobs, logits.log_softmax(-1).max(1).values, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("top_k", "top_p"), [(5, 1.0), (0, 0.5), (0, 0.95), (50, 0.8), (1, 1.0), (0, 1e-6)])
def test_top_k_and_top_p_keep_what_transformers_keeps(top_k, top_p):
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    logits = 2 * torch.randn(1, 3000, generator=torch.Generator().manual_seed(4))
    kept = TopKLogitsWarper(top_k)(None, logits) if top_k else logits
    kept = TopPLogitsWarper(top_p)(None, kept) if top_p < 1 else kept
    n = 5000
    grid = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    tokens, logprobs = sample(in_chunks(logits.expand(n, -1).contiguous(), 1024), grid, top_k=top_k, top_p=top_p)
    counts = torch.bincount(tokens, minlength=3000)
    assert (counts - n * kept[0].double().softmax(-1)).abs().max() <= 1.001
    torch.testing.assert_close(logprobs, logits[0].log_softmax(-1)[tokens], atol=2e-6, rtol=0)  # the full one


def test_uniforms_depend_on_seed_sample_and_position_only():
    all_of_them = uniforms(7, range(50), 20)
    assert torch.equal(uniforms(7, [31, 4], 20), all_of_them[[31, 4]])
    assert torch.equal(uniforms(7, range(50), 5), all_of_them[:, :5])
    assert not torch.equal(uniforms(8, range(50), 20), all_of_them)
    assert len(all_of_them.unique()) == 1000
    assert torch.equal(uniforms(2**64 + 7, range(50), 20), all_of_them)  # any integer is a seed
    assert uniforms(-1, [0], 1).shape == (1, 1)


def test_uniforms_are_uniform_and_uncorrelated():
    numbers = uniforms(0, range(400), 250).numpy()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 0.001
    bound = 4 / np.sqrt(numbers.size)
    for a, b in (
        (numbers[1:], numbers[:-1]),
        (numbers[:, 1:], numbers[:, :-1]),
        (numbers, uniforms(1, range(400), 250)),
    ):
        assert abs(np.corrcoef(a.ravel(), np.asarray(b).ravel())[0, 1]) < bound


def test_uniforms_are_the_same_numbers_for_ever():
    """SplitMix64 by hand in Python's integers: a run resumed on another machine draws the same tokens."""

    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    state = 12345
    for counter in (6, 2):
        state = mix((mix((state + golden) % 2**64) + (counter + 1) * golden) % 2**64)
    assert uniforms(12345, [6], 3)[0, 2].item() == (state >> 11) / 2**53


def test_truncated_importance_weights_by_hand():
    log = torch.log
    train = log(torch.tensor([[0.5, 0.2, 0.9], [0.3, 0.3, 0.0]])).requires_grad_()
    behaviour = log(torch.tensor([[0.25, 0.4, 0.1], [0.3, 0.6, 0.5]]))
    mask = torch.tensor([[True, True, True], [True, True, False]])
    weights = truncated_importance_weights(train, behaviour, mask)
    torch.testing.assert_close(weights, torch.tensor([[2.0, 0.5, 2.0], [1.0, 0.5, 0.0]]))
    assert not weights.requires_grad
    assert truncated_importance_weights(train, behaviour, mask, cap=5.0)[0, 2].item() == 5.0


def test_importance_weights_correct_an_expectation():
    """Sampling from q and weighting gives p's mean, as the ratio stays under the cap."""
    generator = torch.Generator().manual_seed(5)
    p = torch.randn(1, 30, generator=generator)
    q = p + 0.2 * torch.randn(1, 30, generator=generator)
    n = 40_000
    tokens, behaviour = sample([q.expand(n, -1).contiguous()], uniforms(0, range(n), 1)[:, 0])
    train = p[0].log_softmax(-1)[tokens]
    weights = truncated_importance_weights(train[:, None], behaviour[:, None], torch.ones(n, 1, dtype=torch.bool))
    value = torch.arange(30.0)
    true, weighted = (p[0].softmax(-1) * value).sum(), (weights[:, 0] * value[tokens]).mean()
    assert abs(weighted - true) < 4 * value[tokens].std() / n**0.5
