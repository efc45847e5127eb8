"""A clinical note with one fact made false: a number, a dose, a unit, a denial, a name, a side or a relative.

Every corruption changes one place and nothing else, so chosen and rejected differ in the fact and not in style.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from gemma_align.data.builtin.values_history import ALLERGENS, FAMILY_CONDITIONS, SURGERIES
from gemma_align.data.builtin.values_present import COMPLAINTS, DRUGS, SYMPTOMS
from gemma_align.data.splits import hashed

KINDS = ("dose", "number", "unit", "negation", "name", "side", "relative")


@dataclass(frozen=True, slots=True)
class Corruption:
    """A text with one thing made wrong, and what kind of thing."""

    kind: str
    text: str


_DOSE = re.compile(
    r"(?<![\w.,/])(\d+(?:\.\d+)?)(?=\s?-?(?:mg|mcg|milligrams?|micrograms?|grams?|g|ml|mL|cc|units?)\b)", re.I
)
_NUMBER = re.compile(r"(?<![\w.,/])\d{1,9}(?:\.\d+)?(?![\w,]|\.\d)")
_LIST_MARK = re.compile(r"(?:^|[.;:\n]\s*)\d{1,2}\.\s")
_SPELLED = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_UNITS = (
    ("mg", "mcg", "g"),
    ("milligrams", "micrograms", "grams"),
    ("hours", "days", "weeks", "months", "years"),
    ("hour", "day", "week", "month", "year"),
    ("cm", "mm"),
    ("centimeters", "millimeters"),
    ("pounds", "kilograms"),
    ("daily", "weekly"),
    ("once", "twice", "three times"),
)
_DENIALS = (  # each to be replaced by the other, in both directions
    ("denies", "reports"),
    ("denied", "reported"),
    ("negative for", "positive for"),
    ("without", "with"),
    ("no history of", "a history of"),
    ("has no", "has"),
    ("does not have", "has"),
    ("is not", "is"),
    ("was not", "was"),
    ("has not", "has"),
    ("there is no", "there is"),
    ("nonsmoker", "smoker"),
    ("nontender", "tender"),
    ("never smoked", "smoked"),
    ("abnormal", "normal"),
    ("unremarkable", "remarkable"),
    ("noncontributory", "contributory"),
    ("negative", "positive"),
    ("none", "several"),
)
_VERBS = ("has", "is", "was", "there is")
_DENIABLE = re.compile(r" (?!(?:no|not|had|been|a|an|the|in|here)\b)[a-z]")
_OPENING_NO = re.compile(r"(?<![\w-])No (?=[a-z])(?!longer|one|history)")
_RELATIVES = ("mother", "father", "brother", "sister", "grandmother", "grandfather", "son", "daughter", "aunt", "uncle")
_MEDICINES = (
    "Lipitor",
    "Synthroid",
    "Nexium",
    "Zoloft",
    "Plavix",
    "Coumadin",
    "Abilify",
    "aspirin",
    "Tylenol",
    "Motrin",
)
_CONDITIONS = (
    "hypertension",
    "asthma",
    "hyperlipidemia",
    "COPD",
    "pneumonia",
    "anemia",
    "hypothyroidism",
    "osteoporosis",
    "cancer",
    "depression",
    "reflux disease",
    "coronary artery disease",
    "osteoarthritis",
    "gout",
)
_NAMES = tuple(
    tuple(name.removeprefix("a ").removeprefix("an ") for name in pool)
    for pool in (
        (*(drug.name for drug in DRUGS), *_MEDICINES),
        (*(term.name for term in FAMILY_CONDITIONS), *_CONDITIONS),
        [term.name for term in SURGERIES],
        [term.name for term in ALLERGENS],
        (
            *(term.name for terms in SYMPTOMS.values() for term in terms),
            *(complaint.name for complaint in COMPLAINTS),
            *("headache", "vomiting", "fever", "cough"),
        ),
    )
)
_BODY = ("shoulder", "knee", "hip", "ankle", "elbow", "wrist", "foot", "hand")


def corruptions(note: str, seed: int) -> list[Corruption]:
    """One corruption of each kind that finds something to corrupt, in an order that depends on seed and note.

    Each text differs from the note. A note without numbers, denials, names, sides or relatives gives none.
    """
    draw = Random(hashed(seed, "corruption", note))
    found = []
    for kind in draw.sample(KINDS, len(KINDS)):
        changes = [(a, b, _cased(note[a:b], text)) for a, b, text in _CHANGES[kind](note, draw)]
        changes = [(a, b, text) for a, b, text in changes if text != note[a:b]]
        if changes:
            start, end, text = draw.choice(changes)
            found.append(Corruption(kind, note[:start] + text + note[end:]))
    return found


def _cased(old: str, new: str) -> str:
    """The new words, with a capital where the old ones had it."""
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new[:1].upper() + new[1:] if old[:1].isupper() else new


Change = tuple[int, int, str]  # note[start:end] becomes the text


def _dose(note: str, draw: Random) -> Iterator[Change]:
    for found in _DOSE.finditer(note):
        factor = draw.choice((10, 2, 0.5, 5, 0.1))
        yield found.start(1), found.end(1), f"{float(found[1]) * factor:.10g}"


def _number(note: str, draw: Random) -> Iterator[Change]:
    doses = {found.start(1) for found in _DOSE.finditer(note)}
    marks = {i for found in _LIST_MARK.finditer(note) for i in range(found.start(), found.end())}
    for found in _NUMBER.finditer(note):
        if found.start() not in doses | marks:
            yield found.start(), found.end(), _other_number(found[0], draw)
    for start, end, word in _found(note, _SPELLED):
        yield start, end, draw.choice([other for other in _SPELLED if other != word])


def _other_number(text: str, draw: Random) -> str:
    if "." in text:
        digits = len(text.split(".")[1])
        return f"{abs(float(text) + draw.choice((-1, 1)) * draw.randint(5, 15) / 10**digits):.{digits}f}"
    value = int(text)
    far = max(2, value // 5) if value < 1900 else 12
    return str(draw.choice([n for n in range(max(1, value - far), value + far + 1) if n != value]))


def _unit(note: str, draw: Random) -> Iterator[Change]:
    for group in _UNITS:
        for start, end, word in _found(note, group):
            yield start, end, draw.choice([other for other in group if other != word])


def _negation(note: str, draw: Random) -> Iterator[Change]:
    del draw
    taken: set[int] = set()
    for pair in _DENIALS:  # longer ones first where one stands in the other
        for side, other in (pair, pair[::-1]):
            for start, end, word in _found(note, (side,)):
                if word in ("with", "several") or (word in _VERBS and not _DENIABLE.match(note, end)):
                    continue  # put the other way, these seldom make sense
                if not taken & set(range(start, end)):
                    taken |= set(range(start, end))
                    yield start, end, other
    for found in _OPENING_NO.finditer(note):
        if not taken & set(range(found.start(), found.end())):
            yield found.start(), found.end(), "Has "


def _name(note: str, draw: Random) -> Iterator[Change]:
    there = note.lower()
    for pool in _NAMES:
        others = [name for name in pool if name.lower() not in there]
        for start, end, _ in _found(note, pool):
            if others:
                yield start, end, draw.choice(others)


def _side(note: str, draw: Random) -> Iterator[Change]:
    for start, end, word in _found(note, ("left", "right")):
        yield start, end, "right" if word == "left" else "left"
    for start, end, _ in _found(note, ("bilateral",)):
        yield start, end, draw.choice(("left", "right"))
    for start, end, word in _found(note, _BODY):
        yield start, end, draw.choice([other for other in _BODY if other != word])
    for pair in (("upper", "lower"), ("anterior", "posterior"), ("medial", "lateral"), ("male", "female")):
        for start, end, word in _found(note, pair):
            yield start, end, pair[word == pair[0]]


def _relative(note: str, draw: Random) -> Iterator[Change]:
    for start, end, word in _found(note, _RELATIVES):
        yield start, end, draw.choice([other for other in _RELATIVES if other != word])


def _found(note: str, words: tuple[str, ...]) -> Iterator[tuple[int, int, str]]:
    """Where one of the words stands, and which, in lower case."""
    pattern = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    for found in re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", note, re.IGNORECASE):
        yield found.start(), found.end(), found[0].lower()


_CHANGES = {
    "dose": _dose,
    "number": _number,
    "unit": _unit,
    "negation": _negation,
    "name": _name,
    "side": _side,
    "relative": _relative,
}
