"""Toxicity: disguises, whole words, sentences in long texts, the classifier's refusal."""

import builtins
import sys
import unicodedata
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_align.errors import RewardError
from gemma_align.rewards.constraints import classifier
from gemma_align.rewards.constraints.base import verdict
from gemma_align.rewards.constraints.classifier import probabilities, undisguised
from gemma_align.rewards.constraints.lexicon import SHIPPED, hits
from gemma_align.rewards.constraints.limits import ToxicityLimits
from gemma_align.rewards.constraints.toxicity import toxicity
from gemma_align.rewards.fold import fold

LIMITS = ToxicityLimits(threshold=0.98)
LONG = "The weather was mild and we walked along the river for an hour before lunch. " * 40


def spans(text: str, words: tuple[str, ...] = SHIPPED) -> list[str]:
    return [text[start:end] for start, end in hits(fold(text), words)]


DISGUISES = {
    "case": "You IdIoT",
    "leetspeak": "you 1d10t",
    "signs": "a$$h0le",
    "zero-width": "i\u200bd\u200bi\u200bo\u200bt",
    "soft hyphens": "i\u00addi\u00adot",
    "combining": "i\u0336d\u0336i\u0336o\u0336t\u0336",
    "accents": unicodedata.normalize("NFC", "idio\u0302t"),
    "Cyrillic": "іdіоt",
    "full width": "ｉｄｉｏｔ",
    "mathematical": "𝖎𝖉𝖎𝖔𝖙",
    "circled": "ⓘⓓⓘⓞⓣ",
    "squared": "🅸🅳🅸🅾🆃",
    "flags": "🇮🇩🇮🇴🇹",
    "repeated": "iiidiooooot",
    "dots": "i.d.i.o.t",
    "dots and spaces": "i. d. i. o. t",
    "spaces": "what an i d i o t he is",
    "dashes": "id-iot",
    "mask": "id*ot",
    "several": "1 d I ο т\u200b",
    "a phrase over lines": "kill\n  yourself",
    "a phrase with an apostrophe": "I’ll kill you",
    "a phrase spaced out": "d r o p   d e a d",
}


@pytest.mark.parametrize("text", DISGUISES.values(), ids=DISGUISES)
def test_disguises_are_found(text: str) -> None:
    assert spans(text)


@pytest.mark.parametrize(
    "text",
    [
        "idiotic idiosyncrasy",  # not whole words
        "oxymorons are figures of speech",
        "hello dolly",
        "a, b, c, d, e, f",
        "x = i*d*i",
        "He denies suicidal thoughts.",
        "The drop was dead slow.",
        "",
    ],
)
def test_ordinary_words_are_not(text: str) -> None:
    assert spans(text) == []


def test_own_words() -> None:
    assert spans("What a Blorb!", ("blorb",)) == ["Blorb"]
    assert spans("blorbs", ("blorb",)) == []
    assert spans("blorbs", ("blorb*",)) == ["blorbs"]
    assert spans("ass", ("ass",)) == ["ass"]
    assert spans("as if", ("ass",)) == []
    assert spans("ты дурак", ("дурак",)) == ["дурак"]
    assert spans("anything", ("...",)) == []
    assert spans("anything", ()) == []


@settings(deadline=None)
@given(st.sampled_from([word for word in SHIPPED if word.isalpha()]), st.data())
def test_any_mix_of_disguises(word: str, data: st.DataObject) -> None:
    forms = {"i": "i1іI", "o": "o0оO", "a": "a4@а", "s": "s5$ѕ", "e": "e3е"}
    text = "".join(
        data.draw(st.sampled_from(forms.get(letter, letter + letter.upper()))) * data.draw(st.integers(1, 3))
        + data.draw(st.sampled_from(["", "\u200b", "\u0301"]))
        for letter in word
    )
    assert len(spans(f"so {text}, then")) == 1


@settings(deadline=None)
@given(st.text(max_size=40))
def test_folded_text_knows_where_it_came_from(text: str) -> None:
    folded = fold(text)
    assert len(folded.places) == len(folded.text)
    assert list(folded.places) == sorted(folded.places)
    assert fold(folded.text).text == folded.text or not text.isascii()
    for start, end in hits(folded, ("ab", "a b")):
        assert 0 <= start < end <= len(text)
    assert isinstance(undisguised(folded), str)


def test_one_toxic_sentence_in_a_long_text_is_seen() -> None:
    insult = "Shut your mouth, you stupid bitch."
    text = LONG + insult + " " + LONG
    (measures,) = toxicity([text], LIMITS, (), True)
    assert probabilities([text])[0] < 0.9  # the whole text alone wouldn't show it
    finding = verdict(measures, 1.0, -3.0)
    assert [text[start:end] for start, end in finding.spans] == [insult]
    assert finding.amount > 0.99


def test_harmless_text_costs_nothing() -> None:
    for measures in toxicity(
        [LONG, "", "def kill(process):\n    return 0", "The patient denies pain."], LIMITS, SHIPPED, True
    ):
        assert not verdict(measures, 1.0, -3.0).fired


def test_disguised_profanity_reaches_the_classifier() -> None:
    assert undisguised(fold("f u c k this sh1t, fuuuuck")) == "fuck this shit, fuck"
    assert undisguised(fold("Go to h.e.l.l, y.o.u b*stard, 2*n*k and sh*t")) == "go to hell you bastard, 2*n*k and shit"
    assert undisguised(fold("h-e-l-l-o- -w-o-r-l-d")) == "hello world"
    assert undisguised(fold("say h e l l o")) == "say hello"
    assert "bastard" in undisguised(fold("y o u b a s t a r d")).split()
    texts = ["Sh1t, f u c k off", "fυсk off", "fuuuuuck off", "y.o.u u.g.l.y b.a.s.t.a.r.d", "f*ck off"]
    assert all(verdict(m, 1.0, None).fired for m in toxicity(texts, LIMITS, (), True))


def test_equal_texts_in_any_order_get_equal_scores() -> None:
    texts = ["you are an idiot", "good morning", "you are an idiot"]
    first, second, third = probabilities(texts)
    assert first == third != second
    assert probabilities([]).shape == (0,)
    alone = toxicity(["good morning. you are an idiot"], LIMITS, SHIPPED, True)
    beside = toxicity(["x", "good morning. you are an idiot", ""], LIMITS, SHIPPED, True)
    assert beside[1] == alone[0]


@pytest.fixture
def _unloaded(monkeypatch: pytest.MonkeyPatch):
    classifier._load.cache_clear()
    for name in [name for name in sys.modules if name.startswith("profanity_check")]:
        monkeypatch.delitem(sys.modules, name)
    yield
    classifier._load.cache_clear()


@pytest.mark.usefixtures("_unloaded")
def test_a_missing_package_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "profanity_check.profanity_check", None)
    with pytest.raises(RewardError, match=r"alt-profanity-check.*classifier=false"):
        probabilities(["x"])


@pytest.mark.usefixtures("_unloaded")
def test_another_scikit_learn_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def other(name, *args, **kwargs):
        if name == "profanity_check.profanity_check":
            warnings.warn("Trying to unpickle from version 1.6.0 when using version 1.9.1", UserWarning, stacklevel=2)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", other)
    with pytest.raises(RewardError, match=r"1\.6\.0"):
        probabilities(["x"])
