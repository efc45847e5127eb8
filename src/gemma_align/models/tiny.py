"""A tiny random Gemma 3 with its own small tokenizer: everything the real one has, in a quarter of a second.

It has both kinds of layers (a short sliding window and full attention), grouped queries, tied embeddings, a hidden size
other than heads x head size, and norm weights that aren't zero, so that code which forgets one of them gives other
numbers. Weights and tokenizer are made in code from a seed; nothing is read or downloaded.
"""

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, GemmaTokenizer

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>")
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # how a sentencepiece vocabulary writes a space
CHARACTERS = "\n\t" + "".join(chr(code) for code in range(33, 127)) + SPACE
WORDS = """
    the of and to in is that for with was are this be as on not have from at or by an it you he she they we can will
    do does did has had no yes what how why when who which if then so but about all any one two three day days week
    year years old time good bad help please safe harm answer question user answers sorry
    patient doctor history denies reports pain chest back left right mild severe acute chronic medication medications
    allergies allergy blood pressure heart rate exam normal daily dose tablets mg surgery family social smoking
    dialogue clinical note summary symptoms assessment plan follow
    return def function list string number integer print range len self none true false import test value values
"""
SECTIONS = ("Dialogue:", "Clinical note:", "Doctor:", "Patient:", "Question:", "Answer:", "Instruction:", "Response:")

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}"
    "{% set preface = messages[0]['content'] + '\n\n' %}{% set turns = messages[1:] %}"
    "{% else %}{% set preface = '' %}{% set turns = messages %}{% endif %}"
    "{% for turn in turns %}"
    "{% if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Gemma wants turns in the order user, assistant, user, ...') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if turn['role'] == 'assistant' else turn['role']) + '\n' }}"
    "{% if loop.first %}{{ preface }}{% endif %}{{ turn['content'] | trim }}{{ '<end_of_turn>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
"""Gemma's turns (ai.google.dev/gemma/docs/core/prompt-structure). No system role: that goes to the first turn."""


def tiny_tokenizer(*, instruct: bool = False) -> GemmaTokenizer:
    """Gemma's own tokenizer pipeline over a vocabulary of less than a thousand.

    Any text comes back as it was, by way of single bytes where need be; the one exception is Gemma's: U+2581, which
    stands for a space inside the vocabulary, comes back as a space. One <bos> is put in front.

    Args:
        instruct: with Gemma's chat template, as instruct checkpoints have.
    """
    vocabulary, merges = _vocabulary()
    pipeline = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    pipeline.normalizer = normalizers.Replace(" ", SPACE)
    pipeline.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    pipeline.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    pipeline.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    pipeline.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    tokenizer = GemmaTokenizer(tokenizer_object=pipeline)
    if instruct:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_model(vocab_size: int, *, instruct: bool = False, seed: int = 0, num_layers: int = 4) -> Gemma3ForCausalLM:
    """A random Gemma 3 on the CPU in float32; the same for the same arguments.

    Args:
        vocab_size: the tokenizer's.
        instruct: generation ends at <end_of_turn> too.
        seed: of the weights.
        num_layers: sliding and full attention take turns; the last layer of an even number is a full one.
    """
    eos, end_of_turn = SPECIAL.index("<eos>"), SPECIAL.index("<end_of_turn>")
    config = Gemma3TextConfig(
        vocab_size=vocab_size,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=16,
        layer_types=["full_attention" if layer % 2 else "sliding_attention" for layer in range(num_layers)],
        max_position_embeddings=4096,
        pad_token_id=SPECIAL.index("<pad>"),
        bos_token_id=SPECIAL.index("<bos>"),
        eos_token_id=eos,
        architectures=["Gemma3ForCausalLM"],
        dtype="float32",
    )
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):  # its own initialisation draws numbers that belong to the caller
        model = Gemma3ForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(_initial(weight, generator))
    assert model.generation_config is not None
    model.generation_config.eos_token_id = [eos, end_of_turn] if instruct else eos
    return model.eval()


def _initial(weight: Tensor, generator: torch.Generator) -> Tensor:
    """0.1 for tables and norms: next-token logits then spread by about 1, so samples vary and no token repeats."""
    scale = weight.shape[1] ** -0.5 if weight.ndim == 2 and weight.shape[0] < 256 else 0.1
    return torch.randn(weight.shape, generator=generator) * scale


def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Special tokens, bytes, characters, then words, each word grown letter by letter from its beginning."""
    tokens = dict.fromkeys([*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *CHARACTERS])
    merges = [("\n", "\n"), (SPACE, SPACE)]
    for word in [*(SPACE + word for word in WORDS.split()), *SECTIONS]:
        text = word.replace(" ", SPACE)
        merges += [(text[:cut], text[cut]) for cut in range(1, len(text))]
    merges = list(dict.fromkeys(merges))
    tokens |= dict.fromkeys(left + right for left, right in merges)
    return {token: index for index, token in enumerate(tokens)}, merges
