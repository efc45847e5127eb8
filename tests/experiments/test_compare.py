"""`gemma-align compare` on folders made by the project's own writers, and through the command line."""

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gemma_align import cli
from gemma_align.config import load_config, resolved_yaml
from gemma_align.errors import RunDirError, UserError
from gemma_align.evaluation.evaluate import Evaluation, Record, aggregate
from gemma_align.evaluation.results import differences, records, to_json
from gemma_align.experiments.compare import compare_folders, labels
from gemma_align.experiments.files import write_json
from gemma_align.experiments.run_dir import RunDir

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "configs" / "smoke" / "sft.yml"
STAGED = ROOT / "configs" / "smoke" / "staged_sft_then_dpo.yml"
N = 60


def evaluation(model, shift=0.0, seed=0, num=N, data="0123456789abcdef", longer=1.0, text=False, **about):
    """Random responses to the same examples; a higher shift is better."""
    rng, hard = np.random.default_rng(seed), np.random.default_rng(99).normal(0, 0.1, num)
    kept = []
    for i in range(num):
        measures = {
            "rougeL": float(np.clip(0.4 + hard[i] + shift + rng.normal(0, 0.05), 0, 1)),
            "exact_match": float(rng.random() < 0.3),
            "num_words": float(rng.integers(5, 30)),
        }
        if i % 3 == 0:
            measures["fact_coverage"] = float(rng.random())
        kept.append(
            Record(
                id=f"builtin/{i}",
                prompt="what?",
                response="words",
                reference=None if text else "the words",
                finished=bool(rng.random() < 0.8),
                num_tokens=int(rng.integers(20, 60) * longer),
                measures=measures,
                response_loss=None if text else float(2 - shift + rng.normal(0, 0.1)),
                response_tokens=0 if text else 7 + i % 5,
            )
        )
    decoding = {"temperature": 0.0, "max_new_tokens": 64, "few_shot": 0, "seed": about.pop("decoding_seed", 0)}
    settings = {"task": "clinical", "split": "report", "prompt_format": "plain", "confidence": 0.95} | about
    return Evaluation(
        model=model,
        measures=aggregate(kept, settings["confidence"], decoding["seed"]),
        records=tuple(kept),
        data=data,
        decoding=decoding | settings.pop("decoding", {}),
        **settings,
    )


def make(folder, *evaluations, config=SMOKE, overrides=(), weights="f00d", evaluated=None, finish=True):
    """A run folder that holds these evaluations, the tuned one first."""
    config = resolved_yaml(load_config(config, [f"output_dir={folder}", *overrides]))
    with RunDir.open(folder, config) as run:
        run.add_environment({"checkpoint": {"fingerprint": weights}} | ({"evaluated": evaluated} if evaluated else {}))
        run.metrics.append({"step": 1})
        write_json(run.paths.evaluation, to_json(*evaluations))
        for each in evaluations:
            for record in records(each):
                run.samples.append(record)
        if finish:
            run.finish()
    return folder


def tuned(folder, shift=0.0, seed=0, base=True, overrides=(), **about):
    others = [evaluation("base", -0.1, 1000)] if base else []
    return make(folder, evaluation("tuned", shift, seed, **about), *others, overrides=[f"seed={seed}", *overrides])


def by(run):
    """What an evaluation of a run keeps of it."""
    return {"adapter": str(run), "config": (run / "config.yml").read_text(), "checkpoint": "f00d"}


def sft(folder, seed, shift=0.0, **about):
    return tuned(folder, shift, seed, **about)


def other(folder, seed, shift=0.0, **about):
    """Another method: other settings of training."""
    return tuned(folder, shift, seed + 500, overrides=["training.learning_rate=0.002", f"seed={seed}"], **about)


def printed(folders, **options):
    out = io.StringIO()
    found = compare_folders(folders, console=Console(file=out, width=80, highlight=False), **options)
    return found, out.getvalue()


def test_two_runs_side_by_side(tmp_path):
    a, b = sft(tmp_path / "a", 0), other(tmp_path / "b", 0, 0.2)
    found, text = printed([a, b])
    (pair,) = found.pairs
    assert (pair.first, pair.second) == ("a", "b")
    assert list(found.runs) == ["base", "a", "b"]  # the base they share, once
    assert "b against a (these models): b better in rougeL, response_loss; open: exact_match" in " ".join(text.split())
    assert "nothing is said about what another seed would give" in " ".join(text.split())
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "…" not in text


