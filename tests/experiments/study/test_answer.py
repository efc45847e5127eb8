"""The answer from records of known truth: who leads, what claims become, what is said of hacking, what is refused."""

import json
import re

import pytest
from tests.experiments.study.records import course, record

from gemma_align.config.study import Study
from gemma_align.errors import RunDirError, UserError
from gemma_align.experiments.study.answer import answer
from gemma_align.experiments.study.learning import at_distance, course_of, farthest
from gemma_align.experiments.study.page import MAX_BYTES, study_page


def study(**changes):
    settings = {
        "title": "A <b>study</b>",
        "seeds": [0, 1, 2],
        "tasks": {"clinical": {}},
        "measures": {"clinical": ["rougeL", "finished"]},
        "methods": {
            "base": {"config": "x.yml", "evaluate": True},
            "sft": {"config": "x.yml", "start": "base"},
            "grpo": {"config": "x.yml", "start": "sft"},
            "direct": {"config": "x.yml", "start": "base"},
        },
        "claims": [
            {"text": "GRPO improves on SFT", "better": "grpo", "than": "sft", "measure": "rougeL"},
            {"text": "SFT first is more efficient", "better": "grpo", "than": "direct", "measure": "reward_per_token"},
        ],
    }
    return Study.model_validate(settings | changes)


def records(grpo=0.1, rise=1.0, direct=0.25):
    found = {"base": record("base", 0, 0.1, evaluate=True)}
    for seed in range(3):
        jitter = 0.01 * seed
        found[f"sft{seed}"] = record("sft", seed, 0.3)
        found[f"grpo{seed}"] = record("grpo", seed, grpo, course=course([1 + jitter] * 20, proxy=(0.0, rise)))
        found[f"direct{seed}"] = record(
            "direct", seed, direct, staged=False, course=course([0 + jitter] * 20, proxy=(0.0, rise))
        )
    return found


def test_the_best_leads_and_what_is_worse_does_not():
    found = answer(study(), records(grpo=0.5), [])["tasks"]["clinical"]
    assert found["leaders"]["rougeL"] == ["grpo"]
    assert set(found["leaders"]["finished"]) == {"base", "sft", "grpo", "direct"}
    assert re.match(r"clinical: the best rougeL is 0\.(49|50)", found["words"][0])
    assert "by grpo" in found["words"][0]


def test_what_the_best_gives_up_is_said_beside_it():
    made = records(grpo=0.5)
    for name, one in made.items():
        if name.startswith("grpo"):
            for found in one["models"].values():
                found["columns"]["finished"] = [0.0] * 30 + [1.0] * (len(found["ids"]) - 30)
    words = "\n".join(answer(study(), made, [])["tasks"]["clinical"]["words"])
    assert "What grpo gives up, where others are shown to be better: finished 0.250" in words
    assert "sft 1.000" in words
    assert "gives up" not in "\n".join(answer(study(), records(grpo=0.5), [])["tasks"]["clinical"]["words"])


def test_what_cannot_be_told_apart_is_said_and_the_cheapest_named():
    made = records(grpo=0.3)
    for seed in range(3):
        made[f"grpo{seed}"]["cost"]["seconds"] = 6000.0
    words = "\n".join(answer(study(), made, [])["tasks"]["clinical"]["words"])
    assert "It can't be told from" in words
    assert "Of those that were trained, sft cost least (10 minutes)" in words


@pytest.mark.parametrize(("mean", "holds"), [(0.5, True), (0.1, False), (0.3, None)])
def test_a_claim_about_a_measure(mean, holds):
    claim = answer(study(), records(grpo=mean), [])["claims"][0]
    assert claim["holds"] is holds
    assert claim["of_methods"]
    assert claim["difference"]["mean"] == pytest.approx(mean - 0.3, abs=0.02)


def test_a_claim_about_learning_is_welchs_interval_over_seeds():
    claim = answer(study(), records(), [])["claims"][1]
    assert claim["holds"] is True
    assert claim["difference"]["mean"] == pytest.approx(1.0)
    assert claim["difference"]["low"] == pytest.approx(1 - 2.7764 * (2 * 1e-4 / 3) ** 0.5, rel=1e-3)  # t(4)


def test_claims_are_corrected_together():
    alone = answer(study(claims=study().model_dump()["claims"][:1]), records(grpo=0.31), [])["claims"][0]
    both = answer(study(), records(grpo=0.31), [])["claims"][0]
    assert both["corrected"] >= alone["corrected"]


