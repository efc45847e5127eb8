"""One builtin visit while it is being written: who the patient is, what was said, what is known to be true."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gemma_align.data.builtin.draw import Draw
from gemma_align.data.builtin.spoken import say

Fact = dict[str, Any]

_SURNAMES = [
    "Alvarez",
    "Brooks",
    "Chen",
    "Duffy",
    "Evans",
    "Fischer",
    "Gomez",
    "Harris",
    "Ivanov",
    "Jensen",
    "Khan",
    "Lopez",
    "Meyer",
    "Novak",
    "Okafor",
    "Patel",
    "Quinn",
    "Rossi",
    "Schmidt",
    "Tran",
    "Ueda",
    "Vargas",
    "Walsh",
    "Xu",
    "Young",
    "Zimmer",
    "Abbott",
    "Baker",
    "Cole",
    "Dixon",
    "Ellis",
    "Foster",
    "Grant",
    "Hughes",
    "Irwin",
]
_FILLERS = ("", "", "", "", "", "Um, ", "Well, ", "Let me think, ", "Oh, ", "Hm, ")
_INTERRUPTIONS = (
    ("Sorry, this computer is slow today.", "No problem."),
    ("One second, let me find a pen.", "Take your time."),
    ("Excuse me, I have a bit of a cold myself.", "Bless you, doctor."),
    ("Is it too warm in here for you?", "No, I'm comfortable."),
    ("Sorry, they keep paging me.", "You must be busy."),
    ("Could you move a little closer to the desk?", "Sure, like this?"),
)
_NODS = ("Okay.", "I see.", "Got it.", "Alright.", "Thank you.", "Good to know.", "Understood.", "Okay, thanks.")


@dataclass(frozen=True, slots=True)
class Person:
    """The patient of one visit."""

    age: int
    female: bool
    surname: str

    @property
    def subject(self) -> str:
        """She or He."""
        return "She" if self.female else "He"

    @property
    def possessive(self) -> str:
        """Her or his."""
        return "her" if self.female else "his"

    def suits(self, what: str) -> bool:
        """Whether it can be this person's: prostates and wombs belong to one sex."""
        text = what.lower()
        other = ("prostate",) if self.female else ("hysterectomy", "cesarean")
        return not any(word in text for word in other)

    @property
    def address(self) -> str:
        """Ms. or Mr. with the surname: the dialogue's only word on the patient's sex."""
        return f"{'Ms.' if self.female else 'Mr.'} {self.surname}"


@dataclass(slots=True)
class Scene:
    """Turns, facts and the sentences of the note, in order.

    Facts are {"kind", "value", "any_of", "negated"}: a note covers one if any form of `any_of` stands in it as whole
    words, without regard to case, and (negated) in a negated or (not negated) in no negated statement.
    Distractors have the same form: they were said, but belong in no note.
    """

    draw: Draw
    person: Person
    turns: list[str] = field(default_factory=list)
    note: list[str] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    distractors: list[Fact] = field(default_factory=list)
    interrupted: bool = False

    def doctor(self, text: str) -> None:
        """The doctor says something."""
        self.turns.append(f"Doctor: {sentence(text)}")

    def patient(self, text: str, *, hesitant: bool = True) -> None:
        """The patient says something, perhaps after a moment of thought."""
        filler = self.draw.pick(_FILLERS) if hesitant else ""
        keep = not filler or text.startswith(("I ", "I'", "Mr", "Ms"))
        self.turns.append(f"Patient: {sentence(filler + (text if keep else text[:1].lower() + text[1:]))}")

    def ask(self, question: str, answer: str) -> None:
        """A question, sometimes after a nod, and its answer; at most once in a visit something gets in between."""
        if not self.interrupted and self.draw.maybe(0.06):
            self.interrupted = True
            said, replied = self.draw.pick(_INTERRUPTIONS)
            self.doctor(said)
            self.patient(replied, hesitant=False)
        nod = f"{self.draw.pick(_NODS)} " if self.turns and self.draw.maybe(0.35) else ""
        self.doctor(nod + question)
        self.patient(answer)

    def write(self, text: str) -> None:
        """One sentence of the reference note."""
        self.note.append(sentence(text))

    def fact(self, kind: str, value: str, forms: Sequence[str] = (), *, negated: bool = False) -> None:
        """Something a good note says."""
        self.facts.append(_fact(kind, value, forms, negated))

    def distract(self, kind: str, value: str, forms: Sequence[str] = ()) -> None:
        """Something that was said and that no good note says."""
        self.distractors.append(_fact(kind, value, forms, False))


def make_person(draw: Draw) -> Person:
    """An adult patient."""
    return Person(age=draw.whole(21, 89), female=draw.maybe(0.5), surname=draw.own(_SURNAMES))


def _fact(kind: str, value: str, forms: Sequence[str], negated: bool) -> Fact:
    return {"kind": kind, "value": value, "any_of": list(dict.fromkeys([value, *forms])), "negated": negated}


def sentence(text: str) -> str:
    """With a capital first letter and a full stop, if it ends in nothing else."""
    text = text.strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else text + "."


def greet(scene: Scene) -> None:
    """How a visit starts: always with the patient's name, now and then with small talk that holds a stray number."""
    draw, name = scene.draw, scene.person.address
    hello = draw.pick(("Good morning", "Good afternoon", "Hello", "Hi there", "Hi", "Nice to see you", "Welcome back"))
    if not draw.maybe(0.55):
        scene.doctor(f"{hello}, {name}.")
        scene.patient(
            draw.pick(("Hi, doctor.", "Hello, doctor.", "Good to see you, doctor.", "Morning, doc.")), hesitant=False
        )
        return
    number = draw.whole(11, 58)
    spoken = say(number)
    opener, reply, kind, unit = draw.pick(
        (
            ("Did you find us alright?", f"Yes, but traffic cost me {spoken} minutes.", "minutes", "minutes"),
            ("How was the wait?", f"Not too bad, only {spoken} minutes in there.", "minutes", "minutes"),
            ("How are the grandkids?", f"Growing fast, we drove {spoken} miles to see them.", "miles", "miles"),
            ("Is it still cold outside?", f"Freezing, the radio said {spoken} degrees.", "degrees", "degrees"),
            ("Did you catch the game?", f"I did, they scored {spoken} points and still lost.", "points", "points"),
            ("How is the garden coming along?", f"Great, I planted {spoken} tulips.", "tulips", "tulips"),
            ("Any trouble parking?", f"It cost me {spoken} dollars, can you believe that?", "dollars", "dollars"),
            ("How was your vacation?", f"Wonderful, {spoken} days of sunshine.", "days", "days of sunshine"),
        )
    )
    scene.doctor(f"{hello}, {name}. {opener}")
    scene.patient(reply, hesitant=False)
    scene.distract(kind, f"{number} {unit}", (f"{spoken} {unit}",))


def close(scene: Scene) -> None:
    """How a visit ends, where it doesn't just stop."""
    draw = scene.draw
    if draw.maybe(0.5):
        scene.doctor(
            draw.pick(
                (
                    "Thank you, that is all I need for now.",
                    "Alright, let me write this down.",
                    "Great, thanks for going over that with me.",
                    "Okay, I'll put that in your chart.",
                )
            )
        )
        if draw.maybe(0.6):
            scene.patient(draw.pick(("Thanks, doctor.", "Thank you.", "Sounds good.", "Sure.")), hesitant=False)
