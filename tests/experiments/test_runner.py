"""Whole runs through the real command line, on the tiny model: what they leave, and that a kill changes nothing.

Runs that nobody kills are made in this process: importing everything anew takes longer than they do.
"""

import errno
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors.torch import load_file

from gemma_align.cli import main
from gemma_align.config import load_config
from gemma_align.data.tasks import load_task
from gemma_align.errors import Interrupted
from gemma_align.experiments import kept, runner, stage
from gemma_align.experiments.interrupts import Interrupts
from gemma_align.experiments.measuring import measure
from gemma_align.experiments.methods import METHODS
from gemma_align.models.checkpoints import load_checkpoint
from gemma_align.models.policy import Policy
from gemma_align.trainers.checkpointing import latest_checkpoint, load_checkpoint_state, save_checkpoint
from gemma_align.trainers.loop import Loop
from gemma_align.types import Sampling

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "configs" / "smoke" / "sft.yml"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}


STAGED = ROOT / "configs" / "smoke" / "staged_sft_then_dpo.yml"
GRPO = ROOT / "configs" / "smoke" / "grpo.yml"
PPO = ROOT / "configs" / "smoke" / "ppo.yml"


def command(folder, *overrides, launcher=("-m", "gemma_align"), config=SMOKE):
    return [sys.executable, *launcher, "run", "--config", str(config), f"output_dir={folder}", *overrides]


def run(folder, *overrides, config=SMOKE):
    """Runs to the end, and gives back what was said."""
    status, output = attempt(folder, *overrides, config=config)
    assert status == 0, output
    return output


