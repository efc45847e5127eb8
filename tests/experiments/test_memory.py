"""The forecast against counts by hand, real runs watched by the same tracker, and resident memory."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from gemma_align.config import Config, Stage
from gemma_align.core import attention
from gemma_align.errors import CheckpointError, UserError
from gemma_align.experiments.memory import forecast as memory
from gemma_align.experiments.memory import report, shapes, steps
from gemma_align.experiments.memory.measure import measure
from gemma_align.experiments.memory.pretend import pretend
from gemma_align.experiments.memory.tracker import (
    ACTIVATIONS,
    CACHES,
    KINDS,
    OPTIMIZER,
    OTHER,
    SAMPLER,
    WEIGHTS,
    MemoryTracker,
    Peak,
    peaks,
)
from gemma_align.models.tiny import tiny_model, tiny_tokenizer

MEDIUM = Gemma3TextConfig(
    vocab_size=4096,
    hidden_size=128,
    intermediate_size=512,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=1,
    head_dim=64,
    query_pre_attn_scalar=64,
    sliding_window=64,
    layer_types=["sliding_attention", "full_attention"],
)

SAMPLED = {"group_size": 3, "max_response_tokens": 20}
LONG = [pytest.mark.slow, pytest.mark.ci]


def configuration(
    method: Literal["sft", "dpo", "grpo", "ppo", "rejection"] = "sft", **sections: dict[str, object]
) -> Config:
    base: dict[str, dict[str, object]] = {
        "model": {"checkpoint": "tiny", "max_length": 64},
        "training": {"max_tokens_per_microbatch": 128},
        "evaluation": {"max_new_tokens": 16, "num_rows": 4},
    }
    merged = {name: {**base.get(name, {}), **sections.get(name, {})} for name in base.keys() | sections.keys()}
    return Config.model_validate({"task": "clinical", "stages": (Stage(method=method),), **merged})


def by_phase(told: memory.Forecast) -> dict[str, memory.Phase]:
    return {phase.name: phase for phase in told.phases}


def watched(config: Config, size: Gemma3TextConfig) -> tuple[Peak, ...]:
    """The peaks of a real run on the CPU with random weights."""
    policy = shapes.policy_of_shapes(config, size, "cpu", torch.float32)
    attention.visible.cache_clear()
    with MemoryTracker() as tracker:
        tracker.mark([*policy.model.parameters(), *policy.model.buffers()], WEIGHTS)
        memory.run_stages(policy, config, tracker)
        steps.evaluate(policy, config, tracker)
    attention.visible.cache_clear()
    return peaks(tracker.events)


class TestTracker:
    def test_counts_what_is_alive_at_once(self) -> None:
        with MemoryTracker() as tracker:
            first = torch.zeros(1000)
            second = first + 1
            del first
            third = second * 2
            del second, third
        (peak,) = peaks(tracker.events)
        assert peak.num_bytes == 8000
        assert sum(event.change for event in tracker.events) == 0

    def test_views_and_changes_in_place_take_nothing(self) -> None:
        with MemoryTracker() as tracker:
            whole = torch.zeros(10, 10)
            whole[2:].add_(1).t()
        assert peaks(tracker.events)[0].num_bytes == 400

    def test_a_phase_begins_with_what_is_alive(self) -> None:
        with MemoryTracker() as tracker:
            kept = torch.zeros(100)
            torch.zeros(1000)
            tracker.enter("later")
            torch.zeros(50)
        assert [(p.phase, p.num_bytes) for p in peaks(tracker.events)] == [("load", 4400), ("later", 600)]
        del kept

    def test_a_kind_given_late_holds_from_the_beginning(self) -> None:
        with MemoryTracker() as tracker:
            kept = torch.zeros(100)
            torch.zeros(1000)
            tracker.mark([kept], WEIGHTS)
        (peak,) = peaks(tracker.events)
        assert peak.by_kind == {**dict.fromkeys(KINDS, 0), WEIGHTS: 400, OTHER: 4000}

    def test_blocks_are_rounded_up(self) -> None:
        with MemoryTracker(block=512) as tracker:
            kept = [torch.zeros(1), torch.zeros(129)]
        assert peaks(tracker.events)[0].num_bytes == 512 + 1024
        del kept

    def test_packed_weights_are_counted(self) -> None:
        if not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
            pytest.skip("this build of PyTorch has no oneDNN layouts")
        weight = torch.zeros(64, 32)
        with MemoryTracker() as tracker:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight, 16)
            del packed
        assert [event.change for event in tracker.events] == [8192, -8192]


class TestPretend:
    def test_integers_are_real_and_floats_are_not(self) -> None:
        with pretend("cuda"):
            mask = torch.tensor([True, False, True], device="cuda")
            x = torch.randn(3, 4, device="cuda")
            assert x.device == torch.device("cuda", 0)
            assert x[mask].shape == (2, 4)
            assert mask.nonzero()[:, 0].tolist() == [0, 2]
            assert x.sum().item() == 1.0
            assert x.argmax(dim=1).tolist() == [0, 0, 0]
            assert not (x > 0).any()
            assert torch.isfinite(torch.tensor(x[0].tolist())).all()

    def test_moving_to_the_card_makes_no_copy_there(self) -> None:
        with pretend("cuda"), MemoryTracker() as tracker:
            x = torch.randn(100, device="cuda")
            y = x.to(x.device)
        assert peaks(tracker.events)[0].num_bytes == 400
        del y

    def test_the_device_is_the_cpu_again_afterwards(self) -> None:
        with pretend("cuda"):
            x = torch.zeros(2, device="cuda")
        assert torch.zeros(2).device.type == "cpu"
        assert x.device.type == "cpu"

    @pytest.mark.parametrize("device", ["cpu", "cuda"])
    @pytest.mark.parametrize("masked", [True, False])
    def test_attention_never_holds_its_scores(self, device: str, masked: bool) -> None:
        """As a card's fused kernels; the mask becomes one of the inputs' type, which they keep too."""
        tokens = 256
        with pretend(device), MemoryTracker() as tracker:
            q = torch.randn(1, 4, tokens, 8, device=device, dtype=torch.bfloat16, requires_grad=True)
            mask = torch.ones(tokens, tokens, dtype=torch.bool, device=device) if masked else None
            out = F.scaled_dot_product_attention(q, q, q, attn_mask=mask, is_causal=not masked)
            out.sum().backward()
        inputs = 4 * tokens * 8 * 2
        bias = tokens * tokens * 3 if masked else 0
        assert peaks(tracker.events)[0].num_bytes - bias < 8 * inputs


class TestForecast:
    def test_weights_gradients_and_optimizer_by_hand(self) -> None:
        told = by_phase(memory.forecast(configuration(), "cpu"))
        base = tiny_model(len(tiny_tokenizer()))
        # Rank 8 on q_proj (48 -> 64) and v_proj (48 -> 16) of 4 layers
        adapters = 4 * (8 * (48 + 64) + 8 * (48 + 16))
        buffers = sum(buffer.numel() for buffer in base.buffers())
        weights = 4 * (sum(p.numel() for p in base.parameters()) + adapters + buffers)
        assert told["load"].peak_bytes == weights
        assert all(phase.by_kind[WEIGHTS] == weights for phase in told.values())
        # A gradient and two moments of each number, and a count of the steps for each of 16 matrices
        assert told["optimizer"].by_kind[OPTIMIZER] == 4 * 3 * adapters + 4 * 16

    def test_caches_by_hand(self) -> None:
        config = configuration()
        told = by_phase(memory.forecast(config, "cpu"))
        prompt, own, rows = 64 - 16 - 1, 16, 4
        sliding = min(prompt, 16) + min(own, 16)
        assert told["generation"].by_kind[CACHES] == rows * 2 * 4 * 16 * 2 * (sliding + prompt + own)

    def test_all_weights_trained(self) -> None:
        told = by_phase(memory.forecast(configuration(model={"lora": None}), "cpu"))
        parameters = sum(p.numel() for p in tiny_model(len(tiny_tokenizer())).parameters())
        count = len(list(tiny_model(len(tiny_tokenizer())).parameters()))
        assert told["optimizer"].by_kind[OPTIMIZER] == 4 * (3 * parameters + count)
        assert told["generation"].by_kind[WEIGHTS] > 4 * 2 * parameters  # the untuned model beside the tuned one

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"model": {"lora": None}},
            {"model": {"max_length": 300}, "training": {"max_tokens_per_microbatch": 200}},
            {"training": {"gradient_checkpointing": True}},
            {"method": "dpo"},
            {"method": "grpo", "rl": SAMPLED},
            pytest.param({"method": "ppo", "rl": SAMPLED}, marks=LONG),
            pytest.param({"method": "rejection", "rl": SAMPLED}, marks=LONG),
        ],
        ids=["lora", "all weights", "one long example", "recomputing", "dpo", "grpo", "ppo", "rejection"],
    )
    def test_equals_a_real_run(self, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        """To the byte, by phase and by kind: fake tensors go the way of real ones."""
        sections = {"model": {"max_length": 128}, "training": {"max_tokens_per_microbatch": 300}}
        merged = {name: {**settings, **changes.get(name, {})} for name, settings in sections.items()}
        merged |= {name: changes[name] for name in ("rl",) if name in changes}
        config = configuration(changes.get("method", "sft"), **merged)
        monkeypatch.setattr(memory, "architecture", lambda spec: MEDIUM)
        told = memory.forecast(config, "cpu")
        assert [(p.name, p.peak_bytes, p.by_kind) for p in told.phases] == [
            (p.phase, p.num_bytes, p.by_kind) for p in watched(config, MEDIUM)
        ]

    @pytest.mark.slow
    @pytest.mark.parametrize("method", [pytest.param("grpo", marks=pytest.mark.ci), "ppo"])
    def test_more_rollouts_than_fill_two_microbatches_take_no_more(
        self, method: Literal["grpo", "ppo"], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """But for the few numbers a token that are kept of each."""
        monkeypatch.setattr(memory, "architecture", lambda spec: MEDIUM)
        sections: dict[str, dict[str, object]] = {
            "model": {"max_length": 1040},  # over what a pass without a gradient takes: each response is read alone
            "training": {"max_tokens_per_microbatch": 1040},
            "rl": {"group_size": 2, "max_response_tokens": 40},
        }
        cut = by_phase(memory.forecast(configuration(method, **sections), "cuda", (memory.run_stages,)))
        monkeypatch.setattr(steps, "microbatch_rows", lambda responses, _: [torch.arange(len(responses))])
        whole = by_phase(memory.forecast(configuration(method, **sections), "cuda", (memory.run_stages,)))
        assert cut.keys() == whole.keys()
        for name, phase in whole.items():
            assert 0.99 <= cut[name].peak_bytes / phase.peak_bytes <= 1, name

    def test_grows_with_the_budget(self) -> None:
        found = [
            by_phase(
                memory.forecast(
                    configuration(training={"max_tokens_per_microbatch": budget}), "cpu", (memory.run_stages,)
                )
            )
            for budget in (64, 128, 256)
        ]
        for phase in ("forward", "backward"):
            first, second, third = (told[phase].by_kind[ACTIVATIONS] for told in found)
            # twice the rows take twice the activations, but for masks and rotations that rows of one length share
            assert 1.5 * first < second <= 2 * first
            assert 1.8 * second < third <= 2 * second
        assert len({told["optimizer"].by_kind[OPTIMIZER] for told in found}) == 1

    def test_an_example_longer_than_the_budget_is_recomputed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From the first update on, so that it doesn't undo what the budget promises."""
        monkeypatch.setattr(memory, "architecture", lambda spec: MEDIUM)
        kept, recomputed = (
            by_phase(
                memory.forecast(
                    configuration(model={"max_length": 512}, training={"max_tokens_per_microbatch": budget}),
                    "cpu",
                    (memory.run_stages,),
                )
            )["forward"].by_kind[ACTIVATIONS]
            for budget in (512, 128)
        )
        assert recomputed < kept / 2

    def test_a_card_that_is_not_there(self) -> None:
        """bf16 halves the base weights; the adapter stays in float32, as PEFT has it."""
        config = configuration()
        card, cpu = memory.forecast(config, "cuda"), memory.forecast(config, "cpu")
        assert (card.precision, cpu.precision) == ("bfloat16", "float32")
        assert 0.5 < by_phase(card)["load"].peak_bytes / by_phase(cpu)["load"].peak_bytes < 0.65
        assert by_phase(card)["generation"].by_kind[SAMPLER] < by_phase(cpu)["generation"].by_kind[SAMPLER]
        assert all(phase.peak_bytes % 512 == 0 for phase in card.phases)
        assert card.needed_bytes() > card.peak_bytes + 0.6e9

    def test_leaves_nothing_behind(self) -> None:
        memory.forecast(configuration(), "cuda")
        assert attention.visible.cache_info().currsize == 0
        assert torch.zeros(1).device.type == "cpu"

    def test_checkpoints_that_are_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"no bundled checkpoint 'bundled:|no bundled checkpoint"):
            memory.forecast(configuration(model={"checkpoint": "bundled:nothing"}), "cpu")
        with pytest.raises(CheckpointError, match=r"no config\.json"):
            memory.forecast(configuration(model={"checkpoint": str(tmp_path)}), "cpu")

    def test_gemma_3_270m_has_its_size(self) -> None:
        """268 million weights, 168 million of them in the embedding; the checkpoint needn't be there."""
        config = configuration(model={"checkpoint": "bundled:gemma-3-270m", "lora": None})
        policy = shapes.policy_of_shapes(config, shapes.architecture("bundled:gemma-3-270m"), "meta", torch.bfloat16)
        assert sum(p.numel() for p in policy.model.parameters()) == 268_098_176


