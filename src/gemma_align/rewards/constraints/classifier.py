"""alt-profanity-check: p(offensive) of short texts by a linear SVM on words, calibrated; offline, about 1 MB.

Its authors trained it on 200 thousand labelled comments and publish a precision of 0.86 and a recall of 0.90 on such
comments; it knows words, not what they are used for, and stop words ("you") are dropped before it looks.
The weights are pickled with one version of scikit-learn, so every release of the package requires just that version;
another one that was installed over it is refused, since what it would compute is anybody's guess.
"""

import re
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemma_align.errors import RewardError
from gemma_align.rewards.constraints.lexicon import spaced
from gemma_align.rewards.fold import Folded

OFFENSIVE = 0.98  # probability from which a word is by itself
MIN_LETTERS = 4
_TOKEN = re.compile(r"[a-z0-9@$](?:[a-z0-9@$!|]*[a-z0-9@$])?")
_DISGUISES = str.maketrans("013457@$!|", "oieastasil")
_MASKED = re.compile(r"(?<![a-z0-9])[a-z]+(?:\*+[a-z]+)+(?![a-z0-9])")
_REPEATED = re.compile(r"([a-z])\1{2,}")


def probabilities(texts: Sequence[str]) -> NDArray[np.float64]:
    """Of each text, (N,). Equal texts are computed once.

    Raises RewardError where the package isn't installed or doesn't fit the installed scikit-learn.
    """
    vectorizer, model = _load()
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    if not distinct:
        return np.zeros(0)
    found = model.predict_proba(vectorizer.transform(list(distinct)))[:, 1]
    return np.asarray(found[[distinct[text] for text in texts]], dtype=np.float64)


@cache
def _load() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            from profanity_check.profanity_check import model, vectorizer
        except ImportError as error:
            raise RewardError(
                f"The toxicity constraint needs the package alt-profanity-check, which can't be imported ({error}): "
                "install it (pip install -e .), or set reward.constraints.toxicity.classifier=false"
            ) from error
        except Warning as error:
            raise RewardError(
                f"alt-profanity-check doesn't fit what is installed beside it ({error}): install the scikit-learn "
                "version of the same number, or set reward.constraints.toxicity.classifier=false"
            ) from error
    return vectorizer, model


@cache
def _offensive_words() -> frozenset[str]:
    """Of the classifier's vocabulary: words of four letters or more that are offensive by themselves."""
    words = [word for word in _load()[0].vocabulary_ if word.isascii() and word.isalpha() and len(word) >= MIN_LETTERS]
    return frozenset(word for word, p in zip(words, probabilities(words), strict=True) if p >= OFFENSIVE)


@cache
def _inside() -> re.Pattern[str]:
    """Any of them inside a run of letters, the longest first."""
    return re.compile("|".join(sorted(_offensive_words(), key=lambda word: (-len(word), word))))


def undisguised(folded: Folded) -> str:
    """The folded text as a reader takes it.

    "sh1t" as "shit", "fuuuck" and "f u c k" as "fuck", "f*ck" as the word of the classifier's vocabulary that fits and
    is offensive by itself; in letters spaced out evenly, where words can't be told apart, such words are set apart.
    """
    text = folded.text
    for pieces in reversed(list(spaced(folded))):
        joined = " ".join("".join(text[i] for i in piece) for piece in pieces)
        shown = joined.translate(_DISGUISES)
        if len(pieces) == 1 and shown not in _load()[0].vocabulary_:
            shown = " ".join(_inside().sub(r" \g<0> ", shown).split())
        text = text[: pieces[0][0]] + shown + text[pieces[-1][-1] + 1 :]
    if "*" in text:
        text = _MASKED.sub(_unmasked, text)
    return _REPEATED.sub(r"\1", _TOKEN.sub(_plain, text))


def _unmasked(match: re.Match[str]) -> str:
    token = match[0]
    if len(token) < MIN_LETTERS or 3 * token.count("*") > len(token):
        return token
    pattern = re.compile(token.replace("*", "."))
    return min((word for word in _offensive_words() if pattern.fullmatch(word)), default=token)


def _plain(match: re.Match[str]) -> str:
    token = match[0]
    if token.isalpha() or sum(c.isalpha() for c in token) < 2:
        return token
    return token.translate(_DISGUISES)
