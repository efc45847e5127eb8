"""What a run cost, by its logs."""

import json

import pytest

from gemma_align.errors import RunDirError
from gemma_align.experiments.cost import cost_of
from gemma_align.experiments.run_paths import RunPaths

METRICS = [
    {"step": 1, "stage": "sft", "tokens": 10.0},
    {"step": 2, "stage": "grpo", "tokens": 30.0, "rollout/all_tokens": 25.0, "rollout/tokens": 25 / 12},
    {"step": 2, "stage": "grpo", "eval/rougeL": 0.5},
]
TIMES = [
    {"step": 1, "seconds": {"prepare": 1.0, "update": 2.0, "total": 3.5}, "peak_rss_gb": 1.0},
    {"step": 2, "seconds": {"update": 4.0, "evaluate": 8.0, "total": 12.0}, "peak_rss_gb": 2.0},
]


@pytest.fixture
def logged(tmp_path):
    paths = RunPaths(tmp_path)
    paths.metrics.write_text("".join(json.dumps(line) + "\n" for line in METRICS))
    paths.timings.write_text("".join(json.dumps(line) + "\n" for line in TIMES))
    return paths


def test_a_cost_is_the_sum_of_its_updates(logged):
    cost = cost_of(logged)
    assert (cost.updates, cost.training_tokens, cost.sampled_tokens, cost.reward_calls) == (2, 40, 25, 12)
    assert cost.phases == {"prepare": 1.0, "update": 6.0, "evaluate": 8.0}
    assert (cost.seconds, cost.peak_gb) == (7.0, 2.0)


@pytest.mark.parametrize(
    ("log", "good", "bad"),
    [
        ("timings", '"seconds"', '"reconds"'),
        ("timings", '"update": 2.0', '"update": "2,0"'),
        ("timings", '{"prepare"', '1, "x": {"prepare"'),
        ("metrics", '"rollout/all_tokens"', '"rollout/all_uokens"'),
        ("metrics", '"tokens": 10.0', '"tokens": null'),
    ],
)
def test_a_flipped_bit_that_leaves_valid_json_is_named(logged, log, good, bad):
    path = getattr(logged, log)
    assert good in path.read_text()
    path.write_text(path.read_text().replace(good, bad, 1))
    with pytest.raises(RunDirError, match=r"metrics.jsonl or timings.jsonl in .* is damaged"):
        cost_of(logged)
