"""What the builtin patients feel, have and take. One line an entry, bars between fields, semicolons between wordings.

The order within a table matters only in that every fifth entries form the pools of tune and report (`draw.pool`), so
neighbours differ in kind.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drug:
    """A medicine: unit and doses, how often, what for (in a note), and as patients say it."""

    name: str
    unit: str
    doses: tuple[float, ...]
    frequency: str
    reason: str
    lay: str


@dataclass(frozen=True, slots=True)
class Term:
    """A clinical term, how patients say it, and other forms that mean the same in a note."""

    name: str
    lay: tuple[str, ...]
    forms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why a patient comes: the term, how it is said after "I've had", the system, what makes it worse or better."""

    name: str
    lay: tuple[str, ...]
    system: str
    worse: tuple[str, ...]
    better: tuple[str, ...]


def rows(table: str) -> list[list[str]]:
    """The fields of each line."""
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


def parts(cell: str) -> tuple[str, ...]:
    """The alternatives of one field."""
    return tuple(part.strip() for part in cell.split(";") if part.strip())


DRUGS = tuple(
    Drug(name, unit, tuple(float(d) for d in doses.split()), frequency, reason, lay)
    for name, unit, doses, frequency, reason, lay in rows("""
metformin|mg|500 850 1000|twice daily|diabetes|my sugar
lisinopril|mg|5 10 20 40|daily|hypertension|my blood pressure
atorvastatin|mg|10 20 40 80|nightly|high cholesterol|my cholesterol
levothyroxine|mcg|25 50 75 88 112|daily|hypothyroidism|my thyroid
omeprazole|mg|20 40|daily|acid reflux|my heartburn
gabapentin|mg|100 300 600|three times daily|neuropathy|the nerve pain in my feet
furosemide|mg|20 40 80|daily|leg swelling|the water in my legs
amlodipine|mg|2.5 5 10|daily|hypertension|my pressure
glipizide|mg|2.5 5 10|twice daily|diabetes|the diabetes
sertraline|mg|25 50 100|daily|depression|my mood
warfarin|mg|2.5 5 7.5|nightly|atrial fibrillation|my heart rhythm
montelukast|mg|5 10|nightly|asthma|my asthma
tamsulosin|mg|0.4 0.8|nightly|enlarged prostate|my prostate
losartan|mg|25 50 100|daily|hypertension|blood pressure
pantoprazole|mg|20 40|daily|acid reflux|my stomach acid
allopurinol|mg|100 200 300|daily|gout|my gout
alendronate|mg|35 70|weekly|osteoporosis|my bones
trazodone|mg|50 100 150|nightly|insomnia|sleep
carvedilol|mg|6.25 12.5 25|twice daily|heart failure|my weak heart
simvastatin|mg|10 20 40|nightly|high cholesterol|cholesterol
levetiracetam|mg|250 500 750|twice daily|seizures|my seizures
meloxicam|mg|7.5 15|daily|arthritis|my arthritis
insulin glargine|units|10 14 18 22 30|nightly|diabetes|my sugars
duloxetine|mg|30 60|daily|fibromyalgia|the fibromyalgia
hydrochlorothiazide|mg|12.5 25|daily|hypertension|the blood pressure
clopidogrel|mg|75|daily|coronary artery disease|the stent in my heart
topiramate|mg|25 50 100|twice daily|migraines|my migraines
escitalopram|mg|5 10 20|daily|anxiety|my anxiety
prednisone|mg|5 10 20|daily|polymyalgia|the stiffness in my shoulders
famotidine|mg|10 20 40|twice daily|acid reflux|my reflux
apixaban|mg|2.5 5|twice daily|atrial fibrillation|my irregular heartbeat
bupropion|mg|100 150 300|daily|depression|the depression
spironolactone|mg|25 50|daily|heart failure|fluid
rosuvastatin|mg|5 10 20|nightly|high cholesterol|my high cholesterol
sitagliptin|mg|25 50 100|daily|diabetes|diabetes
metoprolol|mg|25 50 100|twice daily|palpitations|my racing heart
cetirizine|mg|5 10|daily|allergic rhinitis|my hay fever
donepezil|mg|5 10|nightly|memory loss|my memory
sumatriptan|mg|25 50 100|as needed|migraines|the bad headaches
aspirin|mg|81 325|daily|stroke prevention|my heart
colchicine|mg|0.6|as needed|gout|gout attacks
lamotrigine|mg|100 150 200|twice daily|bipolar disorder|my bipolar
cyclobenzaprine|mg|5 10|nightly|back spasms|my back spasms
oxybutynin|mg|5 10|daily|overactive bladder|my bladder
empagliflozin|mg|10 25|daily|diabetes|blood sugar
hydroxychloroquine|mg|200 400|daily|lupus|my lupus
finasteride|mg|1 5|daily|enlarged prostate|the prostate
buspirone|mg|5 10 15|twice daily|anxiety|nerves
tramadol|mg|50 100|as needed|chronic pain|pain
folic acid|mg|1 5|daily|anemia|my blood count
""")
)

