"""An exported model in lm-evaluation-harness, with the shipped task files: its numbers are ours."""

import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gemma_align.config import load_config
from gemma_align.evaluation.evaluate import evaluate
from gemma_align.evaluation.neutral import neutral_loss
from gemma_align.experiments.runner import run
from gemma_align.models.export import export_merged
from gemma_align.models.policy import Policy
from gemma_align.types import Example

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "examples" / "lm_eval"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ci,
    pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="no lm-eval: pip install -e '.[lm-eval]'"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("lm_eval")
    steps = [
        "training.max_steps=3",
        "training.learning_rate=3e-2",
        "evaluation.num_examples=1",
        "evaluation.base=false",
    ]
    config = load_config(
        ROOT / "configs/smoke/sft.yml", [*steps, "evaluation.max_new_tokens=1", f"output_dir={place}/run"]
    )
    return run(config)


@pytest.fixture(scope="module")
def harness(trained, tmp_path_factory):
    """Results and samples by task of one call, offline, given in a copy of the shipped folder."""
    place = tmp_path_factory.mktemp("tasks")
    shutil.copytree(SHIPPED, place / "lm_eval")
    model = export_merged(trained, place / "merged")
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "run",
        "--model",
        "hf",
        "--model_args",
        f"pretrained={model},dtype=float32,add_bos_token=False",
    ]
    command += ["--tasks", "preference", "perplexity", "--include_path", ".", "--device", "cpu", "--batch_size", "1"]
    command += ["--log_samples", "--output_path", str(place / "out")]
    offline = {
        "HF_HOME": str(place / "home"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        command,
        cwd=place / "lm_eval",
        env=os.environ | offline,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (results,) = (place / "out").rglob("results_*.json")
    samples = {
        name: [
            json.loads(line)
            for path in (place / "out").rglob(f"samples_{name}_*.jsonl")
            for line in path.read_text().splitlines()
        ]
        for name in ("preference", "perplexity")
    }
    return json.loads(results.read_text())["results"], samples


def rows(name):
    return [json.loads(line) for line in (SHIPPED / name).read_text().splitlines()]


def test_preferences_are_ours(trained, harness):
    results, samples = harness
    policy = Policy.from_run(trained)
    examples = [
        Example(str(i), row["prompt"], response=row["response"], rejected=row["rejected"], cue="Assistant:")
        for i, row in enumerate(rows("preferences.jsonl"))
    ]
    theirs = [
        [float(answer[0][0]) for answer in s["resps"]] for s in sorted(samples["preference"], key=lambda s: s["doc_id"])
    ]
    with torch.no_grad():
        for example, (chosen, rejected) in zip(examples, theirs, strict=True):
            # The harness scores the prompt's last newline with the response; so do we here.
            ids = policy.prompt_format.prompt_ids(example)
            before, last = ids[:-1], ids[-1]
            scored = []
            for text in (example.response, example.rejected):
                row = torch.tensor([[*before, last, *policy.prompt_format.response_ids(text)]])
                logprobs = policy.model(input_ids=row).logits[0].double().log_softmax(-1)
                scored.append(float(logprobs[:-1].gather(1, row[0, 1:, None])[len(before) - 1 :].sum()))
            assert [chosen, rejected] == pytest.approx(scored, abs=1e-4 * len(row[0]) ** 0.5)
            ours = [
                float(
                    policy.logprobs(policy.encode([Example("x", example.prompt, response=text, cue=example.cue)])).sum()
                )
                for text in (example.response, example.rejected)
            ]
            assert chosen - rejected == pytest.approx(ours[0] - ours[1], abs=1e-4)
    task = type("Own", (), {"name": "own", "measure_samples": None, "ready": lambda self: None})()
    task.measure = lambda examples, texts: [{} for _ in examples]
    found = evaluate(policy, task, examples, split="report", model="tuned", max_new_tokens=1)
    assert results["preference"]["acc,none"] == pytest.approx(found.measures["preference_accuracy"].mean)


def test_perplexity_is_ours(trained, harness):
    results, samples = harness
    texts = [row["text"] for row in rows("texts.jsonl")]
    ours = neutral_loss(Policy.from_run(trained), texts, model="tuned")
    theirs = [float(s["resps"][0][0]) for s in sorted(samples["perplexity"], key=lambda s: s["doc_id"])]
    nats = [record.response_loss * record.response_tokens for record in ours.records]
    assert [-x for x in theirs] == pytest.approx(nats, rel=1e-6, abs=1e-4)
    num_bytes = sum(len(text.encode()) for text in texts)
    assert results["perplexity"]["bits_per_byte,none"] == pytest.approx(sum(nats) / num_bytes / math.log(2), abs=1e-4)
