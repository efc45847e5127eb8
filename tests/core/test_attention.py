"""Packed rows against one forward a response, by transformers itself: log-probabilities and gradients."""

import copy

import pytest
import torch

from gemma_align.core import attention
from gemma_align.core.packing import pack
from gemma_align.models.lean import make_lean
from gemma_align.models.tiny import tiny_model
from gemma_align.types import Responses

VOCAB = 200


def random_responses(groups, seed=0):
    """groups: prompt length, response lengths, and how many tokens all responses begin with (0 if left out)."""
    generator = torch.Generator().manual_seed(seed)
    prompts = tuple(tuple(torch.randint(5, VOCAB, (size,), generator=generator).tolist()) for size, *_ in groups)
    lengths = torch.tensor([length for _, answers, *_ in groups for length in answers])
    prompt_of = torch.tensor([p for p, (_, answers, *_) in enumerate(groups) for _ in answers])
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    ids = torch.randint(5, VOCAB, mask.shape, generator=generator)
    for p, (_, _, *common) in enumerate(groups):
        rows = (prompt_of == p).nonzero()[:, 0]
        ids[rows, : sum(common)] = ids[rows[0], : sum(common)].clone()
    ids *= mask
    return Responses(prompts, prompt_of, ids, mask)


def separately(model, responses):
    """The obvious way: one forward of transformers' own model for each response."""
    rows = torch.zeros(responses.ids.shape)
    for n in range(len(responses)):
        prompt = responses.prompt_ids[responses.prompt_of[n]]
        answer = responses.ids[n][responses.mask[n]]
        logits = model(input_ids=torch.tensor([[*prompt, *answer.tolist()]])).logits[0].log_softmax(-1)
        rows[n, : len(answer)] = logits[len(prompt) - 1 : -1].gather(1, answer[:, None])[:, 0]
    return rows


def packed(model, responses, multiple=1):
    row = pack(responses, torch.device("cpu"), multiple)
    states = model.model(
        input_ids=row.ids[None],
        position_ids=row.positions[None],
        attention_mask={"full_attention": row, "sliding_attention": row},
        use_cache=False,
    ).last_hidden_state[0]
    assert len(states) == len(row.predictors)
    logits = model.lm_head(states).log_softmax(-1)
    return row.scatter(logits.gather(1, row.targets[:, None])[:, 0])


@pytest.fixture(params=[4, 3], ids=["the last layer looks at everything", "the last layer has a window"])
def models(request):
    """transformers' model, and the same weights behind lean modules; layers alternate between a window of 16 tokens and
    full attention."""
    plain = tiny_model(VOCAB, num_layers=request.param)
    assert plain.config.layer_types[-1] == ("sliding_attention" if request.param % 2 else "full_attention")
    lean = copy.deepcopy(plain)
    make_lean(lean)
    return plain, lean


GROUPS = {
    "one response, within the window": [(5, [4])],
    "one response, past the window": [(30, [25])],
    "several responses of unequal length": [(6, [3, 9, 1])],
    "a prompt longer than the window, responses that cross it": [(40, [20, 1, 7])],
    "many prompts": [(3, [5]), (25, [2, 30]), (17, [1]), (8, [1, 1])],
    "responses without a token": [(6, [0]), (4, [3, 0, 2]), (5, [0, 0])],
    "a prompt of one token": [(1, [4, 2])],
    "responses that begin alike": [(6, [8, 5], 3), (4, [3, 9, 1]), (7, [6, 6, 9], 1)],
    "a beginning longer than the window": [(9, [25, 30, 22], 20), (1, [24, 19], 18)],
    "one response begins another, two are the same": [(5, [4, 9], 9), (8, [7, 7], 7), (3, [1, 5], 5)],
}


@pytest.mark.parametrize("order", ["by prompt", "mixed"])
@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS.keys())
def test_packed_rows_equal_separate_forwards(models, groups, order):
    plain, lean = models
    responses = random_responses(groups)
    if order == "mixed":
        responses = responses.select(torch.randperm(len(responses), generator=torch.Generator().manual_seed(2)))
    weights = torch.randn(responses.ids.shape, generator=torch.Generator().manual_seed(1))
    results = []
    for model, function in ((plain, separately), (lean, packed)):
        embeddings = model.model.embed_tokens.weight
        model.requires_grad_(False)
        embeddings.requires_grad_(True)
        logprobs = function(model, responses)
        (logprobs * weights).sum().backward()
        results.append((logprobs.detach(), embeddings.grad))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-4, atol=1e-4)


def test_what_fills_a_row_up_changes_nothing(models):
    _, lean = models
    responses = random_responses(GROUPS["many prompts"])
    row = pack(responses, torch.device("cpu"), 32)
    assert len(row.ids) % 32 == 0
    assert len(row.predictors) > int(responses.mask.sum())
    torch.testing.assert_close(packed(lean, responses, 32), packed(lean, responses))


def test_responses_of_one_prompt_do_not_see_each_other(models):
    _, lean = models
    responses = random_responses([(10, [6, 6])])
    before = packed(lean, responses).detach()
    responses.ids[0] = responses.ids[0].flip(0)
    after = packed(lean, responses).detach()
    assert not torch.allclose(after[0], before[0])
    assert torch.equal(after[1], before[1])


def test_other_calls_go_to_transformers_own_attention(models):
    plain, lean = models
    prompt = torch.tensor([[2, 50, 60, 70]])
    assert torch.equal(
        plain.generate(prompt, max_new_tokens=30, do_sample=False),
        lean.generate(prompt, max_new_tokens=30, do_sample=False),
    )


@pytest.mark.parametrize("window", [None, 3])
def test_visible_keys_by_hand(window):
    mask = attention.visible(2, 5, 3, window, torch.device("cpu"))
    full = [[True, True, True, True, False], [True, True, True, True, True]]
    local = [[False, True, True, True, False], [False, False, True, True, True]]
    assert mask.tolist() == (full if window is None else local)