def attempt(folder, *overrides, config=SMOKE):
    """The exit status, and what was said."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main(command(folder, *overrides, config=config)[3:])
    return ended.value.code, said.getvalue()


def run_elsewhere(folder, *overrides, **kwargs):
    """The same in processes of its own."""
    done = subprocess.run(
        command(folder, *overrides, **kwargs), env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    return folder, run(folder)


def test_a_run_leaves_what_the_documentation_says(unbroken):
    folder, output = unbroken
    documented = re.findall(r"^\| `(\S+?)/?`", (ROOT / "docs" / "reliability.md").read_text(), flags=re.M)
    assert len(documented) > 8
    assert [name for name in documented if not (folder / name).exists()] == []
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    assert "\x1b" not in output
    assert "rougeL" in output
    updates = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [u["step"] for u in updates if "loss/sft" in u] == [1, 2, 3, 4, 5, 6]
    assert [u["step"] for u in updates if "eval/loss" in u] == [2, 4, 6]


def test_evaluation_json_has_the_documented_form(unbroken):
    folder, _ = unbroken
    result = json.loads((folder / "evaluation.json").read_text())
    for model in (result, result["base"]):
        assert model["task"] == "clinical"
        assert model["split"] == "report"
        assert set(model["measures"]["rougeL"]) == {"mean", "low", "high", "n"}
        assert {"response_loss", "finished", "length_ratio", "fact_coverage"} <= set(model["measures"])
    assert (result["model"], result["base"]["model"]) == ("tuned", "base")
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * result["measures"]["rougeL"]["n"]
    means = {
        model: sum(x["measures"]["rougeL"] for x in lines if x["model"] == model) / (len(lines) / 2)
        for model in ("base", "tuned")
    }
    assert means["tuned"] == pytest.approx(result["measures"]["rougeL"]["mean"])
    assert means["base"] == pytest.approx(result["base"]["measures"]["rougeL"]["mean"])


def test_the_adapter_loads_in_plain_peft_with_the_same_logits(unbroken):
    folder, _ = unbroken
    policy = Policy.from_run(folder)
    plain = PeftModel.from_pretrained(
        load_checkpoint("tiny", device="cpu", dtype=torch.float32).model, str(folder / "adapter")
    )
    example = load_task("clinical", load_config(folder / "config.yml").data).examples("report")[0]
    responses = policy.encode([example])
    ids = torch.tensor([[*responses.prompt_ids[0], *responses.ids[0].tolist()]])
    with torch.no_grad():
        logits = plain(input_ids=ids).logits[0].log_softmax(-1)
        ours = policy.logprobs(responses)[0]
    expected = logits[-len(ours) - 1 : -1].gather(1, responses.ids[0][:, None])[:, 0]
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    assert any(
        t.abs().max() > 0
        for name, t in load_file(folder / "adapter/adapter_model.safetensors").items()
        if "lora_B" in name
    )


def test_the_trained_policy_and_its_base_can_be_sampled(unbroken):
    folder, _ = unbroken
    config = load_config(folder / "config.yml")
    examples = load_task("clinical", config.data).examples("report")[:2]
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    for base, name in ((False, "tuned"), (True, "base")):
        said = {x["id"]: x["response"] for x in lines if x["model"] == name}
        texts = Policy.from_run(folder, base=base).generate(examples, 1, Sampling(max_tokens=16, temperature=0.0)).texts
        assert [said.get(e.id, text) for e, text in zip(examples, texts, strict=True)] == list(texts)


def test_adapters_carry_a_model_card_that_the_hub_can_read(unbroken):
    folder, _ = unbroken
    measures = json.loads((folder / "evaluation.json").read_text())["measures"]
    for name, which in (("adapter", "after the last update"), ("adapter_best", "best on the tune split")):
        card = ModelCard.load(folder / name / "README.md")
        assert which in card.content
        assert "6 updates" in card.text
        assert f"| response_loss | {measures['response_loss']['mean']:.3f} [" in card.text
        assert "{" not in card.text
        found = {result.metric_type: result.metric_value for result in card.data.eval_results}
        assert found["rougeL"] == pytest.approx(measures["rougeL"]["mean"], abs=1e-4)
        assert card.data.library_name == "peft"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def in_two_processes():
    """How a command is launched in two processes that talk to each other."""
    port = f"--master_port={free_port()}"
    return ("-m", "torch.distributed.run", "--nproc_per_node=2", port, "-m", "gemma_align")


def finished_files(folder):
    """Everything that must be the same bits, by name."""
    names = ["metrics.jsonl", "samples.jsonl", "evaluation.json", "adapter/adapter_model.safetensors"]
    return {name: (folder / name).read_bytes() for name in names}


def kill_in_update(number, folder, config):
    process = subprocess.Popen(
        command(folder, "--resume", config=config),
        env=ENVIRONMENT,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    metrics = folder / "metrics.jsonl"
    while not (metrics.exists() and f'"step": {number}' in metrics.read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(
    "after", ["the first checkpoint", pytest.param("two updates of the second half", marks=pytest.mark.slow)]
)
def test_a_run_that_was_killed_and_resumed_ends_in_the_same_bits(unbroken, tmp_path, after):
    folder = tmp_path / "run"
    kill_in_update(2 if after == "the first checkpoint" else 5, folder, SMOKE)
    run(folder, "--resume")
    expected = finished_files(unbroken[0])
    for name, content in finished_files(folder).items():
        assert content == expected[name], name
    assert "already finished" in run(folder, "--resume")


def test_a_finished_run_is_evaluated_anew_as_if_it_had_been_evaluated_so_at_once(unbroken, tmp_path):
    otherwise = ("evaluation.num_examples=6", "evaluation.base=false")
    shutil.copytree(unbroken[0], tmp_path / "again")
    said = run(tmp_path / "again", "--resume", *otherwise)
    assert "sft  1/" not in said
    run(tmp_path / "at_once", *otherwise, "checkpoint.reuse_stages=false")
    expected = finished_files(tmp_path / "at_once")
    assert len(json.loads(expected["evaluation.json"])["measures"]) > 3
    for name, content in finished_files(tmp_path / "again").items():
        assert content == expected[name], name


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("staged") / "run"
    return folder, run(folder, config=STAGED)


def test_a_staged_run_starts_its_second_stage_from_the_first_one_s_policy(staged):
    folder, output = staged
    assert "pairs made of 24 examples, each reference against a corruption of it" in output
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    stages = {line["step"]: line["stage"] for line in lines}
    assert stages[6] == "sft"
    assert stages[7] == "dpo"
    first = next(line for line in lines if line["step"] == 7 and "loss/dpo" in line)
    assert first["loss/dpo"] == pytest.approx(0.693147, abs=1e-4)  # the reference is the policy that SFT left
    assert first["reward/chosen"] == pytest.approx(0, abs=1e-4)
    assert {"eval/loss", "eval/accuracy", "eval/margin"} <= set(lines[-1])


@pytest.mark.slow
@pytest.mark.ci
def test_a_staged_run_that_was_killed_between_its_stages_ends_in_the_same_bits(staged, tmp_path):
    require_same_after_kill(staged[0], tmp_path / "run", 6, STAGED)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampled") / "run"
    return folder, run(folder, config=PPO)


def test_a_run_that_samples_tells_what_its_rollouts_were(sampled):
    folder, output = sampled
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rolled = [line for line in lines if "loss/policy" in line]
    assert [line["step"] for line in rolled] == [7, 8, 9, 10]
    assert rolled[0]["policy/kl"] == pytest.approx(0, abs=1e-4)  # the reference is the policy that SFT left
    card = (folder / "adapter" / "README.md").read_text()
    assert "The stability monitor watched 4 updates and found" in card
    assert "It could not judge entropy collapse, length drift, value failure, dead groups, reward falls" in card
    wanted = {"reward/total", "reward/encoder", "reward/programmatic", "reward/length", "rollout/unfinished"}
    wanted |= {"policy/entropy", "policy/ratio_max", "loss/value", "value/explained_variance"}
    assert all(wanted <= set(line) for line in rolled)
    assert {"eval/loss", "eval/reward_total"} <= set(lines[-1])
    assert "nats" not in next(line for line in output.splitlines() if "update 10: tune loss" in line)


@pytest.mark.slow  # the default tests kill runs in benchmarks/test_chaos.py too
def test_a_run_that_was_killed_between_rollouts_ends_in_the_same_bits(sampled, tmp_path):
    require_same_after_kill(sampled[0], tmp_path / "run", 9, PPO)


def test_the_encoder_that_a_reward_asks_for_and_a_supervised_stage_are_made_once_and_found_again(sampled):
    folder, output = sampled
    (encoder,) = (folder.parent / "encoders").iterdir()
    (stage,) = (folder.parent / "stages").iterdir()
    assert "is fitted to 24 pairs (each reference against a corruption of it)" in output
    written = (encoder / "reward.json").stat().st_mtime_ns
    again = run(folder.parent / "again", config=PPO)
    assert "is fitted to" not in again
    assert encoder.name in again
    assert (encoder / "reward.json").stat().st_mtime_ns == written
    assert f"the first 6 updates are taken from {stage}" in again
    assert "sft  1/6" in output
    assert "sft  1/6" not in again
    expected = finished_files(folder)
    assert {name: content == expected[name] for name, content in finished_files(folder.parent / "again").items()} == (
        dict.fromkeys(expected, True)
    )


def test_groups_that_say_nothing_are_replaced_where_it_is_asked_for(tmp_path):
    """The tiny model's notes are worth nothing, so nearly every group is dead."""
    short = ["stages.0.training.max_steps=1", "stages.1.training.max_steps=2", "evaluation.base=false"]
    run(tmp_path / "run", "grpo.max_refills=2", "reward.beta=0", *short, config=GRPO)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rolled = [line for line in lines if "loss/policy" in line]
    assert len(rolled) == 2
    for line in rolled:
        assert 0 < line["rollout/refills"] <= 4
        assert line["rollout/all_tokens"] == pytest.approx(line["rollout/tokens"] * 4 * (2 + line["rollout/refills"]))


