"""The configuration: schema, files, overrides, and what people are told when something is wrong."""

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from tests.cases import cases

from gemma_align.config import Config, Stage, debug_config, load_config, resolved_yaml
from gemma_align.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NO_RUNS = ("defaults.yml", "studies")
SHIPPED = sorted(path for path in CONFIGS.rglob("*.yml") if not {path.name, path.parent.name} & {*NO_RUNS})
MINIMAL = "task: clinical\nstages: [{method: sft}]\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file into the working folder; by default it is run.yml."""
    monkeypatch.chdir(tmp_path)

    def _write(text: str | bytes, name: str = "run.yml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


def problems(path: Path | str, *overrides: str) -> list[str]:
    """The lines of the error that loading gives, less the heading."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    heading, *lines = str(caught.value).splitlines()
    assert "can't be used" in heading
    assert all(line.startswith("  ") for line in lines)
    return [line.removeprefix("  ") for line in lines]


def sections_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for option in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(option, type) and issubclass(option, BaseModel):
                yield from sections_of(option)


# --- what is shipped


def test_defaults_file_holds_every_setting_with_the_schema_s_default() -> None:
    written = yaml.safe_load((CONFIGS / "defaults.yml").read_text())
    loaded = load_config(CONFIGS / "defaults.yml", ["task=clinical", "stages=[{method: sft}]", "output_dir=runs/x"])
    bare = Config(task="clinical", stages=(Stage(method="sft"),), output_dir="runs/x")
    assert loaded == bare
    for name, value in bare.model_dump(exclude={"task", "stages", "output_dir"}).items():
        assert set(written[name]) == set(value) if isinstance(value, dict) else name in written
    assert set(written["model"]["lora"]) == set(bare.model_dump()["model"]["lora"])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_shipped_configuration_is_valid_and_round_trips(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    copied = tmp_path / "copy.yml"
    copied.write_text(resolved_yaml(config))
    assert load_config(copied) == config
    assert debug_config(config).debug


def test_shipped_configurations_are_there_and_have_run_folders_of_their_own() -> None:
    names = {str(path.relative_to(CONFIGS)) for path in SHIPPED}
    assert {"sft_lora_270m.yml", "smoke/sft.yml"} <= names
    folders = [load_config(path).output_dir for path in SHIPPED]
    assert len(set(folders)) == len(folders)


def test_every_setting_says_what_it_is() -> None:
    undocumented = [
        f"{section.__name__}.{name}"
        for section in set(sections_of(Config)) | set(sections_of(Stage))
        for name, field in section.model_fields.items()
        if not field.description
    ]
    assert undocumented == []


# --- what is accepted


def test_files_extend_each_other_mappings_merge_and_lists_are_replaced(write: Write) -> None:
    write(
        "training: {batch_size: 4, num_epochs: 3}\nmodel: {lora: {target_modules: [k_proj, o_proj], r: 2}}\n", "a.yml"
    )
    write("extends: a.yml\ntraining: {num_epochs: 2}\ntracking: {trackers: [wandb, aim]}\n", "deep/../b.yml")
    path = write(f"extends: ../b.yml\n{MINIMAL}model: {{lora: {{target_modules: [q_proj]}}}}\n", "sub/run.yml")
    config = load_config(path, ["tracking.trackers=[]", "training.num_epochs=5", "training.num_epochs=6"])
    assert (config.training.batch_size, config.training.num_epochs) == (4, 6)
    assert config.model.lora is not None
    assert (config.model.lora.r, config.model.lora.target_modules) == (2, ("q_proj",))
    assert config.tracking.trackers == ()


def test_null_and_mapping_replace_each_other(write: Write) -> None:
    write("model: {lora: null}\n", "full.yml")
    path = write(f"extends: full.yml\n{MINIMAL}")
    assert load_config(path).model.lora is None
    lora = load_config(path, ["model.lora.r=4"]).model.lora
    assert lora is not None
    assert (lora.r, lora.alpha) == (4, 16)
    assert load_config(write(MINIMAL), ["model.lora={r: 3}", "model.lora=null"]).model.lora is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E-3", 0.001),
        ("+2e-2", 0.02),
        (".5", 0.5),
        ("5.", 5.0),
        ("1", 1.0),
        ("010", 10.0),
        ("0x10", 16.0),
        ("0o10", 8.0),
    ],
)
def test_numbers_are_read_by_yaml_1_2(write: Write, text: str, value: float) -> None:
    assert load_config(write(f"{MINIMAL}training: {{learning_rate: {text}}}")).training.learning_rate == value
    assert load_config(write(MINIMAL), [f"training.learning_rate={text}"]).training.learning_rate == value


@pytest.mark.parametrize("text", ["no", "on", "12:30", "1_000", "2024-01-01", "=", "<<", "0b1"])
def test_what_only_yaml_1_1_takes_for_something_else_stays_text(write: Write, text: str) -> None:
    assert load_config(write(MINIMAL), [f"tracking.project={text}"]).tracking.project == text


@pytest.mark.parametrize("text", ["1e-3", "no", "null", "1_000", "010", "0o7", "~x", "a: b", "é\u2028x", " x", "12:30"])
def test_resolved_text_stays_text_also_for_yaml_1_1(write: Write, text: str) -> None:
    config = Config(task="code", stages=(Stage(method="sft"),), output_dir=text)
    resolved = resolved_yaml(config)
    expected = os.path.expanduser(text)
    assert load_config(write(resolved)).output_dir == expected
    assert yaml.safe_load(resolved)["output_dir"] == expected


def test_run_folder_is_named_after_the_file_and_debug_has_its_own(write: Write) -> None:
    path = write(MINIMAL, "configs/mine.yml")
    assert load_config(path).output_dir == "runs/mine"
    assert load_config(path, debug=True).output_dir == "runs/mine-debug"
    assert load_config(path, ["debug=true"]).output_dir == "runs/mine-debug"
    assert load_config(path, ["output_dir=here"], debug=True).output_dir == "here"
    assert load_config(write(MINIMAL + "output_dir: there/\n"), debug=True).output_dir == "there-debug"
    again = write(resolved_yaml(load_config(path, debug=True)), "again.yml")
    assert load_config(again) == load_config(path, debug=True)


def test_home_is_expanded(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    config = load_config(write(MINIMAL), ["output_dir=~/runs/a", "data.train=~/notes.csv"])
    assert (config.output_dir, config.data.train) == ("/home/someone/runs/a", "/home/someone/notes.csv")


def test_windows_line_ends_and_a_byte_order_mark_are_fine(write: Write) -> None:
    assert load_config(write(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())).task == "clinical"


def test_settings_can_not_be_changed() -> None:
    config = Config(task="clinical", stages=(Stage(method="sft"),))
    with pytest.raises(ValidationError, match="frozen"):
        config.training.batch_size = 3


# --- stages


def test_a_stage_s_own_settings_replace_the_common_ones_and_nothing_else(write: Write) -> None:
    path = write(
        "task: clinical\ntraining: {batch_size: 4, learning_rate: 1e-4}\n"
        "stages:\n- method: sft\n- method: sft\n  training: {learning_rate: 5e-5}\n  data: {num_builtin: 7}\n"
    )
    config = load_config(path, ["stages.0.training.num_epochs=3"])
    first, second = (config.for_stage(stage) for stage in config.stages)
    assert (first.training.learning_rate, first.training.batch_size, first.training.num_epochs) == (1e-4, 4, 3)
    assert (second.training.learning_rate, second.training.batch_size, second.training.num_epochs) == (5e-5, 4, 1)
    assert (first.data.num_builtin, second.data.num_builtin) == (400, 7)
    assert yaml.safe_load(resolved_yaml(config))["stages"] == [
        {"method": "sft", "training": {"num_epochs": 3}},
        {"method": "sft", "training": {"learning_rate": 5e-5}, "data": {"num_builtin": 7}},
    ]


def test_a_stage_s_own_deep_setting_leaves_its_neighbours_alone(write: Write) -> None:
    path = write(
        "task: clinical\nreward:\n  alpha: 0\n  constraints:\n    toxicity: {weight: 3.0, threshold: 0.5}\n"
        "    length: {max_words: 40}\nstages:\n- method: grpo\n"
        "  reward: {constraints: {toxicity: {threshold: 0.25}}}\n"
    )
    config = load_config(path)
    staged = config.for_stage(config.stages[0]).reward
    assert (staged.constraints.toxicity.threshold, staged.constraints.toxicity.weight) == (0.25, 3.0)
    assert (staged.alpha, staged.constraints.length.max_words) == (0, 40)
    assert config.reward.constraints.toxicity.threshold == 0.5


def test_a_stage_that_contradicts_the_rest_is_found_where_it_does(write: Write) -> None:
    path = write("task: clinical\nreward: {alpha: 0}\nstages:\n- method: sft\n- method: grpo\n  reward:\n    beta: 0\n")
    message = "wanted reward.alpha, reward.beta or reward.programmatic above 0, or a term, given none of them"
    assert problems(path) == [f"run.yml:7  stages.1.reward.beta: {message}"]


def test_a_term_stands_there_once(write: Write) -> None:
    terms = "[{call: 'own:short'}, {call: 'own:kind'}, {call: 'own:short', weight: 2.0}]"
    path = write(f"task: clinical\nstages:\n- method: sft\nreward:\n  terms: {terms}\n")
    message = "wanted each call once, given own:short more than once: give one of them the sum of the weights"
    assert problems(path) == [f"run.yml:5  reward.terms: {message}"]


# --- debug


def test_debug_cuts_every_count_and_raises_none(write: Write) -> None:
    text = (
        f"{MINIMAL}training: {{eval_every: 50, max_steps: 1}}\nevaluation: {{few_shot: 5, num_shown: 0}}\n"
        "checkpoint: {every: 100}\ntracking: {trackers: [wandb], tensorboard: false}\n"
    )
    path = write(text.replace("sft}", "sft, training: {max_steps: 900, learning_rate: 0.1}}"))
    normal, small = load_config(path), load_config(path, debug=True)
    assert (small.training.max_steps, small.training.batch_size, small.training.eval_every) == (1, 2, 2)
    assert (small.evaluation.num_examples, small.evaluation.few_shot, small.evaluation.num_shown) == (3, 1, 0)
    assert (small.checkpoint.every, small.data.max_train_examples) == (2, 6)
    assert (small.tracking.trackers, small.tracking.tensorboard) == ((), False)
    stage = small.for_stage(small.stages[0])
    assert (stage.training.max_steps, stage.training.learning_rate) == (3, 0.1)
    assert small.model == normal.model
    assert debug_config(small) == small


# --- what is refused, and how


def test_everything_wrong_is_said_at_once_with_its_place(write: Write) -> None:
    write("seed: one\nseed: -4\ntracking: {trackers: [wndb]}\n", "base.yml")
    path = write(
        """\
extends: base.yml
task: clinicl
stages:
  - method: sftt
    training: {learning_rate: -1}
model:
  precision: fp16
  lora:
    r: "8"
    target_modules: []
    rr: 3
learning_rate: 1e-4
training:
  batch-size: 8
  adam_betas: [0.9]
reward: {alpha: 0, beta: 0}
"""
    )
    assert problems(path, "foo", "rl.kl_coef=-1", "rl.group_size=2.0", "data.max_train_examples=lots") == [
        "base.yml:2  seed: given twice, first in line 1; keep one",
        "base.yml:3  tracking.trackers.0: wanted aim, clearml, comet_ml, dvclive, mlflow, swanlab, trackio or wandb, "
        "given 'wndb'; did you mean 'wandb'?",
        "command line  wanted key=value, given 'foo'",
        "command line  data.max_train_examples: wanted a whole number of at least 1 or null, given the text 'lots'",
        "command line  rl.group_size: wanted a whole number of at least 1, given 2.0",
        "command line  rl.kl_coef: wanted a number of at least 0, given -1",
        "run.yml:2  task: wanted clinical, safety or code, given 'clinicl'; did you mean 'clinical'?",
        "run.yml:4  stages.0.method: wanted sft, dpo, grpo, ppo or rejection, given 'sftt'; did you mean 'sft'?",
        "run.yml:5  stages.0.training.learning_rate: wanted a number above 0, given -1",
        "run.yml:7  model.precision: wanted auto, fp32 or bf16, given 'fp16': "
        "Gemma 3's activations overflow half precision; did you mean 'bf16'?",
        "run.yml:9  model.lora.r: wanted a whole number of at least 1, given the text '8'",
        "run.yml:10  model.lora.target_modules: wanted a list with at least 1 of: q_proj, k_proj, v_proj, o_proj, "
        "gate_proj, up_proj or down_proj, given []",
        "run.yml:11  model.lora.rr: no such setting; did you mean 'r'?",
        "run.yml:12  learning_rate: no such setting; did you mean 'training.learning_rate'?",
        "run.yml:14  training.batch-size: no such setting; did you mean 'batch_size'?",
        "run.yml:15  training.adam_betas.1: wanted a number of at least 0 and below 1, given nothing",
    ]


def test_what_is_missing_is_named(write: Write) -> None:
    missing, task = problems(write("# nothing yet\n"))
    assert missing.startswith("run.yml:1  stages: wanted a list with at least 1 of: a mapping with method, ")
    assert task == "run.yml:1  task: wanted clinical, safety or code, given nothing"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainning.batch_size=2", "trainning: no such setting; did you mean 'training'?"),
        ("stages.0.trainig.batch_size=2", "stages.0.trainig: no such setting; did you mean 'training'?"),
        ("model.lora.alhpa=2", "model.lora.alhpa: no such setting; did you mean 'alpha'?"),
        ("alpha=1", "alpha: no such setting; did you mean 'model.lora.alpha'?"),
        ("rl.gama=1", "rl.gama: no such setting; there are num_prompts, group_size, max_response_tokens, "
         "overlong_buffer, temperature, kl_coef, clip_eps"),
        ("seed=true", "seed: wanted a whole number of at least 0 and below 4294967296, given true"),
        ("debug=yes", "debug: wanted true or false, given the text 'yes'"),
        ("debug=1", "debug: wanted true or false, given 1"),
        ("output_dir=", "output_dir: wanted text, given nothing (null)"),
        ("output_dir=''", "output_dir: wanted text, given ''"),
        ("seed.x=1", "seed: wanted a whole number of at least 0 and below 4294967296, given a mapping"),
        ("data.train=[a, b]", "data.train: wanted text, given ['a', 'b']"),
        ("training.learning_rate=.inf", "training.learning_rate: wanted a number above 0, given inf"),
        ("training.learning_rate=1e999", "training.learning_rate: wanted a number above 0, given inf"),
        ("training.learning_rate=.nan", "training.learning_rate: wanted a number above 0, given nan"),
        ("training.warmup_fraction=1", "training.warmup_fraction: wanted a number of at least 0 and below 1, given 1"),
        ("evaluation.confidence=95", "evaluation.confidence: wanted a number above 0.5 and below 1, given 95"),
        ("training.adam_betas=[1, 2, 3]", "training.adam_betas: wanted a list of 2 (a number of at least 0 and below "
         "1, a number of at least 0 and below 1), given [1, 2, 3]"),
        ("stages=[]", "stages: wanted a list with at least 1 of: a mapping with method, training, data, dpo, grpo, "
         "ppo, rl, reward, given []"),
        ("stages.1.method=sft", "stages.1: wanted the number of an item, from 0 to 0, given 1"),
        ("stages.method=sft", "stages.method: wanted the number of an item, from 0 to 0, given 'method'"),
        ("data.train=[", "data.train: not valid YAML: expected the node content, but found '<stream end>'"),
        ("data.train=a: b: c", "data.train: not valid YAML: mapping values are not allowed here"),
        ("data.train={a: 1, a: 2}", "data.train: given twice; keep one"),
        ("extends=other.yml", "extends: wanted in a file only; name the file with --config"),
        ("other.yml", "wanted key=value, given 'other.yml'; did you mean --config other.yml?"),
        ("=3", "wanted key=value with a key such as training.batch_size, given '=3'"),
        ("a..b=3", "wanted key=value with a key such as training.batch_size, given 'a..b=3'"),
        ("seed=" + "9" * 5000, "seed: too large a number: " + "9" * 40 + "…"),
        ("seed=" + "9" * 100, "seed: wanted a whole number of at least 0 and below 4294967296, "
         "given a number of more than 60 digits"),
    ],
)  # fmt: skip
def test_an_override_that_can_not_be_used(write: Write, override: str, message: str) -> None:
    assert problems(write(MINIMAL), override) == [f"command line  {message}"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["evaluation.max_new_tokens=64", "model.max_length=64"],
            "evaluation.max_new_tokens: wanted fewer than model.max_length=64, or no prompt fits, given 64",
        ),
        (
            ["rl.max_response_tokens=4096"],
            "rl.max_response_tokens: wanted fewer than model.max_length=1024, or no prompt fits, given 4096",
        ),
        (
            ["evaluation.few_shot=2", "evaluation.base=false"],
            "evaluation.few_shot: wanted evaluation.base=true, whose prompts the 2 worked examples are for, "
            "given false",
        ),
        (
            ["stages.0.method=rejection", "rl.group_size=1"],
            "rl.group_size: wanted at least 2 for rejection, which holds responses against each other, given 1",
        ),
        (
            [
                "stages.0.method=grpo",
                "model.lora=null",
                "reward.constraints.fluency.weight=0.1",
                "rl.temperature=0.5",
            ],
            "rl.temperature: wanted 1, as at any other temperature reward.constraints.fluency reads the base model "
            "itself, and model.lora=null trains it, given 0.5",
        ),
        (
            ["stages.0.method=dpo", "dpo.loss=ipo", "dpo.label_smoothing=0.1"],
            "dpo.label_smoothing: wanted 0, as the loss ipo has no labels to smooth, given 0.1",
        ),
        (
            ["reward.combine=shaped", "reward.alpha=0"],
            "reward.combine: wanted reward.alpha above 0, as it is about the encoder, or weighted, given 'shaped'",
        ),
        *(
            (
                ["reward.combine=lagrangian", *given],
                f"{key}: wanted within reward.lagrangian.low={low} and reward.lagrangian.high={high}, between which "
                f"reward.combine=lagrangian moves it, given {beta}",
            )
            for given, key, low, high, beta in (
                (["reward.beta=0"], "reward.beta", 0.1, 10, 0),
                (["reward.beta=50"], "reward.beta", 0.1, 10, 50),
                (["reward.lagrangian.low=5", "reward.lagrangian.high=2"], "reward.beta", 5, 2, 1),
            )
        ),
        (
            ["stages.0.grpo.num_passes=3"],
            "stages.0.grpo: wanted settings that a stage of sft reads, given the section `grpo`",
        ),
        (
            ["stages.0.rl.group_size=3"],
            "stages.0.rl: wanted settings that a stage of sft reads, given the section `rl`",
        ),
        (
            ["checkpoint.measure=reward_total"],
            "checkpoint.measure: wanted loss or a measure of the task, as a stage of sft samples no responses that "
            "have another, given 'reward_total'",
        ),
        (
            ["stages.0.method=grpo", "rl.overlong_buffer=49"],
            "rl.overlong_buffer: wanted at most rl.max_response_tokens=48, which it is a part of, given 49",
        ),
        (
            ["stages.0.method=ppo", "model.lora=null", "ppo.critic=own"],
            "ppo.critic: wanted trunk, as an own critic stands on the frozen base and model.lora=null trains it, "
            "given own",
        ),
        (
            ["stages.0.method=ppo", "ppo.kl_target=6", "rl.kl_coef=0"],
            "ppo.kl_target: wanted rl.kl_coef above 0, which it multiplies, or null, given 6",
        ),
        (
            ["stages.0.method=ppo", "ppo.unfinished_score=-1", "ppo.unfinished_penalty=0.5"],
            "ppo.unfinished_penalty: wanted 0 beside ppo.unfinished_score, which replaces it, given 0.5",
        ),
        (
            ["stages.0.method=grpo", "monitor.not_finite.action=rewind", "checkpoint.every=0"],
            "checkpoint.every: wanted above 0, as a watch of `monitor` goes back to checkpoints (action: rewind), "
            "given 0",
        ),
        (
            ["evaluation.few_shot=3", "data.max_train_examples=2"],
            "evaluation.few_shot: wanted at most the 2 training examples there are, given 3",
        ),
        (
            ["data.format=mts_dialog"],
            "data.format: wanted a file or hub id in data.train for 'mts_dialog', given builtin data only",
        ),
        (
            ["data.format=builtin", "data.report=x.csv"],
            "data.format: wanted auto or the format of 'x.csv', given 'builtin'",
        ),
        (
            ["data.balance=harmful"],
            "data.balance: wanted null, as only requests of the task safety are labelled so, given 'harmful'",
        ),
        (
            ["data.format=mbpp", "data.train=x.jsonl"],
            "data.format: wanted a format of the task 'clinical', given 'mbpp' (code)",
        ),
    ],
)
def test_contradictions_are_refused(write: Write, overrides: list[str], message: str) -> None:
    assert problems(write(MINIMAL), *overrides) == [f"command line  {message}"]


def test_contradictions_are_refused_in_python_too() -> None:
    with pytest.raises(ValidationError, match=r"reward\.alpha: wanted reward\.alpha, reward\.beta or"):
        Config.model_validate({"task": "code", "stages": [{"method": "sft"}], "reward": {"alpha": 0, "beta": 0.0}})


def test_contradictions_show_beside_other_problems_unless_those_may_be_their_cause(write: Write) -> None:
    path = write(MINIMAL)
    both = problems(path, "reward.alpha=0", "reward.beta=0", "data.num_builtin=0")
    assert [line.split(": wanted")[0] for line in both] == [
        "command line  data.num_builtin",
        "command line  reward.alpha",
    ]
    assert len(problems(path, "data.format=mts_dialog", "data.trian=x.csv")) == 1
    assert len(problems(path, "data.format=mts_dialog", "data.train=7")) == 1
    assert len(problems(path, "data.format=mbpp", "data.train=x", "taks=code")) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: b: c\n", "run.yml:1  not valid YAML: mapping values are not allowed here"),
        ("\n\ttask: x\n", "run.yml:2  not valid YAML: found character '\\t' that cannot start any token"),
        ("- a\n- b\n", "run.yml:1  wanted settings as `name: value`, given ['a', 'b']"),
        ("just words", "run.yml:1  wanted settings as `name: value`, given 'just words'"),
        (
            b"task: caf\xe9\n",
            "run.yml:1  wanted UTF-8 text, given the byte 0xe9; save it as UTF-8",
        ),
        (
            "task: &a clinical\nb: *a\n",
            "run.yml:1  not valid YAML: anchors are not supported; share settings with `extends`, "
            "quote text that looks like one",
        ),
        (
            "\ntask: !!python/name:os.system x\n",
            "run.yml:2  not valid YAML: tags are not supported; share settings with `extends`, "
            "quote text that looks like one",
        ),
        ("[" * 5000, "run.yml:1  not valid YAML: nested too deeply"),
        ("a: 1\n---\nb: 2\n", "run.yml:2  not valid YAML: but found another document"),
        ("extends: [a.yml]\n" + MINIMAL, "run.yml:1  extends: wanted the name of a file, given ['a.yml']"),
        ("extends: run.yml\n", "run.yml:1  extends: the files extend each other: run.yml -> run.yml"),
        ("extends: rum.yml\n", "run.yml:1  extends: rum.yml does not exist; did you mean 'run.yml'?"),
        ("extends: .\n", "run.yml:1  extends: . is a folder; in . there are run.yml"),
        (MINIMAL + "? [a, b]\n: 3\n", "run.yml:3  wanted a name before the colon"),
        ("#" * (1 << 20) + "\n", "run.yml  this file is larger than 1 MiB, so it is no configuration"),
    ],
)
def test_a_file_that_can_not_be_read(write: Write, content: str | bytes, message: str) -> None:
    assert problems(write(content)) == [message]


def test_a_cycle_over_several_files_is_shown(write: Write) -> None:
    write("extends: b.yml\n", "a.yml")
    write("extends: c.yml\n", "b.yml")
    write("extends: b.yml\n", "c.yml")
    assert problems("a.yml") == ["c.yml:1  extends: the files extend each other: b.yml -> c.yml -> b.yml"]


def test_a_missing_file_is_answered_with_the_near_ones(write: Write) -> None:
    write("", "configs/sft_lora_270m.yml")
    write("", "configs/other.yml")
    assert problems("configs/sft_lora_270.yml") == [
        "configs/sft_lora_270.yml  this file does not exist; did you mean 'configs/sft_lora_270m.yml'?"
    ]
    assert problems("configs/zzz") == [
        "configs/zzz  this file does not exist; in configs there are other.yml, sft_lora_270m.yml"
    ]
    assert problems("conf/a.yml") == ["conf/a.yml  this file does not exist, nor does the folder conf"]
    assert problems("configs") == ["configs  this file is a folder; in configs there are other.yml, sft_lora_270m.yml"]
    assert problems("configs/other.yml/x.yml")[0].startswith("configs/other.yml/x.yml  this file does not exist")
    assert problems("a\0b") == ["a\0b  this file can't be read: embedded null byte"]


def test_a_file_without_permission(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(MINIMAL)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert problems(path) == ["run.yml  this file can't be read: Permission denied"]


def test_overrides_are_looked_at_beside_an_unreadable_file(write: Write) -> None:
    assert problems(write("[")) == problems(write("["), "seed=1")
    assert len(problems(write("["), "foo", "a=[")) == 3


# --- nothing but a ConfigError, whatever comes in

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["tiny", "auto", "sft"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
VALID = yaml.safe_load(resolved_yaml(Config(task="clinical", stages=(Stage(method="sft"),))))


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from paths_of(child, (*path, key))


@st.composite
def mutated(draw: st.DrawFn, valid: Any = VALID) -> Any:
    config = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(list(paths_of(config)) or [()]))
        if not path:
            return draw(VALUES)
        node = config
        for key in path[:-1]:
            node = node[key]
        match draw(st.sampled_from(["replace", "delete", "rename", "add"])):
            case "replace":
                node[path[-1]] = draw(VALUES)
            case "delete":
                del node[path[-1]]
            case "rename" if isinstance(node, dict):
                node[draw(st.text(max_size=6)) + str(path[-1])] = node.pop(path[-1])
            case _ if isinstance(node, dict):
                node[draw(st.text(max_size=6))] = draw(VALUES)
            case _:
                node.append(draw(VALUES))
    return config


def load_or_explain(path: Path, overrides: list[str] | None = None) -> Config | None:
    try:
        return load_config(path, overrides or [])
    except ConfigError:
        return None


@settings(max_examples=cases(100), deadline=None)
@given(config=mutated())
def test_mutated_configurations_load_or_are_explained(config: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.yml"
    path.write_text(yaml.safe_dump(config, allow_unicode=False))
    loaded = load_or_explain(path)
    if loaded is not None:
        path.write_text(resolved_yaml(loaded), encoding="utf-8")
        assert load_config(path) == loaded


@settings(max_examples=cases(100), deadline=None)
@given(
    content=st.binary(max_size=60) | st.text(alphabet="a:-[]{}&*!|>'\"#%@`?,\n\t 01e.\\u", max_size=40).map(str.encode)
)
def test_any_bytes_load_or_are_explained(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yml"
    path.write_bytes(content)
    load_or_explain(path)


KEYS = st.sampled_from([".".join(map(str, path)) for path in paths_of(VALID)]) | st.text(max_size=8)


@settings(max_examples=cases(100), deadline=None)
@given(overrides=st.lists(st.tuples(KEYS, st.text(max_size=10)).map("=".join) | st.text(max_size=10), max_size=3))
def test_any_overrides_load_or_are_explained(overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fine.yml"
    path.write_text(MINIMAL)
    load_or_explain(path, overrides)


@settings(max_examples=cases(60), deadline=None)
@given(
    text=st.text(min_size=1, max_size=20),
    rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    seed=st.integers(0, 2**32 - 1),
)
def test_resolved_yaml_round_trips(text: str, rate: float, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = Config.model_validate(
        {
            "task": "safety",
            "stages": [{"method": "sft", "training": {"learning_rate": rate}}],
            "seed": seed,
            "output_dir": "x",
            "tracking": {"project": text},
        }
    )
    path = tmp_path_factory.getbasetemp() / "resolved.yml"
    path.write_text(resolved_yaml(config), encoding="utf-8", newline="")
    assert load_config(path) == config
    assert yaml.safe_load(path.read_bytes())["tracking"]["project"] == text
