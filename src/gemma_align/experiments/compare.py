"""`gemma-align compare RUN RUN …`: which of them is better at what, and where nothing can be said.

folders -> evaluations -> the same examples, asked the same way? -> methods by their seeds -> comparison -> table
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from gemma_align.errors import RunDirError, UserError
from gemma_align.evaluation.comparison import Comparison, Contestant, compare
from gemma_align.evaluation.comparison_table import comparison_json, comparison_table
from gemma_align.evaluation.names import UNTUNED, is_best_of
from gemma_align.experiments.evaluated import Evaluated, Model, read_evaluated
from gemma_align.experiments.files import write_json


def compare_folders(
    folders: Sequence[Path],
    *,
    against: str | None = None,
    separate: bool = False,
    json_file: Path | None = None,
    console: Console | None = None,
) -> Comparison:
    """Reads, compares, prints, and writes JSON where asked for.

    Args:
        folders: of runs, or of evaluations on one task.
        against: one of the folders or its label, "base", "few_shot", or "best_of_N" of the one method that has it (of
            several, "METHOD best_of_N"): differences to it alone. None: all pairs; of a single folder, its base.
        separate: every run by itself, seeds of one method too.
        json_file: gets everything.
        console: where to print.

    Raises:
        UserError: a folder without a finished evaluation, or folders that don't compare.
    """
    if json_file is not None and not json_file.parent.is_dir():
        raise UserError(f"--json {json_file}: there is no folder {json_file.parent}; make it, or choose another place")
    found = _read(folders)
    if against is None and len(found) == 1:
        against = _only_other(found[0])
    require_comparable([e.main for e in found], [e.label for e in found], _seed_hint(found))
    contestants = group(found, separate or not _has_methods(found, against))
    given = {
        name: _contestant(model)
        for name in UNTUNED
        if (model := _given(found, name, required=name == against)) and name not in [c.name for c in contestants]
    }
    beside = {**given, **{c.name: c for c in best_of(found, contestants)}}
    reference = _reference(found, contestants, beside, against)
    if reference in beside:
        contestants.insert(0, beside.pop(reference))
    shown = [c for name, c in beside.items() if name != "few_shot"]
    if len(contestants) < 2:
        raise UserError(f"{found[0].folder} alone has nothing to be compared with: give two folders or more")
    comparison = compare(contestants, reference, found[0].confidence, found[0].evaluation_seed, shown=shown)
    about = found[0].main.about
    notes = _notes(found, contestants)
    if json_file is not None:
        folders_of = {e.label: {"folder": str(e.folder), "seed": e.seed, "code": e.code} for e in found}
        write_json(json_file, comparison_json(comparison, about, folders_of, notes))
    (console or Console(highlight=False)).print(comparison_table(comparison, about, notes))
    return comparison


def _read(folders: Sequence[Path]) -> list[Evaluated]:
    repeated = {str(f) for i, f in enumerate(folders) if f.resolve() in [g.resolve() for g in folders[:i]]}
    if repeated:
        raise UserError(f"{', '.join(sorted(repeated))} is given twice: a run isn't compared with itself")
    return [read_evaluated(folder, label) for folder, label in zip(folders, labels(folders), strict=True)]


def labels(folders: Sequence[Path]) -> list[str]:
    """Short names that tell the folders apart: their paths without the beginning and the end that all share."""
    parts = [os.path.normpath(folder.absolute()).split(os.sep) for folder in folders]
    if len(parts) == 1:
        return [parts[0][-1]]
    while all(len(p) > 1 for p in parts) and len({p[-1] for p in parts}) == 1:
        parts = [p[:-1] for p in parts]
    while all(len(p) > 1 for p in parts) and len({p[0] for p in parts}) == 1:
        parts = [p[1:] for p in parts]
    return ["/".join(p) for p in parts]


def require_comparable(models: Sequence[Model], names: Sequence[str], hint: str = "") -> None:
    """RunDirError that names what differs, where two were not evaluated on the same examples in the same way."""
    first, label = models[0], names[0]
    for model, other in zip(models[1:], names[1:], strict=True):
        keys = [k for k in {**first.about, **model.about} if first.about.get(k) != model.about.get(k)]
        differences = [_difference(k, first, model, label, other) for k in keys]
        if not keys and first.ids != model.ids:
            differences = [
                f"the order or the names of the examples, though the data's fingerprint is {first.about['data']}"
            ]
        if differences:
            advice = hint if "data" in keys else ""
            raise RunDirError(
                f"{label} and {other} can't be compared, because they were evaluated differently:\n  "
                + "\n  ".join(differences)
                + (f"\n{advice}" if advice else "")
            )


def _difference(key: str, first: Model, second: Model, a: str, b: str) -> str:
    ours, theirs = first.about.get(key, "not set"), second.about.get(key, "not set")
    if key != "data":
        return f"{key}: {ours} in {a}, {theirs} in {b}"
    common = len(set(first.ids) & set(second.ids))
    return (
        f"examples: {len(first.ids)} in {a}, {len(second.ids)} in {b}, {common} with the same name "
        f"(fingerprints {ours}, {theirs})"
    )


def _seed_hint(found: Sequence[Evaluated]) -> str:
    if len({e.seed for e in found}) == 1:
        return "Evaluate both on the same data: gemma-align evaluate --config FILE --adapter RUN"
    return (
        "Generated, cut and drawn examples depend on data.seed, which should be the same for all. "
        "Evaluate all runs with one configuration: gemma-align evaluate --config FILE --adapter RUN"
    )


def _has_methods(found: Sequence[Evaluated], against: str | None) -> bool:
    """Seeds are seen as one method where something is left to compare it with."""
    methods = {e.method if e.method is not None else e.label for e in found}
    return len(methods) > 1 or against in UNTUNED or "best_of_" in (against or "")


def group(found: Sequence[Evaluated], separate: bool) -> list[Contestant]:
    """Runs that differ in their seed alone become one method, in the order in which they were given.

    Raises:
        UserError: two runs of one method have the same seed.
    """
    groups: dict[str, list[Evaluated]] = {}
    for e in found:
        key = e.label if separate or e.method is None else e.method
        groups.setdefault(key, []).append(e)
    names = _method_names(list(groups.values()))
    contestants = []
    for name, members in zip(names, groups.values(), strict=True):
        seeds = [e.seed for e in members]
        if len(set(seeds)) < len(seeds):
            same = [e.label for e in members if seeds.count(e.seed) > 1]
            raise UserError(
                f"{' and '.join(same)} have the same configuration and the same seed: one more run of that seed says "
                "nothing about another seed. Leave one out, or compare every run by itself with --separate"
            )
        results = tuple(e.main.result for e in members)
        trained = members[0].main.name == "tuned"
        starts = tuple(e.start or e.label for e in members) if trained else ()
        contestants.append(Contestant(name, results, trained, starts))
    return contestants


def best_of(found: Sequence[Evaluated], contestants: Sequence[Contestant]) -> list[Contestant]:
    """The best-of-n models that all runs of a contestant hold, asked the same way; they have its seeds."""
    runs = {e.label: e for e in found}
    best = []
    for c in contestants:
        members = [runs[result.label] for result in c.results]
        for name in filter(is_best_of, members[0].others):
            models = [e.others.get(name) for e in members]
            same = [m for m in models if m is not None and m.about == members[0].others[name].about]
            if len(same) == len(members):
                results = (replace(m.result, label=f"{e.label} {name}") for e, m in zip(members, same, strict=True))
                best.append(Contestant(f"{c.name} {name}", tuple(results), c.trained, c.starts))
    return best


def _method_names(groups: Sequence[Sequence[Evaluated]]) -> list[str]:
    """What the labels of a method's runs begin with, without the seed's part; else its stages."""
    names = []
    for members in groups:
        first = members[0].label
        if len(members) == 1:
            names.append(first)
            continue
        prefix = os.path.commonprefix([e.label for e in members])  # noqa: RUF071 - of names, not of paths
        prefix = re.sub(r"[-_./ ]*(seed|s)?[-_./ =]*\d*$", "", prefix, flags=re.IGNORECASE)
        names.append(prefix or members[0].stages)
    taken = [name for name in names if names.count(name) > 1]
    return [
        f"{name} ({members[0].label})" if name in taken else name for name, members in zip(names, groups, strict=True)
    ]


def _given(found: Sequence[Evaluated], name: str, *, required: bool) -> Model | None:
    """The base (or the base with worked examples) that the folders share; None where they don't, or have none."""
    own = [e.main for e in found if e.main.name == name]
    having = [(e, e.others[name]) for e in found if name in e.others]
    models = own or [model for _, model in having]
    weights = {e.weights for e, _ in having} | {e.weights for e in found if e.main.name == name}
    same = len(weights) == 1 and (name == "base" or len({_values_text(m) for m in models}) == 1)
    if models and same:
        return models[0]
    if not required:
        return None
    if not models:
        raise UserError(f"--against {name}: none of the folders holds the {name} model's results")
    raise UserError(
        f"--against {name}: the folders have different ones ({', '.join(e.label for e, _ in having)}): "
        "compare runs that started from the same weights"
    )