# How often: as said, as written, and further forms.
FREQUENCIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "daily": (("once a day", "every day", "one a day", "every morning"), ("daily", "once daily", "once a day")),
    "twice daily": (("twice a day", "two times a day", "morning and night"), ("twice daily", "twice a day", "b.i.d.")),
    "three times daily": (
        ("three times a day", "with every meal"),
        ("three times daily", "three times a day", "t.i.d."),
    ),
    "nightly": (("at night", "every night", "at bedtime"), ("nightly", "at bedtime", "every night")),
    "weekly": (("once a week", "every Sunday"), ("weekly", "once a week", "once weekly")),
    "as needed": (("only when I need it", "as needed"), ("as needed", "when needed", "p.r.n.")),
}
UNITS = {"mg": "milligrams", "mcg": "micrograms", "units": "units"}

# Said after "any", "no" or "I've had", so every way of saying it is a noun.
_SYMPTOM_TABLE = """
general|fever|fever;fevers|fevers;febrile
general|chills|chills;shivers|rigors
general|weight loss|weight loss;loss of weight|lost weight
general|fatigue|fatigue;unusual tiredness|tiredness
general|night sweats|night sweats;drenching sweats at night|
general|loss of appetite|loss of appetite;poor appetite|poor appetite;decreased appetite
cardio|chest pain|chest pain;pain in your chest|
cardio|palpitations|palpitations;racing of the heart|racing heart
cardio|leg swelling|swelling in your legs;puffiness in your legs|lower extremity swelling;leg edema
cardio|fainting|fainting spells;fainting|syncope
resp|cough|cough;coughing|
resp|wheezing|wheezing;whistling in your chest|wheeze
resp|shortness of breath|shortness of breath;trouble breathing|dyspnea;trouble breathing
resp|sore throat|sore throat;pain in your throat|
resp|coughing up blood|coughing up of blood;blood when you cough|hemoptysis
gi|nausea|nausea;queasiness|
gi|vomiting|vomiting;throwing up|emesis
gi|diarrhea|diarrhea;loose stools|loose stools
gi|constipation|constipation;trouble moving your bowels|constipated
gi|blood in the stool|blood in your stool;blood when you go to the bathroom|bloody stool;bloody stools
gi|heartburn|heartburn;acid coming up|
neuro|headache|headache;headaches|headaches
neuro|dizziness|dizziness;lightheadedness|dizzy;lightheadedness
neuro|blurred vision|blurry vision;trouble seeing clearly|blurry vision
neuro|numbness|numbness;numb spots|
neuro|weakness|weakness;loss of strength|
neuro|seizures|seizures;fits|
uro|burning with urination|burning when you pee;pain when you urinate|dysuria
uro|blood in the urine|blood in your urine;redness of your urine|hematuria
uro|frequent urination|frequent urination;rushing to the bathroom|urinary frequency
joint|joint swelling|joint swelling;swelling of your joints|swollen joints
joint|morning stiffness|stiffness in the morning;morning stiffness|
skin|rash|rash;spots on your skin|
skin|itching|itching;itchiness|pruritus
mood|trouble sleeping|trouble sleeping;sleepless nights|insomnia
mood|low mood|low mood;sadness or hopelessness|depressed mood
"""
SYMPTOMS: dict[str, tuple[Term, ...]] = {}
for _system, _name, _lay, _forms in rows(_SYMPTOM_TABLE):
    SYMPTOMS[_system] = (*SYMPTOMS.get(_system, ()), Term(_name, parts(_lay), (_name, *parts(_forms))))

