"""The policy: Gemma 3 with its adapter, scoring and sampling responses.

How prompts and responses become rows, positions and masks is settled here and in `core/packing.py`; nothing outside
sees it. The weights are transformers' model and PEFT's adapter, so what is saved loads in either.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from gemma_align.config import ModelConfig, load_config
from gemma_align.core.logprobs import Entropy, token_logprobs
from gemma_align.core.packing import PackedRow, join, microbatch_rows, pack
from gemma_align.data.collate import Encoder
from gemma_align.data.templates import PromptFormat, choose_format, fit
from gemma_align.errors import CheckpointError, ConfigError
from gemma_align.experiments.run_paths import RunPaths
from gemma_align.models.adapters import load_adapter, save_adapter
from gemma_align.models.checkpoints import CheckpointInfo, load_checkpoint, resolve_device, resolve_precision
from gemma_align.models.decoder import Decoder
from gemma_align.models.heap import release_free_memory
from gemma_align.models.lean import make_lean
from gemma_align.models.quiet import quiet
from gemma_align.models.rollout import generate
from gemma_align.types import Example, Responses, Rollouts, Sampling

SIZE_MULTIPLE = 32  # of row tokens and of predictions: oneDNN compiles and keeps a kernel for every size it meets


class Policy:
    """A Gemma 3 model that gives log-probabilities of responses and samples new ones.

    Attributes:
        model: the transformers model, or the PEFT model around it.
        tokenizer: its tokenizer.
        prompt_format: how examples become tokens; belongs to the checkpoint.
        info: where the weights came from.
        max_length: tokens of a prompt and its response together.
        max_tokens: row tokens of one pass without a gradient.
        num_rows: samples decoded side by side.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        prompt_format: PromptFormat,
        info: CheckpointInfo,
        *,
        max_length: int = 2048,
        max_tokens: int = 1024,
        num_rows: int = 16,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.prompt_format = prompt_format
        self.info = info
        self.max_length = max_length
        self.max_tokens = max_tokens
        self.num_rows = num_rows
        self._recompute_above: int | None = None
        self._dropout = True
        self._decoder: Decoder | None = None
        self._sampling = False
        self.model.eval()  # all of it: PEFT's wrapper says it trains while the modules in it don't
        make_lean(self.causal_lm)

    @classmethod
    def load(cls, config: ModelConfig, *, device: str | None = None, **kwargs: Any) -> "Policy":
        """The checkpoint a configuration names, with a fresh adapter (or all weights trainable where `lora` is null).

        Args:
            config: which checkpoint, adapter and precision.
            device: instead of the configuration's, for one of several processes.
            kwargs: further arguments of the class.

        Raises:
            CheckpointError: the weights can't be had.
            ConfigError: LoRA is asked for on modules the model doesn't have.
        """
        place = resolve_device(device or config.device)
        loaded = load_checkpoint(config.checkpoint, device=place, dtype=resolve_precision(config.precision, place))
        model: nn.Module = loaded.model
        if config.lora is not None:
            model = add_lora(model, config)
        else:
            model.requires_grad_(True)
        prompt_format = choose_format(config.prompt_format, loaded.tokenizer)
        return cls(model, loaded.tokenizer, prompt_format, loaded.info, max_length=config.max_length, **kwargs)

    @classmethod
    def from_run(cls, run: Path, *, base: bool = False, device: str | None = None, **kwargs: Any) -> "Policy":
        """The policy that a run trained, or with `base` the one it started from; for use, not for training.

        Raises:
            CheckpointError: not a run, a run without a result yet, or weights that aren't the run's.
        """
        paths = RunPaths(run)
        if not paths.config.is_file() or not (base or paths.adapter.is_dir()):
            raise CheckpointError(
                f"{run} holds no trained policy: wanted a run folder with config.yml and adapter/. "
                "Finish the run first (the same command with --resume), or give another folder."
            )
        config = load_config(paths.config).model
        place = resolve_device(device or config.device)
        dtype = resolve_precision(config.precision, place)
        whole = config.lora is None and not base
        loaded = load_checkpoint(str(paths.adapter) if whole else config.checkpoint, device=place, dtype=dtype)
        model: nn.Module = loaded.model
        if not base and not whole:
            model = load_adapter(loaded.model, paths.adapter, base=loaded.info)
        model.requires_grad_(False)
        prompt_format = choose_format(config.prompt_format, loaded.tokenizer)
        return cls(model, loaded.tokenizer, prompt_format, loaded.info, max_length=config.max_length, **kwargs)

    @property
    def causal_lm(self) -> Any:
        """The transformers model inside PEFT's wrapper, adapter modules included."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def has_adapter(self) -> bool:
        """Whether an adapter is trained, and not the weights themselves."""
        return isinstance(self.model, PeftModel)

    @property
    def dtype(self) -> torch.dtype:
        """Of the base weights."""
        return self.causal_lm.lm_head.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.causal_lm.lm_head.weight.device

    def recompute_above(self, num_tokens: int) -> None:
        """Rows of more tokens make some activations again in backward, so that they keep as many as `num_tokens` do.

        With the microbatch's budget as the limit, a single response that is longer than the budget doesn't raise the
        peak of memory; it pays with one more forward pass through as many blocks as are too many. With 0 through all.
        """
        if self._recompute_above is None:
            self.causal_lm.activation_checkpointing_enable()
            self.causal_lm.disable_input_require_grads()  # only needed by reentrant checkpointing
        self._recompute_above = num_tokens

    def use_dropout(self, on: bool) -> None:
        """Whether gradient passes drop what the adapter's `dropout` says; passes without a gradient never do."""
        self._dropout = on
        self.model.eval()  # until the next gradient pass, which sets it

    def trainable(self) -> dict[str, nn.Parameter]:
        """The weights that take gradients, by name, in the model's order."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def logprobs(self, responses: Responses, temperature: float = 1.0) -> Float[Tensor, "N T"]:
        """log p(token t | prompt, tokens before t) in nats, 0 where masked; differentiable in the trainable weights.

        With gradients on, all responses go through in one pass: the loop has split them already. Without, they are
        split here by `max_tokens`.
        """
        return self.logprobs_and_entropy(responses, temperature, entropy="none")[0]

    def logprobs_and_entropy(
        self, responses: Responses, temperature: float = 1.0, entropy: Entropy = "value"
    ) -> tuple[Float[Tensor, "N T"], Float[Tensor, "N T"]]:
        """`logprobs`, and the entropy of each token's distribution in nats; with "grad" that is differentiable too."""
        logprobs, entropies = self._read(responses, temperature, entropy, None)
        return logprobs, entropies

    def with_values(
        self, responses: Responses, head: Callable[[Tensor], Tensor], temperature: float = 1.0
    ) -> tuple[Float[Tensor, "N T"], Float[Tensor, "N T"], Float[Tensor, "N T"]]:
        """`logprobs_and_entropy`, and what `head` (M H -> M) says of the state before each response token."""
        logprobs, entropies, values = self._read(responses, temperature, "value", head)
        return logprobs, entropies, values

    def pack(self, responses: Responses) -> PackedRow:
        """All responses in one row, as `hidden` takes it."""
        return pack(responses, self.device, SIZE_MULTIPLE)

    def hidden(self, row: PackedRow) -> Float[Tensor, "M H"]:
        """The last layer's states of a row's predictors, with the model as it is set."""
        states: Tensor = self.causal_lm.model(
            input_ids=row.ids[None],
            position_ids=row.positions[None],
            attention_mask=dict.fromkeys(set(self.causal_lm.config.layer_types), row),
            use_cache=False,
        ).last_hidden_state
        return states[0]

    def _read(self, responses: Responses, temperature: float, entropy: Entropy, head: Any) -> tuple[Tensor, ...]:
        """Log-probabilities, entropies and, with a head, values."""
        if torch.is_grad_enabled():
            return self._one_pass(responses, temperature, entropy, head)
        parts = [
            (rows, self._one_pass(responses.select(rows), temperature, entropy, head))
            for rows in microbatch_rows(responses, self.max_tokens)
        ]
        n, width = responses.ids.shape
        return tuple(
            join([(rows, found[i]) for rows, found in parts], n, width) for i in range(2 if head is None else 3)
        )

    def _one_pass(self, responses: Responses, temperature: float, entropy: Entropy, head: Any) -> tuple[Tensor, ...]:
        training = torch.is_grad_enabled()  # dropout, and the recomputing of activations, belong to gradient passes
        if self.model.training != training:
            self.model.train(training)
            for module in self.model.modules():
                if isinstance(module, nn.Dropout):
                    module.train(training and self._dropout)
        row = self.pack(responses)
        if self._recompute_above is not None:
            layers = self.causal_lm.model.layers
            again = num_recomputed(len(row.ids), self._recompute_above, len(layers))
            for i, layer in enumerate(layers):  # the first ones: backward comes to them when the others' are free
                layer.gradient_checkpointing = i < again
        hidden = self.hidden(row)
        logprobs, entropies = token_logprobs(
            hidden, self.causal_lm.lm_head.weight, row.targets, temperature=temperature, entropy=entropy
        )
        read = (row.scatter(logprobs), row.scatter(entropies))
        return read if head is None else (*read, row.scatter(head(hidden)))

    def encode(self, examples: Sequence[Example]) -> Responses:
        """The examples' reference responses as token ids, each cut to `max_length` tokens with its prompt."""
        return Encoder(self.prompt_format, self.max_length)(examples)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Within it the sampler's own copy of the block weights is kept between calls of `generate`.

        The weights must not change within. Outside of it each call makes the copy and gives it back.
        """
        self._sampling = True
        try:
            yield
        finally:
            self._sampling = False
            self._decoder = None
            release_free_memory()

    @torch.no_grad()
    def generate(
        self,
        examples: Sequence[Example],
        num_samples: int,
        sampling: Sampling,
        sample_ids: Sequence[int] | None = None,
    ) -> Rollouts:
        """`num_samples` responses to each example, grouped by example.

        A prompt that leaves no room for `sampling.max_tokens` within `max_length` is cut in its middle. `sample_ids`
        name the samples in the random numbers; by default their place.
        """
        room = self.max_length - sampling.max_tokens
        prompts = tuple(
            fit(self.prompt_format.prompt_ids(example), (), room, example_id=example.id).prompt_ids
            for example in examples
        )
        decoder = self._decoder or Decoder(self.causal_lm)
        if self._sampling:
            self._decoder = decoder
        out = generate(
            decoder,
            prompts,
            num_samples=num_samples,
            sampling=sampling,
            stop_ids=self.prompt_format.stop_ids,
            num_rows=self.num_rows,
            sample_ids=sample_ids,
        )
        del decoder
        release_free_memory()  # what comes next reads the weights themselves, whose pages were away meanwhile
        prompt_of = torch.arange(len(prompts)).repeat_interleave(num_samples)
        lengths = out.mask.sum(dim=1).tolist()
        rows = [row[:length] for row, length in zip(out.ids.tolist(), lengths, strict=True)]
        return Rollouts(
            responses=Responses(prompts, prompt_of, out.ids, out.mask),
            logprobs=out.logprobs,
            examples=tuple(examples),
            texts=tuple(self.prompt_format.decode(row) for row in rows),
            finished=out.finished,
        )

    @contextmanager
    def base(self) -> Iterator[None]:
        """Within it the adapter is off: the model is the checkpoint it started from.

        Raises:
            ValueError: all weights are trained, so the start is not kept.
        """
        if not isinstance(self.model, PeftModel):
            raise ValueError("the base model is only at hand while an adapter is trained; load the checkpoint again")
        self._decoder = None
        with self.model.disable_adapter():
            yield
        self._decoder = None

    def save(self, folder: Path) -> None:
        """The adapter in PEFT's format, or the whole model in transformers' where all weights are trained."""
        if isinstance(self.model, PeftModel):
            save_adapter(self.model, folder, self.info)
        else:
            self.causal_lm.save_pretrained(str(folder))
            self.tokenizer.save_pretrained(str(folder))


def num_recomputed(num_tokens: int, limit: int, num_layers: int) -> int:
    """Layers whose activations have to go, so that a row keeps no more of them than one of `limit` tokens would."""
    return max(0, -(-num_layers * (num_tokens - limit) // num_tokens))


def add_lora(model: nn.Module, config: ModelConfig) -> PeftModel:
    """The model with a fresh LoRA adapter: B is zero, so the policy starts as the checkpoint (Hu et al. 2021)."""
    assert config.lora is not None
    targets: list[str] = list(config.lora.target_modules)
    names = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    missing = [t for t in targets if t not in names]
    if missing:
        raise ConfigError(
            f"model.lora.target_modules: wanted names of linear modules ({', '.join(sorted(names - {'lm_head'}))}), "
            f"given {', '.join(missing)}"
        )
    lora = LoraConfig(
        r=config.lora.r,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    with quiet():
        return get_peft_model(model, lora)
