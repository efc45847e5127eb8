"""From settings to splits: the rules of docs/data.md, and an account in which every row appears."""

import json
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from gemma_align.config import DataConfig
from gemma_align.data import DataReport, fingerprint, load_task
from gemma_align.data.dedup import NearIndex
from gemma_align.data.text import normal_form
from gemma_align.errors import ConfigError, DataError


@dataclass(frozen=True)
class Settings:
    train: str = "builtin"
    tune: str | None = None
    report: str | None = None
    format: str = "auto"
    seed: int = 0
    num_builtin: int = 12
    max_train_examples: int | None = None
    max_tune_examples: int | None = None
    max_report_examples: int | None = None
    balance: str | None = None


def rows_file(path, *prompts, **fields):
    path.write_text("".join(json.dumps({"prompt": p, "response": "r", **fields}) + "\n" for p in prompts))
    return str(path)


def sentences(start, count):
    """Prompts that share no three words in a row."""
    return [" ".join(f"word{i}x{j}" for j in range(8)) for i in range(start, start + count)]


def prompts(task, split):
    return [example.prompt for example in task.examples(split)]


def account(report: DataReport):
    """Every row that was read is kept once or dropped once."""
    for source in report.sources:
        assert source.num_read == sum(source.kept.values()) + sum(source.dropped.values()), source
    return {reason: n for source in report.sources for reason, n in source.dropped.items()}


@pytest.mark.parametrize("name", ["clinical", "safety", "code"])
def test_builtin(name):
    task = load_task(name, Settings())
    assert task.name == name
    for split in ("train", "tune", "report"):
        assert 10 <= len(task.examples(split)) <= 12
    assert account(task.report).keys() <= {"duplicate within train", "duplicate within tune"}
    again = load_task(name, Settings())
    assert [s.fingerprint for s in again.report.splits] == [s.fingerprint for s in task.report.splits]
    assert load_task(name, Settings(seed=1)).report.splits[0].fingerprint != task.report.splits[0].fingerprint
    assert task.report.splits[0].fingerprint == fingerprint(task.examples("train"))


@pytest.mark.parametrize("name", ["clinical", "safety", "code"])
def test_measures_are_numbers(name):
    task = load_task(name, Settings())
    example = task.examples("report")[0]
    (measures,) = task.measure([example], [example.response])
    assert measures["length_ratio"] == 1.0
    assert all(isinstance(value, float) for value in measures.values())


def test_the_projects_own_configuration_fits():
    task = load_task("clinical", DataConfig(num_builtin=5, max_train_examples=3))
    assert len(task.examples("train")) == 3
    assert "3 of 5 drawn" in task.report.notes[0]


def test_one_file_is_cut_by_a_seeded_hash(tmp_path):
    path = rows_file(tmp_path / "own.jsonl", *sentences(0, 100))
    first, again, other = (load_task("clinical", Settings(train=path, seed=seed)) for seed in (0, 0, 1))
    sizes = [len(first.examples(split)) for split in ("train", "tune", "report")]
    assert sizes == [81, 9, 10]
    assert prompts(first, "report") == prompts(again, "report") != prompts(other, "report")
    assert not set(prompts(first, "train")) & set(prompts(first, "tune"))
    assert account(first.report) == {}
    assert first.report.sources[0].kept == {"train": 81, "tune": 9, "report": 10}
    assert any("cut from train" in note for note in first.report.notes)
    assert first.examples("train")[0].cue == "Clinical note:"


def requests(tmp_path, harmful, safe, unlabelled=0):
    path, texts = tmp_path / "own.jsonl", iter(sentences(0, harmful + safe + unlabelled))
    rows = [{"prompt": next(texts), "checks": {"harmful": True}} for _ in range(harmful)]
    rows += [{"prompt": next(texts), "checks": {"harmful": False}} for _ in range(safe)]
    rows += [{"prompt": next(texts)} for _ in range(unlabelled)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"train": str(path), "tune": "builtin", "report": "builtin"}


def kinds(task):
    found = [e.checks.get("harmful") is True for e in task.examples("train")]
    return sum(found), len(found) - sum(found)


def test_train_is_balanced_where_it_is_asked_for(tmp_path):
    places = requests(tmp_path, harmful=5, safe=8, unlabelled=12)
    assert kinds(load_task("safety", Settings(**places))) == (5, 20)
    task = load_task("safety", Settings(**places, balance="harmful"))
    assert kinds(task) == (5, 5)
    assert "train: 10 of 25 drawn, one half harmful (balance)" in task.report.notes
    everything = prompts(load_task("safety", Settings(**places)), "train")
    assert prompts(task, "train") == [p for p in everything if p in prompts(task, "train")]  # in their order
    small = load_task("safety", Settings(**places, balance="harmful", max_train_examples=7))
    assert kinds(small) == (3, 3)
    assert set(prompts(small, "train")) < set(prompts(task, "train"))
    other = load_task("safety", Settings(**places, balance="harmful", seed=1))
    assert prompts(other, "train") != prompts(task, "train")
    builtin = load_task("safety", Settings(num_builtin=30, balance="harmful"))
    assert kinds(builtin)[0] == kinds(builtin)[1] > 5
    assert len(builtin.examples("report")) == 30


