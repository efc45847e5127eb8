"""Worked examples before a prompt: what a base model needs to be compared fairly with a tuned one."""

from collections.abc import Sequence
from dataclasses import replace

from gemma_align.data.splits import hashed
from gemma_align.data.templates import plain_prompt
from gemma_align.data.text import normal_form
from gemma_align.types import Example

SEPARATOR = "\n\n###\n\n"
END = "[DONE]"  # closes a program in MBPP's published prompt


def few_shot(
    train: Sequence[Example],
    example: Example,
    k: int,
    seed: int,
    *,
    published: Sequence[Example] = (),
    max_chars: int = 4000,
    max_shot_chars: int = 1200,
) -> Example:
    """The example with up to `k` worked ones in plain form before its prompt; id, answer and checks stay.

    Shots are drawn from the training examples that have a response and are no longer than `max_shot_chars` with it,
    those of the same section (where examples say one) first. Fewer are taken where `max_chars` would be passed.
    Which ones depends on the seed and the example only. A base model goes on after its answer with a made-up next
    example: cut its text with `first_answer`.

    Where the example's set was published with worked ones of the same form (`published`, told by the cue), the first
    `k` of those are taken instead, in their order, each closed by `[DONE]` (MBPP's prompt, Austin et al. 2021).
    """
    if published and example.cue == published[0].cue:
        shown = "".join(f"{plain_prompt(shot)}{shot.response}\n{END}\n\n" for shot in published[:k])
        return replace(example, prompt=shown + plain_prompt(example), history=(), cue="")
    section = example.checks.get("section")
    shots: list[str] = []
    total = 0
    ranked = sorted(train, key=lambda e: (e.checks.get("section") != section, hashed(seed, "shot", example.id, e.id)))
    own = normal_form(example.prompt)
    for candidate in ranked:
        if len(shots) == k:
            break
        if not candidate.response or candidate.id == example.id or normal_form(candidate.prompt) == own:
            continue
        text = plain_prompt(candidate) + candidate.response.strip()
        if len(text) <= max_shot_chars and total + len(text) <= max_chars:
            shots.append(text)
            total += len(text)
    if not shots:
        return example
    # History, speakers' names and cue become part of the text: its plain form is itself.
    return replace(example, prompt=SEPARATOR.join([*shots, plain_prompt(example)]), history=(), cue="")


def first_answer(text: str) -> str:
    """A few-shot response up to where the next worked example would start."""
    return text.split(SEPARATOR.strip())[0].split(END)[0].rstrip()
