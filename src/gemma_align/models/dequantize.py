"""A quantised Gemma 3 GGUF file as a plain transformers folder in float32.

Values are unpacked by llama.cpp's own `gguf` package, a few rows at a time, straight into the safetensors file: no
whole copy of the model is ever in memory. Departures of GGUF from transformers' layout: other names, and norm weights
stored as 1 + w.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, ReaderTensor, dequantize
from numpy.typing import NDArray
from transformers import Gemma3TextConfig, GemmaTokenizer, GenerationConfig

from gemma_align.errors import CheckpointError

ROWS = 4096
"""Rows unpacked at a time: 10 MB of a 640 wide table."""

TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def convert(gguf: Path, folder: Path) -> None:
    """Write config, weights, tokenizer and generation config of `gguf` into `folder`.

    Raises:
        CheckpointError: the file is not a Gemma 3 text model, or holds tensors this conversion doesn't know.
    """
    reader = GGUFReader(gguf)
    config = _config(reader)
    config.save_pretrained(folder)
    _write_safetensors(folder / "model.safetensors", {_name(t.name): t for t in reader.tensors})
    GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    ).save_pretrained(folder)
    GemmaTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def _config(reader: GGUFReader) -> Gemma3TextConfig:
    def get(key: str) -> Any:
        field = reader.get_field(key)
        if field is None:
            raise CheckpointError(f"the GGUF file has no {key}: wanted a Gemma 3 text model")
        return field.contents()

    if (architecture := get("general.architecture")) != "gemma3":
        raise CheckpointError(f"the GGUF file holds a {architecture} model: wanted a Gemma 3 text model")
    head_dim = get("gemma3.attention.key_length")
    table = next(t for t in reader.tensors if t.name == "token_embd.weight")
    # Layer pattern and local rope base are Gemma 3's fixed ones (transformers' defaults); GGUF doesn't carry them.
    config = Gemma3TextConfig(
        vocab_size=int(table.shape[1]),
        hidden_size=get("gemma3.embedding_length"),
        intermediate_size=get("gemma3.feed_forward_length"),
        num_hidden_layers=get("gemma3.block_count"),
        num_attention_heads=get("gemma3.attention.head_count"),
        num_key_value_heads=get("gemma3.attention.head_count_kv"),
        head_dim=head_dim,
        query_pre_attn_scalar=head_dim,
        max_position_embeddings=get("gemma3.context_length"),
        sliding_window=get("gemma3.attention.sliding_window"),
        # Stored as float32; the nearest short decimal is what the model was published with.
        rms_norm_eps=float(f"{get('gemma3.attention.layer_norm_rms_epsilon'):.6g}"),
        bos_token_id=get("tokenizer.ggml.bos_token_id"),
        eos_token_id=get("tokenizer.ggml.eos_token_id"),
        pad_token_id=get("tokenizer.ggml.padding_token_id"),
        tie_word_embeddings=all(t.name != "output.weight" for t in reader.tensors),
        architectures=["Gemma3ForCausalLM"],
        dtype="float32",
    )
    theta = get("gemma3.rope.freq_base")
    assert config.rope_parameters is not None
    if config.rope_parameters["full_attention"]["rope_theta"] != theta:
        raise CheckpointError(f"the GGUF file has rope base {theta}, which is not Gemma 3's")
    return config


def _name(name: str) -> str:
    """transformers' name of a GGUF tensor: `blk.0.attn_q.weight` is `model.layers.0.self_attn.q_proj.weight`."""
    if name in TOP:
        return TOP[name]
    match name.split("."):
        case ["blk", layer, part, "weight"] if part in BLOCK and layer.isdigit():
            return f"model.layers.{layer}.{BLOCK[part]}.weight"
    raise CheckpointError(f"the GGUF file holds a tensor {name!r} that Gemma 3's text model doesn't have")


def _rows(name: str, tensor: ReaderTensor) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(tensor.data), ROWS):
        values = dequantize(tensor.data[start : start + ROWS], tensor.tensor_type)
        yield values - np.float32(1) if name.endswith("norm.weight") else values


def _write_safetensors(path: Path, tensors: dict[str, ReaderTensor]) -> None:
    """The format: the header's length in 8 bytes, a JSON header with shapes and offsets, then the values in order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        shape = [int(n) for n in reversed(tensor.shape)]  # GGUF counts from the fastest dimension
        end = offset + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # values start aligned, so they can be used where they are mapped
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors.items():
            for rows in _rows(name, tensor):
                file.write(np.ascontiguousarray(rows, dtype="<f4").tobytes())
        written = file.tell() - 8 - len(text)
    if written != offset:
        raise CheckpointError(f"the GGUF file's tensors unpack to {written} bytes instead of {offset}")
