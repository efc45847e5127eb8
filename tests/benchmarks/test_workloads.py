"""The pure parts of the workloads of DPO, GRPO and PPO: what counts as equal work, their floor, which row is held to
what. Nothing is timed and no peer is needed."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `benchmarks` is no part of the package

from benchmarks.__main__ import arguments
from benchmarks.children import Contestant, Run
from benchmarks.environment import ENVIRONMENTS, PEERS, PPO_PEER, peer_python
from benchmarks.errors import BenchmarkError
from benchmarks.floor import Group, Shape, floor_seconds, sampling_floor_seconds, work
from benchmarks.programs.distinct import distinct_words
from benchmarks.report import REQUIRED, render
from benchmarks.rounds import Timings, alternate
from benchmarks.targets import verdicts
from benchmarks.workloads import WORKLOADS, dpo, rl
from benchmarks.workloads.common import Bench, fastest_marked
from benchmarks.workloads.dpo import _require_equal
from benchmarks.workloads.rl import disagreement, floor_of_step, unequal_work

SHAPE = Shape(hidden=1, mlp=1, heads=1, kv_heads=1, head_dim=1, vocab=10, windows=(None,))
RATES = {
    "block_gflops": {"a": 1e-9},  # one operation a second
    "head_gflops": {"a": 2e-9},
    "decode": {"block_gflops": {"a": 3e-9}, "head_gflops": {"a": 4e-9}, "block_rows": 16, "head_rows": 16},
    "prefill": {"block_gflops": {"a": 5e-9}, "block_rows": 512},
    "block_rows": 700,
    "head_rows": 384,
}


def a_row(group: str, **changes):
    return {
        "group": group,
        "ratio": 7.0,
        "best": True,
        "documented": True,
        "peer_seconds": 70.0,
        "ours_peak_gb": 2.5,
        "peer_peak_gb": 10.0,
    } | changes


class TestReward:
    @pytest.mark.parametrize(
        ("text", "share"), [("a b c", 1.0), ("a b a\nb", 0.5), ("", 0.0), (" \n", 0.0), ("no no no no", 0.25)]
    )
    def test_share_of_words_said_for_the_first_time(self, text, share):
        assert distinct_words(text) == share


class TestDPO:
    def one(self, **changes):
        return {"losses": [0.6931, 0.70], "chosen": [-150.0, -148.0], "rejected": [-160.0, -161.0]} | changes

    def test_equal_steps_pass(self):
        _require_equal("", self.one(), self.one(chosen=[-150.001, -148.1]))

    def test_a_loss_of_ln_2_says_nothing_so_the_log_probabilities_are_compared(self):
        with pytest.raises(BenchmarkError, match="chosen"):
            _require_equal("one pair at a time", self.one(), self.one(chosen=[-151.0, -148.0]))

    def test_the_update_is_compared_by_what_comes_after_it(self):
        with pytest.raises(BenchmarkError, match=r"rejected .*loss 2"):
            _require_equal("one pair at a time", self.one(), self.one(rejected=[-160.0, -163.0]))


class TestRollouts:
    DRAWN = ({"logprob": -2.0, "score": 0.5}, {"logprob": -3.0, "score": 1.0})

    def test_what_both_say_of_the_same_rollouts(self):
        drawn = list(self.DRAWN)
        assert disagreement(drawn, {"logprobs": [-2.0005, -3.0], "scores": [0.5, 1.0]}) is None
        assert "logprob" in (disagreement(drawn, {"logprobs": [-2.0, -3.1], "scores": [0.5, 1.0]}) or "")
        assert "score" in (disagreement(drawn, {"logprobs": [-2.0, -3.0], "scores": [0.5, 0.9]}) or "")

    def timings(self, **changes):
        return Timings((1.0,), (1.0,), (0.0,), ({"tokens": 768, "kl": 1e-7} | changes,))

    def test_equal_work(self):
        assert unequal_work({"ours": self.timings(), "TRL": self.timings(kl=-2e-7)}, 768) is None

    def test_a_response_that_ended_early_is_noticed(self):
        assert "TRL drew 760 tokens" in (unequal_work({"TRL": self.timings(tokens=760)}, 768) or "")

    @pytest.mark.parametrize("kl", [0.01, -0.01, float("nan")])
    def test_another_reference_is_noticed(self, kl):
        assert "from its reference" in (unequal_work({"TRL": self.timings(kl=kl)}, 768) or "")


class TestFloor:
    GROUPS = (Group(3, (2, 4)),)

    def test_what_all_responses_begin_with_counts_once(self):
        alike, unlike = work(SHAPE, [Group(3, (5, 4), common=2)]), work(SHAPE, [Group(3, (5, 4))])
        assert (unlike.block_tokens, unlike.head_tokens) == (3 + 4 + 3, 9)
        assert (alike.block_tokens, alike.head_tokens) == (3 + 2 + 2 + 1, 7)
        assert Group(3, (5, 4), common=2).positions == [0, 1, 2, 3, 4, 5, 6, 5]

    def sampling(self):
        return sampling_floor_seconds(SHAPE, self.GROUPS, prefill_rate=5, decode_rate=3, head_rate=4)

    def test_a_step_without_a_critic(self):
        found = floor_of_step(SHAPE, list(self.GROUPS), RATES, 2, critic=False)
        assert found == pytest.approx(self.sampling() + floor_seconds(work(SHAPE, self.GROUPS), 1 + 2 * 2, 1, 2))

    def test_a_critic_goes_through_the_blocks_alone(self):
        amount = work(SHAPE, self.GROUPS)
        with_critic = floor_of_step(SHAPE, list(self.GROUPS), RATES, 4, critic=True)
        without = floor_of_step(SHAPE, list(self.GROUPS), RATES, 4, critic=False)
        assert with_critic - without == pytest.approx(9 * amount.block_flops)
        assert replace(amount, head_flops=0).block_flops == amount.block_flops


class TestTargets:
    def met(self, *rows):
        return {target.text: met for target, _, met in verdicts(rows)}

    def test_the_peers_fastest_documented_settings_are_what_counts(self):
        goal = "DPO: at least 6 times TRL's step at its best documented settings"
        padded, one_by_one = a_row("dpo", peer_seconds=120.0, ratio=12.0), a_row("dpo", peer_seconds=50.0, ratio=5.0)
        ours_to_tell = a_row("dpo", peer_seconds=40.0, ratio=4.0, documented=False)
        rows = fastest_marked([padded, one_by_one, ours_to_tell])
        assert [row["best"] for row in rows] == [False, True, False]
        assert self.met(*rows)[goal] is False
        assert self.met(*fastest_marked([padded, ours_to_tell]))[goal] is True

    def test_goals_and_stretch(self):
        found = self.met(a_row("dpo"), a_row("grpo", ratio=4.5), a_row("ppo", ratio=2.9))
        assert found["DPO (stretch): at least 8 times TRL's step at its best documented settings"] is False
        assert found["GRPO: at least 4 times TRL's step at its best documented settings"] is True
        assert found["GRPO (stretch): at least 5 times TRL's step at its best documented settings"] is False
        assert [met for text, met in found.items() if text.startswith("PPO: at least 3 times")] == [False]

    def test_memory(self):
        found = self.met(a_row("grpo", ours_peak_gb=2.9, peer_peak_gb=8.0))
        assert found["GRPO: at most a third of the peak memory of TRL at its best documented settings"] is False
        assert any(met for text, met in found.items() if "at most 3 GB" in text)


class TestEnvironments:
    def test_only_ppo_asks_for_the_older_release(self):
        assert {name for name, place in ENVIRONMENTS.items() if place is PPO_PEER} == {"ppo"}
        assert set(ENVIRONMENTS) < set(WORKLOADS)

    def test_all_pins_but_the_peers_own_are_the_same(self):
        def pins(place):
            lines = place.requirements.read_text().splitlines()
            return dict(line.split("==") for line in lines if line and not line.startswith("#"))

        ppo, rest = pins(PPO_PEER), pins(PEERS)
        assert ppo.pop("trl") == "1.12.0"
        assert ppo.items() < rest.items()

    def test_a_python_that_is_named_is_taken(self, monkeypatch):
        monkeypatch.setenv(PPO_PEER.variable, sys.executable)
        assert peer_python(PPO_PEER, lambda _: None) == Path(sys.executable)
        monkeypatch.setenv(PPO_PEER.variable, "/nowhere/python")
        with pytest.raises(BenchmarkError, match="GEMMA_ALIGN_BENCH_PPO_PYTHON"):
            peer_python(PPO_PEER, lambda _: None)

    def test_every_workload_can_be_asked_for(self):
        assert [arguments(["--only", name]).only for name in WORKLOADS] == list(WORKLOADS)


PAIR = {"prompt": [2, 5, 6], "chosen": [7, 1], "rejected": [8, 1]}
SECONDS = {"ours": 10.0, "at once": 90.0, "at a time": 60.0}


class TestMeasure:
    """The whole of `measure` with children that are made up: what is asked of whom, and what becomes a row."""

    def bench(self, group):
        machine = {"cpu": "a cpu", "cores": 2, "memory_gb": 24.0, "system": "Linux"}
        facts = {"machine": machine, "date": "today", "command": f"make bench ONLY={group}"}
        bench = Bench({group: Path("peer/python")}, "tiny", 2, lambda _: None, facts)
        bench.__dict__["prepared"] = {
            "model": "model",
            "adapter": "adapter",
            "data": "some",
            "checkpoint": {"spec": "tiny"},
            "prompts": [[2, 5], [2, 6, 7]],
            "pairs": [PAIR] * 16,
        }
        bench.__dict__["shape"] = SHAPE
        return bench

    def child(self, asked, **changes):
        """A runner that keeps what it was asked for."""

        def run(contestant):
            asked.append(contestant)
            seconds = next((s for name, s in SECONDS.items() if name in contestant.name), 0.0)
            told = {"tokens": 768, "kl": 0.0, "rates": RATES, "phases": {}, "versions": {"trl": "1.16.0"}}
            told |= {"losses": [0.69, 0.7], "chosen": [-5.0, -4.0], "rejected": [-6.0, -7.0]}
            told |= {"rollouts": [{"logprob": -2.0, "score": 1.0}], "logprobs": [-2.0], "scores": [1.0]}
            return Run({"seconds": seconds} | told | changes, peak_gb=1.0, others=0.0)

        return run

    def measured(self, monkeypatch, group, **changes):
        asked: list[Contestant] = []
        runner = self.child(asked, **changes)
        module = dpo if group == "dpo" else rl
        monkeypatch.setattr(module, "run", runner)
        monkeypatch.setattr(module, "alternate", partial(alternate, runner=runner))
        return WORKLOADS[group](self.bench(group)), asked

    @pytest.mark.parametrize("group", ["dpo", "grpo", "ppo"])
    def test_rows(self, monkeypatch, group):
        rows, asked = self.measured(monkeypatch, group)
        assert len({row["peer"] for row in rows}) == len(rows)
        assert [row["ratio"] for row in rows if row["best"]] == [6.0]
        assert all(row["times_floor"] > 0 and row["group"] == group and set(REQUIRED) <= set(row) for row in rows)
        json.dumps(rows)
        assert f"| {group}, a step | exact | TRL 1.16.0, {group.upper()}, " in render(rows)
        peers = [c for c in asked if c.name.startswith("TRL")]
        assert {c.python for c in peers} == {Path("peer/python")}
        assert {c.python for c in asked if c not in peers} == {Path(sys.executable)}

    @pytest.mark.parametrize("group", ["grpo", "ppo"])
    def test_both_sides_are_asked_for_the_same_step(self, monkeypatch, group):
        _, asked = self.measured(monkeypatch, group)
        steps = [c.job for c in asked if c.job.get("num_tokens") == 48 and "rollouts" not in c.job]
        same = ("prompts", "num_samples", "num_steps", "num_passes", "learning_rate", "kl_coef", "model", "adapter")
        assert len({json.dumps([job[name] for name in same]) for job in steps}) == 1
        assert steps[0]["kl_coef"] > 0

    @pytest.mark.parametrize(("group", "changes"), [("grpo", {"tokens": 700}), ("ppo", {"logprobs": [-2.5]})])
    def test_no_ratio_of_unequal_work(self, monkeypatch, group, changes):
        with pytest.raises(BenchmarkError, match="no ratio is taken"):
            self.measured(monkeypatch, group, **changes)
