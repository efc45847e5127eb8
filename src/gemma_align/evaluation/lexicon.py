"""Conditions and medications that evaluation knows by name, each with its other names.

Only used to see what a note claims beyond the facts it was given; a name that stands neither here nor in the
example's facts is not noticed, unless it has one of the endings below. Ordered by concept.
"""

import re
from collections.abc import Mapping

from gemma_align.evaluation.wording import tokens

CONDITIONS = """
abdominal pain: stomach pain, belly pain, stomach ache
acid reflux: gerd, heartburn, gastroesophageal reflux disease, reflux
acne
alcohol: alcoholic
alcoholism: alcohol abuse, alcohol dependence
allergy: allergic
anemia
ankle pain
anxiety: anxious
appendectomy: appendix removed
appetite loss: loss of appetite, lost appetite, poor appetite, decreased appetite, anorexia
arrhythmia: irregular heartbeat
arthritis
asthma: asthmatic
atrial fibrillation: afib, a fib
back pain: backache, pain in back
bipolar disorder
blood clot: deep vein thrombosis, deep venous thrombosis, dvt
blood in stool: blood in the stool, bloody stool, hematochezia, melena
blood in urine: blood in the urine, bloody urine, hematuria
blurred vision: blurry vision
bronchitis
bypass
cancer: malignancy, carcinoma
carpal tunnel syndrome
cataract
cellulitis
chest pain: pain in chest, chest tightness
chills
cholecystectomy: gallbladder removed
chronic kidney disease: ckd, kidney disease
cirrhosis
concussion
constipation: constipated
copd: chronic obstructive pulmonary disease, emphysema
coronary artery disease: cad
cough: coughing
dementia: alzheimer, alzheimer disease
depression: depressed
dermatitis
diabetes: diabetic, type 1 diabetes, type 2 diabetes, diabetes mellitus
diarrhea: loose stool
dizziness: dizzy, lightheaded, lightheadedness, vertigo
ear pain: earache, otalgia
eczema
elbow pain
enlarged prostate: benign prostatic hyperplasia, bph
epilepsy
facial pain
fainting: syncope, passed out, fainted
fatigue: tired, tiredness
fever: febrile, high temperature
fibromyalgia
foot pain
fracture: broken bone, fractured
frequent urination: urinary frequency
gallstones
glaucoma
gout
headache
hearing loss
heart attack: myocardial infarction
heart disease
heart failure: congestive heart failure, chf
heart murmur
heel pain
hemoptysis: coughing up blood
hepatitis
hernia
hip pain
hip replacement
hyperlipidemia: high cholesterol, hypercholesterolemia
hypertension: high blood pressure, htn, hypertensive
hyperthyroidism
hypotension: low blood pressure
hypothyroidism: underactive thyroid
hysterectomy
insomnia: trouble sleeping, difficulty sleeping
irritable bowel syndrome: ibs
itching: itchy, pruritus
jaundice
joint pain: arthralgia, pain in joints
kidney failure: renal failure
kidney stones: nephrolithiasis
knee pain
knee replacement
leg pain
leukemia
low mood
lupus
migraine
multiple sclerosis
muscle pain: myalgia, muscle ache
nausea: nauseous, nauseated
neck pain
neuropathy
night sweats
numbness: numb
obesity: obese
osteoarthritis
osteoporosis
pacemaker
painful urination: burning with urination, dysuria, pain with urination
palpitations: heart racing, racing heart
pancreatitis
parkinson disease: parkinson
pneumonia
pregnancy: pregnant
psoriasis
psychosis: psychotic
rash: hives
rheumatoid arthritis
runny nose: rhinorrhea, nasal congestion, congestion
schizophrenia
sciatica
seizures
shortness of breath: dyspnea, short of breath, trouble breathing, difficulty breathing, breathlessness
shoulder pain
sinusitis: sinus infection
sleep apnea
smoke: smoker, smoking, tobacco
sore throat: pharyngitis, throat pain
sprain
stiffness: stiff
strain
stroke: cva, cerebrovascular accident
surgery: operation
swelling: swollen, edema
tachycardia
tinnitus: ringing in ears
tonsillectomy: tonsils removed
tremor
tuberculosis
ulcer
urinary tract infection: uti
vomiting: vomit, vomited, throwing up
weakness
weight gain: gained weight
weight loss: lost weight
wheezing: wheeze
wrist pain
"""

