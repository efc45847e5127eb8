"""How far facts taken from the reference agree with known facts, on builtin visits whose facts are known.

python -m benchmarks.extracted_agreement     prints the table of docs/scorers.md

Each reference note is judged as it is and damaged in four ways: sentences dropped, numbers changed, denials turned into
statements, and the note of another visit.
"""

import random
import re
import statistics
from collections.abc import Sequence

from scipy.stats import spearmanr

from gemma_align.data.builtin.clinical import clinical_example
from gemma_align.evaluation.clinical import measure
from gemma_align.types import Example

Row = tuple[str, Example, str]
_SENTENCE = re.compile(r"(?<=[.;])\s+|\n+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?!\d*\.\s)")
_DENIAL = re.compile(r"\b(?:Denies|denies|Patient denies|Negative for|but no|No) ")


def damaged_notes(visits: Sequence[Example], seed: int) -> list[Row]:
    """(kind of damage, visit, note); a damage that finds nothing to damage gives no row."""
    draw = random.Random(seed)
    rows: list[Row] = []
    for visit, other in zip(visits, [*visits[1:], visits[0]], strict=True):
        note = visit.response or ""
        sentences = _SENTENCE.split(note)
        kept = draw.sample(range(len(sentences)), k=draw.randrange(len(sentences)))
        changed = {
            "reference": note,
            "dropped": " ".join(sentences[i] for i in sorted(kept)),
            "numbers": _NUMBER.sub(lambda m: m[0] if draw.random() < 0.5 else f"{float(m[0]) * 10 + 7:g}", note),
            "flipped": _DENIAL.sub("Has ", note),
            "another": other.response or "",
        }
        rows += [(kind, visit, text) for kind, text in changed.items() if kind == "reference" or text != note]
    return rows


def agreement(rows: Sequence[Row]) -> dict[str, float]:
    """Of notes that both ways can judge: rank correlations, and the mean difference of coverage (extracted - known)."""
    measured = [measure(visit, note) for _, visit, note in rows]
    both = [m for m in measured if "fact_coverage" in m and "claim_coverage" in m]
    known, extracted = [m["fact_coverage"] for m in both], [m["claim_coverage"] for m in both]
    invented = [m["invented_facts"] for m in measured]
    unsupported = [m["unsupported_claims"] for m in measured]
    differences = [e - k for e, k in zip(extracted, known, strict=True)]
    return {
        "num_notes": float(len(rows)),
        "share_with_coverage": len(both) / len(rows),
        "coverage_known": statistics.mean(known),
        "coverage_extracted": statistics.mean(extracted),
        "coverage_correlation": float(spearmanr(known, extracted).statistic),
        "coverage_bias": statistics.mean(differences),
        "coverage_error": statistics.mean(map(abs, differences)),
        "invented_known": statistics.mean(invented),
        "invented_extracted": statistics.mean(unsupported),
        "invented_correlation": float(spearmanr(invented, unsupported).statistic),
        "invented_same": statistics.mean(float(i == u) for i, u in zip(invented, unsupported, strict=True)),
    }


def main() -> None:
    rows = damaged_notes([clinical_example(0, "report", i) for i in range(1000)], seed=0)
    for name, value in agreement(rows).items():
        print(f"{name:22} {value:.3f}")
    for kind in dict.fromkeys(kind for kind, _, _ in rows):
        measured = [measure(visit, note) for k, visit, note in rows if k == kind]
        means = {
            name: statistics.mean(m[name] for m in measured if name in m)
            for name in ("fact_coverage", "claim_coverage", "invented_facts", "unsupported_claims")
        }
        print(f"{kind:10} {len(measured):5}  " + "  ".join(f"{name} {value:.3f}" for name, value in means.items()))


if __name__ == "__main__":
    main()
