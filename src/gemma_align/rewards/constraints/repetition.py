"""Repetition: seven measures, any of which can fire (limits per task in `limits.py`).

    loop        words that repeat the one a period before, in the longest loop of three or more copies
    long loop   the same of two or more copies (a paragraph said twice)
    lines       how often the most frequent line or sentence stands there, of three or more words, or numbered; the
                numbering doesn't count, nor do lines of numbers alone
    4-grams     1 - distinct / all 4-grams of words (seq-rep-4 of Welleck et al. 2020), from 20 4-grams on
    characters  length of the longest loop without white space, period up to 12, four or more copies, with a letter
    signs       the same of digits or punctuation only
    redundancy  1 - zlib(words) / bytes(words), from 200 bytes on

Text is folded first (`rewards/fold.py`), so that a loop is one in whatever spelling; runs of characters are looked for
in the text as given too. Words are compared without punctuation, white space and underscores, so a loop is found across
lines. Where `blind` is set (prose) all numbers count as equal too, so numbering doesn't hide a loop; a loop of numbers
alone then counts only if they are the same. Nothing here sees a paraphrase.
"""

import re
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gemma_align.rewards.constraints.base import Measure, severity
from gemma_align.rewards.constraints.limits import RepetitionLimits
from gemma_align.rewards.constraints.loops import Loop, longest_loop
from gemma_align.rewards.constraints.units import Span, Word, lines, sentences, words
from gemma_align.rewards.fold import fold

NGRAM = 4
MIN_NGRAMS = 20
MIN_BYTES = 200
MIN_LINE_WORDS = 3
_RUN = re.compile(r"(\S{1,12}?)\1{3,}", re.IGNORECASE)
_MARK = re.compile(r"[^\w\n]*(?:\d+[.):]|(?:[A-Za-z]|[ivxIVX]+)[.)])\s+")  # "3. ", "- 4: ", "(b) ", "iv. "
_WORST = 5  # times its threshold, a count is as bad as can be


def repetition(text: str, limits: RepetitionLimits) -> list[Measure]:
    """All measures of a text; spans are of the text as it was given."""
    folded = fold(text)
    found = words(folded.text)
    measures = [
        _ngrams(found, limits.ngram_share),
        *_loops(found, limits),
        _lines(folded.text, found, limits),
        *_runs(folded.text, limits),
        _redundancy(folded.text, found, limits.redundancy),
    ]
    measures = [replace(m, spans=tuple(folded.span(*span) for span in m.spans)) for m in measures]
    if folded.text == text:
        return measures
    as_given = {m.name: m for m in _runs(text, limits)}  # folding drops apostrophes and what can't be seen
    return [max(m, as_given.get(m.name, m), key=lambda m: m.amount) for m in measures]


def _loops(found: Sequence[Word], limits: RepetitionLimits) -> Iterator[Measure]:
    kinds = (("loop", 3.0, limits.loop_words), ("long loop", 2.0, limits.long_loop_words))
    # One search tells that most texts have neither.
    any_loop = _longest(found, 2.0, min(limits.loop_words, limits.long_loop_words), limits.blind)
    for name, copies, threshold in kinds:
        loop = _longest(found, copies, threshold, limits.blind) if any_loop else None
        if loop is None:
            yield Measure(name, 0.0, 0.0)
            continue
        unit = " ".join(word.text for word in found[loop.start : loop.start + min(loop.period, 8)])
        yield Measure(
            name,
            loop.repeated,
            severity(loop.repeated, threshold, _WORST * threshold),
            ((found[loop.start].span[0], found[loop.end - 1].span[1]),),
            f'"{unit}{"…" if loop.period > 8 else ""}" stands there {loop.copies:.3g} times in a row',
        )


