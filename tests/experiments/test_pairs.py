"""`gemma-align pairs make`: what it writes is read back, mutants really fail, a killed making goes on, nothing foreign
is touched."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from gemma_align import cli
from gemma_align.config import DataConfig, load_config
from gemma_align.data import load_task
from gemma_align.data.pairs.choice import Candidate
from gemma_align.errors import ConfigError, DataError, RunDirError
from gemma_align.experiments import pairs as experiment
from gemma_align.experiments.pairs import GROUP, make_pairs
from gemma_align.experiments.pairs_scoring import CodeScorer
from gemma_align.rewards.code import CodeReward
from gemma_align.types import Answer, Example

SMOKE = Path(__file__).resolve().parents[2] / "configs" / "smoke" / "pairs.yml"
ALONE = ["pairs.sources=[corruption]"]


def make(out, *overrides, adapter=None):
    return make_pairs(load_config(SMOKE, overrides), adapter=adapter, out=out)


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def account(out):
    return json.loads((out / "pairs.json").read_text(encoding="utf-8"))


def test_clinical_pairs_are_read_back_as_they_were_made(tmp_path, capsys):
    path = make(tmp_path / "out", *ALONE, "data.num_builtin=20", "pairs.pairs_per_prompt=2")
    written = rows(path)
    assert len(written) == account(path.parent)["num_pairs"] > 20
    settings = DataConfig(train=str(path), tune="builtin", report="builtin", num_builtin=5, seed=9)
    read = load_task("clinical", settings, needs=("response",))
    examples = {example.id: example for example in read.examples("train")}
    assert set(examples) == {row["id"] for row in written}
    originals = load_task("clinical", load_config(SMOKE, ["data.num_builtin=20"]).data).examples("train")
    by_id = {example.id: example for example in originals}
    for row in written:
        example, original = examples[row["id"]], by_id[row["id"].rsplit("/", 1)[0]]
        assert (example.prompt, example.response, example.cue) == (original.prompt, original.response, original.cue)
        assert example.checks == original.checks
        assert example.rejected == row["rejected"] != example.response
        assert row["pair"]["rejected"]["strategy"].startswith("corruption: ")
    out = capsys.readouterr().out
    assert "pairs of 20 prompts" in out
    assert out.count("chosen (reference") == 3


def test_program_pairs_fail_a_visible_test_and_no_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "_sampler", lambda *_: pytest.fail("a model was asked for"))
    path = make(tmp_path / "out", *ALONE, "task=code", "data.num_builtin=6")
    written = rows(path)
    examples = [Example(row["id"], row["prompt"], checks=row["checks"]) for row in written]
    with CodeReward(num_workers=1) as reward:
        chosen = reward.score(examples, [Answer(row["response"]) for row in written])
        rejected = reward.score(examples, [Answer(row["rejected"]) for row in written])
    assert chosen.total.tolist() == pytest.approx([1.0] * len(written))
    assert rejected.parts["tests"].max() < 1
    assert account(path.parent)["scorer_agrees"] == 1.0


def test_samples_of_the_tiny_model(tmp_path):
    few = ["data.num_builtin=10", "pairs.num_samples=2", "pairs.max_new_tokens=6", "pairs.pairs_per_prompt=4"]
    path = make(tmp_path / "a", *few)
    again = make(tmp_path / "b", *few)
    assert path.read_text() == again.read_text()
    found = account(path.parent)
    assert found["made_of"]["policy"]["checkpoint"] == "tiny"
    assert len(found["made_of"]["policy"]["fingerprint"]) == 64
    assert 0 < found["cost"]["sampled_tokens"] <= 10 * 2 * 6
    assert found["rejected"]["sample"] > 0
    for row in rows(path):
        if row["pair"]["rejected"]["strategy"] == "sample":
            assert row["pair"]["rejected"]["score"] < row["pair"]["chosen"]["score"]


@pytest.mark.parametrize("killed_after", [1, GROUP, GROUP + 3])
def test_a_killed_making_goes_on_where_it_was(tmp_path, monkeypatch, killed_after):
    few = ["data.num_builtin=20", "pairs.num_samples=2", "pairs.max_new_tokens=4", "pairs.pairs_per_prompt=3"]
    whole = make(tmp_path / "whole", *few).read_text()

    class Killed(BaseException):
        pass

    kept = experiment.WorkFolder.add
    added = []

    def add(self, line):
        if len(added) == killed_after:
            raise Killed
        added.append(line["id"])
        kept(self, line)

    monkeypatch.setattr(experiment.WorkFolder, "add", add)
    with pytest.raises(Killed):
        make(tmp_path / "out", *few)
    assert not (tmp_path / "out" / "pairs.jsonl").exists()
    with (tmp_path / "out" / "progress.jsonl").open("a") as file:
        file.write('{"id": "torn')
    first = list(added)

    def go_on(self, line):
        assert line["id"] not in first
        kept(self, line)

    monkeypatch.setattr(experiment.WorkFolder, "add", go_on)
    assert make(tmp_path / "out", *few).read_text() == whole
    assert not (tmp_path / "out" / "progress.jsonl").exists()


def test_a_finished_folder_is_kept_and_another_one_is_refused(tmp_path, capsys):
    path = make(tmp_path / "out", *ALONE, "data.num_builtin=6")
    before = path.stat().st_mtime_ns
    make(tmp_path / "out", *ALONE, "data.num_builtin=6")
    assert "is made already" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == before
    with pytest.raises(RunDirError, match=r"made of something else.*seed"):
        make(tmp_path / "out", *ALONE, "data.num_builtin=6", "seed=4")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("mine")
    with pytest.raises(RunDirError, match=r"thesis\.txt"):
        make(tmp_path / "foreign", *ALONE)


def test_what_is_dropped_is_counted_with_its_reason(tmp_path):
    data = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"Doctor: Well{i * 'o'}?\nPatient: Fine.", "response": "Noted."} for i in range(8)]
    lines += [{"prompt": "Doctor: A cough?\nPatient: Yes.", "response": "Denies cough, 3 days."}]
    lines += [{"prompt": "Doctor: Any other thing at all?\nPatient: No."}]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    local = [*ALONE, f"data.train={data}", "data.tune=builtin", "data.report=builtin", "data.num_builtin=3"]
    found = account(make(tmp_path / "out", *local).parent)
    assert found["dropped"] == {"no fact to corrupt, and no sample that scores lower": 8, "no reference response": 1}
    assert found["num_prompts_with_pairs"] == 1
    data.write_text("".join(json.dumps(line) + "\n" for line in lines[:8]))
    with pytest.raises(DataError, match="no pair could be made of 8 prompts"):
        make(tmp_path / "none", *local)


def test_programs_that_cannot_be_judged_are_dropped():
    right = "def f(x):\n    return x + 1"
    examples = [
        Example("good", "p", right, checks={"tests": ["assert f(1) == 2"], "entry_point": "f"}),
        Example("bare", "p", right, checks={"tests": [], "hidden_tests": ["assert f(1) == 2"], "entry_point": "f"}),
        Example("wrong", "p", "def f(x):\n    return x", checks={"tests": ["assert f(1) == 2"], "entry_point": "f"}),
    ]
    with closing(CodeScorer({"num_workers": 1}, 0)) as scorer:
        reasons, references, _ = scorer.candidates(examples, [[], [], []])
        assert reasons == ["", "no visible tests", "the reference fails a visible test"]
        assert references[0] == Candidate(right, "reference", pytest.approx(1.0))  # type: ignore[arg-type]
        found = scorer.corruptions(examples, [references[0], None, None], 2)
    assert [len(row) for row in found] == [2, 0, 0]
    assert all(candidate.score < 1 for candidate in found[0])


def test_safety_has_published_pairs(tmp_path):
    with pytest.raises(ConfigError, match="published"):
        make(tmp_path / "out", "task=safety")


def test_the_command(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(
            [
                "pairs",
                "make",
                "-c",
                str(SMOKE),
                *ALONE,
                "data.num_builtin=6",
                "pairs.num_shown=1",
                "--out",
                f"{tmp_path}/out",
            ]
        )
    assert caught.value.code == 0
    assert "corruption: " in capsys.readouterr().out
    assert (tmp_path / "out" / "pairs.jsonl").exists()
