"""Evaluation with a policy whose every response and log-probability is known, then the tables and files made of it."""

import io
import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from gemma_align.evaluation.common import measure
from gemma_align.evaluation.evaluate import evaluate
from gemma_align.evaluation.fingerprint import fingerprint
from gemma_align.evaluation.results import differences, records, to_json
from gemma_align.evaluation.table import results_table, samples
from gemma_align.types import Example, Responses, Rollouts, Sampling


@dataclass
class ScriptedPolicy:
    """Says what its script holds under an example's id; every reference word costs `nats`, one token a word + end."""

    script: dict[str, str]
    nats: float = 0.5
    calls: list[list[str]] = field(default_factory=list)
    seen: list[object] = field(default_factory=list)
    inside: bool = False
    prompt_format: object = field(
        default_factory=lambda: SimpleNamespace(name="plain", prompt_text=lambda e: f"{e.prompt}\n{e.cue}\n")
    )

    @contextmanager
    def sampling(self):
        self.inside = True
        yield
        self.inside = False

    def encode(self, examples):
        return _responses([e.response for e in examples])

    def logprobs(self, responses, temperature=1.0):
        assert not torch.is_grad_enabled()
        assert not self.inside  # the sampler has given its copy of the weights back
        weights = responses.ids.float()  # a word's id is its length, so examples differ
        return torch.where(responses.mask, -self.nats * weights, 0.0)

    def generate(self, examples, num_samples, sampling):
        assert self.inside
        self.calls.append([e.id for e in examples])
        self.seen += [sampling, *examples]
        said = [self.script[e.id] for e in examples]
        texts = tuple(f"{text}{n}" if sampling.temperature else text for text in said for n in range(num_samples))
        finished = torch.tensor([len(t.split()) < sampling.max_tokens for t in texts])
        responses = _responses(texts)
        return Rollouts(responses, torch.zeros(responses.mask.shape), tuple(examples), texts, finished)


def _responses(texts):
    rows = [[len(word) for word in text.split()] + [1] for text in texts]  # the end token has length 1
    width = max(map(len, rows), default=0)
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows]).reshape(len(rows), width)
    mask = torch.tensor([[i < len(row) for i in range(width)] for row in rows]).reshape(len(rows), width)
    return Responses(tuple((2,) for _ in rows), torch.arange(len(rows)), ids, mask)


def own_task(of_example, name="own", of_samples=None):
    return SimpleNamespace(
        name=name,
        ready=lambda: None,
        measure=lambda examples, responses: [of_example(e) for e in examples],
        measure_samples=of_samples,
    )


TASK = own_task(None, "clinical")
TASK.measure = lambda examples, responses: [measure(e, r) for e, r in zip(examples, responses, strict=True)]
EXAMPLES = [
    Example("a", "short", response="bb", cue="Note:"),
    Example("b", "the longest prompt", response="cccc a", cue="Note:"),
    Example("c", "a middle one", response=None, cue="Note:"),
]
SCRIPT = {"a": "bb", "b": "x y z", "c": ""}


def run(script=SCRIPT, examples=EXAMPLES, model="tuned", **kwargs):
    policy = ScriptedPolicy(dict(script), nats=kwargs.pop("nats", 0.5))
    kwargs = {"split": "report", "max_new_tokens": 3, "num_rows": 1} | kwargs
    return evaluate(policy, TASK, examples, model=model, **kwargs), policy


def test_every_part_of_the_work_is_told_to_the_timer():
    policy = ScriptedPolicy(dict(SCRIPT))
    inside: list[str] = []
    told = []

    @contextmanager
    def timer(part):
        inside.append(part)
        yield
        told.append(inside.pop())

    policy.generate = lambda *args, known=policy.generate: (told.append(f"in {inside}"), known(*args))[1]
    evaluate(policy, TASK, EXAMPLES, split="report", model="m", max_new_tokens=3, num_rows=2, timer=timer)
    assert told == ["in ['generate']", "generate", "references", "measure"]