def _longest(found: Sequence[Word], copies: float, at_least: int, blind: bool) -> Loop | None:
    exact = longest_loop([word.text for word in found], [True] * len(found), copies, at_least)
    if not blind or not any(word.is_number for word in found):
        return exact
    texts = ["0" if word.is_number else word.text for word in found]
    loose = longest_loop(texts, [not word.is_number for word in found], copies, at_least)
    return max((loop for loop in (exact, loose) if loop), key=lambda loop: loop.repeated, default=None)


def _lines(text: str, found: Sequence[Word], limits: RepetitionLimits) -> Measure:
    """Lines and sentences each by themselves: a line may hold several sentences, a sentence several lines."""
    worst: list[Span] = []
    begins = [word.span[0] for word in found]
    for units in (lines(text), sentences(text)):
        places: dict[tuple[str, ...], list[Span]] = {}
        for start, end in units:
            marked = _MARK.match(text, start, end)
            own = found[bisect_left(begins, marked.end() if marked else start) : bisect_left(begins, end)]
            key = ["0" if limits.blind and word.is_number else word.text for word in own]
            if len(key) >= (1 if marked else MIN_LINE_WORDS) and not all(word.is_number for word in own):
                places.setdefault(tuple(key), []).append((start, end))
        worst = max([worst, *places.values()], key=len)
    level = severity(len(worst), limits.same_lines, _WORST * limits.same_lines)
    if not level:
        return Measure("lines", len(worst), 0.0)
    line = text.count("\n", 0, worst[0][0]) + 1
    start, end = worst[0]
    return Measure(
        "lines",
        len(worst),
        level,
        tuple(worst),
        f'line {line}: "{_short(text[start:end])}" stands there {len(worst)} times',
    )


def _ngrams(found: Sequence[Word], threshold: float) -> Measure:
    texts = [word.text for word in found]
    seen: set[tuple[str, ...]] = set()
    repeats = []
    total = len(texts) - NGRAM + 1
    if total < MIN_NGRAMS:
        return Measure("4-grams", 0.0, 0.0)
    for i in range(total):
        gram = tuple(texts[i : i + NGRAM])
        if gram in seen:
            repeats.append((found[i].span[0], found[i + NGRAM - 1].span[1]))
        seen.add(gram)
    share = len(repeats) / total
    level = severity(share, threshold, 1.0)
    if not level:
        return Measure("4-grams", share, 0.0)
    return Measure("4-grams", share, level, tuple(repeats), f"{share:.0%} of the {NGRAM}-grams stood there before")


def _runs(text: str, limits: RepetitionLimits) -> Iterator[Measure]:
    longest: dict[str, re.Match[str] | None] = {"characters": None, "signs": None}
    for match in _RUN.finditer(text):
        # A letter, or what is neither ASCII nor punctuation: emoji and scripts without case.
        name = "characters" if any(c.isalpha() or ord(c) > 0x7F for c in match[1]) else "signs"
        best = longest[name]
        if best is None or len(match[0]) > len(best[0]):
            longest[name] = match
    for name, threshold in (("characters", limits.char_run), ("signs", limits.sign_run)):
        found = longest[name]
        length = len(found[0]) if found else 0
        level = severity(length, threshold, _WORST * threshold)
        if found is None or not level:
            yield Measure(name, length, 0.0)
        else:
            copies = length // len(found[1])
            yield Measure(name, length, level, (found.span(),), f'"{found[1]}" stands there {copies} times in a row')


def _redundancy(text: str, found: Sequence[Word], threshold: float) -> Measure:
    plain = " ".join(word.text for word in found).encode("utf-8", "surrogatepass")
    if len(plain) < MIN_BYTES:
        return Measure("redundancy", 0.0, 0.0)
    amount = 1 - len(zlib.compress(plain, 6)) / len(plain)
    level = severity(amount, threshold, 1.0)
    if not level:
        return Measure("redundancy", amount, 0.0)
    return Measure("redundancy", amount, level, ((0, len(text)),), f"compresses by {amount:.0%}")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:39] + "…"
