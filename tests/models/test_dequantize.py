"""A GGUF file written here, with llama.cpp's own writer, comes back as the model it was made from."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig

from gemma_align.errors import CheckpointError
from gemma_align.models.folder import load_model
from gemma_align.models.tiny import SPACE, SPECIAL, tiny_tokenizer

gguf = pytest.importorskip("gguf", reason='needs the bundled extra: pip install -e ".[bundled]"')
from gemma_align.models.dequantize import convert  # noqa: E402

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # llama.cpp's token types
QUANTISED = ("attn_q.weight", "ffn_down.weight", "token_embd.weight")


def source_model(vocab_size: int) -> Gemma3ForCausalLM:
    config = Gemma3TextConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=8,
        max_position_embeddings=512,
    )
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.1)
    return model.eval()


def gguf_name(name: str) -> str:
    """llama.cpp's table of names, read from its own package."""
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, 6)
    return str(table.get_name(name, try_suffixes=(".weight",)))


def token_type(token: str) -> int:
    if token in SPECIAL:
        return UNKNOWN if token == "<unk>" else CONTROL
    if token.startswith("<0x"):
        return BYTE
    return USER_DEFINED if token == "\n\n" else NORMAL


def write(path: Path, model: Gemma3ForCausalLM, *, architecture: str = "gemma3", extra: str | None = None) -> None:
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_sliding_window(config.sliding_window)
    vocabulary = tiny_tokenizer().get_vocab()
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    writer.add_tokenizer_model("llama")
    writer.add_token_list([" " * len(token) if set(token) == {SPACE} and len(token) > 1 else token for token in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([token_type(token) for token in tokens])
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(3)
    writer.add_add_bos_token(True)
    for name, weight in model.named_parameters():
        values = weight.detach().numpy() + ("norm" in name)  # GGUF keeps norm weights as 1 + w
        kind = gguf.GGMLQuantizationType.F32
        if gguf_name(name).endswith(QUANTISED):
            kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(gguf_name(name), gguf.quantize(values, kind), raw_dtype=kind)
    if extra is not None:
        writer.add_tensor(extra, torch.zeros(4).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "out").mkdir()
    return tmp_path / "model.gguf", tmp_path / "out"


def test_it_is_the_model_it_was_made_from(paths: tuple[Path, Path]) -> None:
    model = source_model(len(tiny_tokenizer()))
    write(paths[0], model)
    convert(*paths)
    back = load_model(paths[1], torch.float32)  # refuses missing and unexpected weights itself
    for name, weight in model.named_parameters():
        # 8 bits in blocks of 32: half a step of the largest value / 127. Norms lose what 1 + w rounds away.
        quantised = gguf_name(name).endswith(QUANTISED)
        tolerance = weight.detach().abs().max().item() / 127 * 0.51 if quantised else 1.2e-7 if "norm" in name else 0.0
        difference = (back.get_parameter(name) - weight).detach().abs().max()
        assert difference <= tolerance, name
        assert not quantised or difference > 0
    for setting in ("layer_types", "sliding_window", "head_dim", "query_pre_attn_scalar", "rms_norm_eps"):
        assert getattr(back.config, setting) == getattr(model.config, setting), setting
    assert back.config.rope_parameters == model.config.rope_parameters
    assert back.generation_config is not None
    assert back.generation_config.eos_token_id == 1
    ids = torch.arange(20, 60)[None]
    with torch.no_grad():
        assert (back(input_ids=ids).logits - model(input_ids=ids).logits).abs().max() < 0.2


def test_the_tokenizer_comes_along(paths: tuple[Path, Path]) -> None:
    expected = tiny_tokenizer()
    write(paths[0], source_model(len(expected)))
    convert(*paths)
    tokenizer = AutoTokenizer.from_pretrained(paths[1])
    assert tokenizer.get_vocab() == expected.get_vocab()
    for text in ("", "  x\n\n\ty", "漢字 🎉", "<start_of_turn>user\n"):
        ids = tokenizer(text)["input_ids"]
        assert ids.count(2) == 1
        assert tokenizer.decode(ids) == "<bos>" + text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, model: write(path, model, architecture="llama"), "holds a llama model"),
        (lambda path, model: write(path, model, extra="blk.0.attn_q.bias"), r"a tensor 'blk\.0\.attn_q\.bias' that"),
        (lambda path, model: write(path, model, extra="output.weight"), r"a tensor 'output\.weight' that"),
    ],
)
def test_another_model_is_refused(
    paths: tuple[Path, Path], make: Callable[[Path, Gemma3ForCausalLM], None], message: str
) -> None:
    make(paths[0], source_model(len(tiny_tokenizer())))
    with pytest.raises(CheckpointError, match=message):
        convert(*paths)
