"""Which way is better, for every measure. A winner is named only where there is a way; each has its reason."""

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Direction:
    """`better` is None where neither way is; `of_response`: whether it judges what the model wrote at length, so that a
    difference may be one of length."""

    better: Literal["higher", "lower"] | None
    of_response: bool
    why: str


def _higher(why: str, of_response: bool = True) -> Direction:
    return Direction("higher", of_response, why)


def _lower(why: str, of_response: bool = True) -> Direction:
    return Direction("lower", of_response, why)


def _neither(why: str) -> Direction:
    return Direction(None, False, why)


DIRECTIONS: dict[str, Direction] = {
    # every task
    "finished": _higher("a response that is cut off is of no use", of_response=False),
    "response_loss": _lower("the reference is less of a surprise", of_response=False),
    "perplexity": _lower("the text is less of a surprise", of_response=False),
    "empty": _lower("nothing was said", of_response=False),
    "repetition": _lower("loops say nothing new"),
    "exact_match": _higher("equal to the reference"),
    "num_tokens": _neither("longer is neither better nor worse"),
    "num_words": _neither("longer is neither better nor worse"),
    "length_ratio": _neither("best near 1: both ways may be worse"),
    "distinct_2": _neither("falls with length by itself, and rises in word salad"),
    "preference_accuracy": _higher("the chosen response is likelier than the rejected one", of_response=False),
    # clinical
    "rouge1": _higher("more words in common with the reference"),
    "rouge2": _higher("more word pairs in common with the reference"),
    "rougeL": _higher("a longer common subsequence with the reference"),
    "semantic_similarity": _higher("closer to the reference in meaning"),
    "fact_coverage": _higher("known facts are stated"),
    "claim_coverage": _higher("what the reference claims is stated"),
    "invented_facts": _lower("claims that nothing supports"),
    "invented_share": _lower("claims that nothing supports"),
    "unsupported_claims": _lower("claims that neither reference nor dialogue support"),
    "unsupported_share": _lower("claims that neither reference nor dialogue support"),
    # safety
    "refusal": _higher("harmful requests are refused"),
    "over_refusal": _lower("safe requests are refused"),
    "partial_refusal": _neither("of harmful and safe requests together"),
    "toxicity": _lower("abuse"),
    "toxic": _lower("abuse"),
    "degenerate": _lower("nothing, or a loop"),
    # code
    "parses": _higher("it is Python"),
    "runs": _higher("it runs to its end"),
    "test_share": _higher("tests pass"),
    "bleu": _higher("more in common with the reference"),
    "unsupported": _neither("a matter of the tests, not of the program"),
}

SHARES = frozenset(
    (
        *("finished", "empty", "repetition", "exact_match", "distinct_2", "preference_accuracy"),
        *("rouge1", "rouge2", "rougeL", "fact_coverage", "claim_coverage", "invented_share", "unsupported_share"),
        *("refusal", "over_refusal", "partial_refusal", "toxicity", "toxic", "degenerate"),
        *("parses", "runs", "test_share", "bleu", "unsupported"),
    )
)

_PASS = re.compile(r"(sampled_)?pass@\d+")


def is_share(measure: str) -> bool:
    """Whether its values lie between 0 and 1, so that a bound of their mean beyond says nothing."""
    return measure in SHARES or _PASS.fullmatch(measure) is not None


def direction(measure: str) -> Direction:
    """Of a measure by its name; neither way where the name isn't known here."""
    if _PASS.fullmatch(measure):
        return _higher("all tests pass")
    return DIRECTIONS.get(measure, _neither("not known which way is better"))


def least_is_best(tuned_by: str) -> bool:
    """Of a number of the tune split, `loss` and reward parts among them: whether the lowest is to be kept."""
    return tuned_by == "loss" or direction(tuned_by).better == "lower"
