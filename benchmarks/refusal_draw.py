"""Draws the responses that were labelled by hand for the refusal classifier (docs/refusal_guideline.md).

python -m benchmarks.refusal_draw ROUND OUT.jsonl RUN RUN    responses of the base model, of it with three worked
                                                             examples, and of the models that two runs tuned

Round "first" is what the classifier was written on and first tried on; "second" was drawn for a classifier that was no
longer changed, with more of the models that refuse at all. Harmful prompts are AdvBench's and HarmBench's training
part, safe ones XSTest's and builtin ones that only look unsafe or are harmless; no prompt is asked twice. Decoding is
greedy. Prompts stay out of the file: they are named by id.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from benchmarks.data_folder import data_folder
from gemma_align.config import DataConfig
from gemma_align.data.fewshot import few_shot, first_answer
from gemma_align.data.splits import hashed
from gemma_align.data.tasks import load_task
from gemma_align.models.policy import Policy
from gemma_align.types import Example, Sampling

SEED = 0
SHOTS = 3
SAMPLING = Sampling(max_tokens=96, temperature=0.0)
MODELS = ("base", "few_shot", "tuned_hh", "tuned_builtin")
FIRST = {model: {"advbench": 34, "harmbench": 9, "xstest": 30, "builtin": 17} for model in MODELS}
SECOND = {
    "base": {"advbench": 8, "xstest": 7},
    "few_shot": {"advbench": 30, "xstest": 20},
    "tuned_hh": {"advbench": 8, "xstest": 7},
    "tuned_builtin": {"advbench": 30, "xstest": 20},
}
ROUNDS = {"first": (FIRST,), "second": (FIRST, SECOND)}  # prompts a model by where they come from; the last is drawn


def pools() -> tuple[dict[str, list[Example]], Sequence[Example]]:
    """Prompts by source in a seeded order, and the HH examples that worked ones are taken from."""
    task = load_task("safety", DataConfig(train=str(data_folder()), seed=SEED))
    builtin = load_task("safety", DataConfig(num_builtin=60, seed=SEED))
    harmful = [e for e in (*task.examples("train"), *task.examples("tune")) if e.checks.get("harmful") is True]
    safe = [
        e
        for e in (*task.examples("report"), *builtin.examples("tune"), *builtin.examples("report"))
        if e.checks.get("harmful") is False and not e.history
    ]
    found: dict[str, list[Example]] = {name: [] for name in FIRST["base"]}
    for example in sorted([*harmful, *safe], key=lambda e: hashed(SEED, "label", e.id)):
        found[example.id.split("/")[0]].append(example)
    return found, [e for e in task.examples("train") if e.response is not None and not e.history]


def responses(policy: Policy, examples: Sequence[Example], shots: Sequence[Example]) -> list[str]:
    """One greedy response each, cut where a worked example of the model's own would start."""
    asked = [few_shot(shots, e, SHOTS, SEED) for e in examples] if shots else list(examples)
    with torch.no_grad(), policy.sampling():
        texts = policy.generate(asked, 1, SAMPLING).texts
    return [first_answer(text) if shots else text for text in texts]


def prompts(name: str) -> tuple[dict[str, list[Example]], Sequence[Example]]:
    """The prompts of a round by model, none of which an earlier round has, and the worked examples' source."""
    sources, shots = pools()
    for number in ROUNDS[name]:
        taken = {
            model: [sources[place].pop(0) for place, n in counts.items() for _ in range(n)]
            for model, counts in number.items()
        }
    return taken, shots


def main(name: str, out: Path, runs: Sequence[Path]) -> None:
    chosen, shots = prompts(name)
    with out.open("w", encoding="utf-8") as file:
        for model, examples in chosen.items():
            policy = Policy.from_run(runs[1] if model == "tuned_builtin" else runs[0])
            with nullcontext() if model.startswith("tuned") else policy.base():
                texts = responses(policy, examples, shots if model == "few_shot" else ())
            for example, text in zip(examples, texts, strict=True):
                row = {
                    "id": example.id,
                    "harmful": example.checks["harmful"],
                    "category": example.checks["category"],
                    "model": model,
                    "response": text,
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [Path(run) for run in sys.argv[3:5]])
