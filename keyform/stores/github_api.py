"""GitHub's REST API: how it is called, and what its refusals mean.

Sources: https://docs.github.com/en/rest/using-the-rest-api (rate limits, best practices, troubleshooting:
a 404 where a token may not see what is there, ``X-Accepted-GitHub-Permissions``, ``X-OAuth-Scopes``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from keyform.errors import StoreError
from keyform.model import Secret
from keyform.stores.http import Answer, Rest, Said
from keyform.stores.http_access import Bearer

_UNSAID_WAIT = 60.0  # "wait for at least one minute" where a secondary limit does not say how long


class _Token(Bearer):
    """A token, and the version of the API that this module knows."""

    def headers(self) -> Mapping[str, str]:
        known = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        return {**known, **super().headers()}


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
        self._token = None if token is None else _Token(token)
        self._rest = Rest(store, endpoint, _said, {}, timeout=timeout, sleep=sleep)

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
                f"Store {self._store!r} could not {doing}: it has no token",
                'Set GITHUB_TOKEN, or `token: "${env:NAME}"` in the store\'s options.',
            )
        shape = dict if method == "GET" else object
        return self._rest.call(method, path, doing, self._token, body=body, shape=shape, accept=also)

    def close(self) -> None:
        """Close the connections."""
        self._rest.close()


def _said(answer: Answer) -> Said:
    told = answer.body.get("message") if isinstance(answer.body, dict) else None
    message = told if isinstance(told, str) else ""
    wait = _limited(answer, message)
    if wait is None:
        return Said(message, advice=_advice(answer, message))
    return Said(
        message,
        again=wait,
        advice=f"GitHub's rate limit is used up; it asks to wait {wait:.0f} s. Run it again then, with a "
        "token that nothing else uses up, or for fewer keys at a time (--target).",
    )


def _limited(answer: Answer, message: str) -> float | None:
    """Seconds to wait where an answer speaks of a rate limit, primary or secondary; else None."""
    if answer.status not in (403, 429):
        return None
    after = answer.headers.get("Retry-After", "")
    if after.isascii() and after.isdigit():
        return float(after)
    reset = answer.headers.get("X-RateLimit-Reset", "")
    if answer.headers.get("X-RateLimit-Remaining") == "0" and reset.isascii() and reset.isdigit():
        return max(1.0, float(reset) - time.time())
    if answer.status == 429 or "secondary rate limit" in message.lower():
        return _UNSAID_WAIT
    return None


def _advice(answer: Answer, message: str) -> str:
    status = answer.status
    if status >= 500:
        return "GitHub has a problem of its own: see https://www.githubstatus.com, and run it again."
    if status == 401:
        return "The token is mistyped, expired or revoked. Make a new one and set `token` or GITHUB_TOKEN."
    if status in (301, 302, 307, 308):
        return "The repository was renamed or moved. Write its new name in the store's options."
    if status == 422:
        return "Change the store's options or the secret's name as GitHub says."
    if sso := answer.headers.get("X-GitHub-SSO"):
        return f"The organisation demands single sign-on: authorise the token for it ({sso})."
    if "by integration" in message:
        return (
            "The token of a workflow run cannot manage secrets. Use a fine-grained token or a GitHub App's, "
            f"with {_needed(answer)}."
        )
    if status == 403:
        return f"The token is valid but may not do this: it needs {_needed(answer)}."
    return (
        f"Check the names in the store's options. GitHub also answers {status} where the token may not see "
        f"what is there: it needs {_needed(answer)}."
    )


def _needed(answer: Answer) -> str:
    """What GitHub says that the call needs, or what its documentation says."""
    if permissions := answer.headers.get("X-Accepted-GitHub-Permissions"):
        return f"the permission {permissions}"
    if scopes := answer.headers.get("X-Accepted-OAuth-Scopes"):
        return f"the scope {scopes}"
    return "the permission to read and write secrets there (docs/stores/github-actions.md)"