COMPLAINTS = tuple(
    Complaint(name, parts(lay), system, parts(worse), parts(better))
    for name, lay, system, worse, better in rows("""
lower back pain|this pain in my lower back;a bad lower back|joint|bending;lifting;sitting for long|rest;a heating pad
abdominal pain|a bellyache that won't quit;these stomach pains|gi|eating;fatty food;lying flat|antacids;lying still
chest tightness|this tightness in my chest;a tight chest|cardio|climbing stairs;exertion;cold air|rest;sitting down
headaches|these pounding headaches;headaches again|neuro|bright light;loud noise;stress|a dark room;sleep
cough|a cough that keeps me up;this nagging cough|resp|lying down;cold air;talking|warm tea;cough drops
knee pain|a sore knee;pain in my knee|joint|stairs;kneeling;long walks|ice;rest
burning with urination|burning every time I pee;a burning feeling when I pee|uro|coffee;holding it in|drinking water
shoulder pain|an aching shoulder;trouble with my shoulder|joint|reaching overhead;lifting;sleeping on it|ice;rest
dizzy spells|these dizzy spells;spells where the room spins|neuro|standing up quickly;turning over in bed|sitting down
heartburn|terrible heartburn;a burning behind my breastbone|gi|spicy food;coffee;lying flat|antacids;smaller meals
hip pain|pain in my hip;a hip that aches|joint|walking;getting out of a car|rest;a warm bath
shortness of breath|trouble catching my breath;this short windedness|resp|walking uphill;lying flat;dust|sitting up;rest
itchy rash|an itchy rash on my arms;this itchy rash|skin|hot showers;sweating;wool|cool cloths;moisturizer
neck pain|a stiff, painful neck;pain in my neck|joint|turning my head;computer work|massage;a heating pad
nausea|an upset stomach, really nauseous;nausea most of the day|gi|the smell of food;car rides|ginger ale;fresh air
palpitations|my heart fluttering;these flutters in my chest|cardio|coffee;stress;exertion|deep breathing;rest
sore throat|a really sore throat;a throat like sandpaper|resp|swallowing;cold drinks|warm tea;throat lozenges
ankle swelling|swollen ankles;puffy ankles|cardio|standing all day;salty food;heat|raising my legs;walking a little
numbness in the hands|numb hands;hands that fall asleep|neuro|typing;driving;sleeping on my arm|shaking them out
frequent urination|to pee all the time;to run to the bathroom all day|uro|coffee;cold weather|drinking less at night
wheezing|this whistling when I breathe;wheezing again|resp|cats;running;dust|my inhaler;rest
ear pain|an earache;pain in my ear|resp|chewing;wind;lying on that side|a warm cloth;rest
elbow pain|an elbow that hurts;pain in my elbow|joint|gripping;twisting a jar open|ice;a brace
diarrhea|the runs;diarrhea|gi|dairy;greasy food;coffee|plain rice;bananas
facial pain|pressure and pain in my face;an aching face|neuro|bending forward;flying|steam;a warm cloth
fatigue|no energy at all;this constant tiredness|mood|exertion;poor sleep|naps;days off
heel pain|pain in my heel;a heel that stabs me|joint|the first steps in the morning;running|stretching;better shoes
constipation|trouble going to the bathroom;constipation|gi|traveling;cheese|prunes;drinking water
tremor|shaky hands;a tremor|neuro|stress;coffee;holding a cup|rest;sleep
trouble sleeping|sleepless nights;trouble sleeping|mood|stress;late meals;screens|reading;a warm bath
""")
)

_CONDITION_TABLE = """
hypertension|high blood pressure|high blood pressure
type 2 diabetes|type two diabetes;diabetes, type two|diabetes
asthma|asthma|
hypothyroidism|an underactive thyroid;a slow thyroid|underactive thyroid
acid reflux|acid reflux;bad reflux|reflux;GERD
high cholesterol|high cholesterol|hyperlipidemia
migraines|migraines;migraine headaches|migraine
osteoarthritis|wear and tear arthritis;arthritis in my joints|arthritis
atrial fibrillation|an irregular heartbeat, A fib;A fib|
kidney stones|kidney stones|nephrolithiasis
depression|depression|
osteoporosis|thin bones;osteoporosis|
gout|gout|
sleep apnea|sleep apnea;that sleep apnea thing|
chronic bronchitis|bronchitis that keeps coming back;chronic bronchitis|
anemia|low iron, anemia;anemia|
psoriasis|psoriasis|
glaucoma|glaucoma|
irritable bowel syndrome|irritable bowel|irritable bowel;IBS
anxiety|anxiety|
seizure disorder|seizures;epilepsy|epilepsy
diverticulitis|diverticulitis|
eczema|eczema|
hepatitis C|hep C;hepatitis C|
coronary artery disease|heart disease, blocked arteries;clogged heart arteries|
"""
_DENIED_TABLE = """
stroke|a stroke|strokes;CVA
heart attack|a heart attack|myocardial infarction;heart attacks
cancer|cancer|malignancy
tuberculosis|tuberculosis;TB|TB
blood clots|blood clots|blood clot;DVT
liver disease|liver problems|liver problems
kidney disease|kidney trouble|kidney problems
"""
CONDITIONS, DENIED_CONDITIONS = (
    tuple(Term(name, parts(lay), (name, *parts(forms))) for name, lay, forms in rows(table))
    for table in (_CONDITION_TABLE, _DENIED_TABLE)
)
