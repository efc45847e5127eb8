"""A judge that is run here: is the letter A or the letter B the likelier reply?

Reading two log-probabilities needs no sampling and no parsing, so a model that can't follow instructions about the form
of its reply can judge as well. A small model that judges by position rather than content shows it: see `position` in
`agreement.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from gemma_align.errors import JudgeError
from gemma_align.evaluation.judge import prompts
from gemma_align.evaluation.judge.protocol import Answer, Keep, Order, Pair, Question, Verdict
from gemma_align.types import Example, Responses

BATCH = 8  # questions whose answers are kept together
CUE = "Better response:"


class _Policy(Protocol):
    max_length: int

    @property
    def prompt_format(self) -> Any: ...

    def logprobs(self, responses: Responses) -> torch.Tensor: ...


class LocalJudge:
    """Answers with the likelier letter; "tie" where both are exactly as likely.

    Args:
        policy: the model.
        identity: what tells it from other judges.
    """

    def __init__(self, policy: _Policy, identity: Mapping[str, Any]) -> None:
        self.policy = policy
        self.identity = identity

    def write(self, pair: Pair, order: Order) -> str:
        """See `Judge`."""
        return prompts.write(pair, order, prompts.BY_LETTER)

    def ask(self, questions: Sequence[Question], keep: Keep) -> None:
        """See `Judge`. Raises JudgeError for a question longer than the model can read; none is cut."""
        encoded = [self._prompt(question) for question in questions]
        for start in range(0, len(questions), BATCH):
            part = slice(start, start + BATCH)
            for question, a, b in self._scored(questions[part], encoded[part]):
                verdict: Verdict = "A" if a > b else "B" if b > a else "tie"
                details = {"logprob_a": a, "logprob_b": b}
                keep(Answer(question.key, question.id, question.order, verdict, verdict, details))

    def _prompt(self, question: Question) -> tuple[int, ...]:
        ids = self.policy.prompt_format.prompt_ids(Example(id=question.id, prompt=question.text, cue=CUE))
        if len(ids) + 1 > self.policy.max_length:
            raise JudgeError(
                f"the question about example {question.id!r} has {len(ids)} tokens, more than the judge's "
                f"{self.policy.max_length}: judge shorter responses, or take a judge that reads more"
            )
        return tuple(ids)

    def _scored(
        self, questions: Sequence[Question], prompt_ids: Sequence[tuple[int, ...]]
    ) -> list[tuple[Question, float, float]]:
        """log p(A) and log p(B) right after each question, in nats. The question goes through the model once."""
        letters = [self.policy.prompt_format.response_ids(letter)[:-1] for letter in ("A", "B")]
        assert all(len(ids) == 1 for ids in letters), "a letter is one token in Gemma's vocabulary"
        n = len(questions)
        responses = Responses(
            tuple(prompt_ids),
            torch.arange(n).repeat_interleave(2),
            torch.tensor([[ids[0]] for ids in letters] * n),
            torch.ones(2 * n, 1, dtype=torch.bool),
        )
        with torch.no_grad():
            rows = self.policy.logprobs(responses)[:, 0].cpu().double().view(n, 2).tolist()
        return [(question, a, b) for question, (a, b) in zip(questions, rows, strict=True)]
