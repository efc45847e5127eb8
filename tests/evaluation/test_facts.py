"""Facts covered and invented, by hand, and notes written to cheat."""

import pytest

from gemma_align.evaluation.facts import check
from gemma_align.evaluation.lexicon import NAMES


def fact(kind, *forms, negated=False, value=""):
    return {"kind": kind, "value": value or forms[0], "any_of": list(forms), "negated": negated}


AGE = fact("age", "76-year-old", "76 years old")
COUGH = fact("symptom", "cough")
LENGTH = fact("duration", "3 days")
FEVER = fact("symptom", "fever", negated=True)
DOSE = fact("dose", "metoprolol 50 mg")
FACTS = (AGE, COUGH, LENGTH, FEVER, DOSE)


def covered(note, *facts):
    return check(note, facts).covered


def invented(note, *facts, dialogue=""):
    return {(c.kind, c.value, c.unit) for c in check(note, facts, dialogue=dialogue).invented}


def test_a_right_note_covers_all_and_invents_nothing():
    found = check("Seventy-six-year-old with a cough for three days. Denies fever. On metoprolol 50mg.", FACTS)
    assert found.covered == (True,) * 5
    assert not found.invented
    assert len(found.stated) == 5


def test_a_wrong_note_by_hand():
    found = check("67-year-old with a cough for 13 days and fever. On metoprolol 500 mg, aspirin.", FACTS)
    assert found.covered == (False, True, False, False, False)
    claims = {(c.kind, c.value, c.unit) for c in found.invented}
    assert claims == {
        ("number", "67", "year"),
        ("number", "13", "day"),
        ("fact", "3", ""),  # fever, with the wrong polarity
        ("number", "500", "mg"),
        ("medication", "aspirin", ""),
    }


@pytest.mark.parametrize(
    ("note", "right"),
    [
        ("No fever", True),
        ("Fever: denied", True),
        ("Fever", False),
        ("No fever. Fever.", False),  # both ways says nothing
        ("Feverish", False),  # whole words
        ("", False),
        ("Afebrile", True),
    ],
)
def test_polarity_of_a_negated_fact(note, right):
    assert covered(note, FEVER) == (right,)


@pytest.mark.parametrize("note", ["No cough", "Denies cough", "Cough: none", "Coughdrops", "cough? no"])
def test_a_stated_fact_is_not_covered_by_its_negation(note):
    assert covered(note, COUGH) == (False,)


@pytest.mark.parametrize("note", ["500 mg", "5 mg", "0.50 mg", "150 mg", "50 mcg", "50.5 mg", "25-50 mg", "50 ml"])
def test_another_dose_is_invented_and_covers_nothing(note):
    dose = fact("dose", "50 mg")
    assert covered(note, dose) == (False,)
    assert len(invented(note, dose)) == 1


@pytest.mark.parametrize("note", ["50 mg", "50mg", "fifty milligrams", "50.0 mgs", "５０ mg", "50\u00a0mg", "(50 mg)"])
def test_the_same_dose_in_other_writing(note):
    dose = fact("dose", "50 mg")
    assert covered(note, dose) == (True,)
    assert not invented(note, dose)


def test_no_known_drug_allergies():
    nkda = fact("allergy", "no known drug allergies", "NKDA", "no allergies", negated=True)
    assert covered("No known drug allergies.", nkda) == (True,)
    assert covered("NKDA", nkda) == (True,)
    assert covered("Known drug allergies.", nkda) == (False,)
    penicillin = fact("allergy", "allergic to penicillin", "penicillin allergy")
    assert covered("No known drug allergies.", penicillin) == (False,)
    assert invented("No known drug allergies.", penicillin, dialogue="Any allergies? Penicillin.")
    assert not invented("Penicillin allergy.", penicillin)
    assert covered("Not allergic to penicillin", penicillin) == (False,)


def test_a_self_negating_form_counts_with_either_flag():
    for flag in (True, False):
        assert covered("Never smoked.", fact("smoking", "never smoked", negated=flag)) == (True,)


