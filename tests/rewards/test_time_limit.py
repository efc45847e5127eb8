"""Functions that hang in every way that Python can be brought out of."""

import contextlib
import re
import signal
import threading
import time

import pytest

from gemma_align.config import RewardConfig
from gemma_align.errors import RewardError
from gemma_align.rewards.build import open_reward
from gemma_align.rewards.time_limit import limited
from gemma_align.types import Answer, Example


def wait():
    time.sleep(60)


def spin():
    while True:
        pass


def backtrack():
    re.fullmatch(r"(a+)+b", "a" * 40)


def swallow():
    while True:
        with contextlib.suppress(Exception):
            time.sleep(60)


def swallow_the_first_of_all():
    try:
        time.sleep(60)
    except BaseException:
        time.sleep(60)


@pytest.mark.parametrize("function", [wait, spin, backtrack, swallow, swallow_the_first_of_all])
def test_a_function_that_hangs_is_ended(function):
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"longer than 0\.1 s"):
        limited(function, 0.1)()
    assert time.monotonic() - began < 20
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_function_that_is_in_time_gives_and_raises_its_own():
    assert limited(divmod, 60)(7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        limited(divmod, 60)(7, 0)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_in_another_thread_it_is_called_without_a_limit():
    found = []
    thread = threading.Thread(target=lambda: found.append(limited(divmod, 60)(7, 2)))
    thread.start()
    thread.join()
    assert found == [(3, 1)]


def test_a_term_that_hangs_ends_with_the_example_s_id(tmp_path, monkeypatch):
    (tmp_path / "slow_terms.py").write_text("import time\ndef slow(example, answer):\n    time.sleep(60)\n")
    monkeypatch.syspath_prepend(tmp_path)
    terms = [{"call": "slow_terms:slow", "timeout": 0.1}]
    settings = RewardConfig.model_validate({"alpha": 0.0, "terms": terms})
    with (
        open_reward("safety", settings, lambda: None) as reward,
        pytest.raises(
            RewardError, match=r"slow_terms:slow failed on example 'e7': TimeoutError: it took longer than 0.1"
        ),
    ):
        reward.score([Example("e7", "P")], [Answer("A")])
