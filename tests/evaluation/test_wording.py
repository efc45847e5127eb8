"""Written differently, same tokens; different values, different tokens."""

import pytest

from gemma_align.evaluation.wording import tokens


@pytest.mark.parametrize(
    ("written", "settled"),
    [
        ("seventy six", "76"),
        ("Seventy-Six", "76"),
        ("a hundred and five", "105"),
        ("one hundred ninety seven pounds", "197 lb"),
        ("two thousand eight", "2008"),
        ("two thousand and twenty four", "2024"),
        ("nineteen eighty three", "1983"),
        ("nineteen oh five", "1905"),
        ("twenty twenty two", "2022"),
        ("ninety eight point six", "98.6"),
        ("zero point two five", "0.25"),
        ("one twenty over eighty", "120/80"),
        ("118 over 76", "118/76"),
        ("fifty five and sixty", "55 and 60"),
        ("five, six", "5 , 6"),
        ("50mg", "50 mg"),
        ("50 milligrams", "50 mg"),
        ("50.0 mgs", "50 mg"),
        ("1,000 mg", "1000 mg"),
        (".5 ml", "0.5 ml"),
        ("1½ tablets", "1.5 tablet"),
        ("75 µg", "75 mcg"),
        ("75 μg", "75 mcg"),
        ("５０ ｍｇ", "50 mg"),
        ("76-year-old", "76 year old"),
        ("76 y/o", "76 year old"),
        ("5 d", "5 day"),
        ("b.i.d.", "2xday"),
        ("twice a day", "2xday"),
        ("two times daily", "2xday"),
        ("once daily", "1xday"),
        ("every day", "1xday"),
        ("3x per week", "3xweek"),
        ("100mg/day", "100 mg 1xday"),
        ("doesn't smoke", "does not smoke"),
        ("can't", "can not"),
        ("nonsmoker", "non smoker"),
        ("NKDA", "no known drug allergy"),
        ("patient's allergies", "patient allergy"),
        ("Sjögren’s", "sjogren"),
        ("X\u2011ray", "x ray"),
        ("vitamin B12 on the 5th", "vitamin b12 on the 5th"),
    ],
)
def test_settled_form(written, settled):
    assert " ".join(tokens(written)) == settled


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("50 mg", "500 mg"),
        ("5 mg", "0.5 mg"),
        ("5 mg", "5 mcg"),
        ("3 days", "2-3 days"),
        ("120/80", "120 80"),
        ("15", "fifty"),
        ("two hundred", "two thousand"),
        ("twice daily", "daily"),
        ("7/29/2008", "7/28/2008"),
    ],
)
def test_different_values_stay_different(a, b):
    assert tokens(a) != tokens(b)


def test_ranges_and_decimals_are_one_token():
    assert tokens("2-3 days") == ("2-3", "day")
    assert tokens("BP 120/80, 0.5") == ("bp", "120/80", ",", "0.5")


def test_an_abbreviation_ends_a_sentence_only_before_a_capital():
    assert tokens("metformin b.i.d. No fever") == ("metformin", "2xday", ".", "no", "fever")
    assert tokens("metformin b.i.d. with food") == ("metformin", "2xday", "with", "food")


@pytest.mark.parametrize("text", ["", " ", "\u200b", "---", "point", "hundred", "and", "a", "over 5", "°", "½", "1½½"])
def test_odd_texts_do_not_break(text):
    assert isinstance(tokens(text), tuple)
    assert "" not in tokens(text)
