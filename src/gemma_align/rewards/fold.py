"""Text as it reads: without case, accents, invisible characters, look-alike letters and apostrophes.

"Ｙｏu іdïо\u200bt" folds to "you idiot". Every folded character knows which character of the text it came from.
`plain` undoes the same disguises and keeps what a reader sees: case, apostrophes, everything in ASCII.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0"
)
"""Characters that show nothing, as the inside of a character class: zero-width, direction marks, blank fillers."""

_APOSTROPHES = "'’‘ʼ`´"
_LOOKS_LIKE = str.maketrans(
    "абвеёкмнорстухіјѕԁԛԝһӏ" + "αβεηικνορτυχω" + "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ" + "ıłøđħŧɑɡɩɪʀ",
    "abveekmhopctyxijsdqwhl" + "abeniknoptuxw" + "abcdefghijklmnoprstuvwyz" + "ilodhtagiir",
)
_LOOKS_LIKE[ord("в")] = ord("b")
_SPECIAL = re.compile(r"[^\x00-\x7f]|['`]")
_BLANK = re.compile(rf"[{INVISIBLE}]")
_LETTERS_IN_FRAMES = {  # first character of 26, in order, that no Unicode decomposition makes a letter
    0x1F150: "negative circled",
    0x1F170: "negative squared",
    0x1F1E6: "regional indicators",
}


@dataclass(frozen=True, slots=True)
class Folded:
    """`places[i]`: index in the original text of the character that `text[i]` came from."""

    text: str
    places: tuple[int, ...] | range

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The original characters of text[start:end], which isn't empty."""
        return self.places[start], self.places[end - 1] + 1


def fold(text: str) -> Folded:
    """See above."""
    parts: list[str] = []
    places: list[int] = []
    end = 0
    for special in _SPECIAL.finditer(text):  # what lies between them only loses its case
        start = special.start()
        parts.append(text[end:start].lower())
        places += range(end, start)
        part = _fold_char(special[0])
        parts.append(part)
        places += [start] * len(part)
        end = start + 1
    if not parts:
        return Folded(text.lower(), range(len(text)))
    parts.append(text[end:].lower())
    places += range(end, len(text))
    return Folded("".join(parts), tuple(places))


def plain(text: str) -> str:
    """The text without disguises: "Ｙｏu іdïо\u200bt’s" is "You idiot's". ASCII stays as it is."""
    return text if text.isascii() else "".join(map(_plain_char, text))


@cache
def _plain_char(char: str) -> str:
    if char.isascii():
        return char
    if char in _APOSTROPHES:
        return "'"
    folded = _fold_char(char)
    return folded.upper() if char.isupper() else folded


@cache
def _fold_char(char: str) -> str:
    if char in _APOSTROPHES or _BLANK.match(char):
        return ""
    for first in _LETTERS_IN_FRAMES:
        if first <= ord(char) < first + 26:
            return chr(ord("a") + ord(char) - first)
    apart = unicodedata.normalize("NFKD", char).casefold().translate(_LOOKS_LIKE)
    return "".join(c for c in apart if unicodedata.category(c) not in ("Mn", "Me", "Cf"))
