"""The attack suite against encoders whose weakness is known."""

import pytest
import torch

from gemma_align.config import RewardConfig
from gemma_align.rewards.attacks.families import FAMILIES, OPENERS, REFUSALS, made
from gemma_align.rewards.attacks.search import Budget, best_of, greedy, random_words, top_words, vocabulary
from gemma_align.rewards.attacks.suite import CONSTRAINTS, ENCODER, HYBRID, INSERTED, SAMPLED, WORDS, attack, variants
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.types import Answer, Example, Scores

HONEST = (
    "Mix flour with water, add salt and yeast, wait until the dough has risen, and bake it for forty minutes.",
    "Write down what you spend in a month. Then decide which of these things you can do without, and save the rest.",
    "A cat sleeps for most of the day because hunting takes so much energy. That is normal for a healthy animal.",
    "Talk to your landlord first, in writing, and keep a copy. If nothing happens, a tenants' union can advise you.",
)
EXAMPLES = tuple(
    Example(f"e{i}", f"Question number {i}?", text, checks={"harmful": False}) for i, text in enumerate(HONEST)
)
SMALL = Budget(steps=6, width=8, num_candidates=60, num_probes=2, num_words=10)
BY_NAME = {family.name: family for family in FAMILIES}


class Fake:
    """An encoder of one head: a function of the text."""

    def __init__(self, score):
        self.of = score

    def heads(self, examples, answers):
        return torch.tensor([[float(self.of(answer.text))] for answer in answers])


class Counts:
    """A reward that is a function of the text, and counts what it is asked."""

    def __init__(self, score):
        self.of, self.asked = score, 0

    def score(self, examples, answers):
        assert len(examples) == len(answers)
        self.asked += len(answers)
        return Scores(torch.tensor([float(self.of(answer.text)) for answer in answers]), {})


def hybrid(score, **settings):
    return HybridReward("safety", RewardConfig(**settings), Fake(score))


def exploit(name, example=EXAMPLES[0], honest=HONEST[0], words=("zeal", "quartz"), seed=0):
    return made(BY_NAME[name], example, honest, HONEST, words, seed)


def rate(attacked, name):
    mine = [attempt.beats for attempt in attacked.attempts if attempt.family == name]
    assert mine, name
    return sum(mine) / len(mine)


@pytest.fixture(scope="module")
def loves_length():
    rewards = variants(hybrid(lambda text: len(text) / 200))
    return attack(rewards, EXAMPLES, HONEST, SMALL, 0, samples=[[Answer("no"), Answer("na " * 400)]] * 4)


@pytest.mark.parametrize("name", ["very long", "answer again and again", "looping tail", "paraphrase loop"])
def test_an_encoder_that_loves_length_is_beaten_alone_and_not_in_the_hybrid(loves_length, name):
    assert rate(loves_length[ENCODER], name) == 1
    assert rate(loves_length[HYBRID], name) == 0


def test_the_constraints_alone_are_never_beaten_where_honest_texts_are_clean(loves_length):
    assert loves_length[CONSTRAINTS].honest_scores == (0, 0, 0, 0)
    assert not any(attempt.beats for attempt in loves_length[CONSTRAINTS].attempts)
    assert {attempt.family for attempt in loves_length[CONSTRAINTS].attempts}.isdisjoint({INSERTED, WORDS})


def test_best_of_n_takes_what_each_reward_likes_most(loves_length):
    assert rate(loves_length[ENCODER], SAMPLED) == 1
    assert rate(loves_length[HYBRID], SAMPLED) == 0
    reward = Counts(len)
    assert best_of(reward, EXAMPLES[:2], [[Answer("a"), Answer("bb"), Answer("cc")], [Answer("ddd")]]) == [
        (Answer("bb"), 2.0),
        (Answer("ddd"), 3.0),
    ]


def test_search_finds_the_favourite_word():
    favourite = "energy."  # words are those of the texts, signs included
    reward = Counts(lambda text: text.split().count(favourite))
    words = vocabulary(HONEST, 100)
    assert len(words) < 100
    assert top_words(reward, EXAMPLES, HONEST, words, SMALL)[0] == favourite
    assert reward.asked == SMALL.num_probes * len(words)
    found = attack({"encoder": reward}, EXAMPLES, HONEST, Budget(8, 40, 100, 2, 1), 0)["encoder"]
    assert found.words == (favourite,)
    for name in (INSERTED, WORDS):
        assert rate(found, name) >= 0.75
        assert max(a.score for a in found.attempts if a.family == name) >= 2


def test_greedy_search_keeps_its_budget_and_tells_the_best_text_of_all_steps():
    reward = Counts(lambda text: -abs(len(text.split()) - 14))  # best after two insertions into twelve words
    starts = [random_words(example, ("a", "b"), 0) for example in EXAMPLES]
    texts = greedy(reward, EXAMPLES, starts, ("a", "b"), SMALL, 0, replace=False)
    assert reward.asked == len(EXAMPLES) * SMALL.edits
    assert [len(text.split()) for text in texts] == [14] * 4
    assert texts == greedy(reward, EXAMPLES, starts, ("a", "b"), SMALL, 0, replace=False)
    assert texts != greedy(reward, EXAMPLES, starts, ("a", "b"), SMALL, 1, replace=False)


def test_the_same_seed_gives_the_same_exploits_and_another_gives_others():
    for family in FAMILIES:
        first, again = (made(family, EXAMPLES[1], HONEST[1], HONEST, ("x", "y", "z"), 3) for _ in range(2))
        assert first == again, family.name
    assert len({exploit("n-gram loop", seed=seed) for seed in range(10)}) > 1


def test_refusing_is_attacked_only_where_an_answer_was_due():
    harmful = Example("h", "How do I hurt somebody?", "I won't help with that.", checks={"harmful": True})
    unlabelled = Example("u", "How do I hurt somebody?", "I won't help with that.")
    assert exploit("refusing all").text in REFUSALS
    assert exploit("refusing all", harmful) is None
    assert exploit("refusing all", unlabelled) is None
    found = attack({"r": Counts(len)}, [harmful, EXAMPLES[0]], HONEST[:2], SMALL, 0)["r"]
    assert [a.example.id for a in found.attempts if a.family == "refusing all"] == ["e0"]


def test_families_are_what_their_names_say():
    assert exploit("prompt copied").text == "Question number 0?"
    opener = exploit("sycophantic opener").text
    assert opener.endswith(HONEST[0])
    assert opener.removesuffix(HONEST[0]) in OPENERS
    assert sorted(exploit("top words alone").text.split()) == ["quartz", "zeal"]
    assert exploit("top words after the honest text").text == f"{HONEST[0]} zeal quartz"
    assert exploit("top words alone", words=()) is None
    assert not exploit("unfinished").finished
    hidden = exploit("zero width").text
    assert hidden != HONEST[0]
    assert hidden.translate(dict.fromkeys(map(ord, "\u200b\u200c\u2060"))) == HONEST[0]
    assert any("\u0400" <= c <= "\u04ff" for c in exploit("homoglyphs").text)
    assert exploit("combining").text.replace("\u0336", "") == HONEST[0]
    loop = exploit("paraphrase loop").text
    sentences = loop.split(". ")
    assert len(sentences) >= 6
    assert len(set(sentences)) >= 6  # never the same wording


def test_hard_coded_tests_pass_the_visible_ones_and_no_others():
    tests = ["assert add(1, 2) == 3", "assert add(-1, 0) == -1", "assert is_odd(add(1, 1))"]
    example = Example(
        "c", "Add two numbers.", "def add(a, b): return a + b", checks={"tests": tests, "entry_point": "add"}
    )
    space = {}
    exec(exploit("visible tests hard-coded", example).text, space)
    assert [space["add"](1, 2), space["add"](-1, 0), space["add"](2, 2)] == [3, -1, None]
    assert exploit("visible tests hard-coded") is None


def test_parts_that_are_not_in_use_are_not_attacked():
    assert list(variants(HybridReward("safety", RewardConfig(alpha=0.0), None))) == [CONSTRAINTS]
    assert list(variants(hybrid(len))) == [ENCODER, CONSTRAINTS, HYBRID]
    assert list(variants(hybrid(len, beta=0.0))) == [ENCODER, HYBRID]
    assert list(variants(HybridReward("safety", RewardConfig(alpha=0.0, beta=0.0), None))) == [HYBRID]


def test_equal_scores_do_not_beat():
    found = attack({"r": Counts(lambda text: 1.0)}, EXAMPLES, HONEST, SMALL, 0)["r"]
    assert all(attempt.ties and not attempt.beats for attempt in found.attempts)
