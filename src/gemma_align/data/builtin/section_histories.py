"""Builtin sections that tell what the patient takes, had, and lives with."""

from gemma_align.data.builtin.scene import Scene
from gemma_align.data.builtin.spoken import say
from gemma_align.data.builtin.values_history import (
    ALLERGENS,
    DENIED_ALLERGENS,
    REACTIONS,
    SURGERIES,
    VACCINES,
)
from gemma_align.data.builtin.values_present import CONDITIONS, DENIED_CONDITIONS, DRUGS, FREQUENCIES
from gemma_align.data.builtin.wording import (
    dose_forms,
    listed,
    medication,
    plain,
    span_forms,
    spoken_dose,
    year_said,
    year_since,
)

_NO = ("No.", "No, never.", "Nope.", "Not that I know of.", "No, nothing like that.")


def medications(scene: Scene) -> None:
    """MEDICATIONS: two or three medicines with dose and frequency, some corrected; perhaps one that was stopped."""
    draw = scene.draw
    drugs = draw.some_own(DRUGS, 3, 4, lambda drug: scene.person.suits(drug.reason))
    taken, stopped = drugs[:-1], drugs[-1]
    lines = []
    opening = draw.pick(("What medications are you taking?", "Can you go over your medicines with me?"))
    for i, drug in enumerate(taken):
        dose = draw.pick(drug.doses)
        often = draw.pick(FREQUENCIES[drug.frequency][0])
        said = spoken_dose(draw, dose, drug.unit)
        wrong = [other for other in drug.doses if other != dose]
        if wrong and draw.maybe(0.15):
            other = draw.pick(wrong)
            said = f"{say(other)}, no, sorry, {said}"
            scene.distract(
                "medication", f"{drug.name} {plain(other)} {drug.unit}", dose_forms(drug.name, other, drug.unit)
            )
        question = opening if i == 0 else draw.pick(("Anything else?", "What else do you take?", "And besides that?"))
        if draw.maybe(0.5):
            scene.ask(question, f"I take {drug.name} for {drug.lay}, {said}, {often}.")
        else:
            scene.ask(question, f"{draw.pick(('There is', 'I am on', 'I have'))} {drug.name} for {drug.lay}.")
            scene.ask(draw.pick(("What dose?", "How much, and how often?", "Which strength?")), f"{said}, {often}.")
        lines.append(f"{medication(scene, drug.name, dose, drug.unit, drug.frequency)} for {drug.reason}")
        scene.fact("indication", drug.reason, (drug.lay.removeprefix("my ").removeprefix("the "),))
    gone = draw.maybe(0.6)
    if gone:
        year = year_since(scene, 18, 2009)
        scene.ask(
            draw.pick(("Have you stopped anything?", "Is there anything you no longer take?")),
            f"I stopped {stopped.name} in {year_said(draw, year)}.",
        )
        scene.fact("medication", stopped.name, negated=True)
    else:
        scene.ask("Any supplements or anything over the counter?", draw.pick(_NO))
        scene.fact("medication", "supplements", ("over-the-counter", "over the counter", "OTC"), negated=True)
    if draw.maybe(0.4):
        for number, line in enumerate(lines, start=1):
            scene.write(f"{number}. {line}")
    else:
        scene.write(f"{draw.pick(('Current medications include', 'The patient takes'))} {listed(lines)}")
    last = (
        f"{scene.person.subject} no longer takes {stopped.name}" if gone else "No supplements or over-the-counter drugs"
    )
    scene.write(last)


def allergies(scene: Scene) -> None:
    """ALLERGY: one to three allergens with what they do, and what is tolerated."""
    draw = scene.draw
    allergens = draw.some_own(ALLERGENS, 2, 3)
    denied = draw.some(DENIED_ALLERGENS, 1, 2)
    reactions = draw.some(REACTIONS, len(allergens), len(allergens))
    scene.ask(
        draw.pick(("Are you allergic to anything?", "Do you have any allergies?", "Any allergies I should know of?")),
        f"Yes, to {listed([draw.pick(term.lay) for term in allergens])}.",
    )
    lines = []
    for term, reaction in zip(allergens, reactions, strict=True):
        scene.ask(
            draw.pick((f"What happens with the {term.name}?", f"What did the {term.name} do to you?")),
            f"{draw.pick(reaction.lay)}.",
        )
        scene.fact("allergy", term.name, term.forms)
        scene.fact("reaction", reaction.name.removeprefix("a ").removeprefix("an "), reaction.forms)
        lines.append((term.name, reaction.name))
    if draw.maybe(0.4):
        year = year_since(scene, 4)
        scene.ask(
            "When was the last reaction?",
            draw.pick((f"In {year_said(draw, year)}.", f"{year_said(draw, year)}, I think.")),
        )
        scene.fact("year", str(year))
        last = f"The last reaction was in {year}"
    else:
        last = ""
    scene.ask(f"Any problems with {listed(denied, 'or')}?", draw.pick(_NO))
    for name in denied:
        scene.fact("allergy", name, negated=True)
    if draw.maybe(0.5):
        bare = [f"{what} ({how.removeprefix('a ').removeprefix('an ')})" for what, how in lines]
        scene.write(f"The patient is allergic to {listed(bare)}")
    else:
        for what, how in lines:
            scene.write(f"{what} causes {how}")
    if last:
        scene.write(last)
    scene.write(f"{draw.pick(('No known allergy to', 'Denies allergy to'))} {listed(denied, 'or')}")


