"""Builtin sections that tell what the patient feels: history of present illness, review of systems."""

import re

from gemma_align.data.builtin.scene import Scene
from gemma_align.data.builtin.spoken import say
from gemma_align.data.builtin.values_present import COMPLAINTS, DRUGS, SYMPTOMS, Complaint, Term
from gemma_align.data.builtin.wording import (
    age_forms,
    dose_forms,
    listed,
    mine,
    plain,
    sex_fact,
    span_forms,
    spoken_dose,
    symptom_fact,
)

_NONE = ("No, none of that.", "No.", "Nope, nothing like that.", "No, I haven't.", "None.", "No, thank goodness.")
_UNITS = (("day", 2, 13), ("week", 2, 7), ("month", 2, 11), ("year", 2, 9))


def present_illness(scene: Scene) -> None:
    """GENHX: why the patient came, since when, how bad, what changes it, what comes with it and what doesn't."""
    draw, person = scene.draw, scene.person
    complaint = draw.own(COMPLAINTS)
    unit, low, high = draw.pick(_UNITS)
    number = draw.whole(low, high)
    severity, worse, better = draw.whole(3, 9), draw.pick(complaint.worse), draw.pick(complaint.better)
    present = draw.some(_fitting(complaint, (complaint.system, "general")), 1, 1)
    others = _fitting(complaint, (complaint.system, "general", "resp" if complaint.system == "gi" else "gi", "neuro"))
    absent = draw.some([term for term in others if term not in present], 2, 4)

    since = f"{say(number)} {unit}s"
    scene.doctor(
        draw.pick(
            (
                "What brings you in today?",
                "What can I do for you?",
                "How can I help you today?",
                "Tell me what's been going on.",
                "What seems to be the trouble?",
            )
        )
    )
    lay = draw.pick(complaint.lay)
    if draw.maybe(0.5):
        scene.patient(draw.pick((f"I've had {lay} for about {since} now.", f"For {since} I've had {lay}.")))
    else:
        scene.patient(f"I've had {lay}.")
        if draw.maybe(0.25):
            wrong = draw.whole(1, 9) + number
            scene.ask("When did that start?", f"About {say(wrong)} {unit}s ago. No wait, {since}.")
            scene.distract("duration", f"{wrong} {unit}s", span_forms(wrong, unit))
        else:
            scene.ask("When did that start?", draw.pick((f"Around {since} ago.", f"It's been {since}.")))
    age = say(person.age)
    exchanges = [
        draw.pick(
            (
                ("And how old are you?", f"I'm {age}."),
                ("Remind me, how old are you?", f"{age}."),
                (f"It says here you're {age}, is that right?", "Yes, that's right."),
                ("When is your birthday?", f"Last week, I turned {age}."),
            )
        ),
        (
            draw.pick(("How bad is it, from one to ten?", "On a scale of one to ten, how bad does it get?")),
            draw.pick((f"About a {say(severity)}.", f"I'd say {say(severity)}.", f"{say(severity)} out of ten.")),
        ),
        (
            draw.pick(("What makes it worse?", "Does anything make it worse?")),
            draw.pick((f"{worse}, mostly.", f"I'd say {worse}.", f"It gets worse with {worse}.")),
        ),
        (
            draw.pick(("And what helps?", "Anything that makes it better?")),
            draw.pick((f"Just {better}.", f"{better}, a little.", f"It eases up with {better}.")),
        ),
        (f"Do you notice any {draw.pick(present[0].lay)}?", draw.pick(("Yes, I do.", "Yes, some.", "A bit, yes."))),
        (f"Any {listed([draw.pick(term.lay) for term in absent], 'or')}?", draw.pick(_NONE)),
    ]
    for question, answer in draw.shuffled(exchanges):
        scene.ask(question, answer)
    tried = _tried(scene) if draw.maybe(0.35) else ""
    _write_present_illness(scene, complaint, (number, unit), severity, (worse, better), present, absent)
    if tried:
        scene.write(tried)


def _fitting(complaint: Complaint, systems: tuple[str, ...]) -> list[Term]:
    """Symptoms of these systems that don't repeat the complaint in other words."""
    own = _stems(complaint.name, *complaint.lay)
    return [
        term
        for system in dict.fromkeys(systems)
        for term in SYMPTOMS.get(system, ())
        if not own & _stems(*term.forms, *term.lay)
    ]


def _stems(*texts: str) -> set[str]:
    return {word[:5] for word in re.findall(r"\w{4,}", " ".join(texts).lower())} - {"with", "that", "when", "your"}