def test_a_reward_that_rises_while_gold_falls_is_called_hacked():
    found = answer(study(), records(grpo=0.1, rise=3.0), [])["tasks"]["clinical"]
    assert found["hacking"]["grpo"]["kind"] == "hacked"
    assert found["hacking"]["direct"]["kind"] == "improved"
    said = "grpo: in these runs the reward rose while rougeL got worse: the reward is being hacked"
    assert any(f"{said}, as other seeds would show too (reward +3.0" in line for line in found["words"])


def test_whether_other_seeds_would_be_hacked_too_is_said_beside_it():
    made = records(rise=3.0)
    for seed, mean in enumerate((-0.2, 0.3, 0.3)):
        made[f"grpo{seed}"]["models"] = record("grpo", seed, mean)["models"]
    found = answer(study(), made, [])["tasks"]["clinical"]
    assert (found["hacking"]["grpo"]["kind"], found["hacking"]["grpo"]["of_methods"]) == ("hacked", "open")
    assert any("being hacked; other seeds may do otherwise (" in line for line in found["words"])


def test_where_less_is_better_a_rise_is_a_loss():
    made = records(grpo=0.5, rise=3.0)
    for one in made.values():
        for found in one["models"].values():
            found["columns"]["toxicity"] = found["columns"]["rougeL"]
        for row in one["course"]:
            row.update({"eval/toxicity": row["eval/rougeL"]} if "eval/rougeL" in row else {})
    task = answer(study(measures={"clinical": ["toxicity"]}), made, [])["tasks"]["clinical"]
    assert task["leaders"]["toxicity"][0] == "base"
    assert task["hacking"]["grpo"]["kind"] == "hacked"
    assert any("while toxicity got worse" in line for line in task["words"])


def test_methods_that_went_on_from_one_policy_are_compared_run_by_run():
    """The seeds of SFT lie far apart, and GRPO brings each as much further."""
    made = records()
    for seed, mean in enumerate((0.1, 0.3, 0.5)):
        made[f"sft{seed}"]["models"] = record("sft", seed, mean)["models"]
        made[f"grpo{seed}"]["models"] = record("grpo", seed, mean + 0.1)["models"]
        made[f"direct{seed}"]["models"] = record("direct", seed, mean + 0.1)["models"]
    pairs = {(p["first"], p["second"]): p for p in answer(study(), made, [])["tasks"]["clinical"]["pairs"]}
    rows = {second: pairs["sft", second]["measures"]["rougeL"] for second in ("grpo", "direct")}
    assert rows["grpo"]["of_methods"]
    assert rows["grpo"]["winner"] == "grpo"
    assert rows["direct"]["of_methods"]
    assert rows["direct"]["winner"] is None


def test_a_method_of_one_seed_leads_nothing_where_others_have_several():
    made = records(grpo=0.5)
    del made["grpo1"], made["grpo2"]
    found = answer(study(), made, [])["tasks"]["clinical"]
    assert "grpo" not in found["leaders"]["rougeL"]
    words = "\n".join(found["words"])
    assert "by sft" in found["words"][0]
    assert "Of one seed alone, so that nothing is said of them as methods: grpo 0." in words


def test_what_the_best_is_not_shown_to_beat_is_listed_whoever_else_beats_it():
    made = records(grpo=0.32)
    for seed, mean in enumerate((0.0, 0.3, 0.6)):  # so far apart that nothing is shown of it
        made[f"direct{seed}"]["models"] = record("direct", seed, mean)["models"]
    leaders = answer(study(), made, [])["tasks"]["clinical"]["leaders"]["rougeL"]
    assert leaders[0] == "grpo"
    assert "direct" in leaders


def test_the_best_of_n_is_a_method_also_at_one_seed_and_worked_examples_are_one_model():
    made = records()
    for seed in range(3):
        made[f"sft{seed}"]["models"]["few_shot"] = record("x", 7, 0.2)["models"]["tuned"]
    made["sft0"]["models"]["best_of_8"] = record("x", 8, 0.4)["models"]["tuned"]
    methods = answer(study(), made, [])["tasks"]["clinical"]["methods"]
    assert (methods["sft, best_of_8"]["trained"], methods["sft, best_of_8"]["seeds"]) == (True, [0])
    assert (methods["sft, few_shot"]["trained"], methods["sft, few_shot"]["seeds"]) == (False, [])