def medical_history(scene: Scene) -> None:
    """PASTMEDICALHX: two or three conditions, since when, and what the patient never had."""
    draw = scene.draw
    conditions = draw.some_own(CONDITIONS, 2, 3)
    denied = draw.some(DENIED_CONDITIONS, 2, 3)
    lines = []
    opening = draw.pick(("What medical problems do you have?", "Tell me about your medical history."))
    for i, term in enumerate(conditions):
        lay = draw.pick(term.lay)
        scene.ask(opening if i == 0 else draw.pick(("Anything else?", "What else?")), f"I have {lay}.")
        scene.fact("condition", term.name, term.forms)
        if draw.maybe(0.6):
            year = year_since(scene, 15)
            scene.ask(
                "When was that found?", draw.pick((f"In {year_said(draw, year)}.", f"Back in {year_said(draw, year)}."))
            )
            scene.fact("year", str(year))
            lines.append(f"{term.name}, diagnosed in {year}")
        else:
            years = draw.whole(2, scene.person.age - 12)
            scene.ask(
                "How long have you had it?", f"For {say(years)} years{draw.pick((' now', '', ', give or take'))}."
            )
            scene.fact("duration", f"{years} years", span_forms(years, "year"))
            lines.append(f"{term.name} for {years} years")
    scene.ask(f"Have you ever had {listed([draw.pick(term.lay) for term in denied], 'or')}?", draw.pick(_NO))
    for term in denied:
        scene.fact("condition", term.name, term.forms, negated=True)
    if draw.maybe(0.5):
        scene.write(f"{draw.pick(('Significant for', 'The patient has a history of'))} {'; '.join(lines)}")
    else:
        for line in lines:
            scene.write(line)
    scene.write(f"{draw.pick(('No history of', 'Denies'))} {listed([term.name for term in denied], 'or')}")


def surgical_history(scene: Scene) -> None:
    """PASTSURGICAL: one to three operations with their years; complications and anesthesia denied."""
    draw = scene.draw
    surgeries = draw.some_own(SURGERIES, 2, 3, lambda term: scene.person.suits(" ".join(term.forms)))
    lines = []
    for i, term in enumerate(surgeries):
        year = year_since(scene, 16)
        question = draw.pick(("Have you had any operations?", "What surgeries have you had?"))
        scene.ask(question if i == 0 else "Any others?", f"I had {draw.pick(term.lay)}.")
        scene.ask(
            draw.pick(("What year was that?", "When was that?")),
            f"{year_said(draw, year)}{draw.pick(('', ', I believe'))}.",
        )
        scene.fact("surgery", term.name, term.forms)
        scene.fact("year", str(year))
        lines.append(draw.pick((f"{term.name} in {year}", f"{term.name} ({year})")))
    scene.ask("Any complications or trouble with anesthesia?", draw.pick(_NO))
    scene.fact("complication", "complications", ("complication",), negated=True)
    scene.fact("complication", "anesthesia", ("anesthetic", "anesthetics"), negated=True)
    scene.write(f"{draw.pick(('Significant for', 'The patient has had'))} {listed(lines)}")
    scene.write(
        draw.pick(("No complications or problems with anesthesia", "Denies complications or anesthesia problems"))
    )


def immunizations(scene: Scene) -> None:
    """IMMUNIZATIONS: two vaccines with years, one that is missing."""
    draw = scene.draw
    had = draw.some_own(VACCINES, 2, 2)
    missing = draw.pick([term for term in VACCINES if term not in had])
    years = [draw.whole(2021 if "COVID" in term.name else 2006, 2024) for term in had]
    said = [f"{draw.pick(term.lay)} in {year_said(draw, year)}" for term, year in zip(had, years, strict=True)]
    scene.ask(draw.pick(("Are your shots up to date?", "Which vaccines have you had?")), f"I had {said[0]}.")
    scene.ask("Any others?", f"Yes, {said[1]}.")
    scene.ask(
        f"And {draw.pick(missing.lay)}?", draw.pick(("No, not yet.", "No, never got it.", "I don't think so, no."))
    )
    for term, year in zip(had, years, strict=True):
        scene.fact("immunization", term.name, term.forms)
        scene.fact("year", str(year))
    scene.fact("immunization", missing.name, missing.forms, negated=True)
    if scene.person.age >= 65 and draw.maybe(0.5):
        scene.ask("Would you like one today?", "Let me think about it.")
    scene.write(listed([f"{term.name} vaccine in {year}" for term, year in zip(had, years, strict=True)]))
    scene.write(f"No {missing.name} vaccine")
