"""Scripted faults: what a network or a service does wrong, on request and in a known order."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import falcon

from .refusal import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

ACTIONS = frozenset(
    {"latency", "status", "drop_answer", "drop_request", "half_page", "garbage", "repeat_cursor"}
)
PATH = "/_faults"
_MAX_SCRIPT_BYTES = 1024 * 1024
_GARBAGE = b"<!DOCTYPE html><html><body><h1>Please sign in to the network</h1></body></html>"

_Headers = list[tuple[str, str]]
_Answer = tuple[str, _Headers, bytes]


class ConnectionDropped(ConnectionError):
    """The connection is lost: the caller gets no answer, whether or not the request was carried out."""


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One fault, and when it strikes.

    method, path: regular expressions that the whole method, and some part of the path, must match.
    after: how many matching requests pass first. times: how many are hit then; None for all.
    action, one of ACTIONS:
      latency        waits `seconds`, then goes on; other rules may strike the same request
      status         answers `status` with `body` (an error envelope when None) and `retry_after` in seconds
      drop_answer    carries the request out and loses the answer
      drop_request   loses the request
      half_page      cuts a successful answer in the middle of its body
      garbage        answers 200 with HTML
      repeat_cursor  makes a listing point back at itself for ever
    carry_out: whether `status` and `garbage` carry the request out before they answer.
    """

    action: str
    method: str = ".*"
    path: str = ".*"
    after: int = 0
    times: int | None = 1
    status: int = 503
    body: Mapping[str, Any] | None = None
    retry_after: int | None = None
    seconds: float = 0.0
    carry_out: bool = False

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"there is no fault {self.action!r}; faults: {', '.join(sorted(ACTIONS))}")
        try:
            re.compile(self.method)
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"{error.pattern!r} is not a regular expression: {error}") from None
        if self.after < 0 or (self.times is not None and self.times < 1) or self.seconds < 0:
            raise ValueError("after and seconds are 0 or more, times is 1 or more")
        if not 400 <= self.status <= 599:
            raise ValueError("status is 400 to 599")

    def matches(self, method: str, path: str) -> bool:
        """Whether this request is one of those the rule counts."""
        return bool(re.fullmatch(self.method, method) and re.search(self.path, path))


class Faults:
    """A script of rules, safe under many threads. Every rule counts every request that it matches.

    Of several rules that are due, each latency waits and the first other one strikes.
    sleep: takes seconds; tests pass their own.
    """

    def __init__(
        self, rules: Iterable[FaultRule] = (), *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._lock = threading.Lock()
        self.sleep = sleep
        self.install(rules)

    def install(self, rules: Iterable[FaultRule]) -> None:
        """Replace the script; all counting starts anew."""
        installed = tuple(rules)
        with self._lock:
            self._rules = installed
            self._seen = [0] * len(installed)

    def load(self, script: object) -> None:
        """Install a script as JSON gives it: {"rules": [{"action": …}, …]}. Raises ValueError."""
        if not isinstance(script, dict) or set(script) != {"rules"} or not isinstance(script["rules"], list):
            raise ValueError('a script is an object {"rules": [...]}')
        self.install([_rule(entry) for entry in script["rules"]])

    def clear(self) -> None:
        """Forget every rule."""
        self.install(())

    def seen(self) -> tuple[int, ...]:
        """How many requests each rule has matched so far."""
        with self._lock:
            return tuple(self._seen)

    def due(self, method: str, path: str) -> tuple[FaultRule, ...]:
        """Count this request and tell which rules strike it."""
        due = []
        with self._lock:
            for index, rule in enumerate(self._rules):
                if rule.matches(method, path):
                    earlier = self._seen[index]
                    self._seen[index] += 1
                    if rule.after <= earlier and (rule.times is None or earlier < rule.after + rule.times):
                        due.append(rule)
        return tuple(due)


class FaultLayer:
    """WSGI middleware that lets the script strike. A lost connection leaves it as ConnectionDropped."""

    def __init__(self, application: WSGIApplication, faults: Faults, first_cursor: str) -> None:
        """first_cursor: the cursor that leads to the first page, for listings that never end."""
        self._application = application
        self._faults = faults
        self._first_cursor = first_cursor

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path = environ.get("PATH_INFO", "")
        due = () if path == PATH else self._faults.due(environ["REQUEST_METHOD"], path)
        for rule in due:
            if rule.action == "latency":
                self._faults.sleep(rule.seconds)
        strikes = [rule for rule in due if rule.action != "latency"]
        if not strikes:
            return self._application(environ, start_response)
        status, headers, body = self._strike(strikes[0], environ)
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(status, [*kept, ("Content-Length", str(len(body)))])
        return [body]

    def _strike(self, rule: FaultRule, environ: WSGIEnvironment) -> _Answer:
        if rule.action == "drop_request":
            raise ConnectionDropped("the connection was lost before the request was carried out")
        if rule.action == "garbage" or rule.action == "status":
            if rule.carry_out:
                self._carry_out(environ)
            return _garbage() if rule.action == "garbage" else _status(rule)
        status, headers, body = self._carry_out(environ)
        if rule.action == "drop_answer":
            raise ConnectionDropped("the connection was lost before the answer arrived")
        if status.startswith("200"):
            body = body[: len(body) // 2] if rule.action == "half_page" else self._repeat(body)
        return status, headers, body

    def _carry_out(self, environ: WSGIEnvironment) -> _Answer:
        started: list[tuple[str, _Headers]] = []

        def start_response(
            status: str, headers: _Headers, exc_info: object = None, /
        ) -> Callable[[bytes], object]:
            started.append((status, headers))
            return lambda data: None

        body = b"".join(self._application(environ, start_response))
        return (*started[-1], body)

    def _repeat(self, body: bytes) -> bytes:
        page = json.loads(body)
        again: dict[str, object] = {"next_cursor": self._first_cursor}
        if "pagination" in page:
            again = {"pagination": {"cursor": self._first_cursor, "hasMore": True}}
        return json.dumps({**page, **again}).encode()


class FaultScript:
    """The route that installs a script over HTTP, for a service that was started with faults allowed."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def on_put(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Install the script in the body."""
        try:
            self._faults.load(json.loads(req.bounded_stream.read(_MAX_SCRIPT_BYTES)))
        except (ValueError, RecursionError) as error:
            raise invalid("rules", f"The fault script cannot be used: {error}.") from None
        resp.status = 204

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Clear the script."""
        self._faults.clear()
        resp.status = 204


def _rule(entry: object) -> FaultRule:
    known = {field.name for field in fields(FaultRule)}
    if not isinstance(entry, dict) or not set(entry) <= known or "action" not in entry:
        raise ValueError(f"a rule is an object with an action and any of: {', '.join(sorted(known))}")
    try:
        return FaultRule(**entry)
    except TypeError:
        raise ValueError("a field of a rule has the wrong type") from None


def _garbage() -> _Answer:
    return "200 OK", [("Content-Type", "text/html; charset=utf-8")], _GARBAGE


def _status(rule: FaultRule) -> _Answer:
    code = "rate_limited" if rule.status == 429 else "internal_error" if rule.status == 500 else "unavailable"
    error = {"code": code, "message": "This failure was asked for by a fault script.", "details": {}}
    headers = [("Content-Type", "application/json")]
    if rule.retry_after is not None:
        headers.append(("Retry-After", str(rule.retry_after)))
    body = json.dumps({"error": error} if rule.body is None else rule.body).encode()
    return falcon.code_to_http_status(rule.status), headers, body
