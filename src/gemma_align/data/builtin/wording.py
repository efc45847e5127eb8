"""Small parts of sentences that several sections share, and the other forms in which a note may write them."""

from collections.abc import Sequence

from gemma_align.data.builtin.draw import Draw
from gemma_align.data.builtin.scene import Scene
from gemma_align.data.builtin.spoken import say, say_year
from gemma_align.data.builtin.values_present import FREQUENCIES, UNITS, Term


def listed(items: Sequence[str], word: str = "and") -> str:
    """a; a and b; a, b, and c."""
    if len(items) < 3:
        return f" {word} ".join(items)
    return f"{', '.join(items[:-1])}, {word} {items[-1]}"


def mine(text: str) -> str:
    """What the doctor called yours, as the patient says it."""
    return text.replace("your", "my").replace("you ", "I ")


def plain(number: float) -> str:
    """500 for 500.0, 2.5 for 2.5."""
    return f"{number:g}"


def age_forms(age: int) -> list[str]:
    """76-year-old and its like."""
    spoken = say(age)
    numbers = (str(age), spoken, spoken.replace(" ", "-"))
    endings = ("-year-old", " year old", " years old", "-year old", " y/o", " yo")
    return [f"{number}{ending}" for number in numbers for ending in endings] + [f"aged {age}", f"age {age}"]


def span_forms(number: int, unit: str) -> list[str]:
    """3 weeks, three-week and their like; the unit in the singular."""
    ending = f"{unit}s" if number > 1 else unit
    return [f"{n}{gap}{u}" for n in (str(number), say(number)) for gap, u in ((" ", ending), ("-", unit), (" ", unit))]


def dose_forms(drug: str, dose: float, unit: str) -> list[str]:
    """Metformin 500 mg and its like."""
    number, spoken = plain(dose), say(dose)
    amounts = [f"{number} {unit}", f"{number}{unit}", f"{number} {UNITS[unit]}", f"{spoken} {UNITS[unit]}"]
    shapes = ("{d} {a}", "{d}, {a}", "{d} at {a}", "{d} ({a}", "{a} of {d}", "{a} {d}")
    return [shape.format(d=drug, a=amount) for amount in amounts for shape in shapes]


def frequency_forms(dose: float, unit: str, frequency: str) -> list[str]:
    """500 mg twice daily and its like."""
    said, written = FREQUENCIES[frequency]
    number = plain(dose)
    amounts = (f"{number} {unit}", f"{number}{unit}", f"{number} {UNITS[unit]}")
    return [f"{amount}{gap}{often}" for often in (*written, *said) for amount in amounts for gap in (" ", ", ")]


def spoken_dose(draw: Draw, dose: float, unit: str) -> str:
    """As a patient says it: mostly in words, sometimes the unit is taken for granted."""
    number = say(dose) if draw.maybe(0.75) else plain(dose)
    return f"{number} {UNITS[unit]}"


def medication(scene: Scene, drug: str, dose: float, unit: str, frequency: str) -> str:
    """The facts of one medicine; returns it as a note writes it, such as "metformin 500 mg twice daily"."""
    amount = f"{plain(dose)} {unit}"
    scene.fact("medication", f"{drug} {amount}", dose_forms(drug, dose, unit))
    scene.fact("frequency", f"{amount} {frequency}", frequency_forms(dose, unit, frequency))
    return f"{drug} {amount} {frequency}"


def sex_fact(scene: Scene) -> str:
    """The patient's sex as a fact; returns the word a note uses."""
    female = scene.person.female
    word = "female" if female else "male"
    scene.fact("sex", word, ("woman", "lady", "she", "Ms") if female else ("man", "gentleman", "he", "Mr"))
    return scene.draw.pick((word, word, "woman" if female else "man"))


def year_since(scene: Scene, youngest: int, first: int = 1950) -> int:
    """A year up to 2024 in which the patient was at least `youngest` years old."""
    return scene.draw.whole(min(2024, max(first, 2024 - scene.person.age + youngest)), 2024)


def year_said(draw: Draw, year: int) -> str:
    """2015 or twenty fifteen."""
    return say_year(year) if draw.maybe(0.7) else str(year)


def symptom_fact(scene: Scene, term: Term, *, negated: bool) -> str:
    """A symptom as a fact; returns its term."""
    scene.fact(
        "symptom", term.name, (*term.forms, *(mine(lay).removeprefix("my ") for lay in term.lay)), negated=negated
    )
    return term.name
