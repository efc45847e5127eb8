"""A policy that is sampled prompt by prompt: for preference pairs, attacks and curves.

The seed is that of the group in which a prompt stands, so that a resumed making draws the same.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gemma_align.config import Config
from gemma_align.data.splits import hashed
from gemma_align.experiments.subject import open_policy, subject_model, trained_weights
from gemma_align.types import Answer, Example, Sampling

GROUP = 8  # prompts whose samples are drawn together


class Sampler:
    """The policy, loaded, and how it is sampled.

    Attributes:
        facts: everything that decides which samples come out, but for the examples; JSON values.
    """

    def __init__(
        self,
        config: Config,
        adapter: Path | None,
        *,
        label: str,
        num_samples: int,
        temperature: float = 1.0,
        max_new_tokens: int | None = None,
    ) -> None:
        """Loads the policy.

        Args:
            config: its model, seed and evaluation settings count.
            adapter: a run folder whose policy is sampled; None: the configuration's checkpoint.
            label: what the samples are for: two uses of one seed draw different ones.
            num_samples: of each example.
            temperature: of sampling.
            max_new_tokens: the longest sample; None: the evaluation's.

        Raises:
            UserError: weights that can't be had, or aren't the run's.
        """
        model = subject_model(config, adapter)
        self._policy = open_policy(model, adapter, config.evaluation.num_rows)
        self._seed, self._label, self._num_samples, self._temperature = config.seed, label, num_samples, temperature
        self._max_tokens = max_new_tokens or config.max_new_tokens
        self.facts: dict[str, Any] = {
            "checkpoint": model.checkpoint,
            "fingerprint": self._policy.info.fingerprint,
            "trained": None if adapter is None else trained_weights(adapter),
            "prompt_format": self._policy.prompt_format.name,
            "max_length": model.max_length,
            "max_new_tokens": self._max_tokens,
        }

    def draw(self, examples: Sequence[Example]) -> list[list[Answer]]:
        """The samples of each example of a group."""
        sampling = Sampling(
            max_tokens=self._max_tokens,
            temperature=self._temperature,
            seed=hashed(self._seed, self._label, examples[0].id) % 2**32,
        )
        out = self._policy.generate(examples, self._num_samples, sampling)
        columns = out.texts, out.finished.tolist(), out.responses.mask.sum(1).tolist()
        rows = [Answer(*row) for row in zip(*columns, strict=True)]
        return [rows[i : i + self._num_samples] for i in range(0, len(rows), self._num_samples)]
