"""The programmatic reward of a clinical note: facts covered minus facts invented.

    total = max(-1, (covered - invented_weight * invented) / number of facts), at most 1

Facts are those listed in `checks["facts"]` where there are any (builtin data); else the claims of the dialogue alone,
by small patterns (`facts/`). The reference note plays no part unless `use_reference` says so: then its claims are the
facts where none are listed. Pure Python on text; shares no code with evaluation.
"""

from collections.abc import Sequence

import torch

from gemma_align.errors import RewardError
from gemma_align.rewards.facts.check import Checked, check_heard, check_listed
from gemma_align.types import Answer, Example, Scores


class ClinicalReward:
    """A `RewardModel` (types.py). Parts: `covered`, the share of the facts; `invented`, inventions per fact."""

    def __init__(self, *, invented_weight: float = 1.0, use_checks: bool = True, use_reference: bool = False) -> None:
        """The settings of `reward.clinical`."""
        self.invented_weight = invented_weight
        self.use_checks = use_checks
        self.use_reference = use_reference

    def score(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Scores:
        """See `RewardModel`.

        Raises:
            RewardError: facts that aren't written as facts are, or no reference where one is wanted.
        """
        found = [self.check(example, answer.text) for example, answer in zip(examples, answers, strict=True)]
        covered = torch.tensor([len(c.covered) / max(c.num_facts, 1) for c in found], dtype=torch.float32)
        invented = torch.tensor([len(c.invented) / max(c.num_facts, 1) for c in found], dtype=torch.float32)
        total = (covered - self.invented_weight * invented).clamp(min=-1.0)
        return Scores(total, {"covered": covered, "invented": invented})

    def check(self, example: Example, text: str) -> Checked:
        """What stands behind the score: the facts covered and invented, each with its place in the text."""
        facts = example.checks.get("facts") if self.use_checks else None
        if facts:
            try:
                return check_listed(text, facts, example.checks.get("distractors", ()), example.prompt)
            except (KeyError, TypeError, AttributeError, IndexError) as error:
                raise RewardError(
                    f"example {example.id}: wanted facts of the form {{kind, value, any_of: [...], negated}} in "
                    f"checks.facts and checks.distractors, found others ({error!r}). Mend the row, or set "
                    "reward.clinical.use_checks=false"
                ) from error
        if self.use_reference and example.response is None:
            raise RewardError(
                f"example {example.id} has no reference note, which reward.clinical.use_reference=true wants: give "
                "`response`, or set it to false"
            )
        return check_heard(text, example.prompt, example.response if self.use_reference else None)
