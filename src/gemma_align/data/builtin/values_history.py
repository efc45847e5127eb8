"""What the builtin patients went through, what runs in their families, what is found and what is done about it."""

from dataclasses import dataclass

from gemma_align.data.builtin.values_present import Term, parts, rows


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a doctor concludes: the term, plain words for it, the drug and dose that help, a test, advice."""

    name: str
    lay: str
    drug: str
    dose: float
    frequency: str
    test: str
    advice: str


def _terms(table: str) -> tuple[Term, ...]:
    return tuple(Term(name, parts(lay), (name, *parts(forms))) for name, lay, forms in rows(table))


ALLERGENS = _terms("""
penicillin|penicillin|penicillins
sulfa drugs|sulfa;sulfa drugs|sulfa
codeine|codeine|
peanuts|peanuts|peanut
ibuprofen|ibuprofen;Advil, ibuprofen|
shellfish|shellfish;shrimp and crab, any shellfish|
amoxicillin|amoxicillin|
morphine|morphine|
bee stings|bee stings|bee sting;bee venom
ciprofloxacin|ciprofloxacin|
eggs|eggs|egg
doxycycline|doxycycline|
adhesive tape|the tape they put on bandages, adhesive tape|adhesive
azithromycin|azithromycin|
strawberries|strawberries|strawberry
cephalexin|cephalexin|
iodine contrast|the iodine dye they use for scans;iodine contrast|iodine;contrast dye
tree nuts|tree nuts, like walnuts|walnuts
clindamycin|clindamycin|
ragweed|ragweed|
""")
REACTIONS = _terms("""
hives|hives;big welts, hives|urticaria
a rash|a red rash all over;a rash|rash
lip swelling|my lips swelled up;swelling of my lips|swelling of the lips;lips swelled
vomiting|I threw up for a day;vomiting|emesis
wheezing|I started wheezing;wheezing|
itching|terrible itching;itching|pruritus
an upset stomach|an upset stomach|upset stomach;stomach upset
trouble breathing|I could hardly breathe;trouble breathing|difficulty breathing;shortness of breath
""")
DENIED_ALLERGENS = ("latex", "food", "pets", "pollen", "nickel")

SURGERIES = _terms("""
appendectomy|my appendix taken out|appendix removed;removal of the appendix
gallbladder removal|my gallbladder taken out|cholecystectomy;gallbladder removed
right knee replacement|my right knee replaced|right total knee replacement;right knee replaced;right knee arthroplasty
tonsillectomy|my tonsils out|tonsils removed
hysterectomy|a hysterectomy, they took my uterus out|
left hip replacement|my left hip replaced|left total hip replacement;left hip replaced;left hip arthroplasty
hernia repair|a hernia fixed|hernia surgery;herniorrhaphy
coronary bypass|bypass surgery on my heart|bypass surgery;CABG
cataract surgery|cataracts taken care of|cataract removal;cataract extraction
carpal tunnel release|carpal tunnel surgery on my wrist|carpal tunnel surgery
thyroidectomy|my thyroid taken out|thyroid removed
lumbar fusion|my lower spine fused|fusion of the lumbar spine;lumbar spine fusion
right shoulder arthroscopy|a scope of my right shoulder|arthroscopy of the right shoulder
cesarean section|a C section|C-section;cesarean
sinus surgery|an operation on my sinuses|
prostate surgery|surgery on my prostate|prostatectomy
bunion removal|a bunion taken off|bunionectomy;bunion removed
colon resection|a piece of my colon removed|colectomy;colon surgery
pacemaker placement|a pacemaker put in|pacemaker
varicose vein stripping|the veins in my leg stripped|vein stripping
""")

RELATIVES = ("mother", "father", "brother", "sister", "grandmother", "grandfather")
FAMILY_CONDITIONS = _terms("""
breast cancer|breast cancer|
diabetes|diabetes;sugar|
a heart attack|a heart attack|heart attack;myocardial infarction
Alzheimer's disease|Alzheimer's|Alzheimer's;dementia
a stroke|a stroke|stroke
colon cancer|colon cancer;cancer of the colon|
high blood pressure|high blood pressure|hypertension
Parkinson's disease|Parkinson's|Parkinson's
glaucoma|glaucoma|
lung cancer|lung cancer|
kidney failure|kidney failure, on dialysis|renal failure
rheumatoid arthritis|rheumatoid arthritis|
alcoholism|a drinking problem, alcoholism|alcohol abuse
heart failure|a weak heart, heart failure|congestive heart failure
ovarian cancer|ovarian cancer|
schizophrenia|schizophrenia|
multiple sclerosis|M S, multiple sclerosis|MS
prostate cancer|prostate cancer|
asthma|asthma|
emphysema|emphysema|COPD
""")
JOBS = [
    "high school teacher",
    "truck driver",
    "nurse",
    "carpenter",
    "accountant",
    "electrician",
    "librarian",
    "farmer",
    "bus driver",
    "cook",
    "plumber",
    "secretary",
    "mechanic",
    "hairdresser",
    "security guard",
    "florist",
    "welder",
    "bank teller",
    "roofer",
    "pharmacist",
    "dental assistant",
    "mail carrier",
    "social worker",
    "painter",
    "software developer",
    "warehouse worker",
    "lawyer",
    "waiter",
    "real estate agent",
    "janitor",
]
HOUSEHOLDS = ("alone", "with a spouse", "with a daughter", "with two roommates", "with a son", "with parents")

VACCINES = _terms("""
influenza|the flu shot|flu;flu shot;flu vaccine
tetanus|a tetanus shot|Tdap
pneumonia|the pneumonia shot|pneumococcal
shingles|the shingles shot|zoster;Shingrix
hepatitis B|the hepatitis B series|
COVID-19|the COVID shot|COVID
measles|the measles shot|MMR
chickenpox|the chickenpox vaccine|varicella
hepatitis A|the hepatitis A shot|
yellow fever|a yellow fever shot before a trip|
""")

# What is found on examination: as a note says it, as a doctor says it aloud, whether it is absent, further forms.
# Two lines a site of the body, of which an examination finds one.
FINDINGS = tuple(
    (name, said, negated == "no", (name, *parts(forms)))
    for name, said, negated, forms in rows("""
