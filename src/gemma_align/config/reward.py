"""The `reward` section of a configuration: score = alpha x learned encoder + beta x hard constraints."""

from typing import Annotated, Literal

from pydantic import Field

from gemma_align.config.constraints import ConstraintsConfig
from gemma_align.config.encoder import EncoderConfig
from gemma_align.config.sections import Count, CountOrZero, Fraction, NotNegative, Positive, Section


class ClinicalRewardConfig(Section):
    """The programmatic reward of a clinical note: (facts covered - weight x facts invented) / facts, at least -1."""

    invented_weight: NotNegative = 1.0
    """What an invented fact costs, in covered ones."""
    use_checks: bool = True
    """Take the facts that an example lists (builtin data); false: always what its dialogue says."""
    use_reference: bool = False
    """Where no facts are listed, take those of the reference note instead of the dialogue's."""


class CodeRewardConfig(Section):
    """The programmatic reward of a program: a weighted sum of parses, runs and the share of visible tests it passes."""

    parses: NotNegative = 0.1
    """Weight of being Python."""
    runs: NotNegative = 0.2
    """Weight of coming to its end within the limits, with the function that is asked for."""
    tests: Positive = 0.7
    """Weight of the share of visible tests that pass. Hidden tests are never read."""
    cpu_seconds: Count = 2
    """Processor time of a program, all its tests together."""
    num_workers: Count | None = None
    """Programs run side by side; null: one a core."""


class LagrangianConfig(Section):
    """beta as a multiplier that follows the share of violations (`combine: lagrangian`), from `reward.beta` on."""

    target: Fraction = 0.05
    """Share of a batch's answers that may violate a constraint."""
    step: Positive = 0.5
    """Change of log beta a batch where the share is 1 over the target."""
    low: Positive = 0.1
    """Least beta."""
    high: Positive = 10.0
    """Greatest beta."""
    delay: CountOrZero = 5
    """Batches before the first change."""


class TermConfig(Section):
    """A term of one's own."""

    call: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    """`package.module:function`; it takes an `Example` and an `Answer` (types.py) and returns a number."""
    weight: float = 1.0
    """What its number is multiplied by."""
    timeout: Positive = 60.0
    """Seconds after which it is taken to hang with an answer, and the run ends with the example's id."""


class RewardConfig(Section):
    """score = alpha x learned encoder + beta x hard constraints. Read by stages that need a reward."""

    alpha: NotNegative = 1.0
    """Weight of the learned preference encoder; 0: no encoder is needed."""
    beta: NotNegative = 1.0
    """Weight of the constraints (toxicity, repetition, length); 0 turns them off, floors too."""
    programmatic: NotNegative = 0.0
    """Weight of the task's programmatic reward; safety has none."""
    combine: Literal["weighted", "pessimistic", "shaped", "lagrangian"] = "weighted"
    """`weighted`: as above; `pessimistic`: the encoder as far as its heads agree; `shaped`: the sigmoid of its lead
    over the reference response; `lagrangian`: beta follows the share of violations."""
    pessimism: Literal["mean", "worst", "variance"] = "worst"
    """Of the encoder's heads: their lowest, or their mean less `pessimism_coef` times their variance."""
    pessimism_coef: NotNegative = 0.5
    """See `pessimism`."""
    lagrangian: LagrangianConfig = LagrangianConfig()
    """Where `combine` is lagrangian."""
    terms: Annotated[tuple[TermConfig, ...], Field(strict=False)] = ()
    """Terms of your own, added to the total."""
    constraints: ConstraintsConfig = ConstraintsConfig()
    """Which texts they fire on, and what a violation costs."""
    encoder: EncoderConfig = EncoderConfig()
    """The learned encoder."""
    clinical: ClinicalRewardConfig = ClinicalRewardConfig()
    """The programmatic reward of notes."""
    code: CodeRewardConfig = CodeRewardConfig()
    """The programmatic reward of programs."""

    @property
    def asks_reference(self) -> bool:
        """Whether fluency counts, so that the reference policy has to read the answers."""
        return self.beta > 0 and self.constraints.fluency.weight > 0
