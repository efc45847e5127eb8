"""Records of cells as a study keeps them, made of numbers that a test chooses."""

import numpy as np

ABOUT = {
    "task": "clinical",
    "split": "report",
    "num_examples": 40,
    "data": "abc",
    "prompt_format": "plain",
    "decoding.temperature": 0.0,
    "decoding.max_new_tokens": 48,
}
IDS = [f"example {i}" for i in range(40)]


def model(columns, responses=None):
    n = len(IDS)
    return {
        "about": ABOUT,
        "ids": IDS,
        "columns": {name: list(map(float, values)) for name, values in columns.items()},
        "lengths": [10.0] * n,
        "nats": [None] * n,
        "tokens": [0.0] * n,
        "responses": responses or [f"said to {i}" for i in range(n)],
    }


def record(method, seed=0, mean=0.3, *, evaluate=False, course=(), others=None, staged=True, **columns):
    """A cell whose rougeL lies around `mean`: the same hardness of examples for all, noise of its own."""
    stages = ["{method: sft}"] * (staged and not evaluate) + ["{method: grpo}"] * bool(course)
    hardness = np.random.default_rng(0).normal(0, 0.1, len(IDS))
    noise = np.random.default_rng([seed, *method.encode()]).normal(0, 0.02, len(IDS))
    own = {"rougeL": mean + hardness + noise, "finished": np.ones(len(IDS)), **columns}
    return {
        "format": 1,
        "task": "clinical",
        "method": method,
        "seed": seed,
        "evaluate": evaluate,
        "stages": [] if evaluate else ["sft"],
        "command": "gemma-align run",
        "config": f"task: clinical\nseed: {seed}\nreward: {{}}\nstages: [{', '.join(stages)}]\n",
        "main": "base" if evaluate else "tuned",
        "models": {"base" if evaluate else "tuned": model(own), **(others or {})},
        "course": list(course),
        "verdicts": [],
        "cost": {
            "updates": 0 if evaluate else 100,
            "training_tokens": 1000,
            "sampled_tokens": 800.0 if course else 0,
            "reward_calls": 16 * len([row for row in course if "rollout/tokens" in row]),
            "seconds": 0.0 if evaluate else 600.0,
            "phases": {},
            "peak_gb": 2.5,
        },
        "environment": {"machine": "x86_64", "cores": 2, "packages": {"torch": "2"}, "code": {}, "data": []},
        "weights": "w",
    }


def course(rewards, *, tokens=10.0, kl=4.0, proxy=(0.0, 2.0), gold=(0.3, 0.3), std=1.0):
    """A stage that samples: an update a reward, with an evaluation before the first and after the last."""
    rows = [{"step": 0, "stage": "grpo", "eval/reward_total": proxy[0], "eval/rougeL": gold[0]}]
    rows += [
        {
            "step": i + 1,
            "stage": "grpo",
            "tokens": 100,
            "reward/total": reward,
            "reward/std": std,
            "reward/violation": 0.1,
            "policy/kl": kl * i / max(1, len(rewards) - 1),
            "rollout/tokens": tokens,
            "rollout/all_tokens": 16 * tokens,
        }
        for i, reward in enumerate(rewards)
    ]
    rows.append({"step": len(rewards), "stage": "grpo", "eval/reward_total": proxy[1], "eval/rougeL": gold[1]})
    return rows
