"""MTS-Dialog (Ben Abacha et al. 2023): short doctor-patient dialogues, each with one section of the note."""

import re

from gemma_align.data.readers.fields import Fields, Parsed, id_field, text_field
from gemma_align.data.report import BadRow
from gemma_align.data.text import tidy, words
from gemma_align.types import Example

CUE = "Clinical note:"

# The twenty section headers, as a clinician would say them.
SECTIONS = {
    "ALLERGY": "allergies",
    "ASSESSMENT": "assessment",
    "CC": "chief complaint",
    "DIAGNOSIS": "diagnosis",
    "DISPOSITION": "disposition",
    "EDCOURSE": "emergency department course",
    "EXAM": "physical examination",
    "FAM/SOCHX": "family and social history",
    "GENHX": "history of present illness",
    "GYNHX": "gynecologic history",
    "IMAGING": "imaging",
    "IMMUNIZATIONS": "immunizations",
    "LABS": "laboratory results",
    "MEDICATIONS": "medications",
    "OTHER_HISTORY": "other history",
    "PASTMEDICALHX": "past medical history",
    "PASTSURGICAL": "past surgical history",
    "PLAN": "plan",
    "PROCEDURES": "procedures",
    "ROS": "review of systems",
}

MIN_WORDS = 4  # spoken, without the speakers' names: "Any drug allergies? No." is the shortest that says something
_SPEAKER = re.compile(r"(?m)^\s*\w+:")


def instruction(section: str, dialogue: str) -> str:
    """The prompt: what to write, then the dialogue. `section` is a header or a name of one's own."""
    name = SECTIONS.get(section.strip().upper(), section.strip().lower() or "relevant")
    return f"Summarize this conversation with a patient as the {name} section of a clinical note.\n\n{dialogue}"


def mts_dialog(fields: Fields, cue: str) -> Parsed:
    """Columns ID, section_header, section_text, dialogue."""
    section = text_field(fields, "section_header").strip()
    note = tidy(text_field(fields, "section_text"))
    dialogue = tidy(text_field(fields, "dialogue"))
    if len(words(_SPEAKER.sub("", dialogue))) < MIN_WORDS:
        raise BadRow("near-empty dialogue", repr(dialogue[:60]))
    example = Example(
        id=id_field(fields, "ID"),
        prompt=instruction(section, dialogue),
        response=note,
        cue=cue,
        checks={"section": section},
    )
    return Parsed(example, key=dialogue)