def test_records_by_hand():
    found, policy = run()
    a, b, c = found.records
    assert [r.id for r in found.records] == ["a", "b", "c"]  # the given order, whatever the order of decoding
    assert policy.calls == [["b", "c"], ["a"]]  # longest prompt first, two at a time
    assert (a.prompt, a.response, a.reference, a.finished, a.num_tokens) == ("short\nNote:\n", "bb", "bb", True, 2)
    assert (b.finished, b.num_tokens, c.num_tokens) == (False, 4, 1)
    # reference a: word of 2 letters + end: 0.5 * (2 + 1) nats in 2 tokens; b: 0.5 * (4 + 1 + 1) in 3
    assert (a.response_loss, a.response_tokens) == pytest.approx((0.75, 2))
    assert (b.response_loss, b.response_tokens) == pytest.approx((1.0, 3))
    assert (c.response_loss, c.response_tokens, c.reference) == (None, 0, None)
    assert a.measures["exact_match"] == 1.0
    assert "exact_match" not in c.measures


def test_aggregates_by_hand():
    measures = run()[0].measures
    assert measures["finished"].mean == pytest.approx(2 / 3)
    assert measures["num_tokens"].mean == pytest.approx(7 / 3)
    assert measures["response_loss"].mean == pytest.approx((1.5 + 3.0) / 5)  # by tokens, not by examples
    assert (measures["exact_match"].mean, measures["exact_match"].n) == (0.5, 2)
    assert measures["num_words"].n == 3


def test_decoding_is_greedy_and_recorded():
    found, policy = run(seed=4)
    sampling = policy.seen[0]
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.max_tokens) == (0.0, 0, 1.0, 3)
    assert found.decoding == {"temperature": 0.0, "max_new_tokens": 3, "few_shot": 0, "seed": 4}
    assert (found.prompt_format, found.data) == ("plain", fingerprint(EXAMPLES))
    assert not policy.inside


def test_progress_reports_every_chunk_of_responses_and_then_of_references():
    told = []
    run(progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 6), (3, 6), (5, 6), (6, 6)]


def test_few_shot_puts_examples_before_the_prompt_and_cuts_made_up_ones():
    train = [Example(f"t{i}", f"question {i}", response=f"answer {i}", cue="Note:") for i in range(3)]
    script = SCRIPT | {"a": "bb\n\n###\n\nquestion 9\n\nNote:\nanswer 9"}
    found, policy = run(script, few_shot=2, few_shot_from=train)
    shown = next(e for e in policy.seen if getattr(e, "id", "") == "a").prompt
    assert shown.count("answer") == 2
    assert "short" in shown
    assert found.records[0].response == "bb"
    assert found.records[0].measures["exact_match"] == 1.0
    assert found.records[0].reference == "bb"
    assert "answer" in found.records[0].prompt
    assert found.data == fingerprint(EXAMPLES)  # comparable with a run without worked examples
    assert found.decoding["few_shot"] == 2


def test_measures_see_the_example_without_worked_ones():
    asked = []
    task = own_task(lambda example: asked.append(example.prompt) or {})
    train = [Example("t", "question", response="answer", cue="Note:")]
    policy = ScriptedPolicy(SCRIPT)
    evaluate(
        policy, task, EXAMPLES, split="tune", model="m", max_new_tokens=3, few_shot=1, few_shot_from=train, num_rows=3
    )
    assert sorted(asked) == sorted(e.prompt for e in EXAMPLES)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"examples": []}, "no report examples"), ({"few_shot": 2}, "2 worked examples wanted")],
)
def test_what_cannot_be_evaluated_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        run(**kwargs)


def test_a_measure_that_is_not_finite_names_measure_and_example():
    task = own_task(lambda example: {"mine": float("nan")})
    with pytest.raises(ValueError, match=r"'mine' of example 'a'"):
        evaluate(ScriptedPolicy(SCRIPT), task, EXAMPLES, split="tune", model="m", max_new_tokens=3)


def test_samples_are_drawn_beside_the_greedy_response_and_measured_by_example():
    told = []

    def of_samples(examples, samples):
        told.append([(e.id, list(texts)) for e, texts in zip(examples, samples, strict=True)])
        return [{"best": float(len(texts))} for texts in samples]

    task, policy = own_task(lambda example: {"plain": 1.0}, of_samples=of_samples), ScriptedPolicy(SCRIPT)
    found = evaluate(policy, task, EXAMPLES, split="tune", model="m", max_new_tokens=9, num_samples=2, temperature=0.5)
    assert told == [[(e.id, [SCRIPT[e.id] + "0", SCRIPT[e.id] + "1"]) for e in EXAMPLES]]
    assert [r.response for r in found.records] == [SCRIPT[e.id] for e in EXAMPLES]
    assert found.records[0].samples == ("bb0", "bb1")
    assert records(found)[0]["samples"] == ["bb0", "bb1"]
    assert (found.measures["best"].mean, found.measures["plain"].mean) == (2.0, 1.0)
    assert found.decoding["num_samples"] == 2
    assert found.decoding["sampling_temperature"] == 0.5
    assert {s.temperature for s in policy.seen if not isinstance(s, Example)} == {0.0, 0.5}


