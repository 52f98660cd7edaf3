"""Calls to GitHub's REST API, and what its refusals mean.

Sources: https://docs.github.com/en/rest/using-the-rest-api (rate limits, best practices, troubleshooting:
a 404 where a token may not see what is there, ``X-Accepted-GitHub-Permissions``, ``X-OAuth-Scopes``).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import tenacity

from keyform import __version__
from keyform.errors import StoreError
from keyform.model import Secret
from keyform.stores.quoting import quoted

_log = logging.getLogger(__name__)

_ATTEMPTS = 4
_PATIENCE = 90.0  # seconds of waits and attempts after which keyform gives up and says so
_UNSAID_WAIT = 60.0  # "wait for at least one minute" where a secondary limit does not say how long


@dataclass(frozen=True, slots=True)
class Answer:
    """``body`` is the parsed JSON, None where there is none. ``status`` is 2xx, or one that was asked for."""

    status: int
    body: Any
    scopes: str | None
    """Scopes of a classic token; None for the other kinds, of which GitHub tells nothing."""


@dataclass(frozen=True, slots=True)
class _Later:
    """An attempt worth repeating after ``wait`` seconds (None: as long as keyform likes)."""

    wait: float | None
    problem: StoreError


class GitHubApi:
    """One account's view of one GitHub; for many threads at once. Every call may be repeated."""

    def __init__(
        self,
        store: str,
        endpoint: str,
        token: Secret | None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        timeout: float = 30.0,
    ) -> None:
        """``timeout``: seconds that GitHub may stay silent."""
        self._store = store
        self._token = token
        self._host = httpx.URL(endpoint).host
        loopback = self._host in ("localhost", "127.0.0.1", "::1")
        # No redirects: what was moved is named in the message, and the token goes nowhere else.
        self._client = httpx.Client(
            base_url=endpoint,
            trust_env=not loopback,  # a proxy leads away from this machine
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            headers={
                "Accept": "application/vnd.github+json",
                "User-Agent": f"keyform/{__version__}",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        self._retrying = tenacity.Retrying(
            sleep=sleep,
            stop=tenacity.stop_after_attempt(_ATTEMPTS) | tenacity.stop_after_delay(_PATIENCE),
            wait=_wait,
            retry=tenacity.retry_if_result(lambda outcome: isinstance(outcome, _Later)),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )

    def call(
        self,
        method: str,
        path: str,
        doing: str,
        body: Mapping[str, Any] | None = None,
        *,
        also: tuple[int, ...] = (),
    ) -> Answer:
        """Send. ``also``: statuses beside 2xx that are an answer and no error. Raises ``StoreError``."""
        if self._token is None:
            raise StoreError(
                f"Store {self._store!r} has no token to {doing} with",
                'Set GITHUB_TOKEN, or `token: "${env:NAME}"` in the store\'s options.',
            )
        headers = {"Authorization": f"Bearer {self._token.reveal()}"}
        outcome: Answer | _Later = self._retrying(self._attempt, method, path, doing, body, headers, also)
        if isinstance(outcome, _Later):
            raise outcome.problem
        return outcome

    def close(self) -> None:
        self._client.close()

    def _attempt(
        self,
        method: str,
        path: str,
        doing: str,
        body: Mapping[str, Any] | None,
        headers: dict[str, str],
        also: tuple[int, ...],
    ) -> Answer | _Later:
        try:
            response = self._client.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as problem:
            return _Later(None, self._no_answer(doing, problem))
        status = response.status_code
        _log.info("%s %s: %d", method, path, status)
        try:
            parsed = json.loads(response.content) if response.content else None
        except ValueError:
            parsed, also = None, ()
            if status < 300:
                raise StoreError(
                    f"Store {self._store!r} could not {doing}: {self._host} does not answer with JSON",
                    "Check the store's `endpoint`: it must be the address of GitHub's REST API.",
                ) from None
        if 200 <= status < 300 or status in also:
            return Answer(status, parsed, response.headers.get("X-OAuth-Scopes"))
        return self._refused(doing, response, parsed)

    def _no_answer(self, doing: str, problem: httpx.HTTPError) -> StoreError:
        why = "no answer in time" if isinstance(problem, httpx.TimeoutException) else str(problem)
        return StoreError(
            f"Store {self._store!r} could not {doing}: {self._host} cannot be reached "
            f"({quoted(why, self._hidden()) or type(problem).__name__})",
            "Check the network and the store's `endpoint`; https://www.githubstatus.com tells of outages.",
        )

    def _refused(self, doing: str, response: httpx.Response, parsed: Any) -> _Later | Answer:
        status, headers = response.status_code, response.headers
        said = parsed.get("message") if isinstance(parsed, dict) else None
        message = quoted(said, self._hidden()) if isinstance(said, str) else ""
        wait = _limited(status, headers, message)
        summary = f"Store {self._store!r} could not {doing}: GitHub answered {status}"
        summary += f' "{message}"' if message else ""
        if wait is not None:
            problem = StoreError(
                summary,
                f"GitHub's rate limit is used up; it asks to wait {wait:.0f} s. Run it again then, with a "
                "token that nothing else uses up, or for fewer keys at a time (--target).",
            )
            if wait > _PATIENCE:
                raise problem
            return _Later(wait, problem)
        if status >= 500:
            what = "GitHub has a problem of its own: see https://www.githubstatus.com, and run it again."
            return _Later(None, StoreError(summary, what))
        raise StoreError(summary, quoted(_advice(status, headers, message), self._hidden()))

    def _hidden(self) -> tuple[Secret, ...]:
        return (self._token,) if self._token else ()


def _limited(status: int, headers: httpx.Headers, message: str) -> float | None:
    """Seconds to wait where an answer speaks of a rate limit, primary or secondary; else None."""
    if status not in (403, 429):
        return None
    after = headers.get("Retry-After", "")
    if after.isascii() and after.isdigit():
        return float(after)
    reset = headers.get("X-RateLimit-Reset", "")
    if headers.get("X-RateLimit-Remaining") == "0" and reset.isascii() and reset.isdigit():
        return max(1.0, float(reset) - time.time())
    if status == 429 or "secondary rate limit" in message.lower():
        return _UNSAID_WAIT
    return None


def _advice(status: int, headers: httpx.Headers, message: str) -> str:
    if status == 401:
        return "The token is mistyped, expired or revoked. Make a new one and set `token` or GITHUB_TOKEN."
    if status in (301, 302, 307, 308):
        return "The repository was renamed or moved. Write its new name in the store's options."
    if status == 422:
        return "Change the store's options or the secret's name as GitHub says."
    if sso := headers.get("X-GitHub-SSO"):
        return f"The organisation demands single sign-on: authorise the token for it ({sso})."
    if "by integration" in message:
        return (
            "The token of a workflow run cannot manage secrets. Use a fine-grained token or a GitHub App's, "
            f"with {_needed(headers)}."
        )
    if status == 403:
        return f"The token is valid but may not do this: it needs {_needed(headers)}."
    return (
        f"Check the names in the store's options. GitHub also answers {status} where the token may not see "
        f"what is there: it needs {_needed(headers)}."
    )


def _needed(headers: httpx.Headers) -> str:
    """What GitHub says that the call needs, or what its documentation says."""
    if permissions := headers.get("X-Accepted-GitHub-Permissions"):
        return f"the permission {permissions}"
    if scopes := headers.get("X-Accepted-OAuth-Scopes"):
        return f"the scope {scopes}"
    return "the permission to read and write secrets there (docs/stores/github-actions.md)"


def _wait(state: tenacity.RetryCallState) -> float:
    outcome = state.outcome.result() if state.outcome else None
    asked = outcome.wait if isinstance(outcome, _Later) else None
    return float(2 ** (state.attempt_number - 1)) if asked is None else asked
