"""The tiny Gemma 3 is one, is always the same, and is awkward where the real one is."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3ForCausalLM

from gemma_align.models.tiny import SPACE, SPECIAL, tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=SPACE), max_size=60)


@pytest.fixture(scope="module")
def model() -> Gemma3ForCausalLM:
    return tiny_model(len(TOKENIZER))


def logits(model: Gemma3ForCausalLM, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


@given(TEXT)
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back_after_one_bos(text: str) -> None:
    ids = TOKENIZER(text)["input_ids"]
    assert ids[0] == TOKENIZER.bos_token_id
    if not any(token in text for token in SPECIAL):
        assert TOKENIZER.bos_token_id not in ids[1:]
        assert TOKENIZER.decode(ids, skip_special_tokens=True) == text
        assert TOKENIZER.unk_token_id not in ids


@pytest.mark.parametrize(
    "text", ["", " ", "  two  spaces ", "\n\n\n", "\t\r\n", "漢字 🎉 👩‍👩‍👧", "e\u0301 \x00 \ufffd \u200b", "5'4\""]
)
def test_odd_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"], skip_special_tokens=True) == text


def test_special_tokens_have_gemmas_places() -> None:
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]
    assert TOKENIZER.convert_tokens_to_ids(names) == list(range(7))
    assert (TOKENIZER.pad_token_id, TOKENIZER.eos_token_id, TOKENIZER.bos_token_id) == (0, 1, 2)
    assert TOKENIZER("a<end_of_turn>\n", add_special_tokens=False)["input_ids"][1] == 6
    assert 512 <= len(TOKENIZER) <= 1024


def test_words_are_single_tokens() -> None:
    tokens = TOKENIZER.convert_ids_to_tokens(TOKENIZER(" patient denies chest pain")["input_ids"])
    assert tokens == ["<bos>", f"{SPACE}patient", f"{SPACE}denies", f"{SPACE}chest", f"{SPACE}pain"]


def test_chat_template_renders_gemmas_turns() -> None:
    assert TOKENIZER.chat_template is None
    chat = tiny_tokenizer(instruct=True)
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Hi\n"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Bye"},
    ]
    assert chat.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) == (
        "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    )
    with pytest.raises(Exception, match="user, assistant"):
        chat.apply_chat_template(turns[2:], tokenize=False)


def test_the_same_every_time(model: Gemma3ForCausalLM) -> None:
    again, other = tiny_model(len(TOKENIZER)), tiny_model(len(TOKENIZER), seed=1)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)
    assert TOKENIZER.get_vocab() == tiny_tokenizer().get_vocab()


def test_making_it_draws_no_random_numbers_of_the_callers() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    tiny_model(len(TOKENIZER))
    assert torch.equal(torch.rand(4), expected)


def test_it_has_what_the_real_one_has(model: Gemma3ForCausalLM) -> None:
    config = model.config
    assert set(config.layer_types) == {"sliding_attention", "full_attention"}
    assert config._attn_implementation == "sdpa"
    assert config.hidden_size != config.num_attention_heads * config.head_dim
    assert config.num_key_value_heads < config.num_attention_heads
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    norms = [weight for name, weight in model.named_parameters() if "norm" in name]
    assert all(norm.abs().min() > 0 for norm in norms)
    assert config.vocab_size == len(TOKENIZER)


def test_only_full_attention_reaches_beyond_the_window() -> None:
    sliding = tiny_model(len(TOKENIZER), num_layers=1)  # its one layer is a sliding one
    both = tiny_model(len(TOKENIZER), num_layers=2)
    ids = list(range(10, 50))
    changed = [*ids[:1], 200, *ids[2:]]
    assert torch.equal(logits(sliding, ids)[17:], logits(sliding, changed)[17:])
    assert not torch.equal(logits(sliding, ids)[16], logits(sliding, changed)[16])
    assert (logits(both, ids)[-1] - logits(both, changed)[-1]).abs().max() > 1e-4


def test_samples_vary_and_depend_on_the_context(model: Gemma3ForCausalLM) -> None:
    ids = TOKENIZER("The patient denies chest pain and has no known allergies.")["input_ids"]
    probabilities = logits(model, ids).softmax(-1)
    assert probabilities.max() < 0.2
    assert probabilities.argmax(-1).unique().numel() > 3
    top = probabilities.sort(descending=True).values[:, : len(TOKENIZER) // 10].sum(-1)
    assert (top > 0.2).all()  # not uniform either: that would be 0.1


def test_gradients_reach_every_weight(model: Gemma3ForCausalLM) -> None:
    trained = tiny_model(len(TOKENIZER))
    ids = torch.arange(10, 40)[None]
    trained(input_ids=ids, labels=ids).loss.backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in trained.parameters())


def test_end_tokens_of_generation() -> None:
    plain, chat = tiny_model(800).generation_config, tiny_model(800, instruct=True).generation_config
    assert plain is not None
    assert chat is not None
    assert plain.eos_token_id == 1
    assert chat.eos_token_id == [1, 6]


@pytest.mark.parametrize("instruct", [False, True])
def test_saved_it_loads_anywhere(tmp_path: Path, model: Gemma3ForCausalLM, instruct: bool) -> None:
    tokenizer = tiny_tokenizer(instruct=instruct)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, same = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    text = "The patient: 漢字  x\n\n<start_of_turn>"
    assert same(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert len(same) == len(tokenizer) == model.config.vocab_size
    assert same.chat_template == tokenizer.chat_template
    assert torch.equal(logits(loaded, same(text)["input_ids"]), logits(model, same(text)["input_ids"]))
