"""The sections of a configuration: every setting with its type, range, default and meaning.

The defaults here and in `configs/defaults.yml` are the same (a test compares them). Each field is checked by itself;
settings that contradict each other are found by `contradictions.py`, stage by stage.
"""

import os
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic_core import PydanticCustomError

from gemma_align.errors import ConfigError

DataFormat = Literal[
    "auto",
    "builtin",
    "jsonl",
    "mts_dialog",
    "hh_rlhf",
    "mbpp",
    "humaneval",
    "conala",
    "xstest",
    "advbench",
    "harmbench",
]
LinearModule = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Tracker = Literal["aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "trackio", "wandb"]

Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


def _place(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("refused", "a NUL character can't be in a name")
    return os.path.expanduser(text)


Place = Annotated[str, Field(min_length=1), AfterValidator(_place)]


def _refuse_half_precision(value: Any) -> Any:
    if value in ("fp16", "float16", "half"):
        raise PydanticCustomError("refused", "Gemma 3's activations overflow half precision")
    return value


def _endpoint(value: str) -> str:
    """The URL without a slash at its end; refused where it is none, or carries a secret into files."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PydanticCustomError("refused", "a URL starts with http:// or https:// and a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise PydanticCustomError("refused", "a key belongs into the environment variable that api_key_env names")
    return value.rstrip("/")


class Section(BaseModel):
    """Unknown settings are errors, nothing is converted (the text '8' is no number), nothing changes afterwards."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class LoraConfig(Section):
    """Low-rank adapters (Hu et al. 2021): the update of a weight is `alpha / r` times a product of rank `r`."""

    r: Count = 8
    """Rank."""
    alpha: Count = 16
    """Scale; twice the rank keeps the update's size when the rank changes."""
    dropout: Fraction = 0.0
    """Share of the adapter's inputs zeroed in SFT; other stages hold a policy against itself and zero none."""
    target_modules: Annotated[tuple[LinearModule, ...], Field(min_length=1, strict=False)] = ("q_proj", "v_proj")
    """Which linear layers of every block get an adapter."""


class ModelConfig(Section):
    """Which weights, how they are adapted, where and in what precision they run."""

    checkpoint: Place = "bundled:gemma-3-270m"
    """`bundled:gemma-3-270m`, `tiny` or `tiny-it` (random), a hub id such as `google/gemma-3-270m-it`, or a folder."""
    prompt_format: Literal["auto", "plain", "chat"] = "auto"
    """`auto`: chat if the tokenizer has a chat template (an instruct checkpoint), plain text otherwise."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`: cuda if there is one, then mps, then cpu."""
    precision: Annotated[Literal["auto", "fp32", "bf16"], BeforeValidator(_refuse_half_precision)] = "auto"
    """`auto`: bf16 on cuda, fp32 elsewhere (CPUs without bf16 units are ten times slower in it) and where all weights
    are trained."""
    lora: LoraConfig | None = LoraConfig()
    """Adapters, or null: all weights are trained (16 bytes a parameter instead of 4)."""
    max_length: Annotated[int, Field(ge=8, le=32768)] = 1024
    """Tokens of prompt and response together; Gemma 3 270M was trained with at most 32,768."""

    def for_training(self) -> "ModelConfig":
        """With `precision: auto` decided where all weights are trained.

        Raises:
            ConfigError: they are to be trained in bf16, whose 8 bits most of a step would be rounded off of.
        """
        if self.lora is not None:
            return self
        if self.precision == "bf16":
            raise ConfigError(
                "model.precision: wanted auto or fp32, as model.lora=null trains all weights, and most of each step "
                "would be rounded off of bf16 ones, given 'bf16'"
            )
        return self.model_copy(update={"precision": "fp32"})


class DataConfig(Section):
    """Where examples come from. Paths start from the folder in which the command is given."""

    train: Place = "builtin"
    """`builtin` (generated from `data.seed`), a file, a folder, or a hub id."""
    tune: Place | None = None
    """For choosing settings and the best checkpoint; null: builtin beside builtin, else rows cut from `train`."""
    report: Place | None = None
    """For the numbers that are reported, never looked at while choosing; null: as for `tune`."""
    format: DataFormat = "auto"
    """How the files are written; `auto` looks at names and columns and says what it took."""
    seed: CountOrZero = 0
    """Of what is generated, cut, drawn and shown as worked examples. Apart from the run's seed, so that runs with
    several seeds learn from the same examples and are evaluated on the same ones."""
    num_builtin: Count = 400
    """Examples that are generated for each split of a builtin set."""
    max_train_examples: Count | None = None
    """Take at most this many (drawn with `data.seed`); null: all."""
    max_tune_examples: Count | None = None
    """As above."""
    max_report_examples: Count | None = None
    """As above."""
    balance: Literal["harmful"] | None = None
    """Train on as many harmful requests as others, drawn with `data.seed`, for RL on the task safety; null: on all."""
    too_long: Literal["truncate", "drop"] = "truncate"
    """An example over `model.max_length`: cut the middle of its prompt, or drop it. Both are counted."""


class TrainingConfig(Section):
    """The optimizer (AdamW) and the loop."""

    learning_rate: Positive = 1e-3
    """At its peak. LoRA of rank 8 on Gemma 3 270M stands 1e-3; full fine-tuning wants about 2e-5."""
    batch_size: Count = 8
    """Examples an update, over all processes; memory is set by `max_tokens_per_microbatch`, not by this."""
    num_epochs: Count = 1
    """Passes over the training examples."""
    max_steps: Count | None = None
    """Stop after this many updates; null: after `num_epochs`."""
    warmup_fraction: Fraction = 0.05
    """Share of the updates in which the learning rate climbs from 0."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after the warm-up; cosine and linear end at 0."""
    weight_decay: NotNegative = 0.0
    """Decoupled (Loshchilov and Hutter 2019)."""
    adam_betas: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.9, 0.999)
    """Decay of the averages of the gradient and of its square."""
    adam_eps: Positive = 1e-8
    """Added to the root of the second moment."""
    max_grad_norm: Positive | None = 1.0
    """The gradient is scaled down to this norm over all trained weights; null: never."""
    max_tokens_per_microbatch: Count = 704
    """Sets the peak memory, changes no gradient. A longer example gets a microbatch of its own, and its activations are
    computed twice instead of kept."""
    gradient_checkpointing: bool = False
    """Recompute the activations of every row in the backward pass: less memory, about a third more time."""
    eval_every: CountOrZero = 0
    """Updates between evaluations of the loss on the tune split; 0: only at the end."""


class RLConfig(Section):
    """Rollouts of reinforcement learning. Read by stages that sample; supervised stages don't look at it."""

    num_prompts: Count = 2
    """Prompts a step."""
    group_size: Count = 8
    """Responses sampled for each prompt."""
    max_response_tokens: Count = 48
    """Longest response that is sampled."""
    overlong_buffer: CountOrZero = 0
    """Tokens before that limit over which the score falls evenly by 1 in all (DAPO); 0: it doesn't."""
    temperature: Positive = 1.0
    """Of sampling, and of every log-probability that is compared with it."""
    kl_coef: NotNegative = 0.05
    """Weight of the divergence from the reference, nats."""
    clip_eps: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """How far the probability ratio may move before its gradient is cut (Schulman et al. 2017, eq. 7)."""


class JudgeConfig(Section):
    """A model that is shown two responses and says which is better (docs/evaluation.md, "A judge")."""

    model: Annotated[str, Field(min_length=1)]
    """The endpoint's name for it; without `url` a run folder or a checkpoint, as `model.checkpoint` takes it."""
    url: Annotated[str, AfterValidator(_endpoint)] | None = None
    """An OpenAI-compatible endpoint, up to and with `/v1`; null: the model is run here."""
    api_key_env: Annotated[str, Field(min_length=1)] | None = None
    """The environment variable that holds the key; the key itself stands in no file. null: no key is sent."""
    timeout: Positive = 60.0
    """Seconds to wait for one answer."""
    concurrency: Count = 4
    """Questions that are open at the same time."""
    max_retries: CountOrZero = 5
    """Further attempts at a question when the endpoint is away, busy or answers nonsense; then the command ends."""
    parameters: dict[str, JsonValue] = {"temperature": 0, "max_tokens": 256}
    """Sent with every question. Some models want others, such as `{max_completion_tokens: 4000}`."""


class EvaluationConfig(Section):
    """The evaluation that ends a run: greedy decoding, the same for every model that is compared."""

    split: Literal["tune", "report"] = "report"
    """`report` for numbers that are published, `tune` while choosing settings."""
    num_examples: Count | None = None
    """At most this many; null: the whole split."""
    max_new_tokens: Count | None = None
    """Longest response; one that reaches it counts as unfinished. null: the task's own, 128 (clinical and safety) or
    192 (code)."""
    few_shot: CountOrZero = 0
    """Evaluate the untuned model also with this many worked training examples before each prompt; 0: don't."""
    num_samples: CountOrZero = 0
    """Sampled responses to each prompt beside the greedy one, for pass@k; only the task `code` has such measures.
    0: none."""
    temperature: Positive = 0.8
    """Of these samples; everything else but `best_of` is decoded greedily."""
    best_of: CountOrZero = 0
    """Evaluate also the best of so many samples to each prompt by the `reward`: of the tuned model, or where nothing is
    tuned of the base model. What a method that follows that reward has to beat; 0: don't."""
    best_of_temperature: Positive = 1.0
    """Of its samples; 1: they are the policy's own, as in rollouts."""
    num_rows: Count = 16
    """Responses decoded side by side: more is faster and takes more memory."""
    num_shown: CountOrZero = 3
    """Responses printed before and after."""
    base: bool = True
    """Evaluate the untuned model too, on the same examples."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of the intervals."""
    gold: Place | None = None
    """The folder of an encoder that a reward is held against: of another backbone than the reward's, fitted with
    `reward.encoder.part: gold`. null: the task's own measures (clinical, code)."""
    judge: JudgeConfig | None = None
    """Who says which of two responses is better, when `gemma-align judge` is given; null: nobody."""


class CheckpointConfig(Section):
    """What is kept so that a stopped run can go on, and which adapter is called the best."""

    every: CountOrZero = 0
    """Updates between training checkpoints; 0: only at the end."""
    keep: Count = 2
    """Newest training checkpoints that stay on disk."""
    reuse_stages: bool = True
    """Keep supervised stages beside the run folder, and start after them where they are there already."""
    measure: Annotated[str, Field(min_length=1)] = "loss"
    """Of the tune split: the best adapter has the lowest `loss`, or the best of any other measure (the highest where
    neither way is better)."""


class TrackingConfig(Section):
    """Where metrics go beside `metrics.jsonl` in the run folder."""

    tensorboard: bool = True
    """Write event files into the run folder."""
    trackers: Annotated[tuple[Tracker, ...], Field(strict=False)] = ()
    """Further trackers, by the name accelerate knows them by; each must be installed."""
    project: Annotated[str, Field(min_length=1)] = "gemma-alignment"
    """The name under which trackers file the run."""
