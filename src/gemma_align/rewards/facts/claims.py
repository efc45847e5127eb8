"""What a text claims that can be checked: quantities, and names of conditions and medicines.

A quantity is a number with what is counted ("500 mg", "3 week", "76 year", "3/10", "98%"), or a bare number. Names are
found by a short list, by endings ("-itis", "-statin") and by a few pairs of lay and clinical words.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from gemma_align.rewards.facts.known import denied
from gemma_align.rewards.facts.words import Words, is_number, read

_SAME_UNIT = {
    "milligram": "mg", "microgram": "mcg", "ug": "mcg", "gram": "g", "milliliter": "ml", "cc": "ml", "yr": "year",
    "yo": "year", "min": "minute", "ppd": "pack", "lb": "pound", "kilogram": "kg", "feet": "foot", "centimeter": "cm",
    "glasse": "glass", "children": "child", "kid": "child", "percent": "%",
}  # fmt: skip
_COUNTED = (
    "mg mcg g ml unit day week month year hour minute pack time pound kg inch foot cm degree beer drink glass child "
    "brother sister daughter son"
)
_UNITS = _SAME_UNIT | {unit: unit for unit in _COUNTED.split()}
_NAMES = """
abdominal pain;stomach pain;belly pain
abortion
aids;hiv
alcohol;alcoholic;drinking
anemia;anemic
angina
anxiety;anxious
appetite loss;loss of appetite
arrhythmia
arthritis
asthma
atrial fibrillation;afib
back pain
bipolar
bleeding;bleed
blood clot;dvt
blurred vision;blurry vision
bph
bronchitis
bruising;bruise
bypass;cabg
cancer;malignancy;carcinoma;tumor
cataract
chest pain
chill
chlamydia
cholesterol;hyperlipidemia;hypercholesterolemia;dyslipidemia
cocaine
colonoscopy
congestion
constipation;constipated
copd;emphysema
cough;coughing
dementia;alzheimer
depression;depressed
diabetes;diabetic
diarrhea
dizziness;dizzy;lightheaded;lightheadedness
double vision;diplopia
edema;swelling;swollen;swell
eczema
epilepsy;seizure
erythema;redness
fatigue;tiredness;tired
fever;febrile
fracture;broken
gallstone
glaucoma
gout
headache
heart attack;myocardial infarction
heart disease;coronary artery disease;cad
heart failure;chf
heart murmur;murmur
heartburn;reflux;gerd
hepatitis
hernia
herpes
high blood pressure;hypertension;hypertensive
hypothyroidism
hyperthyroidism
infection;infected
injury;injured
itching;itch;itchy;pruritus
jaundice
joint pain;arthralgia
kidney disease;renal disease
kidney stone;nephrolithiasis
knee pain
leukemia
lupus
marijuana;cannabis
melanoma
migraine
nausea;nauseous;nauseated
neck pain
neuropathy
night sweats
numbness;numb
obesity;obese
osteoporosis
palpitation
parkinson
phobia
pneumonia
polio
pregnancy;pregnant
psoriasis
rash;rashes
shortness of breath;short of breath;dyspnea
sinusitis
sleep apnea
smoking;smoke;smoker;smoked;tobacco;cigarette
sore throat
stroke;cva;tia
suicide;suicidal
surgery;operation;surgical
syncope;fainting;fainted
tenderness;tender
tetanus
thyroid
tingling;tingle
tonsillectomy
tuberculosis;tb
ulcer
vomiting;vomit;vomited;emesis
weakness
weight gain
weight loss;lost weight
wheezing;wheeze
acetaminophen;tylenol
advil;ibuprofen;motrin
albuterol
amoxicillin
aspirin
coumadin;warfarin
digoxin
gabapentin;neurontin
hydrochlorothiazide;hctz
insulin
lasix;furosemide
latex
levothyroxine;synthroid
metformin
morphine
naproxen;aleve
penicillin
potassium
prednisone
steroid
sulfa
vitamin
xanax
zoloft
"""
_ENDINGS = re.compile(
    r"\w{3,}(?:itis|osis|emia|pathy|algia|ectomy|otomy|oma|plegia|uria|rrhea|plasty|oscopy|pril|olol|statin|sartan"
    r"|cillin|mycin|cycline|floxacin|prazole|tidine|gliptin|dipine|zepam|zolam|oxetine|triptan|parin|thiazide|codone"
    r"|morphone|conazole)"
)
_NO_NAMES = frozenset(["diagnosis", "prognosis", "diploma", "oklahoma", "symptom", "anatomy"])


@dataclass(frozen=True, slots=True)
class Claim:
    """Words first..last of a text claim it. `unit` and `denied` are "" and False where they say nothing."""

    kind: str  # quantity | name
    value: str
    unit: str
    denied: bool
    first: int
    last: int


def _by_first_word() -> dict[str, list[tuple[tuple[str, ...], str]]]:
    """Wordings by their first word, the longest first, each with the one name for all of its line."""
    table: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for line in _NAMES.strip().splitlines():
        for wording in line.split(";"):
            words = read(wording).words
            table.setdefault(words[0], []).append((words, line.split(";")[0]))
    return {first: sorted(entries, key=lambda entry: -len(entry[0])) for first, entries in table.items()}


_TABLE = _by_first_word()


@lru_cache(maxsize=4096)
def claims(text: str) -> tuple[Claim, ...]:
    """The claims of a text, in order."""
    words = read(text)
    found = []
    i = 0
    while i < len(words.words):
        claim = _quantity(words, i) if is_number(words.words[i]) else _name(words, i)
        if claim is not None:
            found.append(claim)
        i = claim.last + 1 if claim is not None else i + 1
    return tuple(found)


def _quantity(words: Words, i: int) -> Claim | None:
    number, after = words.words[i], i + 1
    unit = ""
    if after < len(words.words) and words.clause[after] == words.clause[i]:
        unit = _UNITS.get(words.words[after], "")
    if not unit and (number == "1" or _is_list_mark(words, i)):  # "one" is mostly "one of them"
        return None
    return Claim("quantity", number.rstrip("%"), "%" if number.endswith("%") else unit, False, i, i + bool(unit))


def _is_list_mark(words: Words, i: int) -> bool:
    """ "2." alone, with more after it."""
    return (
        len(words.words[i]) < 3
        and i + 1 < len(words.words)
        and words.clause[i + 1] != words.clause[i]
        and (i == 0 or words.clause[i - 1] != words.clause[i])
    )


def _name(words: Words, i: int) -> Claim | None:
    for wording, name in _TABLE.get(words.words[i], ()):
        last = i + len(wording) - 1
        if words.words[i : last + 1] == wording and words.clause[last] == words.clause[i]:
            return Claim("name", name, "", denied(words, last), i, last)
    word = words.words[i]
    if _ENDINGS.fullmatch(word) and word not in _NO_NAMES:
        return Claim("name", word, "", denied(words, i), i, i)
    return None
