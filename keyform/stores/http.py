"""HTTP to secrets managers whose API is plain REST: timeouts, retries, and every failure as a ``StoreError``
that says what happened, where, and what to do.

What is particular to one API (its credential, its error envelope, what a status means there) comes in from
the store.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import tenacity

from keyform import __version__
from keyform.errors import StoreError
from keyform.model import Secret
from keyform.stores.http_access import Credential, is_loopback
from keyform.stores.http_failures import (
    Failure,
    Pause,
    Refused,
    last,
    no_answer,
    not_connected,
    retry_after,
    unless,
)
from keyform.stores.quoting import quoted

_log = logging.getLogger(__name__)

ATTEMPTS = 8
_CONNECT_TIMEOUT = 10.0
_LARGEST_ANSWER = 16 << 20
_AGAIN = (500, 502, 503, 504)
_ADVICE = {
    400: "See what the store says about the request; its documentation may tell more.",
    401: "The credential is missing, mistyped, expired or revoked. Give a valid one.",
    403: "The credential is known but may not do this. Grant it what docs/stores says.",
    404: "Check the options of the store in the configuration.",
    429: "Wait a while, lower --parallelism, or ask for a higher limit.",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and the JSON that came with it; ``body`` is None where there was none, or something else."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Said:
    """What a refusal says: a message, whether the credential has ``expired`` although the status is not 401,
    in how many seconds the API wants to be asked ``again``, and ``advice`` where it goes beyond what the
    status asks for."""

    message: str = ""
    expired: bool = False
    again: float | None = None
    advice: str = ""


GIVEN_UP = Answer(0, None, {})
"""Instead of an answer: the request was to be sent again, and its caller would not have that any more."""


class Rest:
    """Calls to one API for one store; for many threads at once.

    ``timeout``: seconds that the API may stay silent; no call, its repetitions included, takes longer than
    about four times as long. ``base`` is an address that :func:`~keyform.stores.http_access.checked_address`
    gave. ``advice``: what a refusal of a status asks for here. ``transport`` and
    ``sleep`` are for tests.
    """

    def __init__(
        self,
        store: str,
        base: str,
        read_error: Callable[[Answer], Said],
        advice: Mapping[int, str],
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._base = base.rstrip("/")
        self._host = urlsplit(base).hostname or ""
        self._read_error = read_error
        self._advice = {**_ADVICE, **advice}
        self._patience = 4 * timeout
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()
        self._timeout = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT))
        self._transport = transport
        self._retrying = tenacity.Retrying(
            sleep=sleep,
            stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_before_delay(self._patience),
            wait=Pause(),
            retry=tenacity.retry_if_result(lambda outcome: isinstance(outcome, Failure) and outcome.again),
            retry_error_callback=last,
        )

    def call(
        self,
        method: str,
        path: str,
        doing: str,
        credential: Credential | None,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        shape: type = dict,
        accept: Collection[int] = (),
        repeatable: bool = True,
        secret: Secret | None = None,
        still: Callable[[], bool] | None = None,
    ) -> Answer:
        """Send, and again where that helps and is safe. Raises ``StoreError``.

        ``doing`` follows "could not" in messages. ``shape`` is what a good answer's JSON must be; statuses
        of ``accept`` are answers too. ``secret`` must not appear in a message. A request that is not
        ``repeatable`` is repeated only when it was surely not carried out, and raises ``AnswerMissing`` when
        it may have been. ``still`` is asked before each repetition whether the request is still as it should
        be; the answer is ``GIVEN_UP`` where it is not.
        """
        if secret is not None and not _is_text(secret):
            raise StoreError(
                f"Store {self._store!r} could not {doing}: the secret is not valid Unicode text",
                "See what the key service gave.",
            )
        send = self._sender(method, path, credential, params, body, accept, repeatable, secret)
        outcome = self._retrying(send if still is None else _while(still, send))
        if isinstance(outcome, Answer):
            if outcome is GIVEN_UP or outcome.status in accept or isinstance(outcome.body, shape):
                return outcome
            outcome = Failure(
                f"{self._host} answered {outcome.status} in a form that its documentation does not have",
                "Check the address, and whether a proxy answers there.",
            )
        # Raised here, away from the exceptions of the HTTP library: those hold the request with its secrets.
        raise outcome.kind(f"Store {self._store!r} could not {doing}: {outcome.what}", outcome.advice)

    def close(self) -> None:
        """Close the connections; a later call opens them anew."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _sender(
        self,
        method: str,
        path: str,
        credential: Credential | None,
        params: Mapping[str, str] | None,
        body: Any,
        accept: Collection[int],
        repeatable: bool,
        secret: Secret | None,
    ) -> Callable[[], Answer | Failure]:
        def show(text: str) -> str:
            hide = credential.hidden() if credential else ()
            return quoted(text, hide if secret is None else (*hide, secret))

        def exchange(headers: Mapping[str, str]) -> tuple[int, httpx.Headers, bytes] | Failure:
            try:
                return self._exchange(method, path, params, body, headers)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as problem:
                return not_connected(self._host, show(str(problem) or type(problem).__name__))
            except httpx.HTTPError as problem:
                return no_answer(self._host, show(str(problem) or type(problem).__name__), repeatable)

        def send() -> Answer | Failure:
            shown = credential.headers() if credential else {}
            got = exchange(shown)
            if isinstance(got, Failure):
                return got
            if credential and self._has_expired(*got) and credential.renew(shown):
                got = exchange(credential.headers())
                if isinstance(got, Failure):
                    return got
            return self._judge(*got, accept=accept, repeatable=repeatable, show=show)

        return send

    def _exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Any,
        headers: Mapping[str, str],
    ) -> tuple[int, httpx.Headers, bytes]:
        url = self._base + path
        started = time.monotonic()
        with self._connected().stream(method, url, params=params, json=body, headers=headers) as response:
            content = b""
            for part in response.iter_bytes():
                content += part
                if len(content) > _LARGEST_ANSWER or time.monotonic() - started > self._patience:
                    raise httpx.ReadError("the answer is too long or takes too long")
        _log.info("%s %s: %d", method, url, response.status_code)
        return response.status_code, response.headers, content

    def _connected(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(
                    headers={"User-Agent": f"keyform/{__version__}", "Accept": "application/json"},
                    timeout=self._timeout,
                    transport=self._transport,
                    trust_env=not is_loopback(self._host),  # a proxy leads away from this machine
                    follow_redirects=False,  # the credential goes to this host only
                )
            return self._client

    def _has_expired(self, status: int, headers: httpx.Headers, content: bytes) -> bool:
        if status != 403:
            return status == 401
        return self._read_error(Answer(status, _parsed(content)[1], headers)).expired

    def _judge(
        self,
        status: int,
        headers: httpx.Headers,
        content: bytes,
        *,
        accept: Collection[int],
        repeatable: bool,
        show: Callable[[str], str],
    ) -> Answer | Failure:
        is_json, body = _parsed(content)
        if 200 <= status < 300 or status in accept:
            if is_json or not content:
                return Answer(status, body, headers)
            return Failure(f"{self._host} answered something else than JSON", "Check the address.")
        said = self._read_error(Answer(status, body, headers))
        what = f"{self._host} answered {status}" + (f': "{show(said.message)}"' if said.message else "")
        if 300 <= status < 400:
            advice = show(said.advice) or "Give the address that it really has."
            return Failure(f"{what} and leads elsewhere", advice)
        usual = self._advice.get(status, "See what the store says; its documentation may tell more.")
        advice = show(said.advice) if said.advice else usual
        if said.again is not None or status == 429:
            pause = said.again if said.again is not None else retry_after(headers)
            return Failure(what, advice, again=True, pause=pause)
        if status >= 500:
            advice = "The store has a problem of its own; try again later, or ask whoever runs it."
            again = repeatable and status in _AGAIN
            return Failure(what, advice, again=again, pause=retry_after(headers), kind=unless(repeatable))
        return Failure(what, advice, kind=Refused)


def _while(still: Callable[[], bool], send: Callable[[], Answer | Failure]) -> Callable[[], Answer | Failure]:
    sent = False

    def again() -> Answer | Failure:
        nonlocal sent
        if sent and not still():
            return GIVEN_UP
        sent = True
        return send()

    return again


def _is_text(secret: Secret) -> bool:
    try:
        secret.reveal().encode()
    except UnicodeEncodeError:  # which holds the text, so nothing is raised from here
        return False
    return True


def _parsed(content: bytes) -> tuple[bool, Any]:
    try:
        return True, json.loads(content)
    except ValueError:
        return False, None