def test_a_measure_that_few_examples_have_is_counted_and_decides_nothing():
    made = records()
    for name, one in made.items():
        n = 5 if name.startswith("grpo") else 30
        for found in one["models"].values():
            found["columns"]["bleu"] = [0.5 + 0.01 * i for i in range(n)] + [None] * (40 - n)
    claims = [{"text": "GRPO improves on SFT", "better": "grpo", "than": "sft", "measure": "bleu"}]
    both = answer(study(measures={"clinical": ["rougeL", "bleu"]}, claims=claims), made, [])
    found = both["tasks"]["clinical"]
    assert found["methods"]["sft"]["values"]["bleu"]["n"] == 30
    assert "grpo" not in found["leaders"]["bleu"]
    assert both["claims"][0]["words"] == "not settled: fewer than 10 examples have bleu in both"
    assert "<small>of 30</small>" in study_page(both)


def test_where_all_seeds_and_examples_are_alike_these_runs_are_spoken_of():
    made = records()
    for name, one in made.items():
        if name.startswith("grpo"):
            for found in one["models"].values():
                found["columns"]["finished"] = [0.0] * 40
    claims = [{"text": "SFT ends more often", "better": "sft", "than": "grpo", "measure": "finished"}]
    claim = answer(study(claims=claims), made, [])["claims"][0]
    assert not claim["of_methods"]
    assert claim["difference"]["mean"] == 1.0


def test_rewards_that_never_vary_settle_nothing():
    made = records()
    for seed in range(3):
        made[f"grpo{seed}"]["course"], made[f"direct{seed}"]["course"] = course([1.0] * 20), course([0.0] * 20)
    claim = answer(study(), made, [])["claims"][1]
    assert claim["holds"] is None
    assert claim["words"].endswith("nothing varies over seeds")


def test_measures_without_a_better_way_decide_nothing():
    with pytest.raises(UserError, match=r"clinical: the first: wanted a measure of which .* given 'num_words'"):
        answer(study(measures={"clinical": ["num_words"]}), records(), [])
    claims = [{"text": "Longer", "better": "grpo", "than": "sft", "measure": "num_words"}]
    with pytest.raises(UserError, match=r"claims: 'Longer': wanted a measure of which .* given 'num_words'"):
        answer(study(claims=claims), records(), [])


def test_methods_of_one_seed_are_told_apart_as_models_only():
    made = {name: r for name, r in records(grpo=0.5).items() if r["seed"] == 0}
    found = answer(study(), made, ["clinical, sft, seed 1"])
    words = "\n".join(found["tasks"]["clinical"]["words"])
    assert "Nothing is said about the methods" in words
    assert not found["claims"][0]["of_methods"]
    assert found["claims"][1]["words"].startswith("open")
    assert found["missing"] == ["clinical, sft, seed 1"]


def test_a_claim_whose_cells_are_not_done_is_not_settled():
    made = {name: r for name, r in records().items() if r["method"] != "grpo"}
    words = [claim["words"] for claim in answer(study(), made, [])["claims"]]
    assert words == ["not settled: no cell of grpo is in here"] * 2


def test_claims_that_are_not_settled_yet_count_in_the_correction():
    made = {name: r for name, r in records(grpo=0.31).items() if r["method"] != "direct"}
    now = answer(study(), made, [])["claims"][0]["corrected"]
    alone = answer(study(claims=study().model_dump()["claims"][:1]), made, [])["claims"][0]["corrected"]
    assert now == pytest.approx(min(1.0, 2 * alone))


def test_the_budget_is_looked_at():
    assert answer(study(), records(), [])["tasks"]["clinical"]["budget"]["equal"]
    made = records()
    made["direct0"]["cost"]["reward_calls"] = 100
    budget = answer(study(), made, [])["tasks"]["clinical"]["budget"]
    assert not budget["equal"]
    assert budget["spread"] == pytest.approx((320 - (320 + 320 + 100) / 3) / 320)


def test_rewards_of_other_settings_are_other_numbers():
    made = records()
    for seed in range(3):
        made[f"direct{seed}"]["config"] = "reward: {beta: 0}\nstages: [{method: grpo}]\n"
    both = answer(study(), made, [])
    learning = both["tasks"]["clinical"]["learning"]
    assert learning["grpo"]["reward"] != learning["direct"]["reward"]
    assert both["claims"][1]["words"] == "not settled: their rewards differ, and so what the numbers mean"
    made["direct0"]["course"][-2]["rollout/all_tokens"] = 16_000.0
    assert answer(study(), made, [])["tasks"]["clinical"]["learning"]["grpo"]["budget_tokens"] == 3200.0