def test_numbers_are_those_of_the_evaluation(tmp_path):
    ours, base = evaluation("tuned", 0.1, 3), evaluation("base", 0.0, 4)
    found, _ = printed([make(tmp_path / "run", ours, base)])
    (pair,) = found.pairs
    assert (pair.first, pair.second) == ("base", "run")
    for name, own in ours.measures.items():
        assert found.runs["run"][name].mean == pytest.approx(own.mean)
        assert (found.runs["run"][name].low, found.runs["run"][name].high) == pytest.approx((own.low, own.high))
    expected = differences(ours, base)
    assert {row.measure for row in pair.rows} == set(expected)
    for row in pair.rows:
        own, theirs = row.runs.difference, expected[row.measure]
        assert (own.mean, own.low, own.high, own.n) == pytest.approx((theirs.mean, theirs.low, theirs.high, theirs.n))


def test_all_pairs_or_one_reference(tmp_path):
    folders = [
        sft(tmp_path / "a", 0),
        other(tmp_path / "b", 0),
        sft(tmp_path / "c", 0, overrides=["training.batch_size=2"]),
    ]
    pairs = lambda found: [(p.first, p.second) for p in found.pairs]  # noqa: E731
    assert pairs(printed(folders)[0]) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs(printed(folders, against="b")[0]) == [("b", "a"), ("b", "c")]
    assert pairs(printed(folders, against=str(folders[2]))[0]) == [("c", "a"), ("c", "b")]
    assert pairs(printed(folders, against="base")[0]) == [("base", "a"), ("base", "b"), ("base", "c")]
    with pytest.raises(UserError, match="--against d: wanted one of a, b, c, or base"):
        printed(folders, against="d")


def test_seeds_of_one_method_are_one_contestant(tmp_path):
    folders = [sft(tmp_path / f"sft-seed{s}", s) for s in (0, 1, 2)]
    folders += [other(tmp_path / f"dpo_s{s}", s, 0.2) for s in (0, 1, 2)]
    found, text = printed(folders)
    (pair,) = found.pairs
    assert (pair.first, pair.second) == ("sft", "dpo")
    assert set(found.methods) == {"sft", "dpo"}
    assert {row.measure: row.method.winner for row in pair.rows if row.method}["rougeL"] == "dpo"
    assert "note: sft: 3 seeds (sft-seed0, sft-seed1, sft-seed2)" in text
    assert "Of the methods: would it come out like this with other training seeds" in text
    assert "Of these trained models" in text
    assert "dpo against sft (methods): dpo better in rougeL, response_loss" in " ".join(text.split())
    separate, _ = printed(folders, separate=True)
    assert len(separate.pairs) == 15
    assert separate.methods == {}


@pytest.mark.parametrize("rate", [None, 0.002])
def test_runs_that_went_on_from_the_same_sft_are_compared_one_by_one(tmp_path, rate):
    """Not where the SFT was another one."""
    far, folders = (-0.3, 0.0, 0.3), []
    for seed, shift in enumerate(far):
        folders.append(sft(tmp_path / f"sft-{seed}", seed, shift))
        own = [f"seed={seed}", *([f"stages.0.training.learning_rate={rate}"] if rate else [])]
        staged = evaluation("tuned", shift + 0.1, seed + 10)
        folders.append(make(tmp_path / f"dpo-{seed}", staged, config=STAGED, overrides=own))
    found, _ = printed(folders)
    row = next(row for row in found.pairs[0].rows if row.measure == "rougeL")
    assert (row.method.winner is None) == (rate is not None)


def test_one_seed_of_a_method_is_told(tmp_path):
    folders = [sft(tmp_path / "sft-0", 0), sft(tmp_path / "sft-1", 1), other(tmp_path / "dpo", 0)]
    _, text = printed(folders)
    assert "Nothing can be said about the methods: dpo has one training seed." in " ".join(text.split())


