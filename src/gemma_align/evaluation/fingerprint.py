"""A short name for a set of examples: equal names, equal examples."""

import hashlib
import json
from collections.abc import Sequence

from gemma_align.types import Example


def fingerprint(examples: Sequence[Example]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of all that the examples hold, in their order."""
    digest = hashlib.sha256()
    for e in examples:
        history = [[turn.role, turn.content] for turn in e.history]
        row = [e.id, e.prompt, e.response, e.rejected, history, e.cue, dict(e.checks)]
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()[:16]