@pytest.mark.parametrize(("harmful", "safe"), [(4, 0), (0, 4)])
def test_data_of_one_kind_can_not_be_balanced(tmp_path, harmful, safe):
    with pytest.raises(DataError, match=f"both kinds, but {harmful} are harmful and {safe} are not"):
        load_task("safety", Settings(**requests(tmp_path, harmful, safe), balance="harmful"))


def test_rows_with_one_beginning_are_cut_together(tmp_path):
    turns = [{"role": "user", "content": "start %d of its own kind here"}, {"role": "assistant", "content": "ok"}]
    rows = []
    for i in range(20):
        history = [dict(turns[0], content=turns[0]["content"] % i), turns[1]]
        rows += [{"prompt": f"p{j}", "response": "r", "history": history} for j in range(5)]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    task = load_task("safety", Settings(train=str(path)))
    starts = {split: {e.history[0].content for e in task.examples(split)} for split in ("train", "tune", "report")}
    assert [len(starts[split]) for split in ("train", "tune", "report")] == [16, 2, 2]
    assert not starts["train"] & (starts["tune"] | starts["report"])


def test_too_few_rows_to_cut(tmp_path):
    path = rows_file(tmp_path / "own.jsonl", *sentences(0, 2))
    with pytest.raises(DataError, match=r"2 distinct rows, too few to cut the report and tune split"):
        load_task("clinical", Settings(train=path))


def test_train_rows_that_stand_in_the_other_splits_are_dropped(tmp_path):
    base, tune_row, report_row = sentences(0, 20), *sentences(100, 2)
    near = report_row.replace("word101x7", "changed")
    far = report_row.replace("word101x4", "changed")
    train = rows_file(tmp_path / "a.jsonl", *base, base[0].upper(), tune_row.title() + "!", report_row, near, far)
    tune = rows_file(tmp_path / "b.jsonl", tune_row, report_row, tune_row)
    report = rows_file(tmp_path / "c.jsonl", report_row, report_row)
    task = load_task("clinical", Settings(train=train, tune=tune, report=report))
    assert prompts(task, "train") == [*base, near, far]  # 5 of 7 shingles is under the threshold, as is 3 of 9
    assert prompts(task, "tune") == [tune_row]
    assert prompts(task, "report") == [report_row, report_row]  # a published set stays as it is
    assert account(task.report) == {
        "duplicate within train": 1,
        "train row that stands in tune": 1,
        "train row that stands in report": 1,
        "duplicate within tune": 1,
        "tune row that stands in report": 1,
    }


def test_near_duplicates_are_dropped(tmp_path):
    long = " ".join(f"w{i}" for i in range(40))
    train = rows_file(tmp_path / "a.jsonl", *sentences(0, 5), long.replace("w39", "other"))
    report = rows_file(tmp_path / "c.jsonl", long)
    task = load_task("clinical", Settings(train=train, tune="builtin", report=report))
    assert account(task.report)["train row that nearly stands in report"] == 1


def test_nothing_left_is_an_error_that_says_why(tmp_path):
    path = rows_file(tmp_path / "a.jsonl", *sentences(0, 5))
    with pytest.raises(DataError, match=r"train split. Dropped: train row that stands in report \(5 rows"):
        load_task("clinical", Settings(train=path, tune="builtin", report=path))


def test_needs_are_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    text = [json.dumps({"prompt": p} | ({"response": "r"} if i % 2 else {})) for i, p in enumerate(sentences(0, 10))]
    path.write_text("\n".join(text))
    settings = Settings(train=str(path), tune="builtin", report="builtin")
    assert len(load_task("safety", settings).examples("train")) == 10
    task = load_task("safety", settings, needs=("response",))
    assert len(task.examples("train")) == 5
    assert account(task.report) == {"no response to train on": 5}
    with pytest.raises(DataError, match="no rejected to train on"):
        load_task("safety", settings, needs=("response", "rejected"))


def test_ids_are_given_once(tmp_path):
    first = rows_file(tmp_path / "a.jsonl", *sentences(0, 3), id="same")
    second = rows_file(tmp_path / "b.jsonl", *sentences(10, 2), id="same#2")
    task = load_task("clinical", Settings(train=first, tune=second, report="builtin"))
    ids = [example.id for split in ("train", "tune") for example in task.examples(split)]
    assert ids == ["same", "same#2", "same#3", "same#2#2", "same#2#3"]
    assert task.report.sources[0].mended == {"id given before: a number was added": 2}


