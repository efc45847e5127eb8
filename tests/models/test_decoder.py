"""The sampler's forward pass against transformers' own: logits at every position, adapters, refreshing, refusals."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Gemma3ForCausalLM

from gemma_align.errors import UserError
from gemma_align.models.decoder import Decoder
from gemma_align.models.kv_cache import KVCache
from gemma_align.models.packed import CHUNK, Head, Int8Head, PackedLinear, can_pack
from gemma_align.models.tiny import tiny_model

VOCAB = 200
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def tokens(size, seed=0):
    return torch.randint(5, VOCAB, (size,), generator=torch.Generator().manual_seed(seed)).tolist()


def variant(**changes):
    """The tiny model's shape with some of it changed."""
    config = copy.deepcopy(tiny_model(VOCAB).config)
    for name, value in changes.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.1 if weight.ndim == 1 else weight.shape[1] ** -0.5)
    return model


def with_lora(model, modules=("q_proj", "v_proj"), seed=0, **options):
    peft = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=list(modules), **options)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in peft.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return peft


@torch.no_grad()
def stepwise(decoder, prompt, continuation, extra_rows=0):
    """Logits after the prompt and after each token of the continuation, one step a token: (tokens + 1, V)."""
    cache = KVCache(decoder.shape, 1, 1 + extra_rows, len(prompt) - 1, len(continuation) + 1)
    ((keys, values),) = decoder.prefill([prompt[:-1]])
    slot = cache.add_prompt(keys, values)
    for _ in range(1 + extra_rows):
        cache.add_row(slot)
    rows = []
    for token in [prompt[-1], *continuation]:
        hidden = decoder.step(torch.tensor([token] + [7] * extra_rows, device=decoder.shape.device), cache)
        rows.append(torch.cat(decoder.head(hidden), dim=1)[0])
    return torch.stack(rows)


@torch.no_grad()
def at_once(model, prompt, continuation):
    return model(input_ids=torch.tensor([[*prompt, *continuation]], device=model.device)).logits[0, len(prompt) - 1 :]


def assert_same(decoder, model, prompt_length=23, length=9, atol=1e-4):
    prompt, continuation = tokens(prompt_length), tokens(length, seed=1)
    got, expected = stepwise(decoder, prompt, continuation), at_once(model, prompt, continuation)
    torch.testing.assert_close(got, expected.float(), atol=atol, rtol=0)


@pytest.fixture(scope="module")
def tiny():
    return tiny_model(VOCAB)


@pytest.mark.parametrize("length", [0, 3, 40])  # the window is 16: the ring of own tokens goes round
@pytest.mark.parametrize("prompt_length", [1, 2, 15, 16, 17, 50])
def test_logits_at_every_position(tiny, prompt_length, length):
    assert_same(Decoder(tiny), tiny, prompt_length, length)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_key_value_heads": 2},
        {"num_key_value_heads": 4},
        {"head_dim": 8, "query_pre_attn_scalar": 5},
        {"tie_word_embeddings": False},
        {"vocab_size": 1500},
        {"hidden_activation": "silu"},
        {"layer_types": ["sliding_attention"] * 4},
        {"rms_norm_eps": 0.3},
        {
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
                "full_attention": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0},
            }
        },
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_part_of_the_configuration_counts(changes):
    model = variant(**changes)
    assert_same(Decoder(model), model, 20, 25)


def test_a_vocabulary_of_several_chunks():
    model = variant(vocab_size=CHUNK + 700)
    decoder = Decoder(model)
    assert len(decoder.head(torch.zeros(1, 48))) == 2
    assert_same(decoder, model)