def test_seeds_alone_are_compared_with_each_other_or_with_the_base(tmp_path):
    folders = [sft(tmp_path / f"s{s}", s) for s in (0, 1, 2)]
    found, text = printed(folders)
    assert len(found.pairs) == 3
    assert "runs of one method that differ in their seed alone" in text
    against_base, _ = printed(folders, against="base")
    (pair,) = against_base.pairs
    assert (pair.first, pair.second) == ("base", "sft")
    assert all(row.method for row in pair.rows)


def with_best(folder, seed, of=0.3, overrides=(), **about):
    """A run that also holds the best of 4."""
    drawn = {"decoding": {"temperature": 1.0, "best_of": 4} | about}
    best = evaluation("best_of_4", of, seed + 50, text=True, **drawn)
    return make(
        folder,
        evaluation("tuned", 0, seed),
        evaluation("base", -0.1, 1000),
        best,
        overrides=[f"seed={seed}", *overrides],
    )


def test_the_best_of_n_of_one_method_is_held_against_another(tmp_path):
    folders = [with_best(tmp_path / f"sft-{s}", s) for s in (0, 1, 2)]
    folders += [other(tmp_path / f"rl-{s}", s, 0.1) for s in (0, 1, 2)]
    found, _ = printed(folders)
    assert [(p.first, p.second) for p in found.pairs] == [("sft", "rl")]
    assert {"sft-0 best_of_4", "sft-2 best_of_4", "base"} <= set(found.runs)
    assert "sft best_of_4" in found.methods
    found, text = printed(folders, against="best_of_4")
    assert [(p.first, p.second) for p in found.pairs] == [("sft best_of_4", "sft"), ("sft best_of_4", "rl")]
    assert "sft best_of_4: 3 seeds" in text
    for pair in found.pairs:
        row = {row.measure: row for row in pair.rows}["rougeL"]
        assert row.method is not None
        assert row.runs.difference.mean < 0
        assert "response_loss" not in {row.measure for row in pair.rows}
    assert [p.first for p in printed(folders, against="sft best_of_4")[0].pairs] == ["sft best_of_4"] * 2


def test_a_best_of_n_that_is_not_one_thing_is_refused(tmp_path):
    a = with_best(tmp_path / "a", 0)
    b = with_best(tmp_path / "b", 0, overrides=["training.learning_rate=0.002"])
    with pytest.raises(UserError, match="several have one: give 'a best_of_4' or 'b best_of_4'"):
        printed([a, b], against="best_of_4")
    for name in ("best_of_8", "best_of_4"):
        folders = [
            a,
            with_best(tmp_path / f"c-{name}", 1, best_of=4, temperature=0.5),
            other(tmp_path / f"d-{name}", 0),
        ]
        with pytest.raises(UserError, match=f"--against {name}: no method has one of all its runs, sampled alike"):
            printed(folders, against=name)


def test_the_same_seed_twice_is_not_two_seeds(tmp_path):
    folders = [sft(tmp_path / "a", 0), sft(tmp_path / "b", 0), other(tmp_path / "c", 0)]
    with pytest.raises(UserError, match="a and b have the same configuration and the same seed"):
        printed(folders)
    assert len(printed(folders, separate=True)[0].pairs) == 3


def test_settings_of_evaluation_and_logs_make_no_other_method(tmp_path):
    a = sft(tmp_path / "m0", 0, overrides=["tracking.tensorboard=false", "evaluation.num_rows=2"])
    folders = [a, sft(tmp_path / "m1", 1), other(tmp_path / "n0", 0), other(tmp_path / "n1", 1)]
    assert set(printed(folders)[0].methods) == {"m", "n"}


def test_evaluations_of_several_seeds_count_as_their_runs(tmp_path, monkeypatch):
    """`gemma-align evaluate --adapter RUN` with one configuration: the seed is the run's, not the evaluation's."""
    monkeypatch.chdir(tmp_path)
    folders = []
    for name, train in (("sft", sft), ("dpo", other)):
        for seed in (1, 2):
            run = train(Path("runs") / f"{name}-{seed}", seed)
            results = evaluation("tuned", 0.0 if name == "sft" else 0.2, seed + 7)
            folder = Path("runs/evaluations") / f"{name}-{seed}" / "clinical"
            folders.append(make(folder, results, evaluated=by(run)))
    found, _ = printed(folders)
    assert set(found.methods) == {"sft", "dpo"}
    assert list(found.runs) == ["sft-1", "sft-2", "dpo-1", "dpo-2"]
    for seed in (1, 2):
        path = Path("runs/evaluations") / f"dpo-{seed}" / "clinical" / "environment.json"
        write_json(path, json.loads(path.read_text()) | {"evaluated": {"adapter": "elsewhere"}})
    gone, text = printed(folders)
    assert set(gone.methods) == {"sft"}
    assert "the run that trained dpo-1, dpo-2 isn't known" in " ".join(text.split())


