from gemma_align.data.fewshot import SEPARATOR, few_shot, first_answer
from gemma_align.data.templates import plain_prompt
from gemma_align.types import Example, Turn


def shot(i, section="A", response=None, prompt=None):
    return Example(
        id=f"s{i}",
        prompt=prompt or f"Prompt {i}",
        response=f"Answer {i}" if response is None else response,
        cue="Note:",
        checks={"section": section},
    )


TRAIN = [shot(i, "A" if i < 5 else "B") for i in range(20)]
ASKED = Example(id="q", prompt="Question", response="R", cue="Note:", checks={"section": "A", "facts": []})


def test_worked_examples_stand_before_the_prompt_in_plain_form():
    made = few_shot(TRAIN, ASKED, 2, 0)
    first, second, last = plain_prompt(made).split(SEPARATOR)
    assert last == "Question\n\nNote:\n" == plain_prompt(ASKED)
    for text in (first, second):
        number = text.split()[1]
        assert text == f"Prompt {number}\n\nNote:\nAnswer {number}"
        assert int(number) < 5  # the same section first
    assert (made.id, made.response, made.checks) == (ASKED.id, ASKED.response, ASKED.checks)


def test_the_choice_depends_on_seed_and_example_only():
    assert few_shot(TRAIN, ASKED, 3, 0) == few_shot(TRAIN[::-1], ASKED, 3, 0)
    assert len({few_shot(TRAIN, ASKED, 3, seed).prompt for seed in range(6)}) > 1
    fewer, more = few_shot(TRAIN, ASKED, 2, 0).prompt, few_shot(TRAIN, ASKED, 4, 0).prompt
    assert more.startswith(fewer.rsplit(SEPARATOR, 1)[0])


def test_the_example_itself_is_never_a_shot():
    train = [ASKED, shot(1, prompt="question!"), shot(2, response="")]
    assert few_shot(train, ASKED, 3, 0) == ASKED


def test_limits():
    train = [shot(i, prompt="x" * 100 * i) for i in range(1, 20)]
    made = few_shot(train, ASKED, 19, 0, max_chars=1500, max_shot_chars=600)
    shots = made.prompt.split(SEPARATOR)[:-1]
    assert all(len(text) <= 600 for text in shots)
    assert 2 <= len(shots) <= 5
    assert sum(map(len, shots)) <= 1500
    assert few_shot(train, ASKED, 0, 0) == ASKED


def test_conversations_become_text():
    history = (Turn("user", "a"), Turn("assistant", "b"))
    asked = Example(id="q", prompt="c", history=history, cue="Assistant:")
    made = few_shot([Example(id="s", prompt="d", response="e", cue="Assistant:")], asked, 1, 0)
    assert plain_prompt(made) == (
        f"Human: d\n\nAssistant:\ne{SEPARATOR}Human: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:\n"
    )


def test_published_shots_come_in_their_order_and_form():
    """MBPP's README: {task and tests}[BEGIN]{code}[DONE], tasks 2, 3 and 4."""
    shots = [Example(f"m{i}", f"Task {i}\n", f"code{i}", cue="[BEGIN]") for i in (2, 3, 4)]
    asked = Example("q", "Task 11\n", "code", cue="[BEGIN]")
    made = few_shot(TRAIN, asked, 2, 0, published=shots)
    assert plain_prompt(made) == (
        "Task 2\n[BEGIN]\ncode2\n[DONE]\n\nTask 3\n[BEGIN]\ncode3\n[DONE]\n\nTask 11\n[BEGIN]\n"
    )
    assert first_answer("return 1\n[DONE]\n\nTask 12") == "return 1"
    other = Example("q", "def f():\n", "code")  # another form: HumanEval's
    assert few_shot(TRAIN, other, 2, 0, published=shots) == few_shot(TRAIN, other, 2, 0)


def test_first_answer_cuts_what_comes_after():
    assert first_answer(f"Denies pain.{SEPARATOR}Prompt 3") == "Denies pain."
    assert first_answer("Denies pain.\n\n###") == "Denies pain."
    assert first_answer("Denies pain.") == "Denies pain."
