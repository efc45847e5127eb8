"""A run goes on with what it was begun with: weights and data that were changed in the meantime are found.

The configuration names them and environment.json holds their fingerprints, so equal names aren't enough.
"""

from collections.abc import Mapping
from typing import Any

from gemma_align.errors import RunDirError


def require_same_inputs(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """RunDirError where weights or data aren't those of before; both as in environment.json, `before` maybe empty."""
    old, new = _fingerprints(before), _fingerprints(now)
    changed = sorted(name for name in old.keys() & new.keys() if old[name] != new[name])
    if changed:
        raise RunDirError(
            f"{', '.join(changed)}: changed since this run was begun (fingerprint {old[changed[0]][:12]} then, "
            f"{new[changed[0]][:12]} now), so it would go on as another run. Put back what it was begun with, or begin "
            "anew with output_dir=…"
        )


def _fingerprints(facts: Mapping[str, Any]) -> dict[str, str]:
    found = {"the weights": facts["checkpoint"]["fingerprint"]} if "checkpoint" in facts else {}
    for number, data in enumerate(facts.get("data", ()), start=1):
        found |= {f"stage {number}'s {split['name']} examples": split["fingerprint"] for split in data["splits"]}
    return found