def test_plain_torch_where_onednn_is_missing(tiny, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    decoder = Decoder(tiny)
    assert not any(matrix.packed for matrix in decoder._matrices.values())
    assert_same(decoder, tiny, 20, 20)


def test_head_kinds(tiny):
    weight, hidden = tiny.lm_head.weight, torch.randn(5, 48)
    for head in (Head(weight, copy_bytes=0), Head(weight, copy_bytes=weight.nbytes)):
        (logits,) = head(hidden, temperature=0.7)
        torch.testing.assert_close(logits, hidden @ weight.T / 0.7)
    assert_same(Decoder(tiny, head="shared"), tiny)


def test_a_head_that_is_packed_in_part():
    weight, hidden = torch.randn(2 * CHUNK + 100, 8), torch.randn(3, 8)
    head = Head(weight, copy_bytes=int(1.5 * CHUNK * 8 * 4))
    assert [isinstance(part, PackedLinear) for part in head._parts] == [can_pack(weight), False, False]
    torch.testing.assert_close(torch.cat(head(hidden), dim=1), hidden @ weight.T, atol=1e-5, rtol=1e-5)


def test_prompts_are_independent_of_each_other(tiny):
    """Several prompts in one pass, an empty one among them, are what they are alone."""
    decoder = Decoder(tiny)
    prompts = [tokens(30), [], tokens(7, seed=2), tokens(17, seed=3)]
    together = decoder.prefill(prompts)
    for prompt, (keys, values) in zip(prompts, together, strict=True):
        ((alone_keys, alone_values),) = decoder.prefill([prompt])
        assert len(keys) == len(values) == 4
        for a, b in zip([*keys, *values], [*alone_keys, *alone_values], strict=True):
            assert a.shape == (len(prompt), 1, 16)
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@torch.no_grad()
def test_rows_and_slots_that_come_and_go(tiny):
    """Rows of several prompts, dropped and added in the middle: every row's logits stay those of its own sequence."""
    decoder, generator = Decoder(tiny), torch.Generator().manual_seed(0)
    cache = KVCache(decoder.shape, num_slots=3, num_rows=5, prompt_tokens=40, own_tokens=34)
    held, rows = [], []  # prompt of each slot; sequence of each row, as the cache keeps them

    def hold(size, seed):
        prompt = tokens(size, seed)
        cache.add_prompt(*decoder.prefill([prompt[:-1]])[0])
        held.append(prompt)

    def add_row(slot):
        cache.add_row(slot)
        rows.append(list(held[slot]))

    def drop_row(row):
        cache.drop_row(row)
        rows[row] = rows[-1]
        rows.pop()

    def steps(n):
        for _ in range(n):
            hidden = decoder.step(torch.tensor([row[-1] for row in rows]), cache)
            logits = torch.cat(decoder.head(hidden), dim=1)
            for row, got in zip(rows, logits, strict=True):
                expected = tiny(input_ids=torch.tensor([row])).logits[0, -1]
                torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
                row.append(int(torch.randint(5, VOCAB, (1,), generator=generator)))

    hold(35, seed=1)
    add_row(0)
    add_row(0)
    steps(3)
    hold(9, seed=2)
    add_row(1)
    add_row(0)
    steps(18)  # past the window
    drop_row(1)  # the last row, of slot 0, moves there
    hold(1, seed=3)
    add_row(2)
    add_row(1)
    steps(2)
    drop_row(0)
    drop_row(0)  # now nobody needs slot 0
    drop_row(cache.slot_of.index(0))
    assert 0 not in cache.slot_of
    cache.drop_prompt(0)  # the last slot moves there
    held[0] = held[-1]
    held.pop()
    steps(2)
    hold(40, seed=4)
    add_row(2)
    steps(12)
    with pytest.raises(AssertionError, match="fewer tokens"):
        steps(1)
    assert cache.slots == [len(prompt) - 1 for prompt in held]


@pytest.mark.parametrize("modules", [["q_proj", "v_proj"], MODULES, ["down_proj"]], ids=["qv", "all", "down"])
def test_lora_is_merged(modules):
    peft = with_lora(tiny_model(VOCAB), modules)
    plain = at_once(tiny_model(VOCAB), tokens(23), tokens(9, seed=1))
    assert (at_once(peft, tokens(23), tokens(9, seed=1)) - plain).abs().max() > 0.01, "the adapter does something"
    assert_same(Decoder(peft), peft)
    assert_same(Decoder(peft.get_base_model()), peft)


def test_two_adapters_at_once_rslora_and_none():
    peft = with_lora(tiny_model(VOCAB), use_rslora=True)
    peft.add_adapter("second", LoraConfig(r=2, target_modules=["k_proj", "up_proj"]))
    with torch.no_grad():
        for name, weight in peft.named_parameters():
            if "second" in name:
                weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    decoder = Decoder(peft)
    assert_same(decoder, peft)
    peft.base_model.set_adapter(["default", "second"])
    decoder.refresh(peft)
    assert_same(decoder, peft)
    with peft.disable_adapter():
        decoder.refresh(peft)
        assert_same(decoder, peft)
        assert_same(decoder, tiny_model(VOCAB))
    decoder.refresh(peft)
    assert_same(decoder, peft)
    peft.base_model.merge_adapter()
    decoder.refresh(peft)
    assert_same(decoder, peft)


def test_the_model_is_not_touched():
    peft = with_lora(tiny_model(VOCAB), MODULES)
    before = {name: value.clone() for name, value in peft.state_dict().items()}
    decoder = Decoder(peft)
    stepwise(decoder, tokens(20), tokens(5))
    decoder.refresh(peft)
    decoder.release()
    after = peft.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(parameter.grad is not None for parameter in peft.parameters())


def test_refresh_makes_again_only_what_an_adapter_changed():
    peft = with_lora(tiny_model(VOCAB))
    decoder = Decoder(peft)
    before, head = dict(decoder._matrices), decoder.head
    weights = [weight for weight in peft.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.1)
    peft(input_ids=torch.tensor([tokens(10)]), labels=torch.tensor([tokens(10)])).loss.backward()
    optimizer.step()
    decoder.refresh(peft)
    assert_same(decoder, peft)
    changed = {name.split(".")[1] for name in before if decoder._matrices[name] is not before[name]}
    assert changed == {"qkv"}
    assert decoder.head is head


@pytest.mark.parametrize("head", ["packed", "shared"])
def test_refresh_after_a_step_of_full_fine_tuning(head):
    model = tiny_model(VOCAB)
    decoder = Decoder(model, head=head)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model(input_ids=torch.tensor([tokens(10)]), labels=torch.tensor([tokens(10)])).loss.backward()
    optimizer.step()
    decoder.refresh(model)
    assert_same(decoder, model)


def test_release_and_refresh(tiny):
    decoder = Decoder(tiny)
    decoder.release()
    assert not hasattr(decoder, "head")
    decoder.refresh(tiny)
    assert_same(decoder, tiny)


def test_int8_head_is_close_and_a_row_is_its_own(tiny):
    if not can_pack(tiny.lm_head.weight):
        with pytest.raises(UserError, match="int8 head needs"):
            Int8Head(tiny.lm_head.weight.detach())
        pytest.skip("no oneDNN here")
    generator = torch.Generator().manual_seed(0)
    weight, hidden = torch.randn(1000, 64, generator=generator), torch.randn(6, 64, generator=generator)
    hidden[2] *= 1000
    head = Int8Head(weight)
    (logits,) = head(hidden)
    exact = hidden @ weight.T
    error = (logits - exact).norm(dim=1) / exact.norm(dim=1)
    assert (error < 0.02).all()
    assert (error > 1e-4).all(), "it is rounded"
    (alone,) = head(hidden[3:4])
    torch.testing.assert_close(alone[0], logits[3], atol=1e-6, rtol=1e-6)
    (warm,) = head(hidden, temperature=2.0)
    torch.testing.assert_close(warm, logits / 2)
    extreme = Int8Head(torch.ones(4, 640))(torch.ones(1, 640))[0]  # every product as large as it gets
    torch.testing.assert_close(extreme, torch.full((1, 4), 640.0))


def test_int8_head_refuses_what_it_cannot_do():
    with pytest.raises(UserError, match=r"float32 weights on a CPU.*bfloat16"):
        Int8Head(torch.ones(4, 4, dtype=torch.bfloat16))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", id="cuda")])
def test_bf16(device):
    if device == "cuda" and not (torch.cuda.is_available() and torch.cuda.is_bf16_supported()):
        pytest.skip("no CUDA device with bf16 here")
    model = with_lora(tiny_model(VOCAB).to(device)).to(torch.bfloat16)
    exact = with_lora(tiny_model(VOCAB).to(device))
    prompt, continuation = tokens(30), tokens(20, seed=1)
    reference = at_once(exact, prompt, continuation)
    theirs = (at_once(model, prompt, continuation).float() - reference).abs().mean()
    ours = (stepwise(Decoder(model), prompt, continuation) - reference).abs().mean()
    assert ours < 1.5 * theirs + 1e-3, "rounds no worse than transformers does"


def test_float32_on_a_card():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    model = with_lora(tiny_model(VOCAB).to("cuda"))
    assert_same(Decoder(model), model, 40, 30, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping=30.0"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ({"attention_bias": True}, "attention_bias"),
    ],
)
def test_models_that_need_more_are_refused(change, message):
    model = tiny_model(VOCAB)
    for name, value in change.items():
        setattr(model.config, name, value)
    with pytest.raises(UserError, match=message):
        Decoder(model)


def test_other_adapters_are_refused():
    with pytest.raises(UserError, match=r"layers\.0\.self_attn\.q_proj is a"):
        Decoder(with_lora(tiny_model(VOCAB), use_dora=True))
    for module, message in (("embed_tokens", "embed_tokens is a"), ("norm", "a norm is a"), ("o_proj", "o_proj is a")):
        saved = LoraConfig(target_modules=["q_proj"], modules_to_save=[module])
        with pytest.raises(UserError, match=message):
            Decoder(get_peft_model(variant(tie_word_embeddings=False), saved))


def test_lora_on_an_untied_head():
    peft = with_lora(variant(tie_word_embeddings=False), ["lm_head"])
    assert_same(Decoder(peft), peft)
