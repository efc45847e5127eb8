"""Builtin sections that tell what the doctor finds and decides: physical examination, plan."""

from gemma_align.data.builtin.scene import Scene, sentence
from gemma_align.data.builtin.spoken import say, say_pressure
from gemma_align.data.builtin.values_history import DIAGNOSES, FINDINGS
from gemma_align.data.builtin.values_present import FREQUENCIES
from gemma_align.data.builtin.wording import listed, medication, span_forms, spoken_dose

_FOLLOW_UPS = (("day", 3, 12), ("week", 2, 8), ("month", 2, 6))


def examination(scene: Scene) -> None:
    """EXAM: four vital signs, called out, and three or four findings."""
    draw = scene.draw
    high, low = draw.whole(98, 178), draw.whole(54, 99)
    pulse, oxygen = draw.whole(52, 118), draw.whole(90, 99)
    tenths = draw.whole(968, 1026)
    warmth = f"{tenths // 10}.{tenths % 10}"
    sites = draw.some(range(0, len(FINDINGS), 2), 3, 4)
    findings = [FINDINGS[site + draw.whole(0, 1)] for site in sites]
    scene.doctor(draw.pick(("Let me examine you now.", "I'm going to check you over.", "Hop up on the table for me.")))
    scene.patient(draw.pick(("Okay.", "Sure.", "Go ahead.")), hesitant=False)
    scene.doctor(f"Your blood pressure is {say_pressure(high)} over {say_pressure(low)}, pulse {say_pressure(pulse)}.")
    scene.patient(draw.pick(("Is that good?", "Is that okay?", "Okay.", "Hm, alright.")), hesitant=False)
    degrees = f"{say_pressure(tenths // 10)} point {say(tenths % 10)}"
    scene.doctor(
        f"{draw.pick(('We will keep an eye on it.', 'Fine for now.'))} "
        f"Temperature is {degrees}, oxygen {say(oxygen)} percent."
    )
    for i in range(0, len(findings), 2):
        scene.doctor(", and ".join(said for _, said, _, _ in findings[i : i + 2]))
        scene.patient(draw.pick(("Okay.", "Good to hear.", "I see.", "Alright.")), hesitant=False)
    scene.fact("vital", f"{high}/{low}", (f"{high} over {low}",))
    scene.fact("vital", str(pulse))
    scene.fact("vital", warmth)
    scene.fact("vital", f"{oxygen}%", (f"{oxygen} %", f"{oxygen} percent"))
    for name, _, absent, forms in findings:
        scene.fact("finding", name.removeprefix("a ").removeprefix("an "), forms, negated=absent)
    present = [name for name, _, absent, _ in findings if not absent]
    missing = [name for name, _, absent, _ in findings if absent]
    if draw.maybe(0.5):
        scene.write(f"Blood pressure {high}/{low}, pulse {pulse}, temperature {warmth}, oxygen saturation {oxygen}%")
    else:
        scene.write(f"Vitals: BP {high}/{low}, HR {pulse}, T {warmth}, O2 sat {oxygen}%")
    if present:
        scene.write(f"{draw.pick(('There is', 'Positive for'))} {listed(present)}")
    if missing:
        scene.write(f"No {listed(missing, 'or')}")


def plan(scene: Scene) -> None:
    """PLAN: the diagnosis, one medicine, one test, one piece of advice, when to come back, what isn't needed."""
    draw = scene.draw
    found = draw.own(DIAGNOSES)
    unit, low, high = draw.pick(_FOLLOW_UPS)
    number = draw.whole(low, high)
    unneeded = draw.pick(("surgery", "hospital admission", "a referral"))
    often = draw.pick(FREQUENCIES[found.frequency][0]).replace("I need", "you need")
    scene.doctor(draw.pick((f"I believe this is {found.lay}.", f"Everything points to {found.lay}.")))
    scene.patient(draw.pick(("Is it serious?", "Oh no.", "I thought so.", "What do we do now?")), hesitant=False)
    scene.doctor(
        f"We can treat it. I'll start you on {found.drug}, {spoken_dose(draw, found.dose, 'mg')}, {often}. "
        f"Please {found.advice}."
    )
    scene.patient(
        draw.pick((f"Will I need {unneeded}?", f"Does it mean {unneeded}?", f"So there's no need for {unneeded}?"))
    )
    scene.doctor(f"No {unneeded.removeprefix('a ')} for now. I'd also like to get {_article(found.test)}.")
    scene.patient(draw.pick(("When should I come back?", "And when do I see you again?")))
    scene.doctor(f"In {say(number)} {unit}s.")
    scene.fact("diagnosis", found.name)
    written = medication(scene, found.drug, found.dose, "mg", found.frequency)
    scene.fact("test", found.test)
    scene.fact("advice", found.advice)
    scene.fact("follow_up", f"{number} {unit}s", span_forms(number, unit))
    scene.fact("unneeded", unneeded.removeprefix("a "), negated=True)
    if draw.maybe(0.5):
        scene.write(f"Assessment: {found.name}. Start {written}. Obtain {_article(found.test)}")
        scene.write(f"The patient should {found.advice}. No {unneeded.removeprefix('a ')} at this time")
        scene.write(f"Follow up in {number} {unit}s")
    else:
        scene.write(
            f"1. {sentence(found.name)[:-1]}: {written}. 2. Order {_article(found.test)}. 3. Advised to {found.advice}"
        )
        scene.write(f"4. Return in {number} {unit}s. No {unneeded.removeprefix('a ')} needed")


def _article(test: str) -> str:
    return f"{'an' if test[0] in 'aeiouAEIOU' else 'a'} {test}"
