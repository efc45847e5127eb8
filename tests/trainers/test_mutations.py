"""Each method's tests notice when its key line is broken: a copy of the package with one line changed fails them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MUTATIONS = {
    "SFT: sign": (
        "trainers/sft.py", "torch.where(mask, -logprobs, 0.0)", "torch.where(mask, logprobs, 0.0)", "test_loop",
    ),
    "SFT: a microbatch divides by its own count": (
        "trainers/sft.py", "/ totals.num_tokens", "/ mask.sum()", "test_loop -k microbatches",
    ),
    "log-probabilities: shifted by one": (
        "core/packing.py",
        "predictors += [last, *range(first, first + lengths[n] - k - 1)]",
        "predictors += [*range(first, first + lengths[n] - k - 1), last]",
        "test_dpo -k separate",
    ),
    "DPO: sign": (
        "core/preference.py", "h = beta * (chosen - rejected)", "h = beta * (rejected - chosen)", "test_dpo -k learns",
    ),
    "DPO: the base as reference": (
        "trainers/dpo.py", "torch.no_grad(), self.reference.in_place()", "torch.no_grad(), self.policy.base()",
        "test_dpo -k stage_found",
    ),
    "DPO: the policy as its own reference": (
        "models/reference.py", "            self._put(self._kept)\n", "            pass\n", "test_dpo -k stays",
    ),
    "DPO: parted pairs": (
        "trainers/dpo.py", "whole_prompts: ClassVar[bool] = True", "whole_prompts: ClassVar[bool] = False",
        "test_dpo -k microbatches",
    ),
    "GRPO: sign of the advantage": (
        "core/advantages.py", "centred = scores - mean[group]", "centred = mean[group] - scores", "test_grpo -k learns",
    ),
    "GRPO: groups mixed up": (
        "trainers/grpo.py", "scored.rollouts.responses.prompt_of", "scored.rollouts.responses.prompt_of.roll(1)",
        "test_grpo -k on_policy",
    ),
    "GRPO: padding counts in a response's mean": (
        "trainers/grpo.py", "mask / mask.sum(dim=1, keepdim=True).clamp(min=1)", "mask / mask.shape[1]",
        "test_grpo -k separate",
    ),
    "GRPO: detached ratio": (
        "core/surrogate.py", "ratios, advantages = log_ratios.exp()", "ratios, advantages = log_ratios.exp().detach()",
        "test_grpo -k separate",
    ),
    "GRPO: no clip": (
        "core/surrogate.py", "-torch.minimum(ratios * advantages, clipped * advantages)", "-(ratios * advantages)",
        "test_grpo -k separate",
    ),
    "GRPO: k3 without its weight's gradient": (
        "core/kl.py", 'weight.detach() if estimator == "k2" else weight', "weight.detach()", "test_grpo -k separate",
    ),
    "GRPO: k2 with its weight's gradient": (
        "core/kl.py", 'weight.detach() if estimator == "k2" else weight', "weight", "test_grpo -k separate",
    ),
    "GRPO: the base as reference": (
        "trainers/rollouts.py", "torch.no_grad(), self.reference.in_place()", "torch.no_grad(), self.policy.base()",
        "test_grpo -k on_policy",
    ),
    "PPO: sign of the advantage": (
        "trainers/ppo.py", "advantages = batch.advantages.to(device)", "advantages = -batch.advantages.to(device)",
        "test_ppo -k learns",
    ),
    "PPO: the divergence is rewarded": (
        "core/advantages.py", "torch.where(mask, -kl_coef * kl, 0.0)", "torch.where(mask, kl_coef * kl, 0.0)",
        "test_ppo -k separate",
    ),
    "PPO: the score one token early": (
        "core/advantages.py", "mask.cumsum(dim=1) == mask.sum(dim=1, keepdim=True)",
        "mask.cumsum(dim=1) == (mask.sum(dim=1, keepdim=True) - 1).clamp(min=1)", "test_ppo -k separate",
    ),
    "PPO: values of the state after the token": (
        "models/value.py", "row.scatter(self.head(self.beside.hidden(row)))",
        "row.scatter(self.head(self.beside.hidden(row)).roll(-1, 0))", "test_ppo -k separate",
    ),
    "PPO: a critic that reads the policy": (
        "models/beside.py", "stack.enter_context(policy.base())", "pass", "test_ppo -k touch",
    ),
    "PPO: padding counts in the advantages' deviation": (
        "core/advantages.py", "centred = torch.where(mask, counted - summed / max(count, 1.0), 0.0)",
        "centred = counted - summed / max(count, 1.0)", "test_ppo -k separate",
    ),
    "PPO: detached ratio": (
        "core/surrogate.py", "ratios, advantages = log_ratios.exp()", "ratios, advantages = log_ratios.exp().detach()",
        "test_ppo -k separate",
    ),
    "PPO: no clip of the values": (
        "core/surrogate.py", "0.5 * torch.maximum(plain, (held - returns).square())", "0.5 * plain",
        "test_ppo -k separate",
    ),
    "PPO: the base as reference": (
        "trainers/rollouts.py", "torch.no_grad(), self.reference.in_place()", "torch.no_grad(), self.policy.base()",
        "test_ppo -k start",
    ),
    "PPO: returns of whitened advantages": (
        "trainers/ppo.py", "returns = advantages + values", "returns = whiten(advantages, mask) + values",
        "test_ppo -k separate",
    ),
    "rejection: the worst of each group": (
        "trainers/rejection.py", "own[scores[own].argmax()]", "own[scores[own].argmin()]", "test_rejection -k learns",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_the_line_to_break_is_there(mutation: tuple[str, str, str, str]) -> None:
    file, right, wrong, tests = mutation
    assert (ROOT / "src" / "gemma_align" / file).read_text(encoding="utf-8").count(right) == 1
    assert right != wrong
    assert (ROOT / "tests" / "trainers" / f"{tests.split()[0]}.py").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_a_broken_line_is_noticed(mutation: tuple[str, str, str, str], tmp_path: Path) -> None:
    file, right, wrong, tests = mutation
    copied(tmp_path)
    broken = tmp_path / "gemma_align" / file
    text = broken.read_text(encoding="utf-8")
    broken.write_text(text.replace(right, wrong), encoding="utf-8")
    done = run(tmp_path, tests)
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]  # tests ran, and one failed


@pytest.mark.slow
def test_a_copy_that_is_not_broken_passes(tmp_path: Path) -> None:
    copied(tmp_path)
    done = run(tmp_path, "test_grpo -k separate")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def copied(folder: Path) -> None:
    shutil.copytree(ROOT / "src" / "gemma_align", folder / "gemma_align", ignore=shutil.ignore_patterns("__pycache__"))


def run(folder: Path, tests: str) -> "subprocess.CompletedProcess[str]":
    """Tests of tests/trainers on the package in the folder."""
    name, *chosen = tests.split()
    own = ["-p", "no:cacheprovider", "-o", f"pythonpath={folder}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", *own, f"tests/trainers/{name}.py", *chosen],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