def test_samples_do_not_depend_on_how_many_rows_are_decoded_and_share_no_random_numbers():
    examples = [replace(EXAMPLES[0], id=f"e{i}", prompt="x" * (40 - i)) for i in range(20)]
    script = {e.id: "bb" for e in examples}
    task = own_task(lambda example: {}, of_samples=lambda examples, samples: [{} for _ in examples])
    drawn = []
    for num_rows in (1, 7):
        policy, reached = ScriptedPolicy(script), []
        evaluate(
            policy, task, examples, split="tune", model="m", max_new_tokens=9, num_samples=2, num_rows=num_rows,
            progress=lambda done, total, reached=reached: reached.append((done, total)),
        )  # fmt: skip
        groups = list(zip(policy.calls, [s.seed for s in policy.seen if isinstance(s, Sampling)], strict=True))
        drawn.append(groups[-2:])
        assert reached[-1] == (80, 80)  # a greedy response and two samples of each, and its reference
        assert [done for done, _ in reached] == sorted({done for done, _ in reached})
    assert drawn[0] == drawn[1]
    (first, one), (second, other) = drawn[0]
    assert first + second == [e.id for e in examples]
    assert one != other


def test_samples_need_a_measure_of_several():
    with pytest.raises(ValueError, match="num_samples"):
        run(num_samples=2)


def test_preferences_by_hand():
    pair = Example("p", "x", response="a b", rejected="long words here")
    tie = replace(pair, id="t", response="ab", rejected="cd")
    worse = replace(pair, id="w", response="longest", rejected="a")
    found, _ = run(script={"p": "", "t": "", "w": ""}, examples=[pair, tie, worse])
    assert [r.measures["preference_accuracy"] for r in found.records] == [1.0, 0.5, 0.0]


def test_what_a_task_needs_is_asked_for_before_anything_is_generated():
    def missing():
        raise RuntimeError("nothing to run programs in")

    task, policy = own_task(lambda example: {}), ScriptedPolicy(SCRIPT)
    task.ready = missing
    with pytest.raises(RuntimeError, match="nothing to run"):
        evaluate(policy, task, EXAMPLES, split="tune", model="m", max_new_tokens=3)
    assert not policy.calls


def test_examples_without_references_have_no_loss():
    assert "response_loss" not in run(examples=[EXAMPLES[2]])[0].measures


@pytest.mark.parametrize(
    "change",
    [{"id": "z"}, {"prompt": "z"}, {"response": "z"}, {"cue": "z"}, {"checks": {"facts": []}}, {"rejected": ""}],
)
def test_the_fingerprint_sees_every_change(change):
    other = [replace(EXAMPLES[0], **change), *EXAMPLES[1:]]
    assert fingerprint(other) != fingerprint(EXAMPLES)
    assert fingerprint(EXAMPLES[::-1]) != fingerprint(EXAMPLES)


def many(model, good, nats):
    """40 examples; the first `good` are answered right."""
    examples = [Example(f"e{i}", f"prompt {i}", response=f"answer {'x' * (i % 7 + 1)}") for i in range(40)]
    script = {e.id: e.response if i < good else "wrong wrong wrong" for i, e in enumerate(examples)}
    return run(script, examples, model, nats=nats, num_rows=8)[0]


def test_differences_are_paired_and_signed_tuned_minus_base():
    found = differences(many("tuned", 30, 0.25), many("base", 10, 0.5))
    assert found["exact_match"].mean == pytest.approx(0.5)
    assert found["exact_match"].excludes_zero
    assert found["empty"].mean == 0
    assert not found["empty"].excludes_zero
    tuned, base = many("tuned", 30, 0.25).measures["response_loss"], many("base", 10, 0.5).measures["response_loss"]
    assert found["response_loss"].mean == pytest.approx(tuned.mean - base.mean)
    assert found["response_loss"].high < 0


def test_losses_over_different_tokens_are_not_compared():
    tuned = many("tuned", 30, 0.25)
    recounted = tuple(replace(r, response_tokens=r.response_tokens + 1) for r in tuned.records)
    assert "response_loss" not in differences(replace(tuned, records=recounted), tuned)


