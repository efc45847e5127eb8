"""Calibration, floors, and the account as the command writes it."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from tests.rewards.encoders import told_by_a_word

from gemma_align.config import load_config
from gemma_align.errors import RunDirError
from gemma_align.experiments.reward_account import BAG_OF_WORDS, ENCODER, SHORTER, account
from gemma_align.experiments.reward_fit import reward_fit
from gemma_align.models.policy import Policy
from gemma_align.rewards.encoder.files import RECORD, WEIGHTS, load_encoder
from gemma_align.rewards.fitting.calibration import expected_calibration_error, fit_slope, reliability
from gemma_align.rewards.fitting.fit import right
from gemma_align.rewards.fitting.floors import bag_of_words, shorter_wins
from gemma_align.types import Answer, Example

SMOKE = Path(__file__).resolve().parents[2] / "configs" / "smoke" / "reward.yml"


def test_slope_and_curve_of_pairs_that_follow_the_model():
    draw = np.random.default_rng(0)
    scale = draw.normal(size=40_000)
    won = np.where(draw.random(len(scale)) < expit(1.7 * np.abs(scale)), np.abs(scale), -np.abs(scale))
    assert fit_slope(won) == pytest.approx(1.7, rel=0.05)
    bins = reliability(won, 1.7)
    assert sum(b.num_pairs for b in bins) == len(won)
    assert expected_calibration_error(bins) < 0.01
    assert expected_calibration_error(reliability(won, 6.0)) > 0.1  # too sure of itself


def test_curve_by_hand():
    log3 = np.log(3.0)
    bins = reliability(np.array([log3, log3, log3, -log3, 0.0]), 1.0)
    assert [(b.low, b.high, b.num_pairs) for b in bins] == [(0.5, 0.55, 1), (0.7, 0.8, 4)]
    assert bins[0].observed == 0.5
    assert bins[1].predicted == pytest.approx(0.75)
    assert bins[1].observed == 0.75
    assert expected_calibration_error(bins) == pytest.approx(0, abs=1e-12)
    certain = reliability(np.array([1e9, -1e9]), 1.0)
    assert [(b.num_pairs, b.observed) for b in certain] == [(2, 0.5)]
    assert expected_calibration_error(certain) == pytest.approx(0.5)


def test_floors_by_hand():
    pairs = [
        Example("a", "?", "short", "longer one"),
        Example("b", "?", "longer one", "short"),
        Example("c", "?", "x", "y"),
    ]
    assert right(shorter_wins(pairs)).tolist() == [1.0, 0.0, 0.5]
    examples = told_by_a_word(60)
    score = bag_of_words(examples[:40], examples[40:50])
    assert right(score(examples[50:])).mean() == 1.0
    same = Example("d", "?", "Gladly, rain rain", "rain, gladly")
    assert score([same]).tolist() == [0.0]
    assert score([Example("e", "?", "zzz", "qqq")]).tolist() == [0.0]  # words it never saw
    assert float(score([Example("f", "?", "gladly", "")])[0]) > 0 > float(score([Example("g", "?", "", "gladly")])[0])


def test_the_account_pairs_the_encoder_with_each_floor():
    encoder = np.array([1.0] * 70 + [-1.0] * 30)
    floor = np.array([1.0] * 50 + [-1.0] * 50)
    values = account({ENCODER: encoder, BAG_OF_WORDS: floor}, 1.0, 0.95)
    assert values["accuracy"][ENCODER]["mean"] == pytest.approx(0.7)
    assert values["encoder_minus"][BAG_OF_WORDS]["mean"] == pytest.approx(0.2)
    assert values["encoder_minus"][BAG_OF_WORDS]["low"] > 0
    assert values["loss"] == pytest.approx(0.7 * np.log1p(np.exp(-1)) + 0.3 * np.log1p(np.exp(1)))


def test_the_command_leaves_an_encoder_with_its_account(tmp_path, capsys):
    folder = tmp_path / "encoder"
    config = load_config(SMOKE, [f"output_dir={folder}"])
    assert reward_fit(config) == folder
    shown = capsys.readouterr().out
    assert "bag of words" in shown
    assert "encoder minus it" in shown
    assert str(folder) in shown.replace("\n", "")
    record = json.loads((folder / RECORD).read_text())
    assert sorted(path.name for path in folder.iterdir()) == [WEIGHTS, RECORD]
    assert record["held_out"]["num_pairs"] == 48
    assert set(record["held_out"]["accuracy"]) == {ENCODER, BAG_OF_WORDS, SHORTER}
    assert record["fit"]["num_tokens"] > 0
    assert record["fit"]["seconds"] > 0
    assert len(record["data"]["fit_fingerprint"]) == 64
    encoder = load_encoder(folder, Policy.load(config.model))
    assert encoder.score([Example("a", "Rain?")], [Answer("Yes.")]).total.shape == (1,)
    with pytest.raises(RunDirError, match="already"):
        reward_fit(config)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunDirError, match="other files"):
        reward_fit(load_config(SMOKE, [f"output_dir={tmp_path}"]))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
