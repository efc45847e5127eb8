import errno
import json
import logging
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from gemma_align.errors import CheckpointError
from gemma_align.trainers import checkpointing
from gemma_align.trainers.checkpointing import (
    Best,
    LoopState,
    capture_rng,
    checkpoint_before,
    flatten,
    latest_checkpoint,
    load_checkpoint_state,
    newest_state,
    restore_rng,
    save_checkpoint,
    unflatten,
    verify_checkpoint,
)

DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]


def same(a, b) -> bool:
    """Equal in type, structure and every bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            return False
        return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return math.copysign(1, a) == math.copysign(1, b) and (a == b or (math.isnan(a) and math.isnan(b)))
    return bool(a == b)


def through_json(tree):
    tensors, plain = flatten(tree)
    return unflatten(tensors, json.loads(json.dumps(plain, allow_nan=False)))


def a_state(step: int, **more) -> LoopState:
    generator = torch.Generator().manual_seed(step)
    return LoopState(step=step, stage_step=step, model={"w": torch.randn(5, 7, generator=generator)}, **more)


def train(model, optimizer, steps: int) -> None:
    for _ in range(steps):
        loss = (model(torch.randn(6, 4)) ** 2).mean() + random.random() * sum(p.sum() for p in model.parameters())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def a_trainer():
    model = torch.nn.Linear(4, 3)
    first, second = model.parameters()
    groups = [{"params": [first], "weight_decay": 0.1}, {"params": [second], "lr": 0.003, "betas": (0.8, 0.99)}]
    return model, torch.optim.AdamW(groups, lr=0.01, amsgrad=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)], ids=str)
def test_tensors_come_back_bit_for_bit(tmp_path, dtype, shape):
    tensor = (torch.randn(shape) * 100).to(dtype)
    if dtype.is_floating_point and tensor.numel():
        tensor.view(-1)[0] = math.nan
    path = save_checkpoint(tmp_path, LoopState(model={"w": tensor}), keep=1)
    assert same(load_checkpoint_state(path).model["w"], tensor)


@pytest.mark.parametrize(
    "tree",
    [
        {"a": 1, "b": [None, True, "text", -(2**200)], "c": {"d": (1, (2.5,), [])}},
        {"floats": [0.1, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308]},
        {0: {"exp_avg": torch.arange(3)}, (1, "x"): "tuple key", None: {}},
        {"$tensor": "a user's own key", "$dict": [["k", 1]]},
        {"a": {"b": torch.zeros(1)}, "a/b": torch.ones(1)},
        {"array": np.array([2**32 - 1], dtype=np.uint32), "scalar": np.array(2**64 - 1, dtype=np.uint64)},
        {"numpy": np.random.Generator(np.random.PCG64(3)).bit_generator.state},
        {"python": random.Random(5).getstate()},
        torch.ones(2),
        {},
    ],
    ids=lambda tree: str(tree)[:30],
)
def test_trees_come_back_exactly(tree):
    assert same(through_json(tree), tree)


def test_tensors_that_share_memory_are_saved(tmp_path):
    whole = torch.arange(6.0)
    state = LoopState(model={"whole": whole, "part": whole[2:4], "again": whole, "turned": whole.view(2, 3).t()})
    loaded = load_checkpoint_state(save_checkpoint(tmp_path, state, keep=1))
    assert same(loaded.model, {name: tensor.contiguous() for name, tensor in state.model.items()})


@pytest.mark.parametrize("value", [object(), np.float32(1.0), {1, 2}, b"bytes", lambda: 0])
def test_a_value_that_has_no_place_in_a_checkpoint_is_named(value):
    with pytest.raises(TypeError, match=r"algorithm/deep/0 is a "):
        flatten({"algorithm": {"deep": [value]}})


def test_random_states_go_on_where_they_were(tmp_path):
    def draw():
        return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(2), torch.randn(3)

    random.gauss(0, 1)  # leaves half a pair behind, which is state too
    np.random.randn()
    path = save_checkpoint(tmp_path, LoopState(rng=[capture_rng(), capture_rng()]), keep=1)
    expected = draw()
    loaded = load_checkpoint_state(path)
    assert len(loaded.rng) == 2
    restore_rng(loaded.rng[1])
    assert same(draw(), expected)


def test_a_run_that_moved_to_another_device_is_warned_of(caplog):
    state = capture_rng() | {"device": "cuda", "device_state": torch.zeros(1)}
    if torch.cuda.is_available():
        state["device"] = "mps"
    restore_rng(state)
    assert "not be bit-identical" in caplog.text


def test_training_goes_on_as_if_it_had_never_stopped(tmp_path):
    model, optimizer = a_trainer()
    train(model, optimizer, 3)
    state = LoopState(
        stage=1,
        step=3,
        stage_step=2,
        examples_seen=24,
        tokens_seen=2**40,
        skipped=1,
        best=Best("loss", math.inf, 2),
        model={name: p.data for name, p in model.named_parameters()},
        optimizer=optimizer.state_dict(),
        algorithm={"kl": 0.1, "whitening": (1, 2.0)},
        rng=[capture_rng()],
        logs={"metrics.jsonl": 120},
    )
    path = save_checkpoint(tmp_path, state, keep=2)
    loaded = load_checkpoint_state(path)
    for name in vars(state):
        if name != "best":
            assert same(getattr(loaded, name), getattr(state, name)), name
    assert loaded.best == state.best

    train(model, optimizer, 4)
    other, other_optimizer = a_trainer()
    other.load_state_dict(loaded.model)
    other_optimizer.load_state_dict(loaded.optimizer)
    restore_rng(loaded.rng[0])
    train(other, other_optimizer, 4)
    assert same(other.state_dict(), model.state_dict())
    assert same(other_optimizer.state_dict(), optimizer.state_dict())


def test_only_safetensors_and_json_are_written(tmp_path):
    path = save_checkpoint(tmp_path, a_state(7), keep=1)
    assert {file.name for file in path.iterdir()} == {"state.safetensors", "state.json", "manifest.json"}
    assert path.name == "step-000007"


def test_what_the_caller_adds_is_checked_too(tmp_path):
    def also(folder: Path) -> None:
        (folder / "adapter").mkdir()
        (folder / "adapter" / "weights").write_text("abc")

    path = save_checkpoint(tmp_path, a_state(1), keep=1, also=also)
    verify_checkpoint(path)
    (path / "adapter" / "weights").write_text("abd")
    with pytest.raises(CheckpointError, match="adapter/weights is not what was written"):
        verify_checkpoint(path)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_and_the_best_are_kept(tmp_path):
    for step in range(1, 8):
        save_checkpoint(tmp_path, a_state(step, best=Best("loss", 1.0, 2) if step >= 2 else None), keep=2)
    assert names(tmp_path) == ["step-000002", "step-000006", "step-000007"]
    save_checkpoint(tmp_path, a_state(8, best=Best("loss", 0.5, 8)), keep=2)
    assert names(tmp_path) == ["step-000007", "step-000008"]
    with pytest.raises(ValueError, match="keep must be at least 1"):
        save_checkpoint(tmp_path, a_state(9), keep=0)


def test_steps_beyond_six_digits_stay_in_order(tmp_path):
    for step in (999_999, 1_000_000):
        save_checkpoint(tmp_path, a_state(step), keep=5)
    assert latest_checkpoint(tmp_path) == tmp_path / "step-1000000"


def test_a_step_saved_twice_keeps_the_later_one(tmp_path):
    for value in range(3):
        save_checkpoint(tmp_path, a_state(4, algorithm={"value": value}), keep=3)
    assert names(tmp_path) == ["step-000004.2"]
    assert load_checkpoint_state(latest_checkpoint(tmp_path)).algorithm == {"value": 2}


def test_after_an_extra_one_the_folder_is_what_it_would_have_been_without_it(tmp_path):
    best = Best("loss", 1.0, 3)  # reached where only the extra one was saved
    for folder in (tmp_path / "stopped", tmp_path / "unbroken"):
        for step in (2, 4, 6):
            save_checkpoint(folder, a_state(step), keep=2)
            if folder.name == "stopped":
                extra = save_checkpoint(folder, a_state(step + 1, best=best), keep=2, extra=True)
                assert latest_checkpoint(folder) == extra
                assert checkpoint_before(folder, step + 2, 0).step == step
                assert len(names(folder)) == (2 if step == 2 else 3)
        save_checkpoint(folder, a_state(8, best=best), keep=2)
    assert names(tmp_path / "stopped") == names(tmp_path / "unbroken") == ["step-000006", "step-000008"]


def test_what_a_rewind_undid_is_not_gone_back_to(tmp_path):
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, a_state(step), keep=3)
    undone = [(10, 27)]
    assert checkpoint_before(tmp_path, 27, 0).step == 20
    assert checkpoint_before(tmp_path, 27, 0, undone).step == 10
    assert checkpoint_before(tmp_path, 40, 0, undone).step == 30
    assert checkpoint_before(tmp_path, 40, 0, [(10, 27), (10, 30)]).step == 10
    assert checkpoint_before(tmp_path, 10, 0, undone) is None


def test_an_extra_one_at_a_step_that_is_saved_again_is_older(tmp_path):
    save_checkpoint(tmp_path, a_state(4), keep=2, extra=True)
    assert save_checkpoint(tmp_path, a_state(4), keep=2).name == "step-000004.1"
    assert save_checkpoint(tmp_path, a_state(4), keep=2, extra=True).name == "step-000004.2-extra"
    assert latest_checkpoint(tmp_path).name == "step-000004.2-extra"


def test_a_damaged_newer_one_does_not_push_out_the_good_one(tmp_path):
    for step in (10, 20):
        save_checkpoint(tmp_path, a_state(step), keep=2)
    (tmp_path / "step-000020" / "state.json").write_text("{}")
    assert latest_checkpoint(tmp_path).name == "step-000010"
    save_checkpoint(tmp_path, a_state(15), keep=1)
    assert names(tmp_path) == ["step-000015"]


def test_no_folder_and_an_empty_folder_hold_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path / "none") is None
    assert latest_checkpoint(tmp_path) is None


def test_any_flipped_bit_is_found_and_passed_over(tmp_path, caplog):
    save_checkpoint(tmp_path, a_state(1), keep=2)
    path = save_checkpoint(tmp_path, a_state(2), keep=2)
    chance = random.Random(0)
    for name in ("manifest.json", "state.json", "state.safetensors"):
        file = path / name
        good = file.read_bytes()
        places = range(len(good)) if name == "manifest.json" else chance.sample(range(len(good)), 40)
        for place in places:
            bad = bytearray(good)
            bad[place] ^= 1 << chance.randrange(8)
            file.write_bytes(bad)
            caplog.clear()
            assert latest_checkpoint(tmp_path).name == "step-000001", (name, place)
            assert "step-000002" in caplog.text
            with pytest.raises(CheckpointError):
                load_checkpoint_state(path)
        file.write_bytes(good)
    assert latest_checkpoint(tmp_path) == path


def test_a_state_that_goes_with_damaged_files_is_passed_over_for_an_earlier_one(tmp_path, caplog):
    assert newest_state(tmp_path, lambda _: "never asked") is None
    for step in (1, 2, 3, 4):
        save_checkpoint(tmp_path, a_state(step), keep=4)
    assert newest_state(tmp_path, lambda _: None).step == 4
    assert not caplog.text
    (tmp_path / "step-000002" / "state.json").write_text("{}")
    damaged = {2, 3, 4}
    assert newest_state(tmp_path, lambda state: f"bad at {state.step}" if state.step in damaged else None).step == 1
    assert "bad at 4; going on from step-000001" in caplog.text
    assert newest_state(tmp_path, lambda state: f"bad at {state.step}").step == 4  # weights are worth more than a log
    assert "bad at 4; no checkpoint was saved before that" in caplog.text


def test_the_state_of_a_stopped_run_is_one_of_those_gone_on_from(tmp_path):
    save_checkpoint(tmp_path, a_state(2), keep=2)
    save_checkpoint(tmp_path, a_state(3), keep=2, extra=True)
    assert newest_state(tmp_path, lambda _: None).step == 3
    assert newest_state(tmp_path, lambda state: "bad" if state.step == 3 else None).step == 2


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "state.safetensors"])
def test_a_missing_or_short_file_is_named(tmp_path, name):
    path = save_checkpoint(tmp_path, a_state(1), keep=2)
    good = (path / name).read_bytes()
    (path / name).write_bytes(good[: len(good) // 2])
    with pytest.raises(CheckpointError, match=r"bytes where|manifest is damaged"):
        verify_checkpoint(path)
    (path / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        verify_checkpoint(path)


def test_nothing_but_damaged_ones_is_an_error_not_a_new_start(tmp_path):
    for step in (1, 2):
        (save_checkpoint(tmp_path, a_state(step), keep=2) / "state.json").unlink()
    with pytest.raises(CheckpointError, match=r"No checkpoint .*step-000002: state.json is missing"):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize("trick", ["../outside", "/etc/hostname", "link"])
def test_a_manifest_can_not_point_elsewhere(tmp_path, trick):
    path = save_checkpoint(tmp_path / "checkpoints", a_state(1), keep=1)
    (tmp_path / "checkpoints" / "outside").write_text("x")
    (path / "link").symlink_to(tmp_path / "checkpoints" / "outside")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"][trick] = {
        "bytes": 1,
        "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="not a file of its own"):
        verify_checkpoint(path)


@pytest.mark.parametrize("content", [{}, [], 3, {"$tensor": "none"}, {"step": 1}, "[" * 100_000])
def test_a_whole_checkpoint_of_something_else_is_refused(tmp_path, content, monkeypatch):
    monkeypatch.setattr(LoopState, "flatten", lambda self: ({}, content if not isinstance(content, str) else {}))
    if isinstance(content, str):
        write = checkpointing._write_json
        monkeypatch.setattr(
            checkpointing,
            "_write_json",
            lambda path, value: path.write_text(content) if path.name == "state.json" else write(path, value),
        )
    path = save_checkpoint(tmp_path, a_state(1), keep=1)
    with pytest.raises(CheckpointError, match="no training state that this version can read"):
        load_checkpoint_state(path)


def fail(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def fail_like_safetensors(*_args, **_kwargs):
    raise SafetensorError("I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    "where",
    ["os.fsync", "pathlib.Path.rename", "pathlib.Path.mkdir", "checkpointing.save_file", "checkpointing._write_json"],
)
def test_a_failing_write_leaves_the_last_good_one_and_says_so(tmp_path, monkeypatch, where):
    folder = tmp_path / "checkpoints"
    good = save_checkpoint(folder, a_state(1), keep=1)
    with monkeypatch.context() as patched:
        if where.startswith("checkpointing."):
            patched.setattr(checkpointing, where.split(".")[1], fail_like_safetensors if "save" in where else fail)
        else:
            patched.setattr(where, fail)
        with pytest.raises(CheckpointError, match=r"(?s)step 2 .*No space left.*step-000001, is intact.*--resume"):
            save_checkpoint(folder, a_state(2), keep=1)
    assert names(folder) == ["step-000001"]
    assert latest_checkpoint(folder) == good
    assert load_checkpoint_state(good).step == 1
    save_checkpoint(folder, a_state(2), keep=1)
    assert names(folder) == ["step-000002"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_under_the_callers_own_files(tmp_path):
    with pytest.raises(CheckpointError, match="There is no earlier one"):
        save_checkpoint(tmp_path, a_state(1), keep=1, also=lambda _: Path("/dev/full").write_text("x") and None)
    assert names(tmp_path) == []


def test_a_bug_in_the_callers_writer_is_not_hidden(tmp_path):
    with pytest.raises(ZeroDivisionError):
        save_checkpoint(tmp_path, a_state(1), keep=1, also=lambda _: 1 // 0)
    assert names(tmp_path) == []


def child(script: str, *arguments: str, **more) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **more,
    )


def test_a_file_size_limit_in_the_middle_of_a_write(tmp_path):
    script = """
        import resource, sys, torch
        from pathlib import Path
        from gemma_align.errors import CheckpointError
        from gemma_align.trainers.checkpointing import LoopState, save_checkpoint
        folder = Path(sys.argv[1])
        save_checkpoint(folder, LoopState(step=1, model={"w": torch.zeros(10)}), keep=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            save_checkpoint(folder, LoopState(step=2, model={"w": torch.zeros(100_000)}), keep=1)
        except CheckpointError as error:
            print(error)
    """
    process = child(script, str(tmp_path))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "File too large" in output
    assert "step-000001, is intact" in output
    assert names(tmp_path) == ["step-000001"]
    assert load_checkpoint_state(latest_checkpoint(tmp_path)).step == 1


WRITER = """
    import os, sys, torch
    from pathlib import Path
    from gemma_align.trainers.checkpointing import LoopState, latest_checkpoint, load_checkpoint_state, save_checkpoint

    def state(step):
        weights = torch.randn(20_000, generator=torch.Generator().manual_seed(step))
        return LoopState(step=step, model={"w": weights}, logs={"metrics.jsonl": step})

    folder = Path(sys.argv[1])
    latest_checkpoint(folder)
    for _ in sys.stdin:  # a writer for each line: forked, as importing torch takes most of the time
        pid = os.fork()
        if pid == 0:
            path = latest_checkpoint(folder)
            step = load_checkpoint_state(path).step if path else 0
            while True:
                step += 1
                save_checkpoint(folder, state(step), keep=2, also=lambda f: (f / "extra").write_bytes(bytes(50_000)))
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("ended", flush=True)
"""


def test_killed_while_saving_again_and_again(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    chance = random.Random()
    steps, leftovers = [0], 0
    with child(WRITER, str(tmp_path)) as process:
        for _ in range(12):
            process.stdin.write("go\n")
            process.stdin.flush()
            pid = int(process.stdout.readline())
            deadline = time.monotonic() + 20  # at least one more must have been written, or the kill proves little
            while time.monotonic() < deadline and not any(
                int(path.name[5:11]) > steps[-1] for path in tmp_path.glob("step-*") if path.name[5:11].isdigit()
            ):
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.05))
            os.kill(pid, signal.SIGKILL)
            assert process.stdout.readline() == "ended\n"
            leftovers += any(tmp_path.glob(".tmp-*"))

            state = load_checkpoint_state(latest_checkpoint(tmp_path))
            expected = torch.randn(20_000, generator=torch.Generator().manual_seed(state.step))
            assert same(state.model["w"], expected)
            assert state.step > steps[-1]
            steps.append(state.step)
        process.stdin.close()
    assert not caplog.records, "a kill must not leave a checkpoint that looks damaged"
    assert leftovers, "no kill fell into a write"
    save_checkpoint(tmp_path, a_state(steps[-1] + 1), keep=2)
    assert names(tmp_path) == [f"step-{steps[-1]:06d}", f"step-{steps[-1] + 1:06d}"], "the next write clears up"


def test_a_symlink_is_no_checkpoint(tmp_path):
    real = save_checkpoint(tmp_path, a_state(1), keep=1)
    shutil.copytree(real, tmp_path / "elsewhere")
    (tmp_path / "step-000009").symlink_to(tmp_path / "elsewhere")
    assert latest_checkpoint(tmp_path) == real
