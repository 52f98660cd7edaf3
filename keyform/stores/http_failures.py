"""What went wrong with one attempt of a call, whether another one helps, and how long to wait before it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import tenacity

from keyform.errors import StoreError


class AnswerMissing(StoreError):
    """The request went out and no answer that says anything came back: it may have been carried out."""


class Refused(StoreError):
    """The API understood the request and said no; it was not carried out."""


@dataclass(frozen=True, slots=True)
class Failure:
    """``again``: worth another attempt, after ``pause`` seconds where the API asked for them. ``kind``: what
    is raised when there is none."""

    what: str
    advice: str
    again: bool = False
    pause: float | None = None
    kind: type[StoreError] = StoreError


class Pause(tenacity.wait.wait_base):
    """What the API asked for, else full jitter, doubling from half a second to 20."""

    _jitter = tenacity.wait_random_exponential(multiplier=0.5, max=20)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        asked: float | None = last(retry_state).pause
        return self._jitter(retry_state) if asked is None else asked


def last(retry_state: tenacity.RetryCallState) -> Any:
    """What the last attempt gave."""
    return retry_state.outcome.result() if retry_state.outcome else None


def not_connected(host: str, why: str) -> Failure:
    """The connection could not be made, so nothing was sent."""
    advice = (
        "Check the address, and that this machine can reach it. SSL_CERT_FILE names a certificate of yours."
    )
    return Failure(f"cannot connect to {host}: {why}", advice, again=True)


def no_answer(host: str, why: str, repeatable: bool) -> Failure:
    """The request went out and no whole answer came back."""
    what = f"{host} gave no whole answer: {why}"
    return Failure(what, "Run the command again.", again=repeatable, kind=unless(repeatable))


def unless(repeatable: bool) -> type[StoreError]:
    """What is raised for a request that may have been carried out."""
    return StoreError if repeatable else AnswerMissing


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that an answer asks to wait, by either form of the header."""
    text = headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
