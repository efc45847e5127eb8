"""Which supervised stages are found again, which are not, and what happens to a damaged one.

That a run which takes them ends in the same bits as one that did them itself stands in test_runner.py.
"""

import tempfile
from pathlib import Path

import pytest

from gemma_align.config import load_config
from gemma_align.data.tasks import load_task
from gemma_align.experiments.run_dir import RunDir
from gemma_align.experiments.stage_kept import Found, KeptStages
from gemma_align.models.policy import Policy
from gemma_align.trainers.checkpointing import latest_checkpoint, save_checkpoint
from gemma_align.trainers.loop_state import LoopState

SETTINGS = """
task: clinical
stages: [{method: sft}, {method: dpo}, {method: grpo}, {method: sft}]
model: {checkpoint: tiny, max_length: 512}
data: {num_builtin: 6}
reward: {alpha: 0}
"""


@pytest.fixture(scope="module")
def policy():
    return Policy.load(load_config_of(SETTINGS).model)


def load_config_of(text, *overrides, folder=None):
    with tempfile.TemporaryDirectory() as there:
        path = Path(there) / "run.yml"
        path.write_text(text)
        return load_config(path, [f"output_dir={folder or there}/run", *overrides])


def kept(policy, tmp_path, *overrides, num_processes=1, text=SETTINGS):
    config = load_config_of(text, *overrides, folder=tmp_path)
    task = load_task(config.task, config.data)
    return KeptStages(config, (task,) * len(config.stages), policy, num_processes)


def test_stages_before_the_first_that_samples_are_kept(policy, tmp_path):
    assert kept(policy, tmp_path).num_supervised == 2
    assert kept(policy, tmp_path, "stages=[{method: sft}]").num_supervised == 1
    assert kept(policy, tmp_path, "stages=[{method: grpo}, {method: sft}]").num_supervised == 0
    assert kept(policy, tmp_path, "checkpoint.reuse_stages=false").num_supervised == 0


def test_stages_that_train_all_weights_are_not_kept(tmp_path):
    config = load_config_of(SETTINGS, "model.lora=null", folder=tmp_path)
    whole = Policy.load(config.model)
    assert KeptStages(config, (load_task(config.task, config.data),) * 4, whole, 1).num_supervised == 0


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "data.seed=1",
        "data.num_builtin=7",
        "data.max_train_examples=5",
        "training.learning_rate=2e-4",
        "model.max_length=400",
        "model.lora.r=4",
        "checkpoint.measure=rougeL",
        "data.too_long=drop",
    ],
)
def test_what_decides_a_stage_gives_it_another_folder(policy, tmp_path, override):
    assert kept(policy, tmp_path, override).folder(1) != kept(policy, tmp_path).folder(1)


@pytest.mark.parametrize(
    "override",
    [
        "dpo.beta=0.2",
        "rl.kl_coef=0.3",
        "reward.beta=2.0",
        "stages.2.training.learning_rate=3e-5",
        "evaluation.num_examples=3",
        "evaluation.max_new_tokens=9",
        "checkpoint.every=3",
        "tracking.tensorboard=false",
    ],
)
def test_what_only_later_stages_and_the_evaluation_look_at_does_not(policy, tmp_path, override):
    assert kept(policy, tmp_path, override).folder(1) == kept(policy, tmp_path).folder(1)


def test_the_second_stage_s_own_settings_count_for_both_together(policy, tmp_path):
    assert kept(policy, tmp_path, "dpo.beta=0.2").folder(2) != kept(policy, tmp_path).folder(2)
    assert kept(policy, tmp_path, num_processes=2).folder(1) != kept(policy, tmp_path).folder(1)


def done_stage(folder, step, stage):
    """A run folder as a stage leaves it."""
    run = RunDir.open(folder, "task: clinical\n")
    run.metrics.append({"step": step})
    run.timings.append({"step": step})
    state = LoopState(stage=stage, step=step, logs=run.log_sizes(), log_sums=run.log_sums())
    save_checkpoint(run.paths.checkpoints, state, keep=2)
    for adapter in (run.paths.adapter, run.paths.adapter_best):
        run.write_folder(adapter, lambda new: (new / "weights").write_text(f"after {step}"))
    return run


def test_a_kept_stage_whose_log_is_damaged_is_none(policy, tmp_path):
    stages = kept(policy, tmp_path)
    with done_stage(tmp_path / "first", 3, 0) as run:
        stages.put(run, 1)
        log = stages.folder(1) / "metrics.jsonl"
        log.write_bytes(log.read_bytes().replace(b"3", b"2"))
        assert stages.find() is None
        stages.put(run, 1)  # and is put back
        assert stages.find().step == 3


def test_a_run_takes_as_many_stages_as_are_kept_and_never_all_of_its_own(policy, tmp_path):
    stages = kept(policy, tmp_path)
    with done_stage(tmp_path / "first", 3, 0) as run:
        stages.put(run, 1)
    with done_stage(tmp_path / "second", 8, 1) as run:
        stages.put(run, 2)
    with RunDir.open(tmp_path / "new", "task: clinical\n") as new:
        assert f"the first 8 updates are taken from {stages.folder(2)}" in stages.take(new, stages.find())
        assert latest_checkpoint(new.paths.checkpoints).name == "step-000008"
        assert new.paths.metrics.read_bytes() == (tmp_path / "second" / "metrics.jsonl").read_bytes()
        assert (new.paths.adapter / "weights").read_text() == "after 8"
    alone = kept(policy, tmp_path, "stages=[{method: sft}, {method: dpo}]")
    with RunDir.open(tmp_path / "alone", "task: clinical\n") as new:
        assert "the first 3 updates" in alone.take(new, alone.find())
    only = kept(policy, tmp_path, "stages=[{method: sft}]")
    assert only.folder(1) == stages.folder(1)
    assert only.find() is None


def test_a_damaged_stage_is_passed_over_and_kept_anew(policy, tmp_path):
    stages = kept(policy, tmp_path)
    with done_stage(tmp_path / "first", 3, 0) as run:
        stages.put(run, 1)
        (state,) = stages.folder(1).glob("checkpoints/*/state.safetensors")
        state.write_bytes(state.read_bytes() + b"x")
        assert stages.find() is None
        stages.put(run, 1)
        assert stages.find() == Found(stages.folder(1), 3)


def test_a_stage_that_lost_a_log_is_passed_over(policy, tmp_path):
    stages = kept(policy, tmp_path)
    with done_stage(tmp_path / "first", 3, 0) as run:
        stages.put(run, 1)
    found = stages.find()
    (stages.folder(1) / "samples.jsonl").unlink()
    assert stages.find() is None
    with RunDir.open(tmp_path / "new", "task: clinical\n") as new:
        assert stages.take(new, found) == ""  # it went after it was found
        assert latest_checkpoint(new.paths.checkpoints) is None