def test_an_evaluation_of_the_base_alone_is_the_base(tmp_path):
    base = make(tmp_path / "bare" / "clinical", evaluation("base", -0.1, 1000), evaluated={"adapter": None})
    runs = [sft(tmp_path / "sft" / "clinical", s) for s in (0,)]
    found, _ = printed([base, *runs])
    assert [(p.first, p.second) for p in found.pairs] == [("bare", "sft")]
    assert all("has one training seed" in p.no_method for p in found.pairs)


@pytest.mark.parametrize(
    ("about", "named"),
    [
        ({"decoding": {"max_new_tokens": 32}}, "decoding.max_new_tokens: 64 in a, 32 in b"),
        ({"prompt_format": "chat"}, "prompt_format: plain in a, chat in b"),
        ({"split": "tune"}, "split: report in a, tune in b"),
        ({"task": "safety"}, "task: clinical in a, safety in b"),
        ({"num": 50}, "num_examples: 60 in a, 50 in b"),
        ({"data": "another"}, "examples: 60 in a, 60 in b, 60 with the same name"),
    ],
)
def test_what_was_evaluated_differently_is_refused_by_name(tmp_path, about, named):
    folders = [sft(tmp_path / "a", 0, base=False), other(tmp_path / "b", 0, base=False, **about)]
    with pytest.raises(RunDirError, match="a and b can't be compared") as caught:
        printed(folders)
    assert named in str(caught.value)
    if "data" in about:
        assert "gemma-align evaluate --config FILE --adapter RUN" in str(caught.value)


def test_the_seed_of_decoding_decides_nothing_when_it_is_greedy(tmp_path):
    printed([sft(tmp_path / "a", 0, base=False), other(tmp_path / "b", 0, base=False, decoding_seed=5)])


def test_folders_that_hold_nothing_to_compare(tmp_path):
    good = sft(tmp_path / "good", 0)
    for folder, message in (
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path, r"holds evaluations of several tasks \(good\)|is not the folder of a run"),
    ):
        with pytest.raises(RunDirError, match=message):
            printed([good, folder])
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunDirError, match="is not the folder of a run"):
        printed([good, tmp_path / "empty"])
    with pytest.raises(UserError, match="given twice"):
        printed([good, tmp_path / "empty" / ".." / "good"])
    with pytest.raises(UserError, match="holds one model only"):
        printed([sft(tmp_path / "alone", 0, base=False)])


def test_an_unfinished_run_is_refused(tmp_path):
    make(tmp_path / "half", evaluation("tuned"), finish=False)
    with pytest.raises(RunDirError, match=r"half: this run isn't finished \(it is interrupted\).*--resume"):
        printed([sft(tmp_path / "a", 0), tmp_path / "half"])


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("evaluation.json", lambda text: text[:50], "evaluation.json can't be read"),
        ("evaluation.json", lambda text: "[]", "holds no JSON object"),
        ("evaluation.json", lambda text: text.replace('"split"', '"splat"'), "lacks split"),
        ("samples.jsonl", lambda text: text[:-40], "samples.jsonl can't be read"),
        ("samples.jsonl", lambda text: text.split("\n", 1)[1], "has 59 responses of 'tuned'"),
        ("samples.jsonl", lambda text: text.replace('"num_tokens"', '"tokens"'), "lack or garble 'num_tokens'"),
    ],
)
def test_damaged_folders_are_refused(tmp_path, file, damage, message):
    a, b = sft(tmp_path / "a", 0), other(tmp_path / "b", 0)
    path = b / file
    path.write_text(damage(path.read_text()))
    with pytest.raises(RunDirError, match=re.escape(message)):
        printed([a, b])