def _values_text(model: Model) -> str:
    return repr([(name, column.tolist()) for name, column in model.result.columns.items()])


def _contestant(model: Model) -> Contestant:
    return Contestant(model.result.label, (model.result,), trained=False)


def _only_other(found: Evaluated) -> str:
    for name in found.others:
        return name
    raise UserError(f"{found.folder} holds one model only, {found.main.name}: give a second folder to compare it with")


def _reference(
    found: Sequence[Evaluated], contestants: Sequence[Contestant], beside: Iterable[str], against: str | None
) -> str | None:
    """The contestant, or the model beside them, that `against` names: by its name, by a run's label or folder."""
    if against is None:
        return None
    names, best = [c.name for c in contestants], [name for name in beside if name not in UNTUNED]
    if against in (*names, *UNTUNED, *best):
        return against
    if is_best_of(against):
        fitting = [name for name in best if name.endswith(f" {against}")]
        if len(fitting) == 1:
            return fitting[0]
        several = f"several have one: give {' or '.join(map(repr, fitting))}"
        none = "no method has one of all its runs, sampled alike: evaluate them with evaluation.best_of"
        raise UserError(f"--against {against}: {several if fitting else none}")
    runs = {e.label: e for e in found}
    wanted = [e.label for e in found if against == e.label or Path(against).resolve() == e.folder.resolve()]
    for c in contestants:
        if any(r.label in wanted for r in c.results):
            return c.name
    raise UserError(f"--against {against}: wanted one of {', '.join(dict.fromkeys([*names, *runs, *best]))}, or base")


def _notes(found: Sequence[Evaluated], contestants: Sequence[Contestant]) -> list[str]:
    """What a reader should know beside the numbers."""
    notes = []
    for c in contestants:
        if c.trained and len(c.results) > 1:
            notes.append(f"{c.name}: {len(c.results)} seeds ({', '.join(r.label for r in c.results)})")
    unknown = [e.label for e in found if e.main.name == "tuned" and e.method is None]
    if unknown:
        notes.append(f"the run that trained {', '.join(unknown)} isn't known, so nor are its method and seed")
    one_method = len(found) > 1 and None not in {e.method for e in found} and len({e.method for e in found}) == 1
    if one_method and all(len(c.results) == 1 for c in contestants):
        notes.append("these are runs of one method that differ in their seed alone: differences are the seed's")
    everywhere = set.intersection(*(set(e.main.result.measures) for e in found))
    partly = sorted({m for e in found for m in e.main.result.measures} - everywhere)
    if partly:
        notes.append(f"not measured in all of them, left out of differences: {', '.join(partly)}")
    if len({e.code for e in found}) > 1:
        notes.append("evaluated by different versions of this package")
    return notes
