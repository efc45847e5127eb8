"""Whatever a configuration or a data file holds: a run begins, or one documented error says why and nothing is left.

Through the command line, up to the first update; data goes through a whole short run. `make fuzz` tries many more.
"""

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cases import cases
from tests.data.test_malformed import JSON, TEXTS
from tests.test_config import mutated

from gemma_align.cli import main
from gemma_align.config import load_config, resolved_yaml
from gemma_align.errors import Interrupted
from gemma_align.experiments import runner

SMOKE = Path(__file__).resolve().parents[2] / "configs" / "smoke"
BEGUN = 99
SHORT = settings(max_examples=cases(15), deadline=None, suppress_health_check=list(HealthCheck))
SETTINGS = {name: yaml.safe_load(resolved_yaml(load_config(SMOKE / f"{name}.yml"))) for name in ("sft", "grpo", "ppo")}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Nobody is asked for what isn't here, and relative names are names in an empty folder."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def attempt(*arguments):
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main(["run", *map(str, arguments)])
    return ended.value.code, said.getvalue()


def require_explained(status, said, folder):
    """One of the documented errors, and a folder that keeps nobody from beginning there."""
    assert status == 2, said
    assert said.count("error: ") >= 1
    assert "Traceback" not in said
    assert not folder.exists(), list(folder.iterdir())


@SHORT
@given(name=st.sampled_from(list(SETTINGS)), data=st.data())
def test_any_configuration_begins_or_is_explained(offline, name, data):
    config = data.draw(mutated(SETTINGS[name]))
    folder, path = offline / "run", offline / "config.yml"
    path.write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runner, "train", begun)
        status, said = attempt("--config", path, f"output_dir={folder}", "model.device=cpu")
    if status != BEGUN:
        require_explained(status, said, folder)
    assert not folder.exists()


def begun(session):
    raise Interrupted("begun", BEGUN)


QUICK = (
    "data.num_builtin=4",
    "data.max_tune_examples=1",
    "training.max_steps=1",
    "evaluation.num_examples=1",
    "evaluation.max_new_tokens=2",
    "evaluation.base=false",
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"prompt": TEXTS, "response": TEXTS},
        optional={"rejected": TEXTS, "id": TEXTS | st.integers(), "checks": JSON, "history": JSON, "other": JSON},
    )
    | JSON,
    max_size=8,
)


@SHORT
@given(rows=ROWS, method=st.sampled_from(["sft", "staged_sft_then_dpo", "rejection"]))
def test_any_data_is_trained_on_or_is_explained(offline, rows, method):
    folder, path = offline / "run", offline / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    own = (f"output_dir={folder}", f"data.train={path}", "data.tune=builtin", "data.report=builtin")
    status, said = attempt("--config", SMOKE / f"{method}.yml", *own, *QUICK)
    if status != 0:
        require_explained(status, said, folder)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(offline / "stages", ignore_errors=True)


NO_PLACES = ["", "\0", "a\0b", "\ud800", "/proc/none/run", "/dev/null", "x" * 300, "file/run"]


@pytest.mark.parametrize("where", NO_PLACES)
def test_a_run_folder_that_can_not_be_is_explained(offline, where):
    (offline / "file").write_text("mine")
    status, said = attempt("--config", SMOKE / "sft.yml", f"output_dir={json.dumps(where)}")
    assert status == 2, said
    assert "Traceback" not in said
    assert (offline / "file").read_text() == "mine"
