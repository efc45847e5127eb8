"""Whether a span of clinical text is negated: a rule over tokens, in the spirit of NegEx (Chapman et al. 2001).

Forward: a cue ("no", "not", "denies", "without", "negative for" ...) negates what follows it in its clause, lists
included: "no fever, chills or cough" negates all three. The scope ends

- with the clause (`. ; ? !`, a line break), after 60 tokens, and at "but", "however", "except", "other than" ... ;
- at "positive";
- at the last comma or "and" before a verb that says something anew ("no fever, has a cough"; "denies fever and reports
  chills"), unless "or" joins on ("no fever, or cough that has worsened").

Backward: "denied", "absent", "negative", "none", "no" after a span negate it where nothing but "is", "was", a colon or
a question mark stands between and the clause or its part ends there ("fever: none", "chest pain was denied"); after
"are" or "were" they negate the whole list before ("fever and chills were denied").

A cue is no cue in "not only", "no change in", "no improvement in", "no other" and the like. Known limits: "no fever
and cough for three days" negates the cough; past and stopped things ("quit smoking") count as stated.
"""

from collections.abc import Sequence
from itertools import pairwise

from gemma_align.evaluation.wording import ENDS

SCOPE = 60  # tokens: longer than any list in a note, and a bound on the work for a text without punctuation


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


CUES = _set(
    "no not non never without none nor neither deny denied denying absence lack lacking negative nil unremarkable"
)
_PSEUDO = _set(  # after "no", "not" or "without"
    "only change increase decrease improvement relief worsening other additional further new doubt"
)
_BREAKS = _set("but however except excluding although though yet besides positive")
_BREAK_PAIRS = frozenset(
    {("other", "than"), ("apart", "from"), ("aside", "from"), ("present", "with"), ("complaint", "of")}
)
_VERBS = _set(
    "has have had report reported complain complained endorse endorsed admit admitted take took presented "
    "experience experienced develop developed note noted show showed is are was were"
)
_BACKWARD = _set("denied absent negative none no nil")
_LINKS = _set("is was are were has have been currently : ?")
_PLURAL_LINKS = _set("are were")
_JOINTS = _set(", and or")
_PART_ENDS = ENDS | _set(", and by today currently at")


def has_cue(tokens: Sequence[str]) -> bool:
    """Whether the span negates by itself, as "no known drug allergy" does."""
    return any(token in CUES for token in tokens)


def is_negated(tokens: Sequence[str], start: int, end: int) -> bool:
    """Whether tokens[start:end] is negated by what stands around it."""
    return _from_before(tokens, start) or _from_after(tokens, end)


def _clause_start(tokens: Sequence[str], i: int) -> int:
    """Where the clause of token i starts, at most `SCOPE` tokens before it."""
    first = max(0, i - SCOPE)
    while i > first and tokens[i - 1] not in ENDS:
        i -= 1
    return i


def _clause_end(tokens: Sequence[str], i: int) -> int:
    """Where the clause of token i ends, at most `SCOPE` tokens after it."""
    last = min(len(tokens), i + SCOPE)
    while i < last and tokens[i] not in ENDS:
        i += 1
    return i


def _from_before(tokens: Sequence[str], start: int) -> bool:
    first = _clause_start(tokens, start)
    return any(_is_cue(tokens, i) and not _scope_ends(tokens, i, start) for i in range(first, start))


def _is_cue(tokens: Sequence[str], i: int) -> bool:
    if tokens[i] not in CUES:
        return False
    # "allergies: none", "fever denied, ...": said of what stands before it, not of what follows
    if tokens[i] in _BACKWARD and i > 0 and (i + 1 == len(tokens) or tokens[i + 1] in _PART_ENDS):
        return False
    return not (tokens[i] in ("no", "not", "without") and i + 1 < len(tokens) and tokens[i + 1] in _PSEUDO)


def _scope_ends(tokens: Sequence[str], cue: int, start: int) -> bool:
    """Whether the cue's scope is over before the span at `start`; both stand in one clause."""
    between = tokens[cue + 1 : start]
    if any(t in _BREAKS for t in between) or any(p in _BREAK_PAIRS for p in pairwise(between)):
        return True
    joined = False  # a comma or "and" since the cue, and no "or" since then
    for i in range(cue + 1, _clause_end(tokens, start)):
        token = tokens[i]
        if token in (",", "and"):
            if i >= start:
                break
            joined = True
        elif token in ("or", "nor"):
            joined = False
        elif token in _VERBS and joined:
            return True
    return False


def _from_after(tokens: Sequence[str], end: int) -> bool:
    i = end
    while i < len(tokens) and tokens[i] in _LINKS:
        i += 1
    if _ends_part(tokens, i):
        # a bare "no" needs its colon or question mark: "fever, no" goes on with what there is no of
        return tokens[i] != "no" or tokens[i - 1] in (":", "?")
    if i > end or end == len(tokens) or tokens[end] not in _JOINTS:
        return False
    last = _clause_end(tokens, end)
    link = next((j for j in range(end, last) if tokens[j] in _VERBS), last)
    return link < len(tokens) and tokens[link] in _PLURAL_LINKS and _ends_part(tokens, link + 1)


def _ends_part(tokens: Sequence[str], i: int) -> bool:
    """A backward cue at i that the clause, or its part, ends after; "not present" and "not reported" are one too."""
    if i + 1 < len(tokens) and tokens[i] == "not" and tokens[i + 1] in ("present", "reported", "noted", "seen"):
        return i + 2 == len(tokens) or tokens[i + 2] in _PART_ENDS
    return i < len(tokens) and tokens[i] in _BACKWARD and (i + 1 == len(tokens) or tokens[i + 1] in _PART_ENDS)
