"""The negation rule: the term is "fever" unless said otherwise."""

import pytest

from gemma_align.evaluation.negation import is_negated
from gemma_align.evaluation.wording import tokens


def negated(text, term="fever"):
    words, form = tokens(text), tokens(term)
    found = [i for i in range(len(words)) if words[i : i + len(form)] == form]
    assert len(found) == 1, (words, form)
    return is_negated(words, found[0], found[0] + len(form))


@pytest.mark.parametrize(
    "text",
    [
        "No fever.",
        "Denies fever.",
        "The patient denied any recent fever.",
        "He doesn't have a fever.",
        "She has never had a fever",
        "Without fever",
        "Negative for fever",
        "Negative for: fever",
        "No cough, chills, or fever.",
        "No cough or chills and fever",
        "Denies cough, chills, fever, nausea",
        "Neither cough nor fever",
        "No longer has fever",
        "No signs of infection such as fever",
        "NO FEVER",
        "Fever: none",
        "Fever: no",
        "Fever? No.",
        "Fever absent.",
        "Fever was denied by the patient",
        "Fever is not present.",
        "Fever and chills were denied.",
        "Fever, cough and chills are absent.",
        "Has a cough but no fever",
        "He has no fever",
        "Denies cough, or fever that has worsened",
    ],
)
def test_negated(text):
    assert negated(text)


@pytest.mark.parametrize(
    "text",
    [
        "Fever.",
        "Fever for 3 days",
        "No cough. Fever.",
        "No cough; fever for 3 days",
        "No cough\nFever",
        "No cough, but fever",
        "No symptoms except fever",
        "No symptoms other than fever",
        "No cough, positive for fever",
        "Denies cough and reports fever",
        "Denies cough, reports fever",
        "No cough, he has a fever",
        "No cough, fever has persisted",
        "Not only cough but fever",
        "No change in fever",
        "No improvement in fever",
        "No other fever",
        "Fever, no cough",
        "Fever, denies cough",
        "Fever and no cough",
        "Fever present, cough absent",
        "Fever, cough denied",
        "Fever for 3 days, cough and chills were denied",
        "No, he has fever",
        "Fever, allergies: none",
        "Normal weight, fever",
        "Nothing but fever",
        "Presents with fever",
        "No cough, presents with fever",
    ],
)
def test_stated(text):
    assert not negated(text)


def test_scope_needs_whole_words():
    assert not negated("Notable fever")
    assert not negated("Noted: fever")
    assert not negated("Nowadays fever")
