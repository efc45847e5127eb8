"""An endpoint that is away, busy, broken or malicious; all of it a server in this process."""

import importlib.util
import re
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from gemma_align.config import JudgeConfig
from gemma_align.errors import JudgeError
from gemma_align.evaluation.judge import client as client_module
from gemma_align.evaluation.judge.client import EndpointJudge
from gemma_align.evaluation.judge.protocol import Pair, question

_spec = importlib.util.spec_from_file_location("fake_endpoint", Path(__file__).with_name("endpoint.py"))
assert _spec is not None
assert _spec.loader is not None
endpoint = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(endpoint)
completion, server = endpoint.completion, endpoint.server

KEY = "sk-very-secret"


def judge(url, **settings):
    settings = {"timeout": 5.0, "max_retries": 2, "concurrency": 1} | settings
    environment = {"JUDGE_KEY": KEY}
    return EndpointJudge(JudgeConfig(url=url, model="some-judge", **settings), first_wait=0.01, environment=environment)


def ask(asked, num=1):
    """What is kept of `num` questions."""
    kept = []
    pairs = [Pair(str(i), "own", "prompt", f"one {i}", "two") for i in range(num)]
    questions = [question(asked, pair, "first_is_a") for pair in pairs]
    try:
        asked.ask(questions, kept.append)
    except JudgeError as error:
        return kept, str(error)
    return kept, None


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    endpoint.forget_proxies(monkeypatch)


def test_what_is_sent_and_what_is_kept():
    with server(lambda *_: (200, {}, completion("so\nVerdict: B"))) as (url, seen):
        kept, error = ask(judge(url, api_key_env="JUDGE_KEY", parameters={"max_completion_tokens": 9}))
    assert error is None
    ((path, headers, body),) = seen
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body["model"] == "some-judge"
    assert body["max_completion_tokens"] == 9
    assert "temperature" not in body
    assert "one 0" in body["messages"][0]["content"]
    assert (kept[0].verdict, kept[0].text, kept[0].details) == ("B", "so\nVerdict: B", {"usage": {"total_tokens": 7}})


def test_without_a_variable_no_key_is_sent_and_an_empty_one_is_an_error():
    with server(lambda *_: (200, {}, completion("A"))) as (url, seen):
        ask(judge(url))
    assert "Authorization" not in seen[0][1]
    with pytest.raises(JudgeError, match=r"variable NO_KEY \(evaluation.judge.api_key_env\)"):
        judge(url, api_key_env="NO_KEY")


@pytest.mark.parametrize("content", ["", "no verdict here", None, "Verdict: A\nbecause of this"])
def test_an_answer_without_a_verdict_is_kept_as_one_and_not_asked_again(content):
    with server(lambda *_: (200, {}, completion(content))) as (url, seen):
        kept, error = ask(judge(url))
    assert error is None
    assert len(seen) == 1
    assert kept[0].verdict is None


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ((500, {}, b"oops"), r"answered with status 500: oops \(3 attempts\)"),
        ((503, {"Retry-After": "0"}, b""), r"status 503 \(3 attempts\)"),
        ((429, {"Retry-After": "0.01"}, {"error": "slow down"}), r'status 429: {"error": "slow down"}'),
        ((200, {}, b"<html>a proxy's page</html>"), "sent no chat completion: <html>a proxy's page"),
        ((200, {}, b""), "sent no chat completion: nothing at all"),
        ((200, {}, {"choices": []}), "sent no chat completion"),
        ((200, {}, [1]), "sent no chat completion"),
    ],
)
def test_what_may_pass_is_tried_again_and_then_ends(trouble, message):
    with server(lambda number, *_: trouble if number < 2 else (200, {}, completion("A"))) as (url, seen):
        kept, error = ask(judge(url))
    assert (error, len(seen), kept[0].verdict) == (None, 3, "A")
    with server(lambda *_: trouble) as (url, seen):
        kept, error = ask(judge(url))
    assert (kept, len(seen)) == ([], 3)
    assert re.search(message, error)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "the key is missing or wrong"),
        (403, "may not use"),
        (404, "no such address or model"),
        (400, "parameters"),
    ],
)
def test_what_will_not_pass_ends_at_once_and_hides_the_key(status, message):
    with server(lambda *_: (status, {}, {"error": f"Incorrect key {KEY}"})) as (url, seen):
        kept, error = ask(judge(url, api_key_env="JUDGE_KEY"), num=5)
    assert (kept, len(seen)) == ([], 1)
    assert message in error
    assert KEY not in error
    assert "***" in error


def test_redirects_are_not_followed_so_the_key_stays_where_it_belongs():
    with server(lambda *_: (200, {}, completion("A"))) as (elsewhere, strangers):
        moved = {"Location": f"{elsewhere}/chat/completions"}
        with server(lambda *_: (307, moved, b"")) as (url, _):
            _, error = ask(judge(url, api_key_env="JUDGE_KEY"))
    assert "status 307" in error
    assert strangers == []


def test_an_endpoint_that_is_away():
    with server(lambda *_: (200, {}, completion("A"))) as (url, _):
        pass
    kept, error = ask(judge(url), num=3)
    assert kept == []
    assert f"the judge {url}/chat/completions can't be reached" in error
    assert "(3 attempts)" in error


def test_an_endpoint_that_is_slow():
    def slow(*_):
        time.sleep(0.4)
        return 200, {}, completion("A")

    with server(slow) as (url, _):
        _, error = ask(judge(url, timeout=0.1, max_retries=1))
    assert "gave no answer within 0.1 s (2 attempts)" in error


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_an_endpoint_that_asks_for_more_patience_than_there_is(form, monkeypatch):
    monkeypatch.setattr(client_module, "LONGEST_WAIT", 50.0)
    later = "3600" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    with server(lambda *_: (429, {"Retry-After": later}, b"")) as (url, seen):
        _, error = ask(judge(url))
    assert len(seen) == 1
    assert "s of patience" in error


def test_a_wait_that_the_endpoint_asks_for_is_kept_to():
    with server(lambda number, *_: (200 if number else 429, {"Retry-After": "0.3"}, completion("A"))) as (url, _):
        start = time.monotonic()
        assert ask(judge(url))[1] is None
    assert time.monotonic() - start >= 0.3


def test_several_questions_are_open_at_a_time_and_no_more():
    open_now, most, lock = Counter(), [], threading.Lock()

    def reply(*_):
        with lock:
            open_now["x"] += 1
            most.append(open_now["x"])
        time.sleep(0.05)
        with lock:
            open_now["x"] -= 1
        return 200, {}, completion("A")

    with server(reply) as (url, _):
        kept, _ = ask(judge(url, concurrency=3), num=9)
    assert len(kept) == 9
    assert max(most) == 3


def test_what_is_open_at_a_failure_is_waited_for_and_kept():
    def reply(number, *_):
        if number == 2:
            return 401, {}, b""
        time.sleep(0.1)
        return 200, {}, completion("A")

    with server(reply) as (url, seen):
        kept, error = ask(judge(url, concurrency=3), num=30)
    assert "401" in error
    assert len(kept) == len(seen) - 1
    assert 2 <= len(kept) < 10


@pytest.mark.parametrize(
    "url", ["ftp://x/v1", "localhost:8000/v1", "http:///v1", "https://me:secret@x/v1", "https://x/v1?key=secret"]
)
def test_urls_that_are_none_or_carry_secrets_are_refused(url):
    with pytest.raises(ValueError, match=r"http://|environment variable"):
        JudgeConfig(url=url, model="m")
