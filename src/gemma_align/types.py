"""The records that travel between stages, and the protocols the stages fulfil.

Shape legend, used in every signature of the package:

    P  prompts            N  responses (N = P x group_size when every prompt is sampled group_size times)
    T  response tokens of the longest response           L  tokens of one packed microbatch
    V  vocabulary words   H  hidden size

Masks: True always means "counts". Per-token tensors are (N, T): entry t speaks of response token t and is 0
where the mask is False. How prompts and responses are packed into rows, with positions and attention masks,
is private to the policy (`core/packing.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Split = Literal["train", "tune", "report"]
SampledMeasure = Callable[[Sequence["Example"], Sequence[Sequence[str]]], Sequence[Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to do, and what is known about doing it well.

    `prompt` is what the user asks in the last turn, as plain text; how it becomes tokens is the prompt format's
    business (`data/templates.py`). `cue` closes the plain-text form (such as "Clinical note:") and is dropped by
    chat templates, which have their own. `checks` holds facts, tests and labels, as JSON values.
    """

    id: str
    prompt: str
    response: str | None = None
    rejected: str | None = None
    history: tuple[Turn, ...] = ()
    cue: str = ""
    checks: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Responses:
    """Token ids of N responses to P prompts. Responses to one prompt share its entry, so it is computed once."""

    prompt_ids: tuple[tuple[int, ...], ...]  # P prompts, ragged, each starting with the one BOS
    prompt_of: Int[Tensor, "N"]  # which prompt each response answers
    ids: Int[Tensor, "N T"]  # 0 where masked
    mask: Bool[Tensor, "N T"]  # a prefix of each row; an end token, where there is one, counts

    def __len__(self) -> int:
        return len(self.prompt_of)

    def select(self, rows: Int[Tensor, "n"]) -> "Responses":
        """The given responses, in the given order, with only their prompts and no wider than needed."""
        prompts, prompt_of = torch.unique(self.prompt_of[rows], return_inverse=True)
        mask = self.mask[rows]
        width = int(mask.sum(1).max()) if len(rows) else 0
        return Responses(
            prompt_ids=tuple(self.prompt_ids[p] for p in prompts.tolist()),
            prompt_of=prompt_of,
            ids=self.ids[rows, :width],
            mask=mask[:, :width],
        )


@dataclass(frozen=True, slots=True)
class Rollouts:
    """What sampling made: the responses, and the log-probabilities under the policy that sampled them."""

    responses: Responses
    logprobs: Float[Tensor, "N T"]
    examples: tuple[Example, ...]  # P examples; responses.prompt_of points into them
    texts: tuple[str, ...]  # N decoded responses, without the end token
    finished: Bool[Tensor, "N"]  # ended by itself, with an end token


@dataclass(frozen=True, slots=True)
class Answer:
    """One response as a reward reads it: text alone, so that it can judge what no model of ours wrote.

    finished    it ended by itself; what somebody wrote did
    num_tokens  of the policy's tokenizer, the end token included; None where nobody counted
    reference_logprobs  of its tokens under the reference policy, nats, the end token left out; None where nobody asked
    """

    text: str
    finished: bool = True
    num_tokens: int | None = None
    reference_logprobs: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """What a reward says of N answers. The parts are kept everywhere: a total alone can't show what is being hacked."""

    total: Float[Tensor, "N"]
    parts: Mapping[str, Float[Tensor, "N"]]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How responses are drawn. Temperature 0 is greedy. top_k and top_p stay off in training: they bias the ratio."""

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over the WHOLE minibatch and all processes: what a loss divides by, so that accumulation is exact."""

    num_tokens: float
    num_sequences: float


@dataclass(frozen=True, slots=True)
class Batch:
    """What `prepare` hands to `loss`. Algorithms subclass it; every further field is a tensor with N rows.

    whole_prompts  all responses to a prompt belong into one microbatch: their loss isn't a sum over them
    """

    whole_prompts: ClassVar[bool] = False

    responses: Responses

    def __len__(self) -> int:
        return len(self.responses)

    def select(self, rows: Int[Tensor, "n"]) -> Self:
        """The given responses with everything that belongs to them."""
        responses = self.responses.select(rows)
        width = responses.ids.shape[1]
        rest = {}
        for f in fields(self):
            if f.name != "responses":
                value = getattr(self, f.name)[rows]
                rest[f.name] = value[:, :width] if value.ndim == 2 else value
        return type(self)(responses=responses, **rest)


