"""A judge behind an OpenAI-compatible endpoint: `POST {url}/chat/completions`.

What is tried again, and how often, is stated in one place, `_Attempt`. The key comes from the environment, goes into
one header and nowhere else: not into files, not into messages, not to another host (redirects aren't followed).
"""

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from gemma_align.config import JudgeConfig
from gemma_align.errors import JudgeError
from gemma_align.evaluation.judge import prompts
from gemma_align.evaluation.judge.protocol import Answer, Keep, Order, Pair, Question

LONGEST_WAIT = 120.0
"""Seconds. An endpoint that asks for more patience than that ends the command; giving it again goes on."""

_HINTS = {
    400: "it doesn't like the request; evaluation.judge.parameters are sent along, and some models want others",
    401: "the key is missing or wrong",
    403: "the key may not use this model",
    404: "there is no such address or model; the URL ends in /v1 for most",
}


class EndpointJudge:
    """Several questions are open at a time; an answer is kept as soon as it is there.

    Args:
        settings: with a `url`.
        first_wait: seconds before the second attempt; each further one waits twice as long.
        environment: where the key is looked up.

    Raises JudgeError where the variable that should hold the key isn't set.
    """

    def __init__(
        self, settings: JudgeConfig, *, first_wait: float = 1.0, environment: Mapping[str, str] = os.environ
    ) -> None:
        assert settings.url is not None
        self.settings = settings
        self.first_wait = first_wait
        self.address = f"{settings.url}/chat/completions"
        self._key = ""
        if settings.api_key_env is not None:
            self._key = environment.get(settings.api_key_env, "").strip()
            if not self._key:
                raise JudgeError(
                    f"the environment variable {settings.api_key_env} (evaluation.judge.api_key_env) should hold the "
                    "judge's key, and is empty or not set"
                )
        self._stop = threading.Event()
        self._keeping = threading.Lock()

    @property
    def identity(self) -> Mapping[str, Any]:
        """URL, model and parameters."""
        return {"url": self.settings.url, "model": self.settings.model, "parameters": dict(self.settings.parameters)}

    def write(self, pair: Pair, order: Order) -> str:
        """See `Judge`."""
        return prompts.write(pair, order, prompts.IN_WORDS)

    def ask(self, questions: Sequence[Question], keep: Keep) -> None:
        """See `Judge`. After the first failure, or Ctrl-C, questions that are open are still waited for and kept."""
        self._stop.clear()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        with (
            httpx2.Client(timeout=self.settings.timeout, headers=headers, follow_redirects=False) as client,
            ThreadPoolExecutor(self.settings.concurrency) as pool,
        ):
            open_ones = [pool.submit(self._one, client, question, keep) for question in questions]
            try:
                done, _ = wait(open_ones, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)

    def _one(self, client: httpx2.Client, question: Question, keep: Keep) -> None:
        if self._stop.is_set():
            return
        try:
            text, usage = self._reply(client, question)
        except JudgeError:
            self._stop.set()  # no further question is put
            raise
        answer = Answer(question.key, question.id, question.order, text, prompts.parse(text), {"usage": usage})
        with self._keeping:
            keep(answer)

    def _reply(self, client: httpx2.Client, question: Question) -> tuple[str, Any]:
        body = {
            **self.settings.parameters,
            "model": self.settings.model,
            "messages": [{"role": "user", "content": question.text}],
        }
        for attempt in range(self.settings.max_retries + 1):
            found = self._attempt(client, body)
            if found.text is not None:
                return found.text, found.usage
            pause = found.wait if found.wait is not None else min(self.first_wait * 2**attempt, LONGEST_WAIT)
            last = attempt == self.settings.max_retries
            if not found.again or last or pause > LONGEST_WAIT or self._stop.wait(pause):
                tried = f" ({attempt + 1} attempts)" if attempt else ""
                patience = f" It asks for {pause:.0f} s of patience." if found.again and pause > LONGEST_WAIT else ""
                raise JudgeError(self._without_key(f"the judge {self.address} {found.problem}{tried}.{patience}"))
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, client: httpx2.Client, body: Mapping[str, Any]) -> "_Attempt":
        try:
            reply = client.post(self.address, json=body)
        except httpx2.TimeoutException:
            return _Attempt(f"gave no answer within {self.settings.timeout:g} s", again=True)
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            return _Attempt(f"can't be reached: {error or type(error).__name__}", again=True)
        status = reply.status_code
        if status == 200:
            return _read(reply)
        hint = f" ({_HINTS[status]})" if status in _HINTS else ""
        said = " ".join(reply.text.split())[:300]
        problem = f"answered with status {status}{hint}{': ' + said if said else ''}"
        again = status in (408, 409, 425, 429) or status >= 500
        return _Attempt(problem, again=again, wait=_retry_after(reply.headers.get("retry-after")))

    def _without_key(self, message: str) -> str:
        """Some endpoints repeat the key they were given."""
        return message.replace(self._key, "***") if self._key else message


class _Attempt:
    """One reply: a text, or a problem and whether trying again may help.

    Tried again: no connection, no answer in time, 408, 409, 425, 429, every 5xx, and a reply that isn't what such an
    endpoint sends. `wait` is what the endpoint asked for. Not tried again: any other status.
    """

    def __init__(
        self,
        problem: str = "",
        *,
        again: bool = False,
        wait: float | None = None,
        text: str | None = None,
        usage: Any = None,
    ) -> None:
        self.problem, self.again, self.wait, self.text, self.usage = problem, again, wait, text, usage


def _read(reply: httpx2.Response) -> _Attempt:
    try:
        document = reply.json()
        message = document["choices"][0]["message"]
        text = message.get("content")
    except (ValueError, LookupError, TypeError, AttributeError):
        said = " ".join(reply.text.split())[:200]
        return _Attempt(f"sent no chat completion: {said or 'nothing at all'}", again=True)
    # null: a refusal, or all tokens went into reasoning. It is an answer, and no verdict.
    return _Attempt(text=text if isinstance(text, str) else "", usage=document.get("usage"))


def _retry_after(header: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3)."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
