"""The stability monitor: each signal by hand, when a verdict falls, what is done about it, and exact resume."""

import json
import math
from pathlib import Path

import pytest
import torch

from gemma_align.config import MonitorConfig, load_config
from gemma_align.config.monitor import WATCHED, Watch
from gemma_align.experiments.runner import run
from gemma_align.trainers.rollouts import spread_and_correlation
from gemma_align.trainers.stability import SIGNALS, Monitor

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "configs" / "smoke" / "grpo.yml"


@pytest.mark.parametrize(
    ("name", "columns", "expected"),
    [
        ("kl_blow_up", {"policy/kl": [0.0, 4.0, 8.0, 1e9], "rollout/tokens": [4.0, 4.0, 4.0, 4.0]}, (2 + 1e9 / 4) / 2),
        ("kl_blow_up", {"policy/kl": [9.0], "rollout/tokens": [0.0]}, 9.0),
        ("entropy_collapse", {"policy/entropy": [4.0, 2.0, 1.0, 0.5]}, 0.75),
        ("entropy_collapse", {"policy/entropy": [4.0, 2.0, 1.0]}, None),
        ("clip_saturation", {"policy/clip_low": [0.0, 0.1, 0.3], "policy/clip_high": [1.0, 0.1, 0.1]}, 0.3),
        ("length_drift", {"rollout/tokens": [10.0, 10.0, 40.0, 40.0]}, math.log(4)),
        ("length_drift", {"rollout/tokens": [40.0, 40.0, 10.0, 10.0]}, math.log(4)),
        ("length_reward", {"reward/length_correlation": [-1.0, 0.8, 0.9]}, 0.85),
        ("value_failure", {"value/explained_variance": [0.5, 0.5, -3.0, -1.0]}, 2.0),
        ("value_failure", {"value/explained_variance": [-9.0, -9.0, -9.0]}, None),
        ("dead_groups", {"rollout/dead_groups": [0.0, 1.0, 0.5]}, 0.75),
        ("reward_falls", {"reward/total": [3.0, 1.0, 0.0, 1.0], "reward/std": [0.5, 0.5, 9.0, 9.0]}, 3.0),
        ("violations_rise", {"reward/violation": [0.1, 0.1, 0.4, 0.6], "reward/encoder": [0.0, 0.0, 1.0, 1.0]}, 0.4),
        ("violations_rise", {"reward/violation": [0.1, 0.1, 0.4, 0.6], "reward/encoder": [1.0, 1.0, 0.0, 0.0]}, 0.0),
        ("violations_rise", {"reward/violation": [0.1, 0.1, 0.4, 0.6], "reward/total": [0.0, 0.0, 1.0, 1.0]}, 0.4),
        ("never_ends", {"rollout/unfinished": [0.0, 0.0, 1.0, 0.9]}, 0.95),
        ("not_finite", {"optimizer/skipped": [0.0, 4.0, 1.0, 1.0]}, 2.0),
        ("not_finite", {"optimizer/skipped": [1.0, 0.0, 0.0]}, 0.0),
        ("not_finite", {"optimizer/skipped": [1.0]}, 1.0),
    ],
)
def test_signals_by_hand(name, columns, expected):
    """With a window of two updates."""
    assert SIGNALS[name](columns, 2) == (None if expected is None else pytest.approx(expected))


def test_every_signal_is_watched_and_silent_without_its_metrics():
    assert set(SIGNALS) == set(WATCHED)
    assert set(Monitor(MonitorConfig()).signals().values()) == {None}
    assert Monitor(MonitorConfig()).see(1, {"loss/sft": 2.0}) == []


def settings(patience=3, **watches) -> MonitorConfig:
    return MonitorConfig(window=2, patience=patience, **{name: Watch(limit=limit) for name, limit in watches.items()})


