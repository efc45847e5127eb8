"""Words and phrases found in any disguise: a user's own, and a short list of insults and threats.

Searched in the folded text (`fold.py`), where between the letters of a word these count as nothing:

    repeated letters        "stuuupid": each letter at least as often as it is written
    digits and signs        "1d10t", "a$$hole": see _CLASSES
    one of . - _ * ~        "id.iot", "st-upid"
    masks                   "id*ot": an asterisk for a letter inside a word of five letters or more, two fifths at most
    letters spaced out      "i d i o t", "i. d. i. o. t": four or more single letters in a row are read as joined

and each word stands alone: no letter or digit before or after it. A word broken by one space ("id iot") is missed.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby

from gemma_align.rewards.constraints.units import Span
from gemma_align.rewards.fold import Folded, fold

SHIPPED = (
    # insults that mean nothing else
    *("idiot", "idiots", "moron", "morons", "imbecile", "imbeciles", "dumbass*", "dipshit*", "shithead*", "asshole*"),
    *("dickhead*", "douchebag*", "scumbag*", "motherfucker*"),
    # insults of the one who is spoken to
    *("you stupid", "you are stupid", "youre stupid", "you are worthless", "youre worthless", "you worthless"),
    *("you are pathetic", "youre pathetic", "you are disgusting", "youre disgusting", "you are a loser"),
    *("youre a loser", "you loser", "nobody likes you", "waste of space", "piece of trash"),
    *("piece of garbage", "i hate you", "go to hell", "drop dead"),
    # threats
    *("kill yourself", "kys", "i will kill you", "ill kill you", "i am going to kill you", "im going to kill you"),
    *("gonna kill you", "i will hurt you", "ill hurt you", "i will find you", "i hope you die", "you should die"),
    *("you deserve to die", "go die"),
)
"""No slurs: they are left to the classifier and to the user's own list."""

_CLASSES = {
    "a": "a4@",
    "b": "b8",
    "e": "e3",
    "g": "g9",
    "i": "i1!|",
    "l": "l1|",
    "o": "o0",
    "s": "s5$",
    "t": "t7+",
    "z": "z2",
}
_BETWEEN = r"[.\-_*~]?"
_LONG_ENOUGH = 5  # letters of a word in which a letter may be masked
_SPACED = re.compile(r"(?<![a-z0-9])[a-z0-9@$](?:[\W_]{1,3}[a-z0-9@$](?![a-z0-9])){3,}")
_GAP = re.compile(r"[^a-z0-9@$]+")
_MIN_SPACED = 4


def hits(folded: Folded, words: Sequence[str]) -> list[Span]:
    """Where in the original text any of the words stands."""
    plain, joined = _patterns(tuple(words))
    if plain is None or joined is None:
        return []
    found = [folded.span(*match.span()) for match in plain.finditer(folded.text) if _is_readable(match[0])]
    for pieces in spaced(folded):
        places = [place for piece in pieces for place in piece]
        run = "".join(folded.text[i] for i in places)
        found += [folded.span(places[match.start()], places[match.end() - 1] + 1) for match in joined.finditer(run)]
    return found


def spaced(folded: Folded) -> Iterator[list[list[int]]]:
    """For each stretch of spaced-out letters its words, as indices into the folded text.

    A gap with white space that isn't the stretch's usual one parts words: "h.e.l.l, y.o.u", "g o  a w a y".
    """
    for match in _SPACED.finditer(folded.text):
        start, end = match.span()
        gaps = list(_GAP.finditer(folded.text, start, end))
        usual = Counter(gap[0] for gap in gaps).most_common(1)[0][0]
        pieces: list[list[int]] = [[start]]
        for gap in gaps:
            if gap[0] != usual and any(c.isspace() for c in gap[0]):
                pieces.append([])
            pieces[-1].append(gap.end())
        yield pieces


@cache
def _patterns(words: tuple[str, ...]) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    plain, joined = [], []
    for word in dict.fromkeys(words):
        text = fold(word.removesuffix("*")).text
        parts = re.findall(r"[a-z0-9@$!+|]+|[^\W\d_]+", text)
        if not parts:
            continue
        end = r"[a-z0-9]*" if word.endswith("*") else ""
        plain.append(r"[\W_]{1,5}".join(_word(part) for part in parts) + end)
        if sum(map(len, parts)) >= _MIN_SPACED:
            joined.append("".join(_letters(part, "") for part in parts))
    if not plain:
        return None, None
    # Without a word that is long enough the second pattern matches nothing.
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(plain)})(?![a-z0-9])"), re.compile("|".join(joined) or r"(?!)")


def _word(word: str) -> str:
    return _letters(word, _BETWEEN, masks=len(word) >= _LONG_ENOUGH)


def _letters(word: str, between: str, masks: bool = False) -> str:
    runs = [(letter, len(list(run))) for letter, run in groupby(word)]
    parts = []
    for i, (letter, times) in enumerate(runs):
        mask = "*" if masks and 0 < i < len(runs) - 1 else ""
        parts.append(f"[{re.escape(_CLASSES.get(letter, letter) + mask)}]{{{times},}}")
    return between.join(parts)


def _is_readable(found: str) -> bool:
    """At least three fifths of what stands there, spaces aside, are no masks."""
    shown = [c for c in found if not c.isspace()]
    return 5 * shown.count("*") <= 2 * len(shown)
