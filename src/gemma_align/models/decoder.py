"""Gemma 3's forward pass for sampling: no gradients, few Python calls a step, weights laid out for few rows.

It holds its own inference copy of the block weights (0.4 GB for Gemma 3 270M in float32): adapters merged in float32,
query, key and value in one matrix, gate and up in one. The embedding stays the model's. The model itself is only
read, so there is nothing to undo afterwards. After an optimizer step `refresh` copies again what has changed.

Left out: softcaps (Gemma 2), bidirectional attention, biases, rope that depends on the length, gradients. A model that
needs one of them is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm

from gemma_align.errors import UserError
from gemma_align.models.kv_cache import KVCache, Shape
from gemma_align.models.merged import base_weight, effective_weight, fingerprint, only, stacked
from gemma_align.models.packed import COPY_BYTES, Head, Int8Head, PackedLinear
from gemma_align.models.paging import page_out

ROW_STEP = 32  # a prefill's tokens are filled up to a multiple: oneDNN makes and keeps a kernel for every size it meets
HeadKind = Literal["packed", "shared", "int8"]

_MATRICES = {  # one product each
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


@dataclass(frozen=True, slots=True)
class _Layer:
    """One block. Norms are 1 + weight in float32."""

    kind: str  # "sliding_attention" or "full_attention"
    window: int | None
    qkv: PackedLinear
    out: PackedLinear
    gate_up: PackedLinear
    down: PackedLinear
    before_attention: Tensor
    after_attention: Tensor
    before_mlp: Tensor
    after_mlp: Tensor
    qk_norm: Tensor  # (query heads + key heads, head_dim), the queries' with the scale of attention in it


class Decoder:
    """A Gemma 3 model as the sampler sees it.

    Attributes:
        head: logits of hidden states, in chunks of the vocabulary.
        shape: what a KVCache for this model has to know.
    """

    head: Head | Int8Head
    _layers: list[_Layer]

    def __init__(self, model: Any, *, head: HeadKind = "packed") -> None:
        """Copies the weights.

        Args:
            model: a transformers `Gemma3ForCausalLM`, with PEFT's LoRA modules in it or not, or the PEFT model
                around it. Active adapters count; disabled ones don't.
            head: "packed" is exact and fastest, with a copy of up to COPY_BYTES of the head; "shared" is exact without
                a copy, as every head is where oneDNN can't be had; "int8" is smaller and approximate (`Int8Head`).

        Raises:
            UserError: the model has something this forward pass leaves out.
        """
        model = _unwrapped(model)
        _refuse_what_is_left_out(model.config)
        self._config = config = model.config
        self._head_kind = head
        self._activation = ACT2FN[config.hidden_activation]
        windows = {"sliding_attention": config.sliding_window, "full_attention": None}
        self._windows = tuple(windows[kind] for kind in config.layer_types)
        weight = model.lm_head.weight
        self.shape = Shape(self._windows, config.num_key_value_heads, config.head_dim, weight.dtype, weight.device)
        self.release()
        self.refresh(model)

    @torch.no_grad()
    def refresh(self, model: Any) -> None:
        """Takes over what has changed in the model since the last time."""
        model = _unwrapped(model)
        self._rotary = model.model.rotary_emb
        self._embedding = only(model.model.embed_tokens, nn.Embedding, "embed_tokens").weight.detach()
        self._final_norm = _scale(model.model.norm)
        if self._changed("head", model.lm_head):
            weight = effective_weight(model.lm_head, "lm_head")
            copy_bytes = COPY_BYTES if self._head_kind == "packed" else 0
            self.head = Int8Head(weight) if self._head_kind == "int8" else Head(weight, copy_bytes)
        self._layers = [self._layer(i, layer) for i, layer in enumerate(model.model.layers)]

    def release(self) -> None:
        """Gives the copies back; `refresh` makes them again."""
        self._marks: dict[str, Any] = {}
        self._matrices: dict[str, PackedLinear] = {}
        self._layers = []
        self._rope: dict[str, tuple[Tensor, Tensor]] = {}
        self.__dict__.pop("head", None)

    def _changed(self, name: str, *modules: Any) -> bool:
        mark = fingerprint(*modules)
        changed = self._marks.get(name) != mark
        self._marks[name] = mark
        return changed

    def _layer(self, index: int, layer: Any) -> _Layer:
        for name, paths in _MATRICES.items():
            modules = {f"layers.{index}.{path}": layer.get_submodule(path) for path in paths}
            if self._changed(f"{index}.{name}", *modules.values()):
                self._matrices[f"{index}.{name}"] = PackedLinear(stacked(modules))
                page_out(map(base_weight, modules.values()))  # sampling reads the copy
        config, attention = self._config, layer.self_attn
        query_norm = _scale(attention.q_norm) * config.query_pre_attn_scalar**-0.5
        key_norm = _scale(attention.k_norm)
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        return _Layer(
            kind=config.layer_types[index],
            window=self._windows[index],
            before_attention=_scale(layer.input_layernorm),
            after_attention=_scale(layer.post_attention_layernorm),
            before_mlp=_scale(layer.pre_feedforward_layernorm),
            after_mlp=_scale(layer.post_feedforward_layernorm),
            qk_norm=torch.cat([query_norm.expand(heads, -1), key_norm.expand(kv_heads, -1)]),
            **{name: self._matrices[f"{index}.{name}"] for name in _MATRICES},
        )

    def step(self, tokens: Tensor, cache: KVCache) -> Tensor:
        """One token for every row of the cache. tokens: (R,) int64. Returns what the head takes, (R, H)."""
        positions = cache.begin_step()
        rope = self._rope_at(positions, bound=max(cache.slots) + max(cache.used))
        x = self._embed(tokens)
        for i, layer in enumerate(self._layers):
            query, key, value = self._project(layer, x, rope[layer.kind])
            x = self._rest(layer, x, cache.attend(i, query, key, value))
        return self._norm(x, self._final_norm)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> list[tuple[list[Tensor], list[Tensor]]]:
        """Keys and values of whole prompts, each (tokens, kv_heads, head_dim) a layer; prompts may be empty.

        All prompts go through the products as one row of tokens, without padding; attention sees them one by one.
        """
        filler = [0] * (-sum(len(prompt) for prompt in prompts) % ROW_STEP)
        lengths = [*(len(prompt) for prompt in prompts), len(filler)]
        config, device = self._config, self.shape.device
        if not any(prompts):
            nothing = torch.empty(0, config.num_key_value_heads, config.head_dim, dtype=self.shape.dtype, device=device)
            return [([nothing] * len(self._layers), [nothing] * len(self._layers)) for _ in prompts]
        cached: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in prompts]
        rope = self._rope_at(torch.cat([torch.arange(length, device=device) for length in lengths]), max(lengths))
        x = self._embed(torch.tensor([token for prompt in [*prompts, filler] for token in prompt], device=device))
        for i, layer in enumerate(self._layers):
            query, key, value = self._project(layer, x, rope[layer.kind])
            # Copies, or what is cached would keep the queries alive.
            parts = [t.split(lengths) for t in (query, key.clone(), value.clone())]
            for (keys, values), k, v in zip(cached, parts[1], parts[2], strict=False):  # without the filler's
                keys.append(k)
                values.append(v)
            if i < len(self._layers) - 1:
                attended = [_causal(q, k, v, layer.window) for q, k, v in zip(*parts, strict=True)]
                x = self._rest(layer, x, torch.cat(attended))
        return cached

    def _embed(self, tokens: Tensor) -> Tensor:
        scale = torch.tensor(self._config.hidden_size**0.5, dtype=self.shape.dtype, device=self.shape.device)
        return F.embedding(tokens, self._embedding) * scale  # Gemma rounds the scale to the weights' precision

    def _norm(self, x: Tensor, scale: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (x.shape[-1],), None, self._config.rms_norm_eps).mul_(scale).to(x.dtype)

    def _project(self, layer: _Layer, x: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries (tokens, heads, head_dim), scaled, rotated keys and values (tokens, kv_heads, head_dim)."""
        heads, kv_heads, head_dim = self._config.num_attention_heads, self.shape.kv_heads, self.shape.head_dim
        qkv = layer.qkv(self._norm(x, layer.before_attention)).view(len(x), -1, head_dim)
        qk = self._norm(qkv[:, : heads + kv_heads], layer.qk_norm)
        cos, sin = rope
        qk = torch.addcmul(qk * cos, qk.roll(head_dim // 2, dims=-1), sin)
        return qk[:, :heads], qk[:, heads:], qkv[:, heads + kv_heads :]

    def _rest(self, layer: _Layer, x: Tensor, attended: Tensor) -> Tensor:
        """What comes after attention in a block. attended: (tokens, heads, head_dim)."""
        x = x + self._norm(layer.out(attended.flatten(1)), layer.after_attention)
        gate, up = layer.gate_up(self._norm(x, layer.before_mlp)).chunk(2, dim=-1)
        return x + self._norm(layer.down(self._activation(gate).mul_(up)), layer.after_mlp)

    def _rope_at(self, positions: Tensor, bound: int) -> dict[str, tuple[Tensor, Tensor]]:
        """cos and signed sin, (tokens, 1, head_dim), of each kind of layer; positions are smaller than `bound`."""
        at = {}
        for kind in set(self._config.layer_types):
            if kind not in self._rope or len(self._rope[kind][0]) < bound:
                every = torch.arange(max(bound, 1024), device=positions.device)[None]
                cos, sin = self._rotary(self._embedding[:1, None], every, kind)
                half = sin.shape[-1] // 2
                signed = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)  # rotate_half(x) * sin = roll(x) * this
                self._rope[kind] = cos[0], signed[0]
            cos, sin = self._rope[kind]
            at[kind] = cos[positions, None], sin[positions, None]
        return at


def _unwrapped(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def _scale(norm: Any) -> Tensor:
    return 1.0 + only(norm, Gemma3RMSNorm, "a norm").weight.detach().float()


def _causal(query: Tensor, key: Tensor, value: Tensor, window: int | None) -> Tensor:
    """Causal attention within one prompt, (tokens, heads, head_dim), a window's worth of queries at a time."""
    tokens, heads, _ = query.shape
    q, k, v = (t.transpose(0, 1)[None] for t in (query, key, value))
    k, v = (t.repeat_interleave(heads // t.shape[1], dim=1) for t in (k, v))
    if window is None or tokens <= window:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
        return out[0].transpose(0, 1)
    place = torch.arange(tokens, device=query.device)
    pieces = []
    for first in range(0, tokens, window):
        queries, keys = place[first : first + window, None], place[None, max(first - window + 1, 0) : first + window]
        seen = (keys <= queries) & (keys > queries - window)
        a, b = int(keys[0, 0]), int(keys[0, -1]) + 1
        pieces.append(
            F.scaled_dot_product_attention(q[:, :, first : first + window], k[:, :, a:b], v[:, :, a:b], seen, scale=1.0)
        )
    return torch.cat(pieces, dim=2)[0].transpose(0, 1)


def _refuse_what_is_left_out(config: Any) -> None:
    kinds = {"sliding_attention", "full_attention"}
    asks_for = {
        "final_logit_softcapping": config.final_logit_softcapping,
        "attn_logit_softcapping": config.attn_logit_softcapping,
        "use_bidirectional_attention": config.use_bidirectional_attention,
        "attention_bias": config.attention_bias,
        "layer_types": set(config.layer_types) - kinds,
        "rope_type": {rope["rope_type"] for rope in config.rope_parameters.values()} - {"default", "linear"},
    }
    found = ", ".join(f"{name}={value}" for name, value in asks_for.items() if value)
    if found:
        raise UserError(f"the sampler runs Gemma 3 text models; this one asks for {found}: use transformers' generate")
