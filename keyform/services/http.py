"""HTTP to a key service: one client, a rate budget, retries, and every failure as the right error.

What is particular to a service (its calls, its error envelope) comes in as data, so that one client
serves every service.
"""

from __future__ import annotations

import functools
import json
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import tenacity

from keyform.errors import ServiceError
from keyform.masking import in_json, masked
from keyform.ports import ANSWER_TIMEOUT, Clock
from keyform.services import failures
from keyform.services.authority import Authority
from keyform.services.budget import Allowance, Budget
from keyform.services.calls import Answer, Call
from keyform.services.failures import Failure, safe
from keyform.services.limits import LimitHeaders, seconds
from keyform.services.requests import request_for
from keyform.services.told import Errors

_log = logging.getLogger(__name__)

ATTEMPTS = 5
SILENCES = 2
"""After how many in a row a service is given up that does not answer in time: each takes long."""
LONGEST_CONNECT = 10.0
"""Seconds that a service may take to accept a connection."""
LONGEST_WAIT = 300.0
"""Seconds that a service may ask keyform to wait before it gives up instead."""
_LARGEST_ANSWER = 64 << 20
_LONGEST_ANSWER = 300.0
_TIMED_OUT = (408, 425, 499)  # said by whatever stands before the service, which may carry it out yet
_REPEATABLE = (*_TIMED_OUT, 500, 502, 503, 504)