class Policy(Protocol):
    """A language model that can score and sample responses."""

    def logprobs(self, responses: Responses, temperature: float = 1.0) -> Float[Tensor, "N T"]:
        """log p(token t | prompt, tokens before t), 0 where masked; differentiable in the trainable weights."""
        ...

    def logprobs_and_entropy(
        self, responses: Responses, temperature: float = 1.0, entropy: Literal["none", "value", "grad"] = "value"
    ) -> tuple[Float[Tensor, "N T"], Float[Tensor, "N T"]]:
        """`logprobs`, and the entropy of each token's distribution in nats, with or without a gradient."""
        ...

    def generate(
        self,
        examples: Sequence[Example],
        num_samples: int,
        sampling: Sampling,
        sample_ids: Sequence[int] | None = None,
    ) -> Rollouts:
        """`num_samples` responses to each example, grouped by example; `sample_ids` name them in the random numbers."""
        ...


class RewardModel(Protocol):
    """Says how good answers are."""

    def score(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Scores:
        """One score an answer; `examples[i]` is what `answers[i]` answers. Float32 on the CPU, all finite.

        Raises RewardError, with the example's id, where a part can't be computed: nothing is scored silently as 0.
        """
        ...


@dataclass(frozen=True, slots=True)
class OwnWeights:
    """Weights that an algorithm trains beside the policy's, such as a critic's.

    weights        by name
    learning_rate  theirs; None: the policy's
    loss           what trains them, as `Algorithm.loss`, in a pass of its own so that only one graph is alive at a
                   time; None: the algorithm's loss trains them too
    """

    weights: Mapping[str, nn.Parameter]
    learning_rate: float | None = None
    loss: "Callable[[Batch, Totals], tuple[Float[Tensor, ''], dict[str, float]]] | None" = None


class Algorithm(Protocol):
    """Two verbs: `prepare` (no gradient: make a batch) and `loss` (gradient). One loop serves all of them."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics the losses give, so that a process without a microbatch adds up with the others.

        They add up over microbatches and processes; of names that end in `_max` the largest is taken.
        """
        ...

    @property
    def num_passes(self) -> int:
        """How often each batch is gone through."""
        ...

    @property
    def num_minibatches(self) -> int:
        """Optimizer steps in each pass, on parts of the batch."""
        ...

    @property
    def own(self) -> OwnWeights | None:
        """Weights beside the policy's; None: no such."""
        ...

    def prepare(self, examples: Sequence[Example]) -> Batch:
        """The batch of these examples; an empty one for none (a process may be left without)."""
        ...

    def told(self) -> tuple[dict[str, float], float]:
        """What is told of the last batch beside its loss, as sums, and what they are to be divided by.

        Every process has the same names. Empty where there is nothing.
        """
        ...

    def loss(self, batch: Batch, totals: Totals) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Loss and metrics of a microbatch, both divided by the minibatch's totals: both simply add up."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Running statistics as JSON values; empty where there are none."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        ...


class Task(Protocol):
    """Where examples come from and how a response to one of them is measured."""

    @property
    def name(self) -> str:
        """Such as "clinical"."""
        ...

    def examples(self, split: Split) -> Sequence[Example]:
        """The examples of one split, in a fixed order."""
        ...

    @property
    def measure_samples(self) -> SampledMeasure | None:
        """Measures of each example from several sampled responses (pass@k); None where the task has none."""
        ...

    def ready(self) -> None:
        """Raises a UserError where something that `measure` needs isn't there; called before anything is generated."""
        ...

    def measure(self, examples: Sequence[Example], responses: Sequence[str]) -> Sequence[Mapping[str, float]]:
        """Quality measures of each response, by name; evaluation averages them with intervals."""
        ...