def test_a_verdict_falls_once_after_enough_updates_in_a_row():
    monitor = Monitor(settings(clip_saturation=0.2))
    shares = [0.0, 0.5, 0.5, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5]
    found = [monitor.see(i, {"policy/clip_low": x, "policy/clip_high": 0.0}) for i, x in enumerate(shares, 1)]
    # means of two: 0, .25, .5, .25 -> updates 2 to 4 in a row
    assert [[v.name for v in verdicts] for verdicts in found] == [[], [], [], ["clip_saturation"]] + [[]] * 6
    (verdict,) = monitor.verdicts
    assert (verdict.began, verdict.found, verdict.value, verdict.limit) == (2, 4, 0.25, 0.2)
    assert str(verdict) == "clip saturation since update 2: 0.25, limit 0.2 (log)"


def test_a_value_that_is_not_finite_waits_for_no_second_update():
    monitor = Monitor(settings())
    assert monitor.see(1, {"optimizer/skipped": 0.0}) == []
    assert [v.name for v in monitor.see(2, {"optimizer/skipped": 1.0})] == ["not_finite"]


def test_it_goes_on_from_its_state_and_can_be_off():
    shares = [0.5] * 5
    whole, first = Monitor(settings(clip_saturation=0.2)), Monitor(settings(clip_saturation=0.2))
    lines = [{"policy/clip_low": x, "policy/clip_high": 0.0} for x in shares]
    for step, line in enumerate(lines, 1):
        whole.see(step, line)
    for step, line in enumerate(lines[:2], 1):
        first.see(step, line)
    second = Monitor(settings(clip_saturation=0.2))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for step, line in enumerate(lines[2:], 3):
        second.see(step, line)
    assert second.verdicts == whole.verdicts
    assert second.state_dict() == whole.state_dict()
    off = Monitor(MonitorConfig(enabled=False))
    assert [off.see(step, {"optimizer/skipped": 1.0}) for step in (1, 2)] == [[], []]


def test_spread_and_correlation_of_length_and_score_by_hand():
    def both(scores, lengths):
        return pytest.approx(spread_and_correlation(torch.tensor(scores), torch.tensor(lengths)))

    assert both([1.0, 2.0, 3.0], [10, 20, 30]) == (math.sqrt(2 / 3), 1)
    assert both([1.0, 2.0, 3.0], [5, 5, 2]) == (math.sqrt(2 / 3), -math.sqrt(3) / 2)
    assert both([1.0, 1.0], [1, 2]) == (0, 0)
    assert both([1.0], [1]) == (0, 0)
    whole = torch.tensor([1.0, 4.0, 2.0, 8.0]), torch.tensor([3, 1, 7, 9])
    sums = [float(len(whole[0]))] + [float(v.double().sum()) for v in _moments(*whole)]
    part = spread_and_correlation(whole[0][:1], whole[1][:1], total=lambda own: sums)
    assert part == pytest.approx(spread_and_correlation(*whole))


def _moments(x, y):
    x, y = x.double(), y.double()
    return x, y, x * x, y * y, x * y


def test_after_a_rewind_the_signal_may_fall_again():
    monitor = Monitor(settings(patience=1, clip_saturation=0.2))
    line = {"policy/clip_low": 0.5, "policy/clip_high": 0.0}
    assert len(monitor.see(1, line)) == 1
    assert monitor.see(2, line) == []
    monitor.rewound(Monitor(settings()).state_dict(), 0, 2)
    assert [v.began for v in monitor.see(3, line)] == [3]
    assert [v.found for v in monitor.verdicts] == [1, 3]


def test_after_a_rewind_it_has_seen_what_it_had_seen_then():
    """Also the second time, when it has seen other than as many updates as were done."""
    monitor, calm, wild = Monitor(settings()), {"policy/entropy": 3.0}, {"policy/entropy": 0.1}
    for step in range(1, 5):
        monitor.see(step, calm)
    kept = json.loads(json.dumps(monitor.state_dict()))
    for step in range(5, 9):
        monitor.see(step, wild)
    for now in (8, 10):
        monitor.rewound(kept, 4, now)
        assert monitor.signals()["entropy_collapse"] == 0
        for step in range(now + 1, now + 3):
            monitor.see(step, wild)
        assert monitor.signals()["entropy_collapse"] == pytest.approx(1 - 0.1 / 3)
    assert monitor.abandoned == [(4, 8), (4, 10)]
    again = Monitor(settings())
    again.load_state_dict(json.loads(json.dumps(monitor.state_dict())))
    assert again.state_dict() == monitor.state_dict()


