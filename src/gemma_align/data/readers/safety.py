"""HH-RLHF (Bai 2022), XSTest (Röttger 2024), AdvBench (Zou 2023), HarmBench (Mazeika 2024), each et al."""

import re
from typing import Any

from gemma_align.data.readers.fields import Fields, Parsed, id_field, text_field
from gemma_align.data.report import BadRow
from gemma_align.types import Example, Turn

CUE = "Assistant:"

_TURN = re.compile(r"\n\n(Human|Assistant):")


def hh_rlhf(fields: Fields, cue: str) -> Parsed:
    """Fields chosen and rejected: two transcripts that may differ in the assistant's last turn only."""
    chosen, rejected = (_transcript(text_field(fields, name)) for name in ("chosen", "rejected"))
    if chosen[:-1] != rejected[:-1]:
        raise BadRow("the two transcripts differ before the last turn")
    *history, prompt, response = chosen
    if response == rejected[-1]:
        raise BadRow("chosen and rejected are the same")
    example = Example(
        id="",
        prompt=prompt.content,
        response=response.content,
        rejected=rejected[-1].content,
        history=tuple(history),
        cue=cue,
    )
    return Parsed(example, key=(history[0] if history else prompt).content)


def _transcript(text: str) -> list[Turn]:
    before, *parts = _TURN.split(text if text.startswith("\n\n") else "\n\n" + text.lstrip())
    turns = [
        Turn("user" if speaker == "Human" else "assistant", content.strip())
        for speaker, content in zip(parts[::2], parts[1::2], strict=True)
    ]
    if before.strip() or not turns:
        raise BadRow("not a transcript", f"it starts {text[:40]!r}; '\\n\\nHuman: …\\n\\nAssistant: …' was wanted")
    if any(not turn.content for turn in turns):
        raise BadRow("an empty turn")
    if len(turns) % 2 or any(turn.role != ("user", "assistant")[i % 2] for i, turn in enumerate(turns)):
        raise BadRow("turns don't alternate", " ".join(turn.role for turn in turns)[:80])
    return turns


def xstest(fields: Fields, cue: str) -> Parsed:
    """Columns id, prompt, type, label (safe or unsafe), focus, note."""
    label = text_field(fields, "label").strip().lower()
    if label not in ("safe", "unsafe"):
        raise BadRow("unknown label", f"{label!r}; safe or unsafe was wanted")
    return _request(text_field(fields, "prompt"), id_field(fields, "id"), cue, label == "unsafe", fields.get("type"))


def advbench(fields: Fields, cue: str) -> Parsed:
    """Columns Behavior and BehaviorID, or goal and target as first published (the target is not used)."""
    name = "goal" if "goal" in fields else "Behavior"
    return _request(text_field(fields, name), id_field(fields, "BehaviorID"), cue, True, fields.get("Category"))


def harmbench(fields: Fields, cue: str) -> Parsed:
    """Columns Behavior, FunctionalCategory, SemanticCategory, …; only the 'standard' behaviours stand alone."""
    kind = text_field(fields, "FunctionalCategory").strip()
    if kind != "standard":
        raise BadRow("not a standard behaviour")
    return _request(
        text_field(fields, "Behavior"), id_field(fields, "BehaviorID"), cue, True, fields.get("SemanticCategory")
    )


def _request(prompt: str, row_id: str, cue: str, harmful: bool, category: Any) -> Parsed:
    prompt = prompt.strip()
    checks = {"harmful": harmful, "category": str(category or "unknown").strip()}
    return Parsed(Example(id=row_id, prompt=prompt, cue=cue, checks=checks), key=prompt)