class TestFits:
    @pytest.mark.parametrize(("limit", "expected"), [(0, None), (1, 1), (7, 4), (8, 8), (100, 16)])
    def test_the_largest_that_fits(self, limit: int, expected: int | None) -> None:
        assert memory.largest((1, 2, 4, 8, 16), lambda n: n, limit) == expected

    def test_more_fits_on_a_larger_card(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "architecture", lambda spec: MEDIUM)
        monkeypatch.setattr(memory, "BUDGETS", (64, 256))
        monkeypatch.setattr(memory, "ROWS", (1, 16))
        config = configuration()

        def needed(tokens: int) -> int:
            changed = configuration(training={"max_tokens_per_microbatch": tokens})
            return memory.forecast(changed, "cuda", (memory.run_stages,)).needed_bytes()

        cards = (0.1, (needed(64) + 1) / 1e9, 6)
        none, some, most = memory.fits(config, cards)
        assert none == memory.Fit(0.1, None, None)
        assert some.max_tokens_per_microbatch == 64
        assert most == memory.Fit(6, 256, 16)

    def test_a_stage_that_sets_the_budget_is_searched_too(self) -> None:
        stage = Stage.model_validate({"method": "sft", "training": {"max_tokens_per_microbatch": 7, "batch_size": 3}})
        config = configuration().model_copy(update={"stages": (stage,)})
        changed = memory._with_budget(config, 512)
        training = changed.for_stage(changed.stages[0]).training
        assert (training.max_tokens_per_microbatch, training.batch_size) == (512, 3)


