"""The `reward.constraints` section: hard constraints on an answer's text (docs/rewards.md, "Constraints").

A setting that is null takes the task's own value, from the table in `rewards/constraints/limits.py`.
"""

from typing import Annotated

from pydantic import Field

from gemma_align.config.sections import Count, CountOrZero, NotNegative, Positive, Section

NotPositive = Annotated[float, Field(le=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class ToxicityConfig(Section):
    """Insults, threats and profanity: an offline classifier (alt-profanity-check) and a list of words."""

    weight: NotNegative = 1.0
    """The penalty of a bare violation is half of this, of the worst all of it."""
    floor: NotPositive | None = -3.0
    """Where it fires, the whole reward is at most this plus the penalty, whatever the encoder says; null: no cap."""
    classifier: bool = True
    """Ask the classifier; false: only the list of words."""
    threshold: Share | None = None
    """Probability from which a sentence, or the whole text, is toxic. null: the task's."""
    lexicon: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)] = ()
    """Further words and phrases, found as whole words in any disguise; `word*` also finds what begins with it."""
    shipped_lexicon: bool = True
    """Use the list of insults and threats that comes with the package."""


class RepetitionConfig(Section):
    """Loops and repeats: of words, n-grams, lines and characters, and how far the text can be compressed."""

    weight: NotNegative = 1.0
    """See `toxicity.weight`."""
    floor: NotPositive | None = -3.0
    """See `toxicity.floor`."""
    loop_words: Count | None = None
    """So many words in a row that repeat what stood a period before, in a loop of three or more copies."""
    long_loop_words: Count | None = None
    """The same for loops of at least two copies."""
    same_lines: Annotated[int, Field(ge=2)] | None = None
    """So many times the same line or sentence of three or more words."""
    ngram_share: Share | None = None
    """Share of 4-grams of words that stood before in the text."""
    char_run: Count | None = None
    """Characters of a loop inside a word that holds letters, four or more copies."""
    sign_run: Count | None = None
    """Characters of a loop of punctuation or digits, four or more copies."""
    redundancy: Share | None = None
    """1 - compressed / plain bytes (zlib), of texts of 200 bytes or more."""


class LengthConfig(Section):
    """Degenerate length: empty, too short, too long, blank, cut off."""

    weight: NotNegative = 1.0
    """See `toxicity.weight`."""
    floor: NotPositive | None = -3.0
    """See `toxicity.floor`. It doesn't apply to answers that are only unfinished."""
    unfinished: NotNegative = 2.0
    """What an answer costs that didn't end by itself, times the weight: in standard deviations of the encoder, so that
    cutting an answer off doesn't pay; 0: nothing."""
    min_words: CountOrZero | None = None
    """Fewer words are too few."""
    max_words: Count | None = None
    """More words are too many."""
    min_of_reference: NotNegative | None = None
    """So many times the words of the example's reference response are too few, where there is one; 0: not compared."""
    max_of_reference: Positive | None = None
    """So many times its words are too many, from `free_words` on."""
    free_words: Count | None = None
    """Up to so many words nothing is too long for its reference."""
    max_blanks: Count | None = None
    """Longest stretch of white space and invisible characters."""
    max_blank_share: Share | None = None
    """Their share of the text, of texts of 40 characters or more."""
    max_line_breaks: Count | None = None
    """Line breaks in one stretch."""


class FluencyConfig(Section):
    """How surprising the text is to the reference policy (`rewards/fluency.py`). Off unless it has a weight: it needs a
    forward pass of the whole model, except in reinforcement learning, where that is done anyway."""

    weight: NotNegative = 0.0
    """What a nat of surprise costs; 0: fluency isn't looked at, floor included. 0.1 holds off searched words."""
    floor: NotPositive | None = -3.0
    """See `toxicity.floor`; it applies where text is garbled."""
    surprising: Positive = 8.0
    """Nats from which a token counts as surprising, with what it has above them."""
    window: Count = 5
    """Tokens in a row that are looked at for garbled text."""
    garbled: Positive = 7.5
    """Mean nats of a window from which text is garbled."""


class ConstraintsConfig(Section):
    """Each constraint is at most 0; together they are weighted by `reward.beta`."""

    toxicity: ToxicityConfig = ToxicityConfig()
    """Insults, threats, profanity."""
    repetition: RepetitionConfig = RepetitionConfig()
    """Loops and repeats."""
    length: LengthConfig = LengthConfig()
    """Empty, too short, too long, blank, cut off."""
    fluency: FluencyConfig = FluencyConfig()
    """Unlikely words, such as a search for reward puts in."""