class Http:
    """Calls to one service for one account; for many threads at once."""

    def __init__(
        self,
        service: str,
        base_url: str,
        authority: Authority,
        clock: Clock,
        transport: httpx.BaseTransport,
        read_error: Errors,
        *,
        limits: LimitHeaders | None = None,
        prefixes: tuple[str, ...] = (),
        timeout: float = ANSWER_TIMEOUT.total_seconds(),
    ) -> None:
        """``limits``: where answers speak of the rate limit. ``prefixes`` are those of the service's keys:
        what looks like one is hidden from every message. ``timeout``: seconds that the service may stay
        silent."""
        self._service = service
        self._base = base_url
        self._host = httpx.URL(base_url).netloc.decode("ascii")
        self._authority = authority
        self._clock = clock
        self._read_error = read_error
        self._limits = limits or LimitHeaders()
        self._prefixes = prefixes
        self._budget = Budget(clock)
        self._dated: tuple[str, datetime] | None = None  # the last Date header, and when it came
        # Requests go to the transport itself: httpx.Client would add cookies, redirects and proxies, of which
        # none may touch a credential, at a tenth of the time of an apply.
        self._transport = transport
        self._timeout, self._to_connect = timeout, min(timeout, LONGEST_CONNECT)
        self._extensions = {"timeout": httpx.Timeout(timeout, connect=self._to_connect).as_dict()}
        self._silences = 0
        self._retrying = tenacity.Retrying(
            sleep=clock.sleep,
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=_Pause(),
            retry=tenacity.retry_if_result(lambda outcome: isinstance(outcome, Failure) and outcome.again),
            retry_error_callback=_last,
        )

    def call(self, call: Call) -> Answer:
        """Send, within the budget and as often as is safe and needed. Raises ``ServiceError``."""
        perhaps_done = False

        def attempt() -> Answer | Failure:
            nonlocal perhaps_done
            outcome = self._attempt(call)
            if isinstance(outcome, Failure):
                self._silences = self._silences + 1 if outcome.silent else 0
                if self._silences >= SILENCES:
                    outcome = replace(outcome, again=False)
                perhaps_done = perhaps_done or outcome.perhaps_done
                # What is being done may name an id, and that comes from the service too.
                _log.info("service %s: %s: %s", self._service, self._show(call)(call.doing), outcome.what)
            else:
                self._silences = 0
            return outcome

        outcome = attempt()
        if isinstance(outcome, Failure) and outcome.again:
            first = [outcome]  # counts as the first attempt; nearly every call needs no other
            outcome = self._retrying(lambda: first.pop() if first else attempt())
        if isinstance(outcome, Answer):
            return outcome
        doing = self._show(call)(call.doing)
        raise outcome.exception(self._service, doing, call.effect, perhaps_done)

    def sign_in(self) -> None:
        """Fetch the token that calls are made with, where that takes a login. Raises ``ServiceError``."""
        self._authority.headers(self.call)

    def clock_skew(self) -> timedelta | None:
        """How far the service's clock was ahead at its last answer, to about a second; None if unknown."""
        if self._dated is None:
            return None
        try:
            return parsedate_to_datetime(self._dated[0]) - self._dated[1]
        except (ValueError, TypeError):
            return None

    def within(self, link: str, page: str) -> str:
        """The address of a next page, in full; ``page`` is the path or address of the one before. Raises
        ``ServiceError`` when it leads to another host, where the credential must not go."""
        base = httpx.URL(page if "://" in page else self._base + page)
        try:
            url = base.join(link)
        except (httpx.InvalidURL, ValueError):
            url = httpx.URL("")
        if (url.scheme, url.netloc) != (base.scheme, base.netloc):
            raise ServiceError(
                f"service {self._service!r}: the address of the next page leads to another host",
                "Ask whoever runs the service. The credential goes to its own host only.",
            )
        return str(url)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    # Failures are values until the last attempt is over: an exception of the HTTP library holds the
    # request with its credential and body, and must not hang on to the one that the user sees.

    def _attempt(self, call: Call) -> Answer | Failure:
        if not call.managed:
            return self._send(call)[0]
        ticket = self._budget.enter()
        seen: Allowance | None = None
        try:
            outcome, seen = self._send(call)
        finally:
            self._budget.leave(ticket, seen)
        return outcome

    def _send(self, call: Call) -> tuple[Answer | Failure, Allowance | None]:
        if not call.managed:
            return self._exchange(call, dict(call.headers))
        try:
            shown = self._authority.headers(self.call)
            outcome, seen = self._exchange(call, {**call.headers, **shown})
            if isinstance(outcome, Failure) and outcome.status == 401 and self._authority.renew(shown):
                # Refused at the door, so nothing was carried out: once more with a new token.
                shown = self._authority.headers(self.call)
                outcome, seen = self._exchange(call, {**call.headers, **shown})
        except ServiceError as problem:
            return failures.no_credential(problem), None
        return outcome, seen

    def _exchange(self, call: Call, headers: dict[str, str]) -> tuple[Answer | Failure, Allowance | None]:
        """One request and its answer."""
        show = self._show(call)
        url = call.path if "://" in call.path else self._base + call.path
        try:
            request = request_for(call, url, self._host, headers, self._extensions)
        except (httpx.InvalidURL, UnicodeError):
            return failures.unsendable(), None
        try:
            response = self._transport.handle_request(request)
            try:
                content = self._read(response)
            finally:
                response.close()
        except (httpx.ConnectTimeout, httpx.PoolTimeout):
            return failures.not_in_time(self._host, self._to_connect, True, connected=False), None
        except httpx.TimeoutException:
            return failures.not_in_time(self._host, self._timeout, call.repeatable, connected=True), None
        except (httpx.ConnectError, httpx.ProxyError) as problem:
            return failures.not_connected(problem, self._host, show), None
        except httpx.HTTPError as problem:
            return failures.no_answer(problem, call.repeatable, show), None
        if content is None:
            return failures.unintelligible("the answer is too long or takes too long"), None
        if _log.isEnabledFor(logging.INFO):
            _log.info("%s %s: %d", call.method, show(url), response.status_code)
        if date := response.headers.get("Date"):
            self._dated = (date, self._clock.now())
        is_json, body = _json(content)
        status, refused = self._read_error.status_of(response.status_code, body)
        pause = self._pause(response, body, status)
        outcome = self._judge(call, response, content, (is_json, body), pause, show, status, refused)
        return outcome, self._limits.read(status, response.headers, pause, LONGEST_WAIT)

    def _read(self, response: httpx.Response) -> bytes | None:
        """The body; None when it is beyond all measure in size or time."""
        started = self._clock.monotonic()
        parts, size = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > _LARGEST_ANSWER or self._clock.monotonic() - started > _LONGEST_ANSWER:
                return None
        return b"".join(parts)

    def _judge(
        self,
        call: Call,
        response: httpx.Response,
        content: bytes,
        parsed: tuple[bool, Any],
        pause: float | None,
        show: failures.Show,
        status: int,
        refused: bool,
    ) -> Answer | Failure:
        is_json, body = parsed
        if 200 <= status < 300 and not refused:
            if not is_json and (content or not call.empty):
                return self._not_json(call, response, content, show)
            link = response.links.get("next", {}).get("url")
            if call.managed and self._holds_credential(content, link):
                return failures.repeated_credential(status)
            return Answer(status, body, link, len(content))
        if 300 <= status < 400 and not refused:
            to = show(response.headers.get("Location", "").partition("?")[0])
            return failures.unintelligible(
                f"{status}: the service sends the request on" + (f" to {to}" if to else ""),
                perhaps_done=False,
            )
        reason, message = (show(text) for text in self._read_error(body))
        patient = pause is None or pause <= LONGEST_WAIT
        if pause is not None and not patient:
            message = f"{message} (asks to wait {pause:.0f} s)".strip()
        if status >= 500 or status in _TIMED_OUT:
            again = patient and call.repeatable and status in _REPEATABLE
            return failures.broken(status, reason, message, again=again, pause=pause or None)
        return failures.refused(
            status,
            reason,
            message,
            next_step=call.next_steps.get(status)
            or (self._authority.advice if status == 401 and call.managed else None),
            again=patient and status == 429,
            # The budget makes every thread wait; only a call outside of it waits here.
            pause=0.0 if call.managed else pause,
        )

    def _not_json(self, call: Call, response: httpx.Response, content: bytes, show: failures.Show) -> Failure:
        kind = show(response.headers.get("Content-Type", "").partition(";")[0])
        if kind.endswith("json") or not content:
            # Cut short on the way, perhaps; another attempt may see it whole.
            what = "the answer is not whole JSON" if content else "the answer is empty"
            return failures.unintelligible(f"{response.status_code}: {what}", again=call.repeatable)
        return failures.unintelligible(
            f"{response.status_code}: the answer is {kind or 'of no declared type'}, not JSON"
        )

    def _pause(self, response: httpx.Response, body: Any, status: int) -> float | None:
        """Seconds that the service asks to wait: by either form of the header, or by the body."""
        text = response.headers.get("Retry-After")
        known = seconds(text)
        if known is not None:
            return known
        if text:
            try:
                moment = parsedate_to_datetime(text)
                return max(0.0, moment.timestamp() - self._clock.now().timestamp())
            except (ValueError, OverflowError):
                return None
        if status < 400:
            return None
        return self._limits.wait(status, response.headers, body, self._clock.now())

    def _holds_credential(self, content: bytes, link: str | None) -> bool:
        hidden = self._authority.hidden()
        return any(in_json(content, secret) for secret in hidden) or (
            link is not None and masked(link, hidden) != link
        )

    def _show(self, call: Call) -> failures.Show:
        hide = self._authority.hidden() if call.secret is None else (*self._authority.hidden(), call.secret)
        return functools.partial(safe, hide=hide, prefixes=self._prefixes)


class _Pause(tenacity.wait.wait_base):
    """Full jitter, doubling from half a second to 20 seconds, or what the service asked for."""

    _jitter = tenacity.wait_random_exponential(multiplier=0.5, max=20)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        asked = _last(retry_state).pause
        if asked is not None:
            return float(asked)
        return self._jitter(retry_state)


def _last(retry_state: tenacity.RetryCallState) -> Any:
    """What the last attempt gave."""
    return retry_state.outcome.result() if retry_state.outcome else None


def _json(content: bytes) -> tuple[bool, Any]:
    """Whether the bytes are JSON, and the value."""
    try:
        return True, json.loads(content)
    except (ValueError, RecursionError):
        return False, None