def test_a_run_that_trains_the_weights_its_reward_stands_on_is_refused_before_its_first_stage(tmp_path):
    status, output = attempt(tmp_path / "run", "model.lora=null", "ppo.critic=trunk", config=PPO)
    assert status == 2
    assert "model.lora=null" in " ".join(output.split())
    assert not list(tmp_path.glob("encoders/*")) + list(tmp_path.glob("encoders/.*"))
    assert not (tmp_path / "run" / "checkpoints").exists()


def require_same_after_kill(unbroken, folder, update, config):
    kill_in_update(update, folder, config)
    run(folder, "--resume", config=config)
    expected = finished_files(unbroken)
    for name, content in finished_files(folder).items():
        assert content == expected[name], name


@pytest.mark.slow
@pytest.mark.ci
def test_two_processes_end_in_the_weights_of_one(tmp_path):
    """SFT, then PPO. Also with unequal numbers of microbatches, and with a last batch that leaves a process one example
    fewer; groups of responses are kept whole, and a critic's weights are trained together too."""
    folders = [tmp_path / "one", tmp_path / "two"]
    overrides = ["training.batch_size=3", "data.max_train_examples=7", "evaluation.base=false"]
    overrides += ["rl.num_prompts=3", "ppo.num_minibatches=1"]
    run(folders[0], *overrides, config=PPO)
    run_elsewhere(
        folders[1],
        *overrides,
        "training.max_tokens_per_microbatch=150",
        "model.device=cpu",
        launcher=in_two_processes(),
        config=PPO,
    )
    one, two = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in folders)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=2e-5, msg=name)
    lines = [[json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in folders]
    for mine, theirs in zip(*lines, strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine.keys() & {"loss/sft", "loss/value", "reward/total", "value/explained_variance", "policy/kl"}:
            assert theirs[name] == pytest.approx(mine[name], rel=1e-4, abs=1e-5), name


def test_full_fine_tuning_saves_a_model_that_loads_again(tmp_path):
    folder = tmp_path / "run"
    run(folder, "model.lora=null", "training.learning_rate=1e-4", "training.max_steps=2")
    tuned, base = Policy.from_run(folder), Policy.from_run(folder, base=True)
    changed = [
        name
        for name, weight in tuned.model.state_dict().items()
        if not torch.equal(weight, base.model.state_dict()[name])
    ]
    assert "model.layers.0.mlp.up_proj.weight" in changed
    assert json.loads((folder / "evaluation.json").read_text())["base"]["model"] == "base"


def test_the_best_adapter_by_a_task_measure(tmp_path):
    folder = tmp_path / "run"
    run(
        folder, "checkpoint.measure=rougeL", "training.max_steps=2", "data.max_tune_examples=2", "evaluation.base=false"
    )
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert any("eval/rougeL" in line for line in logged)
    assert (folder / "adapter_best" / "adapter_model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.ci
def test_debug_runs_a_few_batches_of_everything(tmp_path):
    output = run_elsewhere(tmp_path / "run", "--debug")
    updates = [line for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines() if "loss/sft" in line]
    assert len(updates) == 3
    assert "rougeL" in output


def test_every_method_has_a_smoke_configuration():
    smoke = {stage.method for path in (ROOT / "configs/smoke").glob("*.yml") for stage in load_config(path).stages}
    assert smoke == set(METHODS)


def test_the_readmes_commands_are_there():
    readme = (ROOT / "README.md").read_text()
    targets = re.findall(r"^make (\w+)", readme, flags=re.M)
    makefile = (ROOT / "Makefile").read_text()
    assert {"demo", "test"} <= set(targets)
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, flags=re.M)] == []
    configs = re.findall(r"--config (configs/\S+\.yml)", readme)
    assert configs
    assert [c for c in configs if not (ROOT / c).exists()] == []
    commands = set(re.findall(r"^gemma-align (\w+)", readme, flags=re.M))
    listed = subprocess.run(
        [sys.executable, "-m", "gemma_align", "--help"], env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout
    assert [c for c in commands if c not in listed] == []


def test_a_later_stage_s_reward_that_cannot_be_had_is_found_before_the_first(tmp_path):
    folder = tmp_path / "run"
    status, said = attempt(folder, "reward.alpha=1", config=GRPO)
    assert status == 2
    assert "reward.encoder.path" in said
    assert "Traceback" not in said
    assert not (folder / "metrics.jsonl").exists() or not (folder / "metrics.jsonl").read_text()
    run(folder, "--debug", "evaluation.base=false", config=GRPO)


@contextmanager
def signals_sent(*numbers, on_call, of, monkeypatch):
    """While a function of a module or class runs for the given time, this process gets signals, each a second later."""
    real, calls = getattr(*of), []

    def called(*args, **kwargs):
        calls.append(1)
        if len(calls) == on_call:
            for number in numbers:
                os.kill(os.getpid(), number)
                os.kill(os.getpid(), number)  # as `timeout` and launchers do: the same request
                if len(numbers) > 1:
                    time.sleep(1.1)
        return real(*args, **kwargs)

    before = {number: signal.signal(number, signal.default_int_handler) for number in set(numbers)}
    try:
        with monkeypatch.context() as patched:
            patched.setattr(*of, called)
            yield
        assert all(signal.getsignal(number) is signal.default_int_handler for number in before)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_signal_ends_a_run_after_the_update_it_is_in(unbroken, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with signals_sent(signal.SIGINT, on_call=3, of=(Loop, "_update"), monkeypatch=monkeypatch):
        ended, said = attempt(folder)
    assert ended == 130
    assert "stopped by SIGINT after update 3, which is saved. Give the same command with --resume" in said
    assert "Traceback" not in said
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-000002", "step-000003-extra"]
    told = json.loads((folder / "status.json").read_text())
    assert (told["state"], told["step"]) == ("interrupted", 3)
    assert "SIGINT" in told["message"]
    assert "going on after update 3" in run(folder, "--resume")
    expected = finished_files(unbroken[0])
    assert {name for name, content in finished_files(folder).items() if content != expected[name]} == set()
    kept = [sorted(path.name for path in (f / "checkpoints").iterdir()) for f in (folder, unbroken[0])]
    assert kept[0] == kept[1]


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts("") as interrupts, interrupts.held(told=False):
            os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.asked is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_signal_ends_a_run_at_once(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with signals_sent(signal.SIGINT, signal.SIGTERM, on_call=3, of=(Loop, "_update"), monkeypatch=monkeypatch):
        ended, said = attempt(folder)
    assert ended == 143
    assert "stopped by SIGTERM at once" in said
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000002"]
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"


def test_a_signal_while_models_are_evaluated_keeps_those_that_are_done(unbroken, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with signals_sent(signal.SIGTERM, on_call=2, of=(runner, "measure"), monkeypatch=monkeypatch):
        assert attempt(folder)[0] == 143
    assert [path.name for path in (folder / "evaluated").iterdir()] == ["tuned.json"]
    measured = []
    monkeypatch.setattr(runner, "measure", lambda *a, **k: measured.append(k["model"]) or measure(*a, **k))
    run(folder, "--resume")
    assert measured == ["base"]
    expected = finished_files(unbroken[0])
    assert {name for name, content in finished_files(folder).items() if content != expected[name]} == set()


def test_a_signal_before_anything_is_done_leaves_no_folder(tmp_path, monkeypatch):
    with signals_sent(signal.SIGINT, on_call=1, of=(Policy, "load"), monkeypatch=monkeypatch):
        assert attempt(tmp_path / "run")[0] == 130
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.ci
def test_two_processes_agree_on_the_update_after_which_they_stop(tmp_path):
    folder = tmp_path / "run"
    asked = command(folder, "model.device=cpu", "training.num_epochs=50", launcher=in_two_processes())
    process = subprocess.Popen(asked, env=ENVIRONMENT, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    metrics, deadline = folder / "metrics.jsonl", time.monotonic() + 200
    while not (metrics.exists() and '"step": 3' in metrics.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=100)
    assert process.returncode != 0
    step = json.loads((folder / "status.json").read_text())["step"]
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    assert said.count("finishing this update and saving") == 1
    assert said.count(f"after update {step}, which is saved") == 2
    assert any((folder / "checkpoints").glob(f"step-{step:06d}*"))

    # Then a bit flips in what was logged since the checkpoint before: both go back to that one.
    earlier = max(path.name for path in (folder / "checkpoints").iterdir() if f"{step:06d}" not in path.name)
    content = bytearray(metrics.read_bytes())
    content[-10] ^= 1
    metrics.write_bytes(content)
    process = subprocess.Popen([*asked, "--resume"], env=ENVIRONMENT, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while metrics.read_text().count('"step"') < step + 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=100)
    assert said.count(f"going on from {earlier}") == 2
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines() if '"loss/sft"' in line]
    assert steps == list(range(1, len(steps) + 1))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_right_before_or_after_the_last_checkpoint_ends_in_the_same_bits(unbroken, tmp_path, monkeypatch, when):
    """After it nothing is left to do that would write the adapter."""

    def cut(checkpoints, state, *args, **kwargs):
        if state.step == 6 and when == "before":
            raise Interrupted("cut", 99)
        save_checkpoint(checkpoints, state, *args, **kwargs)
        if state.step == 6:
            raise Interrupted("cut", 99)

    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(stage, "save_checkpoint", cut)
        assert attempt(folder)[0] == 99
    assert f"going on after update {4 if when == 'before' else 6}" in run(folder, "--resume")
    expected = finished_files(unbroken[0])
    assert {name for name, content in finished_files(folder).items() if content != expected[name]} == set()


def test_a_disk_that_is_full_when_a_model_is_evaluated_is_said(unbroken, tmp_path, monkeypatch):
    def full(path, _content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(kept, "write_text", full)
        status, said = attempt(folder)
    assert status == 2
    assert re.search(r"error: \S+\.json can't be written: No space left on device.*--resume", said)
    assert "Traceback" not in said
    assert "going on after update 6" in run(folder, "--resume")
    expected = finished_files(unbroken[0])
    assert {name for name, content in finished_files(folder).items() if content != expected[name]} == set()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run on data of its own that was stopped after two updates."""
    folder = tmp_path_factory.mktemp("stopped")
    rows = [{"id": str(i), "prompt": f"say {i}", "response": f"it is {i}"} for i in range(12)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with (
        pytest.MonkeyPatch.context() as patched,
        signals_sent(signal.SIGTERM, on_call=2, of=(Loop, "_update"), monkeypatch=patched),
    ):
        status, said = attempt(folder / "run", *own_data(folder))
    assert status == 143, said
    return folder


def own_data(folder):
    return f"data.train={folder / 'rows.jsonl'}", "evaluation.base=false", "data.report=builtin", "data.tune=builtin"


def stretched(state):
    name = sorted(state.model)[0]
    state.model[name] = state.model[name][:1, :1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.model.pop(sorted(s.model)[0]), r"wanted shape \(8, 48\), given None"),
        (lambda s: s.model.update(other=torch.zeros(2)), r"other: wanted shape None, given \(2,\)"),
        (stretched, r"wanted shape \(8, 48\), given \(1, 1\)"),
        (lambda s: s.optimizer.update(param_groups=[]), "ValueError"),
        (lambda s: s.optimizer.clear(), "KeyError"),
        (lambda s: s.rng.clear(), "saved by 0 processes"),
        (lambda s: s.rng[0].pop("numpy"), "KeyError: 'numpy'"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(stopped, tmp_path, spoil, message):
    folder = tmp_path / "run"
    shutil.copytree(stopped / "run", folder)
    state = load_checkpoint_state(latest_checkpoint(folder / "checkpoints"))
    spoil(state)
    save_checkpoint(folder / "checkpoints", state, keep=1)
    status, said = attempt(folder, "--resume", *own_data(stopped))
    assert status == 2
    assert re.search(rf"isn't one of this run.*{message}", said), said
    assert "Traceback" not in said


def test_data_that_changed_while_a_run_was_stopped_is_found(stopped, tmp_path):
    shutil.copytree(stopped / "run", tmp_path / "run")
    rows = stopped / "rows.jsonl"
    before = rows.read_text()
    try:
        rows.write_text(before.replace("it is 7", "it is 8"))
        status, said = attempt(tmp_path / "run", "--resume", *own_data(stopped))
    finally:
        rows.write_text(before)
    assert status == 2
    assert "stage 1's train examples: changed since this run was begun" in said
    assert "going on after update 2" in run(tmp_path / "run", "--resume", *own_data(stopped))
