"""What an encoder has to beat: the shorter response wins, and a bag of words.

The bag of words is a Bradley-Terry model that is linear in which words a response holds:
P(a better than b) = s(w . (words of a - words of b)), with a Gaussian prior on w whose strength the dev pairs choose.
Words are lower-case runs of letters and apostrophes, and the marks ? ! . , each.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

from gemma_align.types import Example

Array = NDArray[np.float64]

PRIORS = (3.0, 10.0, 30.0, 100.0)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|[?!.,]")


def shorter_wins(pairs: Sequence[Example]) -> Array:
    """Characters by which the rejected response is longer; negative where the chosen one is."""
    return np.array([len(e.rejected or "") - len(e.response or "") for e in pairs], dtype=np.float64)


def bag_of_words(fit: Sequence[Example], dev: Sequence[Example]) -> Callable[[Sequence[Example]], Array]:
    """The fitted model: from pairs to score differences (chosen - rejected)."""
    vocabulary: dict[str, int] = {}
    for example in fit:
        for word in _words(example.response) | _words(example.rejected):
            vocabulary.setdefault(word, len(vocabulary))
    order = {word: i for i, word in enumerate(sorted(vocabulary))}
    on_fit, on_dev = _differences(fit, order), _differences(dev, order)
    weights = [_logistic(on_fit, prior) for prior in PRIORS]
    losses = [float(np.logaddexp(0.0, -(on_dev @ w)).mean()) for w in weights]
    best = weights[int(np.argmin(losses))]

    def score(pairs: Sequence[Example]) -> Array:
        return np.asarray(_differences(pairs, order) @ best)

    return score


def _words(text: str | None) -> set[str]:
    return set(_WORD.findall((text or "").lower()))


def _differences(pairs: Sequence[Example], order: dict[str, int]) -> sparse.csr_matrix:
    """(N, words): 1 for a word that only the chosen response holds, -1 for one that only the rejected holds."""
    entries = [
        (n, order[word], sign)
        for n, example in enumerate(pairs)
        for sign, ours, theirs in (
            (1.0, example.response, example.rejected),
            (-1.0, example.rejected, example.response),
        )
        for word in sorted(_words(ours) - _words(theirs))
        if word in order
    ]
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    return sparse.csr_matrix((values, (rows, columns)), shape=(len(pairs), len(order)), dtype=np.float64)


def _logistic(differences: sparse.csr_matrix, prior: float) -> Array:
    """argmin over w of sum log(1 + exp(-d . w)) + prior / 2 |w|^2."""

    def loss(w: Array) -> tuple[float, Array]:
        z = differences @ w
        value = np.logaddexp(0.0, -z).sum() + 0.5 * prior * (w @ w)
        return float(value), prior * w - differences.T @ (1.0 / (1.0 + np.exp(np.minimum(z, 500.0))))

    found = minimize(loss, np.zeros(differences.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return np.asarray(found.x)
