"""The benchmarks' pure logic: what counts as loaded, as equal, as the floor, and what is written. Nothing is timed."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `benchmarks` is no part of the package

from benchmarks.children import Contestant, Run
from benchmarks.errors import BenchmarkError
from benchmarks.floor import Group, Shape, floor_seconds, sampling_floor_seconds, shape_of, work
from benchmarks.machine import Load, complaint
from benchmarks.report import REQUIRED, load, merge, number, render, save, write_page
from benchmarks.rounds import Timings, alternate, differing, ratio, ratio_range
from benchmarks.targets import verdicts

GEMMA_270M = {
    "hidden_size": 640,
    "intermediate_size": 2048,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "vocab_size": 262144,
    "sliding_window": 512,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 3,
}


def a_row(**changes):
    row = {
        "workload": "SFT, 48 examples",
        "peer": "TRL 1.16.0",
        "ratio": 6.0,
        "ratio_range": [5.5, 6.25],
        "ours_seconds": 20.0,
        "peer_seconds": 120.0,
        "ours_peak_gb": 2.5,
        "peer_peak_gb": 10.0,
        "times_floor": 1.25,
        "command": "make bench ONLY=sft",
        "group": "sft",
        "ours": "exact",
        "what": "48 examples, one epoch",
        "data": "MTS-Dialog",
        "documented": True,
        "quiet": True,
        "rates": {"block_rows": 900, "block_gflops": {"F.linear": 208.0, "oneDNN": 500.0}},
        "peer_settings": {"precision": "float32", "padding_free": False},
    }
    return row | changes


class TestFloor:
    def test_published_costs_of_gemma_270m(self):
        shape = shape_of(GEMMA_270M)
        assert shape.block_flops == 2 * 18 * (640 * (1024 + 256 + 256 + 1024) + 3 * 640 * 2048)
        assert shape.block_flops / 1e9 == pytest.approx(0.20, abs=0.005)
        assert shape.head_flops / 1e9 == pytest.approx(0.335, abs=0.001)
        assert shape.attention_flops([499]) / 1e6 == pytest.approx(37, abs=0.2)

    def test_a_window_bounds_what_a_token_sees(self):
        shape = Shape(hidden=1, mlp=1, heads=1, kv_heads=1, head_dim=1, vocab=1, windows=(3, None))
        assert shape.attention_flops([0]) == 4 * (1 + 1)
        assert shape.attention_flops([9]) == 4 * (3 + 10)

    def test_a_prompt_counts_once_and_a_last_token_not_at_all(self):
        shape = Shape(hidden=1, mlp=1, heads=1, kv_heads=1, head_dim=1, vocab=10, windows=(None,))
        amount = work(shape, [Group(prompt=3, responses=(2, 4))])
        assert amount.block_tokens == 3 + 1 + 3
        assert amount.head_tokens == 6
        assert amount.head_flops == 6 * 20
        # positions 0 1 2 | 3 | 3 4 5, and 14 operations a token: q, k, v, o and three of the MLP, one number each
        assert amount.block_flops == 7 * 14 + 4 * (1 + 2 + 3 + 4 + 4 + 5 + 6)

    def test_seconds(self):
        shape = Shape(hidden=1, mlp=1, heads=1, kv_heads=1, head_dim=1, vocab=10, windows=(None,))
        amount = work(shape, [Group(3, (2, 4))])
        expected = 2 * (amount.block_flops / 10 + amount.head_flops / 5)
        assert floor_seconds(amount, 2, block_rate=10, head_rate=5) == pytest.approx(expected)

    def test_sampling_takes_prompts_and_steps_at_their_own_rates(self):
        shape = Shape(hidden=1, mlp=1, heads=1, kv_heads=1, head_dim=1, vocab=10, windows=(None,))
        seconds = sampling_floor_seconds(shape, [Group(2, (3,))], prefill_rate=100, decode_rate=10, head_rate=1)
        assert seconds == pytest.approx((2 * 14 + 4 * (1 + 2)) / 100 + (2 * 14 + 4 * (3 + 4)) / 10 + 3 * 20)


class TestLoad:
    def test_a_quiet_machine_is_taken(self):
        assert complaint(Load(others=0.03, load_average=0.2)) is None
        assert complaint(Load(others=None, load_average=None)) is None

    def test_others_are_named(self):
        reason = complaint(Load(others=0.5, load_average=0.1, busiest=(("make", 42, 0.98),)))
        assert reason is not None
        assert "50%" in reason
        assert "make (process 42" in reason

    def test_a_load_that_has_just_ended_is_refused_too(self):
        reason = complaint(Load(others=0.0, load_average=1.5))
        assert reason is not None
        assert "wait a minute" in reason


class TestRounds:
    def run(self, seconds, others=0.0):
        return Run({"seconds": seconds}, peak_gb=seconds / 10, others=others)

    def test_rounds_alternate_and_turn_around(self):
        order = []

        def runner(contestant):
            order.append(contestant.name)
            return self.run(1.0)

        alternate([Contestant("a", "", {}), Contestant("b", "", {})], 3, lambda _: None, runner=runner)
        assert order == ["a", "b", "b", "a", "a", "b"]

    def test_a_disturbed_run_is_made_again_at_most_twice(self):
        calm = iter([self.run(9.0, others=0.5), self.run(2.0)])
        runs = alternate([Contestant("a", "", {})], 1, lambda _: None, runner=lambda _: next(calm))
        assert runs["a"].seconds == (2.0,)
        assert runs["a"].quiet
        loud = iter([self.run(float(i), others=0.5) for i in range(1, 9)])
        runs = alternate([Contestant("a", "", {})], 1, lambda _: None, runner=lambda _: next(loud))
        assert runs["a"].seconds == (3.0,)
        assert not runs["a"].quiet

    def test_ratio_is_of_medians_and_its_range_is_within_rounds(self):
        def timings(*seconds):
            return Timings(seconds, (1.0, 3.0, 2.0), (0.0,) * 3, ({},) * 3)

        ours, peer = timings(1.0, 2.0, 10.0), timings(4.0, 6.0, 20.0)
        assert ratio(ours, peer) == 3.0
        assert ratio_range(ours, peer) == (2.0, 4.0)
        assert ours.peak_gb == 3.0

    def test_losses(self):
        assert differing([2.0, 1.0], [2.00001, 1.001], [1e-4, 5e-3]) is None
        assert "loss 1" in (differing([2.0, 1.0], [2.01, 1.0], [1e-4, 5e-3]) or "")
        assert "loss 2" in (differing([2.0, float("nan")], [2.0, 1.0], [1e-4, 5e-3]) or "")
        assert "2 losses against 1" in (differing([2.0, 1.0], [2.0], [1e-4, 1e-4]) or "")


class TestResults:
    def test_rows_of_a_group_replace_that_group_only(self):
        old = [a_row(workload="old"), a_row(group="update", workload="kept", peer=None)]
        merged = merge(old, [a_row(workload="new"), a_row(workload="newer")], ("sft", "sampling", "update"))
        assert [row["workload"] for row in merged] == ["new", "newer", "kept"]

    def test_what_is_saved_can_be_loaded(self, tmp_path):
        path = tmp_path / "results.json"
        assert load(path) == []
        save([a_row(ratio=1 / 3)], path)
        (row,) = load(path)
        assert row["ratio"] == 0.333333
        assert set(REQUIRED) <= set(row)

    @pytest.mark.parametrize("text", ["{", "3", '[{"workload": "sft"}]'])
    def test_a_file_of_something_else_is_refused(self, tmp_path, text):
        path = tmp_path / "results.json"
        path.write_text(text)
        with pytest.raises(BenchmarkError, match=r"results\.json"):
            load(path)

    def test_required_keys_are_those_that_readers_of_the_file_rely_on(self):
        keys = "workload peer ratio ours_seconds peer_seconds ours_peak_gb peer_peak_gb times_floor command"
        assert tuple(keys.split()) == REQUIRED


class TestPage:
    def test_a_row_with_a_peer_and_one_without(self):
        alone = a_row(group="update", workload="update", peer=None, ratio=None, peer_seconds=None, peer_peak_gb=None)
        page = render([a_row(), alone])
        assert "| SFT, 48 examples | exact | TRL 1.16.0 | 6 (5.5 to 6.25) | 20 | 120 | 2.5 | 10 | 1.25 | 80 % |" in page
        assert "| update | exact | – | – | 20 | – | 2.5 | – | 1.25 | 80 % |" in page
        assert "- **sft**: 48 examples, one epoch, MTS-Dialog." in page
        assert "not to be relied on" not in page

    def test_rows_of_a_loaded_machine_are_marked(self):
        page = render([a_row(quiet=False)])
        assert "6 (5.5 to 6.25) *" in page
        assert "not to be relied on" in page

    def test_kernels_and_settings_are_shown(self):
        page = render([a_row()])
        assert "| sft | MLP, 900 rows | 208 | 500 |" in page
        assert "precision float32; padding_free False" in page

    def test_no_rows_make_a_page_too(self):
        assert render([]).startswith("# Performance")

    def test_notes_are_kept(self, tmp_path):
        page, notes = tmp_path / "docs" / "performance.md", tmp_path / "notes.md"
        notes.write_text("## What is left to win\n\nThis.\n")
        write_page([a_row()], page, notes)
        assert "## What is left to win\n\nThis.\n\n## Kernels" in page.read_text()

    @pytest.mark.parametrize(
        ("value", "text"), [(None, "–"), (0.98765, "0.988"), (12.345, "12.3"), (1234.5, "1234"), (0.0, "0")]
    )
    def test_numbers(self, value, text):
        assert number(value) == text


class TestTargets:
    def test_a_target_is_met_only_if_every_row_meets_it(self):
        found = {target.text: (value, met) for target, value, met in verdicts([a_row(), a_row(ratio=4.0)])}
        assert found["SFT: at least 5 times TRL's rate at its best documented settings"] == (4.0, False)
        assert found["SFT: at most 40 % of TRL's peak memory"] == (0.25, True)

    def test_rows_that_no_target_speaks_of(self):
        many = a_row(group="sampling", rows=64, peer_key="llama.cpp float32", ours_peak_gb=5.0)
        assert verdicts([many]) == []

    def test_sampling_rows_find_their_targets(self):
        row = a_row(
            group="sampling", rows=16, ours="int8 head", peer_key="transformers generate, prompt shared", ratio=3.0
        )
        assert [(value, met) for _, value, met in verdicts([row])] == [(3.0, False), (2.5, True)]


def test_results_in_the_repository_can_be_read_and_are_what_the_page_shows():
    rows = load()
    page = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
    if not rows:
        pytest.skip("nothing has been measured yet: benchmarks/results.json is missing (make bench)")
    json.dumps(rows)
    text = page.read_text(encoding="utf-8")
    for row in rows:
        assert row["workload"] in text