def test_the_dialogue_supports_names_and_numbers():
    spoken = "Do you take aspirin? Yes, eighty one milligrams. Any asthma? No."
    assert not invented("Aspirin 81 mg. Denies asthma.", dialogue=spoken)
    assert invented("Aspirin 325 mg.", dialogue=spoken) == {("number", "325", "mg")}
    assert invented("Aspirin 81 mcg.", dialogue=spoken) == {("number", "81", "mcg")}
    assert invented("Has gout.", dialogue=spoken) == {("condition", "gout", "")}
    # a number said without a unit may get one; one said with another unit may not
    assert not invented("For 3 weeks.", dialogue="How many weeks? Three.")
    assert invented("For 3 weeks.", dialogue="For three days.") == {("number", "3", "week")}


def test_the_reference_supports_what_the_facts_leave_out():
    reference = "Metformin 500 mg for diabetes. No gout."
    assert not check("For diabetes, no gout.", (), reference=reference).invented
    assert len(check("Has gout, no diabetes.", (), reference=reference).invented) == 2


def test_distractors_give_no_support():
    spoken = "I waited 35 minutes. About 5 days ago. No wait, 3 days."
    wait, wrong = fact("minutes", "35 minutes"), fact("duration", "5 days")
    assert not check("For 3 days.", (), dialogue=spoken, distractors=(wait, wrong)).invented
    assert len(check("For 5 days, after 35 minutes.", (), dialogue=spoken, distractors=(wait, wrong)).invented) == 2
    # what is a fact stays one, distractor or not
    assert not check("For 5 days.", (wrong,), dialogue=spoken, distractors=(wrong,)).invented


def test_the_facts_polarity_outweighs_the_dialogue():
    asthma = fact("history", "asthma", negated=True)
    spoken = "Any asthma? No."
    assert not invented("No asthma.", asthma, dialogue=spoken)
    assert invented("Has asthma.", asthma, dialogue=spoken)


def test_other_names_of_a_known_condition_are_not_invented():
    assert not invented("High blood pressure.", fact("history", "hypertension"))
    assert not invented("Diabetes.", fact("history", "type 2 diabetes"))
    assert invented("No high blood pressure.", fact("history", "hypertension"))


def test_medications_outside_the_list_are_seen_by_their_endings():
    assert invented("On zofenopril and bisoprolol.") == {
        ("medication", "zofenopril", ""),
        ("medication", "bisoprolol", ""),
    }


def test_list_marks_the_pronoun_one_and_ordinals_are_no_claims():
    assert not invented("1. Rest.\n2. Fluids.\n3. The main one is seen on the 5th visit.")


def test_a_longer_form_of_another_fact_says_what_is_meant():
    own = fact("history", "diabetes", negated=True)
    mother = fact("family", "mother had diabetes")
    assert covered("No diabetes. Mother had diabetes.", own, mother) == (True, True)
    assert not invented("No diabetes. Mother had diabetes.", own, mother)


def test_listing_everything_covers_facts_but_invents_the_rest():
    everything = (
        ". ".join(" ".join(spelling) for spelling in NAMES) + ". " + ". ".join(f"{n} mg" for n in range(1, 100))
    )
    drug = fact("drug", "metoprolol 50 mg")
    found = check(everything, (COUGH, drug))
    assert found.covered == (True, False)
    assert len(found.invented) > 200
    assert len(found.invented) / len(found.stated) > 0.98


def test_saying_everything_both_ways_covers_nothing():
    both = "Cough. No cough. Fever. No fever."
    assert covered(both, COUGH, FEVER) == (False, False)


def test_a_claim_counts_once_however_often_it_is_repeated():
    assert len(check("Aspirin 81 mg. " * 50, ()).invented) == 2


def test_a_form_that_ends_in_a_point_is_found_inside_a_sentence():
    assert covered("Ibuprofen p.r.n. for pain, daily.", fact("often", "p.r.n.")) == (True,)
    assert covered("Ibuprofen prn", fact("often", "p.r.n.")) == (True,)


def test_no_facts_and_empty_forms():
    assert check("Anything.", ()).covered == ()
    assert covered("Anything.", fact("x", "", "--")) == (False,)