def _tried(scene: Scene) -> str:
    """A medicine the patient already takes for it; returns the sentence of the note."""
    draw = scene.draw
    drug = draw.own(DRUGS, lambda drug: scene.person.suits(drug.reason))
    dose = draw.pick(drug.doses)
    scene.ask(
        draw.pick(("Are you on any medication right now?", "Do you take anything at the moment?")),
        f"Just {drug.name}, {spoken_dose(draw, dose, drug.unit)}.",
    )
    scene.fact("medication", f"{drug.name} {plain(dose)} {drug.unit}", dose_forms(drug.name, dose, drug.unit))
    return f"{scene.person.subject} takes {drug.name} {plain(dose)} {drug.unit}"


def _write_present_illness(
    scene: Scene,
    complaint: Complaint,
    span: tuple[int, str],
    severity: int,
    modifiers: tuple[str, str],
    present: list[Term],
    absent: list[Term],
) -> None:
    age, subject = scene.person.age, scene.person.subject
    number, unit = span
    worse, better = modifiers
    scene.fact("age", f"{age}-year-old", age_forms(age))
    sex = sex_fact(scene)
    scene.fact("complaint", complaint.name)
    scene.fact("duration", f"{number} {unit}s", span_forms(number, unit))
    scene.fact("severity", f"{severity}/10", _severity_forms(severity))
    scene.fact("aggravating", worse)
    scene.fact("relieving", better)
    has = listed([symptom_fact(scene, term, negated=False) for term in present])
    lacks = listed([symptom_fact(scene, term, negated=True) for term in absent], "or")
    style = scene.draw.whole(0, 2)
    if style == 0:
        scene.write(
            f"The patient is a {age}-year-old {sex} who presents with a {number}-{unit} history of {complaint.name}"
        )
        scene.write(f"{subject} rates it {severity}/10. It is worse with {worse} and better with {better}")
        scene.write(f"{subject} reports {has}. {subject} denies {lacks}")
    elif style == 1:
        scene.write(
            f"This is a {age}-year-old {sex} with {complaint.name} for {number} {unit}s, {severity}/10 in severity"
        )
        scene.write(f"Worsened by {worse}, relieved by {better}. Associated with {has}. No {lacks}")
    else:
        scene.write(f"{age}-year-old {sex} complaining of {complaint.name} for the past {number} {unit}s")
        scene.write(f"Severity is {severity}/10. It worsens with {worse} and eases with {better}")
        scene.write(f"There is {has}, but no {lacks}")


def _severity_forms(severity: int) -> list[str]:
    return [
        f"{number}{between}{ten}"
        for number in (str(severity), say(severity))
        for between, ten in (
            ("/", "10"),
            (" out of ", "10"),
            (" of ", "10"),
            (" out of ", "ten"),
            (" on a scale of ", "10"),
        )
    ]


def review_of_systems(scene: Scene) -> None:
    """ROS: three or four systems, asked one after the other."""
    draw = scene.draw
    systems = draw.some([system for system, terms in SYMPTOMS.items() if len(terms) > 1], 3, 4)
    scene.doctor(draw.pick(("Let me run through a few symptoms with you.", "I have some general questions for you.")))
    scene.patient(draw.pick(("Sure.", "Okay, go ahead.", "Fire away, doc.")), hesitant=False)
    present: list[str] = []
    absent: list[str] = []
    by_system: list[str] = []
    for i, system in enumerate(systems):
        terms = draw.some(SYMPTOMS[system], 2, 3)
        said = [draw.pick(term.lay) for term in terms]
        question = draw.pick((f"Any {listed(said, 'or')}?", f"Have you noticed any {listed(said, 'or')}?"))
        if i == 0 or draw.maybe(0.4):
            others = "nothing else" if len(terms) > 2 else "not the other"
            scene.ask(
                question,
                f"{draw.pick(('Yes, some', 'Yes, I noticed some', 'I do get some'))} {mine(said[0])}, but {others}.",
            )
            yes, no = terms[:1], terms[1:]
        else:
            scene.ask(question, draw.pick(_NONE))
            yes, no = [], terms
        positive = [symptom_fact(scene, term, negated=False) for term in yes]
        negative = [symptom_fact(scene, term, negated=True) for term in no]
        present += positive
        absent += negative
        by_system.append(f"{_HEADINGS[system]}: {_system_line(positive, negative)}")
    if draw.maybe(0.5):
        for line in by_system:
            scene.write(line)
    else:
        scene.write(f"Positive for {listed(present)}")
        scene.write(f"{draw.pick(('Negative for', 'Patient denies'))} {listed(absent, 'or')}")


def _system_line(positive: list[str], negative: list[str]) -> str:
    parts = [f"Positive for {listed(positive)}."] if positive else []
    return " ".join([*parts, f"No {listed(negative, 'or')}."])


_HEADINGS = {
    "general": "Constitutional",
    "cardio": "Cardiovascular",
    "resp": "Respiratory",
    "gi": "Gastrointestinal",
    "neuro": "Neurologic",
    "uro": "Genitourinary",
    "joint": "Musculoskeletal",
    "skin": "Skin",
    "mood": "Psychiatric",
}
