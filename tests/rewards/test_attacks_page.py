"""What `gemma-align reward attack` writes and says."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from gemma_align.cli import app
from gemma_align.config import load_config
from gemma_align.errors import RunDirError
from gemma_align.experiments.attack_page import attack_page
from gemma_align.experiments.reward_attack import DEGENERATE, account, attack_table, reward_attack
from gemma_align.rewards.attacks.search import Budget
from gemma_align.rewards.attacks.suite import Attacked, Attempt
from gemma_align.types import Answer, Example

SMOKE = Path(__file__).resolve().parents[2] / "configs" / "smoke" / "reward.yml"
EVIL = '<script>alert("x")</script>'


def attempt(family, degenerate, number, honest_score, score):
    example = Example(f"<{number}>", EVIL)
    return Attempt(
        family, degenerate, example, "<b>honest</b>", Answer("zero\u200bwidth & [bold]"), honest_score, score
    )


ATTEMPTS = (
    attempt("loop", True, 1, 0.0, 1.0),
    attempt("loop", True, 2, 0.0, -1.0),
    attempt("empty", True, 1, 0.0, 3.0),
    attempt("empty", True, 2, 0.0, 0.00001),  # a tie
    attempt("opener<i>", False, 1, 0.0, 2.0),
)


def record():
    return {
        "task": "safety",
        "seed": 0,
        "data": {"split": "tune", "num_examples": 2, "fingerprint": "abc"},
        "budget": {
            "steps": 1,
            "width": 2,
            "edits_an_example": 2,
            "num_candidates": 3,
            "num_probes": 4,
            "num_samples": 0,
        },
        "confidence": 0.95,
        "tie": 1e-4,
        **account({name: Attacked((0.0, -1.0), ATTEMPTS, ("<u>",)) for name in ("hybrid", "constraints alone")}, 0.95),
    }


def test_margins_by_family_and_over_the_degenerate_ones():
    margins = {row["family"]: row["rewards"]["hybrid"] for row in record()["margins"]}
    assert list(margins) == ["loop", "empty", "opener<i>", DEGENERATE]
    assert [margins["empty"][key] for key in ("num_attempts", "num_beat", "num_tied")] == [2, 1, 1]
    loop = margins["loop"]["margin"]
    assert loop["mean"] == 0.5
    assert (loop["low"], loop["high"]) == pytest.approx((0.0945, 0.9055), abs=1e-4)  # Wilson, 1 of 2
    assert margins["loop"]["mean_gain"] == 0
    assert margins[DEGENERATE]["margin"]["mean"] == 0.5  # example 1: both of two, example 2: none
    assert margins[DEGENERATE]["num_attempts"] == 4
    assert margins[DEGENERATE]["margin"]["n"] == 2


def test_the_worst_texts_are_the_highest_gains_one_a_family():
    worst = record()["worst"]["hybrid"]
    assert [(row["family"], row["gain"]) for row in worst] == [("empty", 3.0), ("opener<i>", 2.0), ("loop", 1.0)]


def test_the_page_escapes_every_text_and_needs_no_network():
    page = attack_page(record())
    for raw in (EVIL, "<b>honest", "opener<i>", "<1>", "<u>", "http", "src=", "<script", "\u200b"):
        assert raw not in page
    for escaped in ("&lt;script&gt;alert(&quot;x&quot;)", "&lt;b&gt;honest", "U+200B", "&lt;u&gt;", "opener&lt;i&gt;"):
        assert escaped in page


def test_the_table_takes_texts_as_they_are():
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(attack_table(record()))
    text = console.export_text()
    assert "loop *" in text
    empty = next(line for line in text.splitlines() if line.startswith("empty *"))
    assert empty.split() == ["empty", "*", *["50.0", "[9.5", "90.5]"] * 2, "100.0"]  # one beats, one ties
    assert "fires on 1 of the honest answers" in " ".join(text.split())


def test_constraints_alone_on_builtin_answers_from_the_command_line(tmp_path):
    arguments = ["reward", "attack", "--config", str(SMOKE), "reward.alpha=0.0", "--num-examples", "6"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "a" / "b")], catch_exceptions=False)
    assert result.exit_code == 0
    written = json.loads((tmp_path / "a" / "b" / "attack.json").read_text())
    assert written["rewards"] == ["constraints alone"]
    assert written["data"]["split"] == "tune"
    assert 1 <= written["data"]["num_examples"] <= 6
    assert written["margins"][-1]["rewards"]["constraints alone"]["num_beat"] == 0
    assert (tmp_path / "a" / "b" / "attack.html").read_text().startswith("<!doctype html>")
    assert "all degenerate families" in result.output


def test_a_policy_s_samples_are_attacked_too(tmp_path):
    config = load_config(SMOKE, ["reward.alpha=0.0", "evaluation.max_new_tokens=4"])
    found = reward_attack(config, tmp_path, num_examples=2, budget=Budget(1, 1), num_samples=2)
    row = next(row for row in found["margins"] if row["family"] == "searched: best of samples")
    assert row["rewards"]["constraints alone"]["num_attempts"] == 2
    assert found["budget"]["num_samples"] == 2


def test_a_folder_that_can_t_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match="--out"):
        reward_attack(load_config(SMOKE, ["reward.alpha=0.0"]), tmp_path / "file", num_examples=1, budget=Budget())