wheezing|I don't hear any wheezing|no|wheezes;wheeze
crackles at the left base|I hear some crackles at the left lung base|yes|left basilar crackles;crackles
abdominal tenderness|your belly isn't tender anywhere|no|
tenderness over the lower back|it's tender right here over the lower back|yes|lower back tenderness
heart murmur|I hear no murmur|no|murmur;murmurs
a systolic murmur|there's a murmur with every beat, a systolic one|yes|systolic murmur
ankle edema|there's no swelling at your ankles|no|ankle swelling
mild ankle edema|your ankles are a bit swollen, mild edema|yes|ankle edema
neck masses|no lumps in your neck|no|neck mass;masses
an enlarged thyroid|your thyroid feels enlarged|yes|enlarged thyroid;thyromegaly;thyroid enlarged
redness of the throat|your throat is quite red|yes|throat redness;red throat;throat is red;throat erythema
tonsillar exudate|I see no pus on the tonsils|no|exudate;exudates
decreased grip strength on the right|the right hand grip is weaker|yes|decreased right grip strength;weak right grip
sensory loss|you feel light touch everywhere, no sensory loss|no|sensory deficit;loss of sensation
a dry rash on the elbows|there's a dry rash on both elbows|yes|dry rash;rash
jaundice|your eyes and skin aren't yellow, so no jaundice|no|icterus
""")
)

DIAGNOSES = tuple(
    Diagnosis(name, lay, drug, float(dose), frequency, test, advice)
    for name, lay, drug, dose, frequency, test, advice in rows("""
acute bronchitis|a chest cold, bronchitis|benzonatate|100|three times daily|chest x-ray|drink plenty of fluids
urinary tract infection|a bladder infection|nitrofurantoin|100|twice daily|urine culture|drink more water
lumbar strain|a strained back|naproxen|500|twice daily|lumbar x-ray|avoid heavy lifting
iron deficiency anemia|low iron|ferrous sulfate|325|daily|complete blood count|eat more iron-rich food
migraine|migraine headaches|rizatriptan|10|as needed|brain MRI|keep a headache diary
acute sinusitis|a sinus infection|amoxicillin|875|twice daily|sinus CT|use saline rinses
plantar fasciitis|inflamed tissue in the heel|ibuprofen|600|three times daily|foot x-ray|stretch every morning
gastritis|an irritated stomach lining|esomeprazole|40|daily|upper endoscopy|avoid spicy food
generalized anxiety|anxiety|hydroxyzine|25|as needed|thyroid panel|start counseling
uncontrolled hypertension|blood pressure that is too high|valsartan|80|daily|basic metabolic panel|cut down on salt
seasonal allergies|hay fever|loratadine|10|daily|allergy testing|keep the windows closed
gout flare|a gout attack|indomethacin|50|three times daily|uric acid level|avoid alcohol
type 2 diabetes|diabetes|pioglitazone|15|daily|hemoglobin A1c|walk every day
cellulitis|a skin infection|cephalexin|500|three times daily|wound culture|keep the leg raised
carpal tunnel syndrome|a pinched nerve at the wrist|celecoxib|200|daily|nerve conduction study|wear a wrist splint
vertigo|an inner ear problem, vertigo|meclizine|25|as needed|hearing test|get up slowly
knee osteoarthritis|wear and tear in the knee|diclofenac|75|twice daily|knee x-ray|try swimming
eczema|eczema|prednisolone|10|daily|skin biopsy|use moisturizer
strep throat|strep throat|penicillin V|500|twice daily|throat culture|gargle with salt water
insomnia|insomnia|doxepin|6|nightly|sleep study|stop screens before bed
""")
)
