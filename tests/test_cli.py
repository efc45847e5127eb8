"""The command line: what each command hands on, what people are told, and the documented `python -m src…` form."""

import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from gemma_align import __version__, cli
from gemma_align.config import Config, load_config
from gemma_align.errors import UserError
from gemma_align.types import Example, Sampling, Turn

ROOT = Path(__file__).resolve().parents[1]
SMOKE = str(ROOT / "configs" / "smoke" / "sft.yml")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line here; gives its status, output and error output."""

    def _call(*argv: str, main: Callable[[Sequence[str]], Any] = cli.main) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(argv)
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return _call


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a function in the place of a module that would load torch and weights."""

    def _stand_in(module: str, **functions: Any) -> None:
        fake = ModuleType(module)
        vars(fake).update(functions)
        monkeypatch.setitem(sys.modules, module, fake)

    return _stand_in


@pytest.fixture
def runs(stand_in: Callable[..., None]) -> list[tuple[Config, bool]]:
    """What the runner was asked for."""
    asked: list[tuple[Config, bool]] = []
    stand_in("gemma_align.experiments.runner", run=lambda config, *, resume: asked.append((config, resume)))
    return asked


# --- the whole


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_nothing_heavy_is_imported_for_help(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from gemma_align.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'peft', 'accelerate', 'pydantic', 'numpy', 'yaml'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = python("-c", code, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert "Usage: " in done.stdout


def test_configuration_mistakes_are_found_without_torch(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from gemma_align.cli import main\n"
        f"try: main(['run', '--config', {SMOKE!r}, 'trainin.batch_size=2'])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    assert python("-c", code, cwd=tmp_path).stdout == "2 False\n"


def test_help_and_version(call: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = call("--help")
    assert status == 0
    for command in ("run", "config", "generate", "chat", "export", "evaluate", "judge"):
        assert f"  {command} " in out
    assert call("--version") == (0, f"gemma-align {__version__}\n", "")
    for command in ("run", "generate", "chat", "export", "config", "evaluate", "judge"):
        status, out, _ = call(command, "--help")
        assert status == 0
        assert out.startswith(f"Usage: gemma-align {command}")


@pytest.mark.parametrize(
    "argv", [["fly"], ["run"], ["run", "--config"], ["run", "--confg", "a.yml"], ["generate", "x"]]
)
def test_usage_mistakes_end_with_2(call: Callable[..., tuple[int, str, str]], argv: list[str]) -> None:
    status, _, err = call(*argv)
    assert status == 2
    assert "Error: " in err
    assert "Traceback" not in err


# --- run


def test_run_hands_on_the_configuration(
    call: Callable[..., tuple[int, str, str]], runs: list[tuple[Config, bool]]
) -> None:
    assert call("run", "--config", SMOKE, "seed=7", "--resume", "training.learning_rate=1e-4")[0] == 0
    assert call("run", "-c", SMOKE, "--debug", "-v")[0] == 0
    assert runs == [
        (load_config(SMOKE, ["seed=7", "training.learning_rate=1e-4"]), True),
        (load_config(SMOKE, debug=True), False),
    ]


def test_the_runner_s_own_command_is_the_same(
    call: Callable[..., tuple[int, str, str]], runs: list[tuple[Config, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("--config", SMOKE, "seed=7", main=cli.runner_main)[0] == 0
    monkeypatch.setattr(sys, "argv", ["runner.py", "--config", SMOKE, "seed=7"])
    with pytest.raises(SystemExit):
        cli.runner_main()
    assert runs == [(load_config(SMOKE, ["seed=7"]), False)] * 2


def test_a_wrong_configuration_is_explained_and_nothing_is_run(
    call: Callable[..., tuple[int, str, str]], runs: list[tuple[Config, bool]]
) -> None:
    status, out, err = call("run", "--config", SMOKE, "seed=x", "bathc_size=3", "what")
    assert (status, out, runs) == (2, "", [])
    heading, *lines = err.splitlines()
    assert heading.startswith("error: ")
    assert heading.endswith("smoke/sft.yml can't be used, 3 problems:")
    assert [line.split(":")[0] for line in lines] == [
        "  command line  wanted key=value, given 'what'",
        "  command line  bathc_size",
        "  command line  seed",
    ]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("wanted this, given that"), 2, "error: wanted this, given that\n"),
        (ModuleNotFoundError("No module named 'torch._x'", name="torch._x"), 2, "error: the Python package 'torch' is"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_how_a_run_can_end(
    call: Callable[..., tuple[int, str, str]],
    stand_in: Callable[..., None],
    error: BaseException,
    status: int,
    message: str,
) -> None:
    def fail(config: Config, *, resume: bool) -> None:
        raise error

    stand_in("gemma_align.experiments.runner", run=fail)
    ended, out, err = call("run", "--config", SMOKE)
    assert (ended, out) == (status, "")
    assert err.startswith(message)
    assert "Traceback" not in err


@pytest.mark.parametrize("error", [RuntimeError("a fault"), ModuleNotFoundError("x", name="gemma_align.nowhere")])
def test_faults_of_the_program_keep_their_traceback(stand_in: Callable[..., None], error: Exception) -> None:
    def fail(config: Config, *, resume: bool) -> None:
        raise error

    stand_in("gemma_align.experiments.runner", run=fail)
    with pytest.raises(type(error)):
        cli.main(["run", "--config", SMOKE])


# --- config show


def test_config_show_prints_what_would_be_run(call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    status, out, err = call("config", "show", "--config", SMOKE, "model.lora.r=3")
    assert (status, err) == (0, "")
    assert yaml.safe_load(out)["model"]["lora"]["r"] == 3
    shown = tmp_path / "shown.yml"
    shown.write_text(out)
    assert load_config(shown) == load_config(SMOKE, ["model.lora.r=3"])
    assert yaml.safe_load(call("config", "show", "--config", SMOKE, "--debug")[1])["debug"] is True


def test_config_show_explains(call: Callable[..., tuple[int, str, str]]) -> None:
    status, out, err = call("config", "show", "--config", SMOKE.replace("sft.yml", "stf.yml"))
    assert (status, out) == (2, "")
    assert "did you mean" in err
    assert "smoke/sft.yml'" in err


# --- generate, chat, export


class FakePolicy:
    """Answers with what it was asked, and remembers it."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[Example], int, Sampling]] = []

    def generate(self, examples: Sequence[Example], num_samples: int, sampling: Sampling) -> SimpleNamespace:
        self.asked.append((list(examples), num_samples, sampling))
        return SimpleNamespace(texts=tuple(f"re: {example.prompt}" for example in examples))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, FakePolicy, list[tuple[Any, ...]]]:
    """The module under test with a stand-in for the policy, the policy, and how it was made."""
    from gemma_align.experiments import use as module

    policy, made = FakePolicy(), []

    class Maker:
        @staticmethod
        def from_run(run: Path, *, base: bool) -> FakePolicy:
            made.append(("run", run, base))
            return policy

        @staticmethod
        def load(config: Any) -> FakePolicy:
            made.append(("checkpoint", config.checkpoint, config.lora))
            return policy

    monkeypatch.setattr(module, "Policy", Maker)
    return module, policy, made


def test_generate_puts_prompts_as_the_run_s_task_does(
    call: Callable[..., tuple[int, str, str]], use: tuple[Any, FakePolicy, list[Any]], tmp_path: Path
) -> None:
    _, policy, made = use
    (tmp_path / "config.yml").write_text("task: clinical\nstages: [{method: sft}]\n")
    argv = ["generate", str(tmp_path), "--prompt", "Summarize this.", "--prompt", "And this.\n\nClinical note:\n"]
    status, out, _ = call(*argv, "--max-tokens", "9", "--temperature", "0.5", "--seed", "3", "--base")
    assert (status, out) == (0, "re: Summarize this.\n\nre: And this.\n")
    assert made == [("run", tmp_path, True)]
    ((examples, num_samples, sampling),) = policy.asked
    assert [(e.prompt, e.cue) for e in examples] == [
        ("Summarize this.", "Clinical note:"),
        ("And this.", "Clinical note:"),
    ]
    assert (num_samples, sampling) == (1, Sampling(max_tokens=9, temperature=0.5, seed=3))


def test_generate_takes_a_checkpoint_and_standard_input(
    call: Callable[..., tuple[int, str, str]],
    use: tuple[Any, FakePolicy, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, policy, made = use
    monkeypatch.setattr(sys, "stdin", io.StringIO("from a pipe\n"))
    assert call("generate", "tiny", "--prompt", "-")[1] == "re: from a pipe\n"
    assert made == [("checkpoint", "tiny", None)]
    ((examples, _, sampling),) = policy.asked
    assert (examples[0].cue, sampling.temperature) == ("", 0.0)


def test_an_empty_prompt_is_refused_before_weights_are_loaded(
    call: Callable[..., tuple[int, str, str]], use: tuple[Any, FakePolicy, list[Any]]
) -> None:
    status, _, err = call("generate", "tiny", "--prompt", " ")
    assert (status, use[2]) == (2, [])
    assert err == "error: the prompt is empty; wanted some text to answer\n"


def test_chat_remembers_the_conversation_until_the_input_ends(use: tuple[Any, FakePolicy, list[Any]]) -> None:
    module, policy, _ = use
    lines = iter(["Hello", "", "Again "])
    said: list[str] = []

    def ask(_: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    module.chat("tiny", seed=5, ask=ask, say=said.append)
    assert said[1:] == ["re: Hello", "re: Again"]
    (first, _, sampling), (second, _, later) = policy.asked
    assert first[0].history == ()
    assert second[0].history == (Turn("user", "Hello"), Turn("assistant", "re: Hello"))
    assert (second[0].prompt, second[0].cue) == ("Again", "Assistant:")
    assert (sampling.seed, later.seed) == (5, 6)


def test_chat_command_ends_with_the_input(
    call: Callable[..., tuple[int, str, str]],
    use: tuple[Any, FakePolicy, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello\n"))
    status, out, _ = call("chat", "tiny", "--max-tokens", "4")
    assert status == 0
    assert "re: Hello" in out
    assert use[1].asked[0][2].max_tokens == 4


def test_export_hands_on_and_says_where(
    call: Callable[..., tuple[int, str, str]], stand_in: Callable[..., None]
) -> None:
    asked: list[tuple[Path, Path]] = []

    def export_merged(run: Path, target: Path) -> Path:
        asked.append((run, target))
        return target

    stand_in("gemma_align.models.export", export_merged=export_merged)
    status, out, _ = call("export", "runs/a", "--merged", "out/b")
    assert (status, out) == (0, "The merged model is in out/b\n")
    assert asked == [(Path("runs/a"), Path("out/b"))]


# --- evaluate


@pytest.fixture
def evaluations(stand_in: Callable[..., None]) -> list[tuple[Config, dict[str, Any]]]:
    """What an evaluation was asked for."""
    asked: list[tuple[Config, dict[str, Any]]] = []
    stand_in("gemma_align.experiments.evaluation", evaluate_models=lambda config, **more: asked.append((config, more)))
    return asked


def test_evaluate_hands_on_what_was_asked_for(
    call: Callable[..., tuple[int, str, str]], evaluations: list[tuple[Config, dict[str, Any]]]
) -> None:
    assert call("evaluate", "--config", SMOKE)[0] == 0
    assert call("evaluate", "-c", SMOKE, "seed=7", "--adapter", "runs/a", "--task", "all", "--data", "sets")[0] == 0
    assert (
        call("evaluate", "-c", SMOKE, "--task", "code", "--data", "m: y.jsonl", "--format", "jsonl", "--out", "o")[0]
        == 0
    )
    (base, alone), (seeded, everything), (code, own) = evaluations
    assert base == load_config(SMOKE)
    assert alone == {
        "adapter": None, "tasks": ("clinical",), "neutral": False, "data": None, "out": Path("runs/evaluations/sft"),
    }  # fmt: skip
    assert seeded.seed == 7
    assert everything == {
        "adapter": Path("runs/a"), "tasks": ("clinical", "safety", "code"), "neutral": True, "data": "sets",
        "out": Path("runs/evaluations/a"),
    }  # fmt: skip
    assert (code.task, code.data.format) == ("code", "jsonl")
    assert (own["tasks"], own["data"], own["out"]) == (("code",), "m: y.jsonl", Path("o"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "poetry"], "error: --task: wanted clinical, safety, code or all, given 'poetry'"),
        (["--format", "jsonl"], "error: --format jsonl: wanted --data PATH and a single task"),
        (
            ["--task", "all", "--data", "x", "--format", "mbpp"],
            "error: --format mbpp: wanted --data PATH and a single task",
        ),
        (
            ["--data", "x", "--format", "mbpp"],
            "data.format: wanted a format of the task 'clinical', given 'mbpp' (code)",
        ),
        (["--data", "x", "--format", "xml"], "data.format: wanted auto, builtin"),
        (["evaluation.few_shots=1"], "evaluation.few_shots: no such setting"),
    ],
)
def test_evaluate_explains(
    call: Callable[..., tuple[int, str, str]],
    evaluations: list[tuple[Config, dict[str, Any]]],
    arguments: list[str],
    message: str,
) -> None:
    status, out, err = call("evaluate", "--config", SMOKE, *arguments)
    assert (status, out, evaluations) == (2, "", [])
    assert message in err
    assert "Traceback" not in err


# --- judge


def test_judge_hands_on_who_judges(
    call: Callable[..., tuple[int, str, str]], stand_in: Callable[..., None], tmp_path: Path
) -> None:
    asked: list[tuple[Any, ...]] = []
    stand_in(
        "gemma_align.experiments.judging",
        judge_runs=lambda run, other, settings, **more: asked.append((run, other, settings, more)),
    )
    shutil.copy(SMOKE, tmp_path / "config.yml")
    shutil.copy(ROOT / "configs" / "defaults.yml", tmp_path.parent / "defaults.yml")
    run = str(tmp_path)
    url = "http://localhost:8000/v1"
    assert call("judge", run, "--url", url + "/", "--model", "m: x", "--api-key-env", "KEY")[0] == 0
    assert call("judge", run, "other", "-c", SMOKE, "--model", "tiny", "--num-examples", "3")[0] == 0
    (_, nobody, endpoint, defaults), (_, other, local, more) = asked
    assert (nobody, other) == (None, Path("other"))
    assert (endpoint.url, endpoint.model, endpoint.api_key_env) == (url, "m: x", "KEY")
    assert (local.url, local.model, local.concurrency) == (None, "tiny", 4)
    assert (defaults, more) == (
        {"against": "base", "num_examples": None},
        {"against": "base", "num_examples": 3},
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: who is to judge? Give --model"),
        (["--url", "http://x/v1"], "evaluation.judge.model: wanted text, given nothing"),
        (["--model", "m", "--url", "https://u:pw@x/v1"], "a key belongs into the environment variable"),
        (["--model", "m", "--url", "x"], "a URL starts with http:// or https://"),
    ],
)
def test_judge_explains(call: Callable[..., tuple[int, str, str]], arguments: list[str], message: str) -> None:
    status, out, err = call("judge", "runs/a", "--config", SMOKE, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert call("judge", "runs/nowhere", "--model", "m")[2].startswith("error: runs/nowhere/config.yml does not exist")


# --- python -m src.experiments.runner, from a clone in which nothing was installed


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A bare clone's src and configs."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("src", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    return tmp_path


def test_documented_command_uses_the_clone_s_own_package(clone: Path) -> None:
    (clone / "src" / "gemma_align" / "experiments" / "runner.py").write_text(
        "def run(config, *, resume): print(__file__, config.output_dir, config.seed, config.debug, resume)\n"
    )
    arguments = ["--config", "configs/smoke/sft.yml", "seed=3", "--debug", "--resume"]
    done = python("-m", "src.experiments.runner", *arguments, cwd=clone)
    assert (done.returncode, done.stderr) == (0, "")
    runner = clone / "src" / "gemma_align" / "experiments" / "runner.py"
    assert done.stdout.split() == [str(runner), "runs/smoke_sft-debug", "3", "True", "True"]


def test_documented_command_explains_like_the_installed_one(clone: Path) -> None:
    shim = python("-m", "src.experiments.runner", "--config", "configs/smoke/sft.yml", "sed=3", cwd=clone)
    assert shim.returncode == 2
    assert shim.stderr == (
        "error: configs/smoke/sft.yml can't be used, a problem:\n"
        "  command line  sed: no such setting; did you mean 'seed'?\n"
    )
    assert python("-m", "src.experiments.runner", "--help", cwd=clone).stdout.startswith("Usage: gemma-align run")


def test_documented_command_without_dependencies_says_what_to_do(clone: Path) -> None:
    without_packages = ["-S", "-m", "src.experiments.runner", "--config", "configs/smoke/sft.yml"]
    done = python(*without_packages, cwd=clone)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "error: the Python package 'typer' is missing. Run `make setup`, then .venv/bin/python"
    )
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").touch()
    assert (
        "`make setup` was run here already; use its Python: .venv/bin/python"
        in python(*without_packages, cwd=clone).stderr
    )
