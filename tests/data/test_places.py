"""Where a data setting leads: files, folders of published sets, hub ids, and what is said when nothing is there."""

import sys
from types import SimpleNamespace

import pytest

from gemma_align.data.hub import read_hub
from gemma_align.data.places import Place, find_places, hub_split_names
from gemma_align.data.tasks import TASKS
from gemma_align.errors import DataError

KNOWN = TASKS["clinical"].known


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def test_a_file_is_taken_for_the_split_it_was_given_for(tmp_path):
    make(tmp_path, "any.csv")
    assert find_places(str(tmp_path / "any.csv"), "tune", "auto", KNOWN) == {
        "tune": [Place(tmp_path / "any.csv", "auto")]
    }


@pytest.mark.parametrize("below", ["", "mts_dialog/"])
def test_a_folder_is_searched_for_known_names(tmp_path, below):
    make(
        tmp_path,
        *(f"{below}MTS-Dialog-{name}.csv" for name in ("TrainingSet", "ValidationSet", "TestSet-1-MEDIQA-Chat-2023")),
        f"{below}MTS-Dialog-Augmented.csv",
    )
    places = find_places(str(tmp_path), "train", "auto", KNOWN)
    found = {split: [place.where.name for place in there] for split, there in places.items()}
    assert found == {
        "train": ["MTS-Dialog-TrainingSet.csv"],
        "tune": ["MTS-Dialog-ValidationSet.csv"],
        "report": ["MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv"],
    }
    assert {place.format for there in places.values() for place in there} == {"mts_dialog"}


def test_generic_names_are_known_by_their_folder(tmp_path):
    make(tmp_path, "hh_rlhf_harmless/train.jsonl", "other/train.jsonl", "hh_rlhf_harmless/validation.jsonl")
    known = TASKS["safety"].known
    for start in (tmp_path, tmp_path / "hh_rlhf_harmless"):
        places = find_places(str(start), "train", "auto", known)
        assert [p.where for p in places["train"]] == [tmp_path / "hh_rlhf_harmless/train.jsonl"]
        assert [p.where for p in places["report"]] == [tmp_path / "hh_rlhf_harmless/validation.jsonl"]


def test_a_folder_with_one_data_file_stands_for_it(tmp_path):
    make(tmp_path, "notes.jsonl", "README.md")
    assert find_places(str(tmp_path), "train", "auto", KNOWN) == {"train": [Place(tmp_path / "notes.jsonl", "auto")]}


def test_a_folder_without_known_names_lists_both(tmp_path):
    make(tmp_path, "a.csv", "b.jsonl")
    with pytest.raises(DataError, match=r"MTS-Dialog-TrainingSet.*It has: a.csv, b.jsonl"):
        find_places(str(tmp_path), "train", "auto", KNOWN)


def test_a_misspelled_name_is_answered_with_near_ones(tmp_path):
    make(tmp_path, "notes_train.jsonl")
    with pytest.raises(DataError, match=r"Near names: notes_train.jsonl"):
        find_places(str(tmp_path / "note_train.jsonl"), "train", "auto", KNOWN)
    with pytest.raises(DataError, match=r"there is no folder"):
        find_places(str(tmp_path / "nowhere" / "a.jsonl"), "train", "auto", KNOWN)
    with pytest.raises(DataError, match="no usable path"):
        find_places("~nobody-of-that-name/a.jsonl", "train", "auto", KNOWN)
    with pytest.raises(DataError, match="no usable path"):
        find_places("x" * 5000, "train", "auto", KNOWN)


def test_what_looks_like_a_hub_id_is_one_unless_the_folder_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_places("owner/name:config", "train", "auto", KNOWN) == {"train": [Place("owner/name:config", "auto")]}
    (tmp_path / "owner").mkdir()
    with pytest.raises(DataError, match="no such file or folder"):
        find_places("owner/name", "train", "auto", KNOWN)


def test_hub_split_names():
    assert hub_split_names(["train", "test", "validation", "prompt"]) == {
        "train": "train",
        "tune": "validation",
        "report": "test",
    }
    assert hub_split_names(["default"]) == {}


@pytest.fixture
def hub(monkeypatch):
    calls = []
    sets = {"owner/full": {"train": [{"prompt": "a"}, {"prompt": "b"}], "test": [{"prompt": "c"}]}}
    sets["owner/single"] = {"everything": [{"prompt": "d"}]}

    def load_dataset(name, configuration):
        calls.append((name, configuration))
        if name not in sets:
            raise ConnectionError("offline")
        return sets[name]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return calls


def test_hub_sets_bring_their_splits(hub):
    assert read_hub("owner/full:small", "train") == {
        "train": [(1, {"prompt": "a"}), (2, {"prompt": "b"})],
        "report": [(1, {"prompt": "c"})],
    }
    assert hub == [("owner/full", "small")]
    assert read_hub("owner/single", "report") == {"report": [(1, {"prompt": "d"})]}


def test_hub_failures_say_what_was_tried(hub, monkeypatch):
    with pytest.raises(DataError, match=r"no such file or folder, and as a hub id.*ConnectionError: offline.*builtin"):
        read_hub("owner/none", "train")
    with pytest.raises(DataError, match="splits 'train', 'test' only"):
        read_hub("owner/full", "tune")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="pip install datasets"):
        read_hub("owner/full", "train")