@pytest.mark.parametrize(
    ("max_tokens", "longest", "expected"),
    [(1024, 2048, [1024]), (1024, 1024, [1024]), (1000, 400, [400, 400, 200]), (801, 400, [400, 400])],
)
def test_the_fullest_microbatch(max_tokens: int, longest: int, expected: list[int]) -> None:
    rows = steps.row_lengths(max_tokens, longest)
    assert rows == expected
    responses = steps.full_responses(rows)
    assert (responses.mask.sum(dim=1) + 1).tolist() == expected


class TestCommand:
    @pytest.fixture(autouse=True)
    def few_candidates(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "BUDGETS", (64,))
        monkeypatch.setattr(memory, "ROWS", (4,))

    def test_tables(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "200")
        report.memory(configuration(), device="cuda")
        shown = capsys.readouterr().out
        for text in ("bfloat16 on cuda", "generation", "KV caches", "6 GB", "8 GB", "2 x 64 tokens"):
            assert text in shown

    def test_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        report.memory(configuration(), device="cpu", as_json=True)
        told = json.loads(capsys.readouterr().out)
        phases = told["forecast"]["phases"]
        assert told["forecast"]["peak_bytes"] == max(phase["peak_bytes"] for phase in phases)
        assert all(sum(phase["by_kind"].values()) == phase["peak_bytes"] for phase in phases)
        assert [fit["card_gb"] for fit in told["fits"]] == [6, 8]

    def test_wrong_devices(self) -> None:
        with pytest.raises(UserError, match="wanted cpu or cuda, given 'tpu'"):
            report.memory(configuration(), device="tpu")
        with pytest.raises(UserError, match="--device cpu"):
            report.memory(configuration(), device="cuda", measured=True)


