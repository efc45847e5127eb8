"""Builtin clinical data: visits with known facts, generated from a seed, without end and free of contamination.

Each example is a dialogue, the section of the note that was asked for, and in `checks` the facts a good note holds
and the distractors it doesn't (see `Scene`). The splits share phrasings, never content: what patients have, take and
are called comes from pools of the split's own, and every combination of facts belongs to one split only.
"""

from collections.abc import Callable

from gemma_align.data.builtin.draw import Draw, owner
from gemma_align.data.builtin.scene import Scene, close, greet, make_person
from gemma_align.data.builtin.section_histories import (
    allergies,
    immunizations,
    medical_history,
    medications,
    surgical_history,
)
from gemma_align.data.builtin.section_social import family_and_social
from gemma_align.data.builtin.section_symptoms import present_illness, review_of_systems
from gemma_align.data.builtin.section_visit import examination, plan
from gemma_align.data.readers.clinical import CUE, instruction
from gemma_align.types import Example, Split

# About as often as in MTS-Dialog, without the sections that are mostly one word long.
_SECTIONS: tuple[tuple[str, int, Callable[[Scene], None]], ...] = (
    ("GENHX", 26, present_illness),
    ("FAM/SOCHX", 16, family_and_social),
    ("PASTMEDICALHX", 12, medical_history),
    ("MEDICATIONS", 12, medications),
    ("ROS", 10, review_of_systems),
    ("PASTSURGICAL", 7, surgical_history),
    ("ALLERGY", 7, allergies),
    ("EXAM", 4, examination),
    ("PLAN", 4, plan),
    ("IMMUNIZATIONS", 2, immunizations),
)
_DECK = tuple(entry for entry in _SECTIONS for _ in range(entry[1]))


def clinical_example(seed: int, split: Split, index: int) -> Example:
    """Example `index` of a split."""
    draw = Draw(seed, "clinical", split, index)
    header, _, tell = draw.pick(_DECK)
    while True:
        scene = Scene(draw, make_person(draw))
        greet(scene)
        tell(scene)
        close(scene)
        filling = sorted(f"{fact['kind']} {fact['value']} {fact['negated']}" for fact in scene.facts)
        if owner(seed, header, *filling) == split and not _ambiguous(scene):
            break
    return Example(
        id=f"builtin/clinical/{split}/{index}",
        prompt=instruction(header, "\n".join(scene.turns)),
        response=" ".join(scene.note),
        cue=CUE,
        checks={"section": header, "facts": scene.facts, "distractors": scene.distractors},
    )


def _ambiguous(scene: Scene) -> bool:
    """Whether a form of one fact stands in a form of another that says the opposite, or in a distractor's."""
    true = [f" {form.lower()} " for fact in scene.facts if not fact["negated"] for form in fact["any_of"]]
    false = [f" {form.lower()} " for fact in scene.facts if fact["negated"] for form in fact["any_of"]]
    stray = [f" {form.lower()} " for fact in scene.distractors for form in fact["any_of"]]
    pairs = [(true, false), (true, stray), (false, stray)]
    return any(a in b or b in a for left, right in pairs for a in left for b in right)
