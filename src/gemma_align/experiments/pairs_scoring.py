"""What scores and corrupts candidates, by task: the programmatic rewards, and the corruptions of `data/pairs`."""

from collections.abc import Sequence
from typing import Any, Protocol

from gemma_align.data.pairs.choice import Candidate
from gemma_align.data.pairs.notes import Corruption, corruptions
from gemma_align.data.pairs.programs import mutants
from gemma_align.rewards.clinical import ClinicalReward
from gemma_align.rewards.code import CodeReward, rungs
from gemma_align.rewards.programs import visible_tests
from gemma_align.types import Answer, Example

Drawn = Sequence[Answer]
Scored = tuple[list[str], list[Candidate | None], list[list[Candidate]]]
MAX_ATTEMPTS = 8  # rounds of mutants of a program; one that still passes its visible tests by then is left alone


class Scorer(Protocol):
    """One task's."""

    name: str
    settings: dict[str, Any]
    nothing_rejected: str

    def candidates(self, examples: Sequence[Example], drawn: Sequence[Drawn]) -> Scored:
        """Of each example: why it is dropped ("" where it isn't), its reference scored, and its samples scored."""
        ...

    def corruptions(
        self, examples: Sequence[Example], chosen: Sequence[Candidate | None], num: int
    ) -> list[list[Candidate]]:
        """At most `num` corruptions of each chosen text."""
        ...

    def close(self) -> None:
        """Ends what it runs programs with, if anything."""
        ...


class NoteScorer:
    """Facts covered minus facts invented, from listed facts or the dialogue (`rewards/clinical.py`)."""

    name = "facts covered minus facts invented"
    nothing_rejected = "no fact to corrupt, and no sample that scores lower"

    def __init__(self, settings: dict[str, Any], seed: int) -> None:
        self.settings, self._seed = settings, seed
        self._reward = ClinicalReward(**settings)

    def candidates(self, examples: Sequence[Example], drawn: Sequence[Drawn]) -> Scored:
        """See `Scorer`."""
        references: list[Candidate | None] = []
        samples = []
        for example, rows in zip(examples, drawn, strict=True):
            note = example.response
            references.append(None if note is None else Candidate(note, "reference", self._score(example, note)))
            samples.append([Candidate(a.text, "sample", self._score(example, a.text), a.finished) for a in rows])
        return [""] * len(examples), references, samples

    def corruptions(
        self, examples: Sequence[Example], chosen: Sequence[Candidate | None], num: int
    ) -> list[list[Candidate]]:
        """See `Scorer`."""
        found = []
        for example, better in zip(examples, chosen, strict=True):
            made = corruptions(better.text, self._seed)[:num] if better is not None else []
            found.append([_candidate(one, self._score(example, one.text)) for one in made])
        return found

    def _score(self, example: Example, text: str) -> float:
        return float(self._reward.score([example], [Answer(text)]).total[0])

    def close(self) -> None:
        """Nothing is held."""


class CodeScorer:
    """The graded reward by visible tests (`rewards/code.py`). Hidden tests are never run."""

    name = "visible tests"
    nothing_rejected = "no mutant fails a visible test, and no sample scores lower"

    def __init__(self, settings: dict[str, Any], seed: int) -> None:
        self.settings, self._seed = settings, seed
        self._reward = CodeReward(**settings)

    def candidates(self, examples: Sequence[Example], drawn: Sequence[Drawn]) -> Scored:
        """See `Scorer`. An example is dropped that can't be judged, or whose reference fails its visible tests."""
        reasons = ["" if visible_tests(example) else "no visible tests" for example in examples]
        jobs = [
            (i, text)
            for i, example in enumerate(examples)
            if not reasons[i]
            for text in ([] if example.response is None else [example.response]) + [answer.text for answer in drawn[i]]
        ]
        graded = self._reward.grade([examples[i] for i, _ in jobs], [text for _, text in jobs])
        scores: dict[int, list[float]] = {i: [] for i, _ in jobs}
        for (i, _), (code, grade) in zip(jobs, graded, strict=True):
            if grade.unsupported:
                reasons[i] = "a visible test that the sandbox can't judge"
            scores[i].append(self._reward.weigh(rungs(examples[i], code, grade)))
        references: list[Candidate | None] = [None] * len(examples)
        samples: list[list[Candidate]] = [[] for _ in examples]
        for i, own in scores.items():
            response = examples[i].response
            if response is not None:
                references[i] = Candidate(response, "reference", own.pop(0))
            if (reference := references[i]) and not reasons[i] and reference.score < self._reward.full - 1e-6:
                reasons[i] = "the reference fails a visible test"
            samples[i] = [
                Candidate(a.text, "sample", score, a.finished) for a, score in zip(drawn[i], own, strict=True)
            ]
        return reasons, references, samples

    def corruptions(
        self, examples: Sequence[Example], chosen: Sequence[Candidate | None], num: int
    ) -> list[list[Candidate]]:
        """See `Scorer`. Mutants are run a round at a time until enough have failed a visible test."""
        found: list[list[Candidate]] = [[] for _ in examples]
        left = [mutants(better.text, self._seed) if better is not None else [] for better in chosen]
        for _ in range(MAX_ATTEMPTS):
            tried = [
                (i, left[i].pop(0)) for i in range(len(examples)) for _ in range(min(num - len(found[i]), len(left[i])))
            ]
            scores = self._totals([examples[i] for i, _ in tried], [mutant.text for _, mutant in tried])
            for (i, mutant), score in zip(tried, scores, strict=True):
                better = chosen[i]
                if better is not None and score < better.score:
                    found[i].append(_candidate(mutant, score))
        return found

    def _totals(self, examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
        return self._reward.score(examples, [Answer(text) for text in texts]).total.tolist()

    def close(self) -> None:
        """See `Scorer`."""
        self._reward.close()


def _candidate(corruption: Corruption, score: float) -> Candidate:
    return Candidate(corruption.text, f"corruption: {corruption.kind}", score)
