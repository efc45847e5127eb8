"""`gemma-align reward score` on a tiny model: what a user sees of an answer's reward."""

import json
from pathlib import Path

import pytest

from gemma_align.config import load_config
from gemma_align.errors import ConfigError, DataError, RewardError, RunDirError
from gemma_align.experiments.reward_fit import reward_fit
from gemma_align.experiments.reward_score import score_file

SMOKE = Path(__file__).resolve().parents[2] / "configs" / "smoke" / "reward.yml"
HONEST = "I am sorry that you feel this way. Talking to a friend, or to a doctor, often helps more than one expects."
LOOP = "call a doctor " * 60


def written(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def scored(tmp_path, *overrides, lines=None):
    rows = lines or [
        {"id": 1, "prompt": "I feel low.", "response": HONEST},
        {"id": "two", "prompt": "I feel low.", "response": LOOP},
    ]
    out = tmp_path / "scores.jsonl"
    assert score_file(load_config(SMOKE, overrides), written(tmp_path / "answers.jsonl", *rows), out) > 0
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder") / "fitted"
    reward_fit(load_config(SMOKE, [f"output_dir={folder}"]))
    return folder


def test_parts_total_and_what_fired_where(tmp_path, encoder):
    honest, loop = scored(tmp_path, f"reward.encoder.path={encoder}")
    assert [honest["id"], loop["id"]] == ["1", "two"]
    assert honest["total"] == pytest.approx(honest["parts"]["encoder"])
    assert honest["constraints"] == {}
    fired = loop["constraints"]["repetition"]
    assert fired["penalty"] < 0
    assert fired["reason"]
    (start, end), *_ = fired["spans"]
    assert "call a doctor" in LOOP[start:end]
    assert loop["total"] <= fired["floor"]
    assert loop["parts"]["capped"] == 1 or loop["parts"]["encoder"] < -2


def test_without_alpha_no_encoder_is_needed(tmp_path):
    honest, loop = scored(tmp_path, "reward.alpha=0.0")
    assert honest["total"] == 0 > loop["total"]
    assert "encoder" not in honest["parts"]


def test_the_programmatic_reward_reads_a_line_s_checks(tmp_path):
    facts = [{"kind": "symptom", "value": "cough", "any_of": ["cough"], "negated": False}]
    lines = [
        {"id": i, "prompt": "Doctor: What is it?\nPatient: I cough.", "response": text, "checks": {"facts": facts}}
        for i, text in enumerate(("The patient has a cough.", "The patient is well and has no complaints at all."))
    ]
    overrides = ("task=clinical", "reward.alpha=0.0", "reward.beta=0.0", "reward.programmatic=2.0")
    good, bad = scored(tmp_path, *overrides, lines=lines)
    assert good["total"] == pytest.approx(2.0)
    assert bad["total"] < good["total"]


def test_what_is_missing_is_said_before_anything_is_scored(tmp_path):
    with pytest.raises(ConfigError, match=r"reward\.encoder\.path"):
        scored(tmp_path)
    with pytest.raises(ConfigError, match="safety has no programmatic reward"):
        scored(tmp_path, "reward.alpha=0.0", "reward.programmatic=1.0")
    lines = [{"id": 1, "prompt": "p", "response": "r"}, {"id": 2, "prompt": "p"}]
    with pytest.raises(DataError, match=r"line 2: response"):
        scored(tmp_path, "reward.alpha=0.0", lines=lines)
    config = load_config(SMOKE, ["reward.alpha=0.0"])
    with pytest.raises(RunDirError, match="no folder"):
        score_file(config, tmp_path / "answers.jsonl", tmp_path / "none" / "scores.jsonl")
    assert not (tmp_path / "scores.jsonl").exists()


def test_a_term_of_one_s_own(tmp_path, monkeypatch):
    (tmp_path / "my_terms.py").write_text("def words(example, answer):\n    return len(answer.text.split())\n")
    monkeypatch.syspath_prepend(tmp_path)
    term = 'reward.terms=[{call: "my_terms:words", weight: 0.5}]'
    honest, _ = scored(tmp_path, "reward.alpha=0.0", "reward.beta=0.0", term)
    assert honest["parts"]["term/my_terms:words"] == len(HONEST.split())
    assert honest["total"] == len(HONEST.split()) / 2
    (tmp_path / "bad_terms.py").write_text("def words(example, answer):\n    return float('nan')\n")
    with pytest.raises(RewardError, match="nan for example '1'"):
        scored(tmp_path, "reward.alpha=0.0", 'reward.terms=[{call: "bad_terms:words"}]')