def test_different_examples_are_not_compared():
    with pytest.raises(ValueError, match="different examples"):
        differences(run()[0], many("base", 3, 0.5))


def test_json_has_the_promised_form_and_no_nan():
    document = json.loads(json.dumps(to_json(many("tuned", 30, 0.25), many("base", 10, 0.5)), allow_nan=False))
    assert (document["task"], document["split"], document["model"]) == ("clinical", "report", "tuned")
    assert set(document["measures"]["exact_match"]) == {"mean", "low", "high", "n"}
    assert document["measures"]["exact_match"]["mean"] == 0.75
    assert document["base"]["model"] == "base"
    assert document["base"]["measures"]["exact_match"]["mean"] == 0.25
    assert document["base"]["difference"]["exact_match"]["mean"] == 0.5
    assert {"data", "decoding", "prompt_format", "confidence", "num_examples"} <= set(document)
    alone = to_json(run()[0])
    assert "base" not in alone
    assert "base" not in alone
    json.dumps(alone, allow_nan=False)


def test_records_are_json_lines_that_give_the_aggregates_back():
    evaluation = many("tuned", 30, 0.25)
    lines = [json.loads(json.dumps(r, allow_nan=False)) for r in records(evaluation)]
    assert len(lines) == 40
    assert {line["model"] for line in lines} == {"tuned"}
    mean = sum(line["measures"]["exact_match"] for line in lines) / 40
    assert mean == evaluation.measures["exact_match"].mean
    loss = sum(r["response_loss"] * r["response_tokens"] for r in lines) / sum(r["response_tokens"] for r in lines)
    assert loss == pytest.approx(evaluation.measures["response_loss"].mean)


def shown(renderable, width=80, **kwargs):
    console = Console(file=io.StringIO(), width=width, **kwargs)
    console.print(renderable)
    return console.file.getvalue()


def test_the_table_fits_80_columns_of_plain_text():
    text = shown(results_table(many("tuned", 30, 0.25), many("base", 10, 0.5)))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert "\x1b" not in text
    row = next(line for line in text.splitlines() if line.startswith("exact_match")).split()
    assert row[1] == "0.250"
    assert row[4] == "0.750"
    assert row[7] == "+0.500"
    assert row[-1] == "*"
    empty = next(line for line in text.splitlines() if line.startswith("empty"))
    assert not empty.rstrip().endswith("*")
    assert "95 % intervals" in text
    assert "tuned - base" in text


def test_the_widest_numbers_still_fit():
    tuned = many("tuned", 30, 0.25)
    big = {"invented_facts": replace(tuned.measures["exact_match"], mean=99999.4, low=-99999.4, high=99999.4)}
    text = shown(results_table(replace(tuned, measures=tuned.measures | big), many("base", 10, 0.5)))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "99999" in text


def test_the_table_of_one_model_and_of_one_example():
    text = shown(results_table(run(examples=EXAMPLES[:1])[0]))
    assert "1 example;" in text
    assert "response_loss" in text
    assert next(line for line in text.splitlines() if line.startswith("response_loss")).split() == [
        "response_loss",
        "0.750",
    ]
    assert "nan" not in text.lower()
    assert "None" not in text


def test_samples_show_prompt_reference_base_and_tuned():
    text = shown(samples(many("tuned", 40, 0.25), many("base", 0, 0.5), num=3))
    assert text.count("--- example") == 3
    for label in ("prompt:", "reference:", "base:", "tuned:"):
        assert text.count(label) + text.count(label.replace(":", " (cut")) == 3
    assert "wrong wrong wrong" in text
    assert "(cut at the length limit)" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_samples_cannot_steer_the_terminal_and_need_no_markup():
    nasty = "\x1b[2Jbb [bold]x[/bold] [/] \x07" + "long " * 400
    text = shown(samples(run({"a": nasty}, EXAMPLES[:1])[0], num=5), force_terminal=True)
    assert "\x1b[2J" not in text
    assert "\x07" not in text
    assert "[bold]x[/bold] [/]" in text
    assert text.count("long") < 150
    assert "..." in text
    assert "(empty)" in shown(samples(run({"a": "\u200b"}, EXAMPLES[:1])[0]))


def test_long_prompts_keep_both_ends():
    example = replace(EXAMPLES[0], prompt="START " + "middle " * 300 + "END")
    text = shown(samples(run(examples=[example])[0]))
    assert "START" in text
    assert "END" in text
    assert text.count("middle") < 60
