"""Clinical text as comparable tokens: what is written differently but says the same gives the same tokens.

    "Seventy-six y/o, 50mg b.i.d., doesn't smoke"  ->  76 year old , 50 mg 2xday , do not smoke

What is settled here: Unicode forms, accents, case, dashes; number words ("one hundred and five point two" = 105.2,
"nineteen eighty three" = 1983, "120 over 80" = 120/80); digits written together with units; units' long forms and
plurals; how often ("twice a day", "b.i.d.", "2 times daily" = 2xday); contractions; plural s. "2-3", "120/80" and
"7/29/2008" stay one token each, so "3 days" isn't read out of "2-3 days", nor "5 mg" out of "0.5 mg".

Left out: sums of units (14 days and 2 weeks differ), "half", "a couple", ordinals, Roman numerals.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from gemma_align.evaluation.number_words import plain, read_number

ENDS = frozenset(".;?!\n")  # a clause ends here
MARKS = ENDS | {",", ":"}

UNITS = {
    "milligram": "mg", "mgs": "mg", "microgram": "mcg", "ug": "mcg", "μg": "mcg", "gram": "g", "gm": "g",
    "kilogram": "kg", "kilo": "kg", "pound": "lb", "milliliter": "ml", "millilitre": "ml", "liter": "l", "litre": "l",
    "tab": "tablet", "pill": "tablet", "cap": "capsule", "iu": "unit", "%": "percent", "mmhg": "mmhg", "hr": "hour",
    "min": "minute", "wk": "week", "mo": "month", "yr": "year", "ft": "foot", "feet": "foot", "centimeter": "cm",
    "centimetre": "cm", "millimeter": "mm", "millimetre": "mm", "°": "degree", "fahrenheit": "f", "celsius": "c",
}  # fmt: skip
QUANTITIES = frozenset(UNITS.values()) | {
    "mg", "kg", "lb", "ml", "cm", "mm", "mcg", "puff", "drop", "bpm", "second", "day", "time", "inch", "pack",
    "cigarette", "drink", "beer", "meq", "mmol", "old",
}  # fmt: skip
"""Words that make the number before them an amount, a dose, a duration or an age."""

_SHORT = {"h": "hour", "d": "day", "w": "week", "y": "year", "x": "time"}  # after a number only
_EXPANDED = {
    "nkda": "no known drug allergy", "nka": "no known allergy", "nonsmoker": "non smoker", "nondrinker": "non drinker",
    "nondiabetic": "non diabetic", "afebrile": "no fever", "cannot": "can not", "yo": "year old", "aged": "age",
    "y/o": "year old", "w/o": "without", "b/p": "bp", "c/o": "complaint of", "h/o": "history of",
    "bid": "2xday", "tid": "3xday", "qid": "4xday", "qd": "1xday", "qday": "1xday",
    "once": "1 time", "twice": "2 time", "thrice": "3 time", "&": "and",
}  # fmt: skip
_OFTEN = re.compile(
    r"(?<!\S)(?:(\d+) time (?:a |per |each |every |in a )?(day|daily|week|weekly|month|monthly)"
    r"|(?:per|each|every) (day|week|month)|(daily|weekly|monthly))(?!\S)"
)
_PER = re.compile(r"(?<=\w)/(?=day|daily|week|month)")
_FRACTION = re.compile(r"(\d*)([¼½¾⅓⅔⅛⅜⅝⅞])")
_ABBREVIATION = re.compile(r"\b(?:[A-Za-z]\.){2,}")
_TOKEN = re.compile(
    r"""
      \d+(?:st|nd|rd|th)\b                                            # 5th: an ordinal, not a number
    | (?:\d+(?:,\d{3})+|\d+)(?:\.\d+)?(?:[-/](?:\d+(?:,\d{3})+|\d+)(?:\.\d+)?)*   # 50, 1,000, 0.5, 2-3, 120/80
    | (?<![\w.])\.\d+                                                 # .5
    | (?:b/p|y/o|w/o|c/o|h/o)\b
    | [^\W\d_]\w*(?:'\w+)*                                            # words, b12, doesn't
    | [.,;:?!\n%°&]
    """,
    re.VERBOSE,
)


@lru_cache(maxsize=4096)
def tokens(text: str) -> tuple[str, ...]:
    """Comparable tokens of a text; the marks `, : . ; ? !` and the line break are tokens too."""
    settled = [part for token in _TOKEN.findall(_cleaned(text)) for part in _settled(token) if part]
    return _frequencies(_numbers(settled))


def is_number(token: str) -> bool:
    """A number, a range, a date or a blood pressure; not "2xday"."""
    return token[0].isdigit() and token[-1].isdigit()


def is_frequency(token: str) -> bool:
    """How often: "2xday"."""
    return token[0].isdigit() and "x" in token


def _cleaned(text: str) -> str:
    """Without differences of Unicode, case and abbreviation that say nothing."""
    text = _FRACTION.sub(lambda m: f"{int(m[1] or 0) + unicodedata.numeric(m[2]):.3g}", text)
    text = "".join("-" if unicodedata.category(c) == "Pd" or c in "−⁄" else c for c in text)
    text = unicodedata.normalize("NFKD", text.replace("’", "'"))
    text = "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Cf"))
    # "b.i.d." is one word; where a capital follows, its last point ends the sentence too
    text = _ABBREVIATION.sub(
        lambda m: m[0].replace(".", "") + (". " if re.match(r"\s+[A-Z]", text[m.end() :]) else ""), text
    )
    return _PER.sub(" per ", text.casefold())


def _settled(token: str) -> list[str]:
    """One written token as its comparable ones; plurals go first, so that one table serves both."""
    if token[0].isdigit() or token[0] == ".":
        return [re.sub(r"[\d.,]+", lambda m: plain(m[0]), token)] if token[-1].isdigit() else [token]
    token = token.removesuffix("'s")
    if token.endswith("n't"):
        stem = {"ca": "can", "wo": "will", "sha": "shall"}.get(token[:-3], token[:-3])
        return [_singular(stem), "not"]
    token = _EXPANDED.get(token, token)
    if " " in token:
        return token.split()
    token = _singular(token)
    return [UNITS.get(token, token)]


def _singular(word: str) -> str:
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")) or word == "does":
        return word
    return word[:-3] + "y" if word.endswith("ies") else word[:-1]


def _numbers(written: Sequence[str]) -> list[str]:
    """Number words as digits, "120 over 80" as 120/80, short units after numbers in full."""
    read: list[str] = []
    i = 0
    while i < len(written):
        found, length = read_number(written, i)
        token = found if length else written[i]
        i += max(1, length)
        if read and is_number(read[-1]):
            token = _SHORT.get(token, token)
        read.append(token)
        if len(read) >= 3 and read[-2] == "over" and is_number(read[-1]) and is_number(read[-3]):
            read[-3:] = [f"{read[-3]}/{read[-1]}"]
    return read


def _frequencies(read: Sequence[str]) -> tuple[str, ...]:
    """ "2 times a day" as 2xday; "daily", "every day" and "once a day" as 1xday."""

    def short(found: re.Match[str]) -> str:
        count, period, each, alone = found.groups()
        return f"{count or 1}x{(period or each or alone).removesuffix('ly').replace('dai', 'day')}"

    return tuple(_OFTEN.sub(short, " ".join(read)).split(" ")) if read else ()
