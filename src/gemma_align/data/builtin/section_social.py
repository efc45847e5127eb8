"""The builtin section that tells of family, work, household and habits."""

from gemma_align.data.builtin.scene import Scene
from gemma_align.data.builtin.spoken import say
from gemma_align.data.builtin.values_history import FAMILY_CONDITIONS, HOUSEHOLDS, JOBS, RELATIVES
from gemma_align.data.builtin.wording import listed, span_forms

_NO = ("No.", "No, never.", "Nope.", "Not that I know of.", "No, nothing like that.")


def family_and_social(scene: Scene) -> None:
    """FAM/SOCHX: two relatives, work, household, tobacco, alcohol, drugs."""
    draw, subject = scene.draw, scene.person.subject
    conditions = draw.some_own(FAMILY_CONDITIONS, 2, 2)
    relatives = [draw.pick([who for who in RELATIVES if _can_have(who, term.name)]) for term in conditions]
    job, home = draw.own(JOBS), draw.pick(HOUSEHOLDS)
    said = [f"my {who} had {draw.pick(term.lay)}" for who, term in zip(relatives, conditions, strict=True)]
    scene.ask(
        draw.pick(("Does anything run in your family?", "Any illnesses in your family?")), f"Yes, {listed(said)}."
    )
    for who, term in zip(relatives, conditions, strict=True):
        scene.fact("family", who)
        scene.fact("family", term.name.removeprefix("a "), term.forms)
    scene.ask(draw.pick(("What do you do for work?", "What kind of work do you do?")), f"I work as a {job}.")
    scene.ask("Who do you live with?", "I live alone." if home == "alone" else f"I live {home.replace(' a ', ' my ')}.")
    article = "an" if job[0] in "aeiou" else "a"
    scene.fact("occupation", job)
    scene.fact(
        "household", f"lives {home}", (f"living {home}", f"lives {home.replace(' a ', f' {scene.person.possessive} ')}")
    )
    habits = [_tobacco(scene), _alcohol(scene)]
    scene.ask("Any recreational drugs?", draw.pick(_NO))
    scene.fact("drugs", "drugs", ("drug", "drug use", "illicit drugs", "recreational drugs"), negated=True)
    pairs = [f"{who} with {term.name}" for who, term in zip(relatives, conditions, strict=True)]
    scene.write(f"{draw.pick(('Family history: ', 'Positive for '))}{listed(pairs)}")
    scene.write(f"{subject} works as {article} {job} and lives {home}. {habits[0]}. {habits[1]}. No recreational drugs")


def _can_have(relative: str, condition: str) -> bool:
    male = relative in ("father", "brother", "grandfather")
    return male if "prostate" in condition else not male if condition.startswith(("breast", "ovarian")) else True


def _tobacco(scene: Scene) -> str:
    draw, subject = scene.draw, scene.person.subject
    question = draw.pick(("Do you smoke?", "Any tobacco use?"))
    kind = draw.whole(0, 2)
    if kind == 0:
        scene.ask(question, draw.pick(("No, never have.", "Never.", "No, never smoked.")))
        scene.fact("tobacco", "smoking", ("smokes", "smoke", "smoked", "tobacco"), negated=True)
        return f"{subject} never smoked"
    years = draw.whole(2, scene.person.age - 17)
    span = [*span_forms(years, "year")]
    if kind == 1:
        scene.ask(question, f"I do, a pack a day for {say(years)} years.")
        scene.fact("tobacco", "one pack", ("1 pack", "a pack", "1 ppd", "one ppd"))
        scene.fact("tobacco", f"{years} years", span)
        return f"{subject} smokes one pack a day for {years} years"
    scene.ask(question, f"I quit {say(years)} years ago.")
    scene.fact("tobacco", "quit", ("former smoker", "ex-smoker", "stopped smoking"))
    scene.fact("tobacco", f"{years} years", span)
    return f"{subject} quit smoking {years} years ago"


def _alcohol(scene: Scene) -> str:
    draw, subject = scene.draw, scene.person.subject
    question = draw.pick(("How about alcohol?", "Do you drink?"))
    if draw.maybe(0.4):
        scene.ask(question, draw.pick(("No, I don't drink.", "Not at all.")))
        scene.fact("alcohol", "alcohol", ("drink", "drinks", "drinking"), negated=True)
        return f"{subject} does not drink alcohol"
    glasses, what = draw.whole(2, 9), draw.pick(("beers", "glasses of wine"))
    scene.ask(question, f"Maybe {say(glasses)} {what} a week.")
    scene.fact("alcohol", f"{glasses} {what}", (f"{say(glasses)} {what}",))
    return f"{subject} drinks {glasses} {what} a week"