@pytest.fixture(scope="module")
def medium_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights whose activations outweigh the noise of a process's memory."""
    folder = tmp_path_factory.mktemp("medium")
    tokenizer = tiny_tokenizer()
    size = Gemma3TextConfig(**{**MEDIUM.to_dict(), "hidden_size": 256, "intermediate_size": 2048})
    size._attn_implementation = "sdpa"
    Gemma3ForCausalLM(size).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_against_resident_memory(medium_folder: Path) -> None:
    config = configuration(
        model={"checkpoint": str(medium_folder), "max_length": 1024},
        training={"max_tokens_per_microbatch": 3072},
        evaluation={"max_new_tokens": 1, "num_rows": 1},
    )
    found = report.compared(memory.forecast(config, "cpu"), measure(config))
    for phase in ("forward", "backward"):
        assert abs(found[phase][2]) < 0.15, found


@pytest.mark.slow
@pytest.mark.ci
def test_a_measured_run_that_fails_says_why() -> None:
    with pytest.raises(UserError, match="no bundled checkpoint 'nothing'"):
        measure(configuration(model={"checkpoint": "bundled:nothing"}))


@pytest.mark.slow
def test_the_constants_are_the_checkpoint_s() -> None:
    from gemma_align.models.bundled import bundled_folder

    folder = bundled_folder("gemma-3-270m")
    ours = shapes.architecture("bundled:gemma-3-270m").to_dict()
    theirs = shapes.architecture(str(folder)).to_dict()
    fields = [*shapes.GEMMA_3_270M, "layer_types", "tie_word_embeddings", "attention_bias"]
    assert {key: ours[key] for key in fields} == {key: theirs[key] for key in fields}


@pytest.mark.slow
def test_the_real_size_against_resident_memory() -> None:
    config = configuration(
        model={"checkpoint": "bundled:gemma-3-270m", "max_length": 1024},
        training={"max_tokens_per_microbatch": 1024},
        evaluation={"max_new_tokens": 16, "num_rows": 4},
    )
    found = report.compared(memory.forecast(config, "cpu"), measure(config))
    for phase in ("forward", "backward", "generation", "scoring", "whole run"):
        assert abs(found[phase][2]) < 0.15, found
