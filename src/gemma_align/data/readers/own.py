"""The project's own schema, for users' data: {prompt, response?, rejected?, history?, cue?, id?, checks?}."""

from difflib import get_close_matches
from typing import Any

from gemma_align.data.readers.fields import Fields, Parsed, optional_text, text_field
from gemma_align.data.report import BadRow
from gemma_align.types import Example, Turn

FIELDS = ("id", "prompt", "response", "rejected", "history", "cue", "checks")
_ROLES = ("user", "assistant")


def jsonl(fields: Fields, cue: str) -> Parsed:
    """One row of the schema. Further fields are left alone, unless one looks like a misspelled field of the schema."""
    for name in fields:
        near = get_close_matches(name, FIELDS, n=1, cutoff=0.8) if name not in FIELDS else []
        if near and near[0] not in fields:
            raise BadRow(f"unknown field {name!r}", f"did you mean {near[0]!r}?")
    history = _history(fields.get("history"))
    prompt = text_field(fields, "prompt").strip("\n")
    response, rejected = optional_text(fields, "response"), optional_text(fields, "rejected")
    if rejected is not None and response is None:
        raise BadRow("rejected without response")
    checks = fields.get("checks")
    if checks is None or checks == "":
        checks = {}
    if not isinstance(checks, dict):
        raise BadRow("'checks' is no JSON object")
    example = Example(
        id=_id(fields.get("id")),
        prompt=prompt,
        response=response.strip("\n") if response else None,
        rejected=rejected.strip("\n") if rejected else None,
        history=history,
        cue=text_field(fields, "cue", empty=True).strip() if fields.get("cue") is not None else cue,
        checks=checks,
    )
    return Parsed(example, key=history[0].content if history else prompt)


def _id(value: Any) -> str:
    if value is None or isinstance(value, str):
        return (value or "").strip()
    if isinstance(value, int):
        return str(value)
    raise BadRow("'id' is neither text nor a whole number")


def _history(value: Any) -> tuple[Turn, ...]:
    if value is None or value == "":
        return ()
    if not isinstance(value, list):
        raise BadRow("'history' is no list", 'a list of {"role": "user" | "assistant", "content": …} was wanted')
    turns = []
    for i, turn in enumerate(value):
        if not isinstance(turn, dict) or turn.get("role") != _ROLES[i % 2]:
            raise BadRow("'history' doesn't alternate", "user, assistant, user, assistant, … was wanted")
        turns.append(Turn(_ROLES[i % 2], text_field(turn, "content").strip()))  # type: ignore[arg-type]
    if len(turns) % 2:
        raise BadRow("'history' doesn't alternate", "its last turn has to be the assistant's: the prompt follows")
    return tuple(turns)