def test_rows_that_name_their_split(tmp_path):
    def row(number):
        text = f"Write code number {number} for a purpose {number} of its own."
        return {"task_id": number, "text": text, "code": "def f(): pass", "test_list": [f"assert f() == {number}"]}

    path = tmp_path / "mbpp.jsonl"
    path.write_text("\n".join(json.dumps(row(n)) for n in (5, 4, 2, 20, 30, 520, 610, 620, 630)))
    whole = load_task("code", Settings(train=str(tmp_path)))
    assert [len(whole.examples(split)) for split in ("train", "tune", "report")] == [3, 1, 2]
    assert len(whole.report.sources) == 1  # one file, read once
    assert [shot.id for shot in whole.shots] == ["mbpp/mbpp/4", "mbpp/mbpp/2"]
    assert whole.report.sources[0].kept["shots"] == 2
    account(whole.report)
    part = load_task("code", Settings(report=str(path)))
    assert len(part.examples("report")) == 2
    assert len(part.examples("train")) == 12  # builtin
    assert account(part.report)["belongs to the train split, which comes from elsewhere"] == 3


def test_rows_without_a_response_neither_train_nor_tune(tmp_path):
    prompts_only = [{"prompt": text} for text in sentences(0, 40)]
    answered = [{"prompt": text, "response": "r"} for text in sentences(50, 40)]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in prompts_only + answered))
    task = load_task("safety", Settings(train=str(path)), needs=("response",))
    for split in ("train", "tune"):
        assert all(example.response is not None for example in task.examples(split))
    assert any(example.response is None for example in task.examples("report"))
    assert account(task.report)["no response to tune on"] > 0


def test_a_hub_set_brings_its_splits(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    rows = {
        name: [{"section_header": "CC", "section_text": "Pain.", "dialogue": f"Doctor: {text}"} for text in texts]
        for name, texts in {
            "train": sentences(0, 3),
            "validation": sentences(10, 2),
            "test": sentences(20, 1),
        }.items()
    }
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda name, config: rows))
    task = load_task("clinical", Settings(train="owner/mts"))
    assert [len(task.examples(split)) for split in ("train", "tune", "report")] == [3, 2, 1]
    assert task.report.sources[0].name == "owner/mts (train)"
    assert task.examples("train")[0].id == "mts_dialog/train/1"


def test_unknown_tasks_and_contradictions():
    with pytest.raises(ConfigError, match="did you mean 'clinical'"):
        load_task("clinic", Settings())
    with pytest.raises(DataError, match=r"format=builtin reads no files, but there is data.train='x.csv'"):
        load_task("clinical", Settings(train="x.csv", format="builtin"))


def test_the_report_can_be_printed_and_stored(tmp_path):
    path = tmp_path / "own.jsonl"
    rows_file(path, *sentences(0, 30))
    path.write_text(path.read_text() + "{broken\n" * 5)
    report = load_task("clinical", Settings(train=str(path))).report
    text = "\n".join(report.lines())
    assert "35 rows read, 24 for train" in text
    assert "5 dropped: not JSON" in text
    assert "line 31: not JSON" in text
    assert "2 more in the stored report" in text
    stored = json.loads(json.dumps(report.to_dict()))
    assert stored["sources"][0]["dropped"] == {"not JSON": 5}
    assert [problem["line"] for problem in stored["sources"][0]["problems"]] == [31, 32, 33, 34, 35]


REAL = {
    "clinical": ([1195, 100, 200], {"train row that stands in tune": 2, "train row that stands in report": 2}),
    "safety": ([1953, 213, 874], {"train row that nearly stands in report": 1}),
    "code": ([2734, 87, 664], {"train row that stands in report": 3, "tune row that nearly stands in report": 3}),
}


@pytest.mark.parametrize("name", REAL)
def test_published_sets(real_data, name):
    """Counts, and nothing of report or tune in what comes before it."""
    sizes, reasons = REAL[name]
    task = load_task(name, Settings(train=str(real_data)))
    assert [len(task.examples(split)) for split in ("train", "tune", "report")] == sizes
    assert account(task.report).items() >= reasons.items()
    ids = [example.id for split in ("train", "tune", "report") for example in task.examples(split)]
    assert len(set(ids)) == len(ids)
    held = {normal_form(e.prompt) for e in task.examples("report") if not e.history}
    if name != "code":  # prompts of code hold their tests, so texts are compared before they are made
        assert not held & {normal_form(e.prompt) for e in task.examples("train") if not e.history}
        index = NearIndex(held, 0.95)
        assert not any(index.similarity(e.prompt) for e in task.examples("train") if not e.history)