MEDICATIONS = """
acetaminophen: tylenol, paracetamol
albuterol: ventolin, salbutamol
alendronate: fosamax
allopurinol
alprazolam: xanax
amiodarone
amitriptyline
aspirin
atorvastatin: lipitor
benzonatate
bupropion: wellbutrin
buspirone
celecoxib: celebrex
cephalexin: keflex
cetirizine: zyrtec
ciprofloxacin: cipro
clonidine
clopidogrel: plavix
codeine
colchicine
cyclobenzaprine: flexeril
dexamethasone
diclofenac
digoxin
diphenhydramine: benadryl
donepezil
doxepin
duloxetine: cymbalta
epinephrine: epipen
escitalopram: lexapro
estrogen
fentanyl
ferrous sulfate: iron
finasteride
fluticasone: flonase
folic acid
furosemide: lasix
gabapentin: neurontin
glipizide
heparin
hydrochlorothiazide: hctz
hydrocodone: vicodin
hydroxychloroquine
hydroxyzine
ibuprofen: advil, motrin
indomethacin
insulin
lamotrigine
latex
levetiracetam: keppra
levothyroxine: synthroid
lidocaine
lithium
loratadine: claritin
lorazepam: ativan
meclizine
meloxicam
metformin: glucophage
methadone
methotrexate
montelukast: singulair
morphine
multivitamin
naproxen: aleve
nitrofurantoin
nitroglycerin
oxybutynin
oxycodone: oxycontin
penicillin
pioglitazone
prednisone
pregabalin: lyrica
probiotic
quetiapine: seroquel
sertraline: zoloft
sildenafil: viagra
spironolactone
sulfa
sumatriptan: imitrex
tamsulosin: flomax
topiramate
tramadol
trazodone
vancomycin
venlafaxine
vitamin d
warfarin: coumadin
zolpidem: ambien
"""

_MEDICATION = re.compile(
    r"\w{2,}(?:pril|sartan|olol|ilol|statin|prazole|conazole|cillin|mycin|floxacin|cycline|dronate|dipine|gliptin|gliflozin|glutide"
    r"|xaban|oxetine|opram|zepam|zolam|triptan|setron|tidine|tadine|sone|solone|asone|parin|thiazide|vir|mab|tinib)"
)
_CONDITION = re.compile(r"(?!diagnosis|prognosis)\w{3,}(?:itis|osis|emia|algia|uria|ectomy|plasty|oscopy|pathy|iasis)")

Spelling = tuple[str, ...]


def _read(table: str, kind: str) -> dict[Spelling, tuple[str, str]]:
    names: dict[Spelling, tuple[str, str]] = {}
    for line in table.strip().splitlines():
        concept, _, others = line.partition(":")
        for name in (concept, *filter(None, others.split(","))):
            names[tokens(name)] = (kind, concept)
    return names


NAMES: Mapping[Spelling, tuple[str, str]] = _read(CONDITIONS, "condition") | _read(MEDICATIONS, "medication")
"""Kind and concept of every known name, by its tokens."""

LONGEST = max(len(spelling) for spelling in NAMES)


def name_at(text: tuple[str, ...], i: int) -> tuple[str, str, int]:
    """Kind, concept and end of the longest known name that starts at token i; end = i where there is none."""
    for length in range(min(LONGEST, len(text) - i), 0, -1):
        if found := NAMES.get(text[i : i + length]):
            return *found, i + length
    if _MEDICATION.fullmatch(text[i]):
        return "medication", text[i], i + 1
    if _CONDITION.fullmatch(text[i]):
        return "condition", text[i], i + 1
    return "", "", i
