"""What `make fuzz` counts, from what pytest and hypothesis say."""

from benchmarks.fuzz import counted, render

SAID = """
.F                                                                       [100%]
============================ Hypothesis Statistics =============================
tests/test_config.py::test_any_bytes_load_or_are_explained:

  - during reuse phase (0.10 seconds):
    - 2 passing, 0 failing, and 0 invalid test cases

  - during generate phase (9.38 seconds):
    - Typical runtimes: ~ 1-8 ms, of which < 1ms in data generation
    - 998 passing, 0 failing, and 17 invalid test cases

  - Stopped because settings.max_examples=1000


tests/experiments/test_bad_input.py::test_any_data_is_trained_on_or_is_explained:

  - during generate phase (9.38 seconds):
    - 40 passing, 1 failing, and 0 invalid test cases
    - Found 1 distinct error in this phase

  - during shrink phase (1.00 seconds):
    - 3 passing, 2 failing, and 1 invalid test cases


tests/other/test_more.py::test_something:

  - during generate phase (9.38 seconds):
    - 7 passing, 0 failing, and 0 invalid test cases

"""


def test_cases_are_summed_over_phases_and_by_property():
    rows = counted(SAID)
    assert [(row["property"], row["tried"], row["failed"]) for row in rows] == [
        ("any bytes load or are explained", 1000, 0),
        ("any data is trained on or is explained", 46, 3),
    ]
    assert "| all |  | 1,046 | 3 |" in render(rows)
    assert counted("no tests ran") == []