def test_one_skipped_update_is_gone_back_from_once():
    monitor = Monitor(settings())
    kept = monitor.state_dict()
    skips = [0.0, 1.0, 0.0, 0.0, 0.0]
    found = []
    for step, skipped in enumerate(skips, 1):
        verdicts = monitor.see(step, {"optimizer/skipped": skipped, "policy/entropy": 3.0})
        found += [(v.name, v.found) for v in verdicts]
        if verdicts:
            monitor.rewound(kept, 0, step)
    assert found == [("not_finite", 2)]


def test_a_metric_that_is_not_a_number_silences_no_signal():
    monitor = Monitor(settings(kl_blow_up=0.5, entropy_collapse=0.5))
    for step in range(1, 9):
        line = {"policy/entropy": 3.0 if step < 5 else 0.1, "policy/kl": 40.0, "rollout/tokens": 4.0}
        broken = {"optimizer/skipped": 1.0, "policy/entropy": math.nan, "policy/kl": math.inf}
        monitor.see(step, line | broken if step == 1 else line | {"optimizer/skipped": 0.0})
    assert {v.name for v in monitor.verdicts} == {"not_finite", "kl_blow_up", "entropy_collapse"}


def ran(folder: Path, *overrides: str) -> list[dict]:
    """The lines of metrics.jsonl of a run whose divergence is called too large from its first update on."""
    base = ["evaluation.base=false", "evaluation.num_examples=1", "stages.0.training.max_steps=1", "checkpoint.every=1"]
    watched = ["monitor.patience=2", "monitor.kl_blow_up.limit=-1", "checkpoint.keep=9", f"output_dir={folder}"]
    run(load_config(SMOKE, [*base, *watched, "training.eval_every=0", *overrides]))
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_what_is_done_about_a_verdict(tmp_path, capsys):
    """SFT is update 1; GRPO's updates are 2 to 5, and the verdict falls at the third."""
    rates = {}
    for action in ("log", "lower_rate", "rewind", "stop"):
        lines = ran(tmp_path / action, f"monitor.kl_blow_up.action={action}", "stages.1.training.schedule=constant")
        verdicts = [line["verdict"] for line in lines if "verdict" in line]
        assert [(v["name"], v["began"], v["found"], v["action"]) for v in verdicts if v["name"] == "kl_blow_up"] == [
            ("kl_blow_up", 2, 3, action)
        ]
        rates[action] = [line["optimizer/learning_rate"] for line in lines if "loss/policy" in line]
    assert "unstable: kl blow up since update 2" in capsys.readouterr().out
    full = rates["log"][1]
    assert rates["log"][2:] == [full, full]
    assert rates["lower_rate"][2:] == rates["rewind"][2:] == [full / 2, full / 2]
    assert len(rates["stop"]) == 2
    assert (tmp_path / "stop" / "evaluation.json").exists()
    assert len(rates["rewind"]) == 4
    said = (tmp_path / "rewind" / "run.log").read_text()
    assert "no checkpoint of this stage is kept from before update 2" in said  # the one before is SFT's


def test_a_rewind_puts_the_weights_back(tmp_path, monkeypatch):
    """The divergence after it is that of the update it went back to."""
    lines = ran(
        tmp_path / "run",
        "monitor.window=1",
        "monitor.patience=1",
        "monitor.kl_blow_up.limit=1e-3",  # the first updates stand near the reference, then it is passed
        "monitor.kl_blow_up.action=rewind",
        "stages.1.training.learning_rate=0.3",
        "stages.1.training.warmup_fraction=0",
        "stages.1.training.max_steps=5",
    )
    began = next(line["verdict"]["began"] for line in lines if "verdict" in line)
    assert began >= 3  # a checkpoint of the stage lies before it
    kl = {line["step"]: line["policy/kl"] for line in lines if "policy/kl" in line}
    assert kl[began + 1] < kl[began]
    assert f"the weights are those of update {began - 1} again" in (tmp_path / "run" / "run.log").read_text()