def test_bases_of_other_weights_are_not_one(tmp_path):
    a = sft(tmp_path / "a", 0)
    b = make(tmp_path / "b", evaluation("tuned", 0.1, 5), evaluation("base", 0, 9), weights="beef")
    found, _ = printed([a, b], separate=True)
    assert list(found.runs) == ["a", "b"]
    with pytest.raises(UserError, match="different ones"):
        printed([a, b], separate=True, against="base")


def test_lengths_that_differ_bring_differences_at_equal_length(tmp_path):
    _, same = printed([sft(tmp_path / "a", 0), other(tmp_path / "b", 0)])
    assert "At equal length" not in same
    _, text = printed([tmp_path / "a", other(tmp_path / "c", 0, longer=1.6)])
    assert "c's responses are 1." in text
    assert "times as long as a's. At equal length:" in " ".join(text.split())


def test_neutral_prose_has_a_loss_and_nothing_else(tmp_path):
    def prose(seed):
        full = evaluation("tuned", 0.02 * seed, seed, task="neutral")
        silent = tuple(replace(r, measures={}, num_tokens=0, response="") for r in full.records)
        loss = {"response_loss": full.measures["response_loss"]}
        return replace(full, records=silent, measures=loss, decoding={"seed": 0})

    found, text = printed([make(tmp_path / "a", prose(1)), make(tmp_path / "b", prose(2), overrides=["seed=1"])])
    assert [row.measure for row in found.pairs[0].rows] == ["response_loss"]
    assert text.startswith("neutral, report split, 60 examples; 95 %")


def test_json_holds_everything(tmp_path):
    folders = [sft(tmp_path / f"sft{s}", s) for s in (0, 1)] + [other(tmp_path / f"dpo{s}", s, 0.2) for s in (0, 1)]
    found, _ = printed(folders, json_file=tmp_path / "out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["evaluated_on"]["data"] == "0123456789abcdef"
    assert document["runs"]["dpo1"]["seed"] == 1
    assert set(document["values"]) == {"base", "sft0", "sft1", "dpo0", "dpo1"}
    (pair,) = document["pairs"]
    rouge = pair["measures"]["rougeL"]
    (row,) = [row for row in found.pairs[0].rows if row.measure == "rougeL"]
    assert rouge["runs"]["difference"]["mean"] == row.runs.difference.mean
    assert rouge["method"]["corrected"] == row.method.corrected
    assert rouge["better"] == "higher"
    assert {"slope", "extrapolated", "difference"} == set(rouge["at_equal_length"])
    assert document["num_tests"] == {"runs": 5, "method": 5}
    with pytest.raises(UserError, match="there is no folder"):
        printed(folders, json_file=tmp_path / "no" / "out.json")


def test_names_are_as_short_as_they_can_be():
    assert labels([Path("runs/a"), Path("runs/b")]) == ["a", "b"]
    assert labels([Path("runs/evaluations/a/code"), Path("runs/evaluations/b/code")]) == ["a", "b"]
    assert labels([Path("x/a/one"), Path("y/a/two")]) == ["x/a/one", "y/a/two"]
    assert labels([Path("runs/a")]) == ["a"]


def test_the_command_line(tmp_path, capsys, monkeypatch):
    a, b = sft(tmp_path / "a", 0), other(tmp_path / "b", 0, 0.2)
    monkeypatch.setenv("COLUMNS", "80")
    for arguments, status in (
        ([a, b, "--json", tmp_path / "x.json"], 0),
        ([a, b, "--against", "base"], 0),
        ([a], 0),
        ([a, b, "--against", "c"], 2),
        ([a, tmp_path / "c"], 2),
        ([], 2),
    ):
        with pytest.raises(SystemExit) as caught:
            cli.main(["compare", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert caught.value.code == status, err
        assert ("Who wins where" in out) == (status == 0)
        assert bool(err) == (status == 2)
        assert "Traceback" not in err
    assert (tmp_path / "x.json").exists()


def test_no_torch_is_needed(tmp_path):
    a, b = sft(tmp_path / "a", 0), other(tmp_path / "b", 0)
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from gemma_align.cli import main\n"
        f"try: main(['compare', {str(a)!r}, {str(b)!r}])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr
