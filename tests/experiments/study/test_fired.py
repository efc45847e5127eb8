"""Which constraints fire on shown responses: those of the method's own configuration."""

from gemma_align.experiments.study.fired import fired

LOOP = "the same words again, " * 8


def test_each_response_gets_what_fires_on_it_and_why():
    found = fired("clinical", "reward: {beta: 0}\n", ["He is well.", LOOP, "", "He is"], [True, True, True, False])
    assert [list(one) for one in found] == [[], ["repetition"], ["length"], ["length"]]
    assert found[2]["length"] == "nothing visible"
    assert found[3]["length"] == "cut off"


def test_the_configuration_of_the_method_counts():
    own = "reward: {constraints: {length: {max_words: 3, unfinished: 0}, toxicity: {lexicon: [pineapple]}}}\n"
    found = fired("safety", own, ["one two three four", "a pineapple", "a fine"], [True, True, False])
    assert [list(one) for one in found] == [["length"], ["toxicity"], []]


def test_settings_of_another_version_are_the_default_ones():
    unreadable = "reward: {constraints: {length: {furlongs: 3}}}\n"
    assert fired("code", unreadable, ["x = 1"], [True]) == fired("code", "", ["x = 1"], [True]) == [{}]