def test_a_reward_is_the_same_whatever_stages_came_before_it():
    made = records()
    for seed in range(3):
        made[f"grpo{seed}"]["config"] = (
            "reward: {beta: 1, clinical: {use_checks: true}}\nstages: [{method: sft}, {method: grpo}]\n"
        )
        own = "{method: ppo, reward: {clinical: {use_checks: true}}}"
        made[f"direct{seed}"]["config"] = f"reward: {{beta: 1, clinical: {{use_checks: false}}}}\nstages: [{own}]\n"
    learning = answer(study(), made, [])["tasks"]["clinical"]["learning"]
    assert learning["grpo"]["reward"] == learning["direct"]["reward"]


def test_cells_that_were_evaluated_differently_are_refused():
    made = records()
    made["sft1"]["models"]["tuned"] = made["sft1"]["models"]["tuned"] | {
        "about": made["sft0"]["models"]["tuned"]["about"] | {"decoding.max_new_tokens": 64}
    }
    with pytest.raises(RunDirError, match=r"decoding\.max_new_tokens: .*48.*64"):
        answer(study(), made, [])


def test_a_measure_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(UserError, match=r"no 'bleu'; it measures rougeL, finished"):
        answer(study(measures={"clinical": ["bleu"]}), records(), [])


def test_nothing_done_is_an_error():
    with pytest.raises(UserError, match="no cell of this study is done yet"):
        answer(study(), {}, ["x"])


def test_the_page_holds_the_numbers_escapes_texts_and_stays_small():
    made = records(grpo=0.5)
    made["sft0"]["models"]["tuned"]["responses"][0] = "</script><script>alert(1)</script>"
    found = answer(study(), made, ["clinical, x"])
    page = study_page(found)
    assert len(page.encode()) < MAX_BYTES / 2
    assert "A &lt;b&gt;study&lt;/b&gt;" in page
    assert "alert(1)" in page
    assert "<script>alert(1)" not in page
    mean = found["tasks"]["clinical"]["methods"]["grpo"]["values"]["rougeL"]["mean"]
    assert f"{mean:.3f} [" in page
    assert "Not done yet, so not in here: clinical, x." in page
    assert "https://" not in page.split('<script type="text/plain"')[0]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_methods_are_held_against_each_other_at_equal_divergence():
    """Gold and proxy rise straight with the distance, so at the nearer run's last distance the farther has its part."""
    made = records()
    for seed in range(3):
        made[f"grpo{seed}"]["course"] = course([1 + 0.01 * seed] * 20, kl=4.0, proxy=(0.0, 2.0), gold=(0.3, 0.5))
        made[f"direct{seed}"]["course"] = course([0.01 * seed] * 20, kl=16.0, proxy=(1.0, 5.0), gold=(0.1, 0.9))
    found = answer(study(), made, [])["tasks"]["clinical"]["matched"]
    assert set(found["methods"]) == {"grpo", "direct"}
    mean = sum(i / 19 for i in range(15, 20)) / 5  # of the last five updates' divergence, which rises evenly
    assert found["distance"] == pytest.approx((4 * mean) ** 0.5)
    assert found["methods"]["grpo"] == {"proxy": pytest.approx([2.0] * 3), "gold": pytest.approx([0.2] * 3)}
    assert found["methods"]["direct"] == {"proxy": pytest.approx([2.0] * 3), "gold": pytest.approx([0.4] * 3)}


def test_a_run_that_turned_back_is_taken_where_it_first_came_so_far():
    row = {"stage": "grpo", "rollout/tokens": 1.0, "rollout/all_tokens": 1.0, "reward/total": 0.0, "reward/std": 2.0}
    told = [(0.0, 0.0, 0.3), (4.0, 4.0, 0.5), (1.0, -9.0, 0.0)]
    lines = []
    for i, (kl, proxy, gold) in enumerate(told):
        lines += [row | {"step": 10 * i + j, "policy/kl": kl} for j in range(10)]
        lines += [{"step": 10 * i + 9, "stage": "grpo", "eval/reward_total": proxy, "eval/rougeL": gold}]
    found = course_of({"course": lines, "config": "stages: []"}, "rougeL")
    assert farthest(found) == 2.0
    assert at_distance(found, 1.0) == (pytest.approx(1.0), pytest.approx(0.1))
    assert at_distance(found, 2.0) == (pytest.approx(2.0), pytest.approx(0.2))
    with pytest.raises(ValueError, match=r"up to 2.000 was wanted, given 2.100"):
        at_distance(found, 2.1)
