"""How keyform tells Infisical who it is: as a machine identity, by universal auth or with an access token.

Source: https://infisical.com/docs/documentation/platform/identities/universal-auth.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from keyform.errors import StoreError
from keyform.model import Secret
from keyform.stores.http import Rest
from keyform.stores.http_access import Bearer, Credential, credential, missing

CLIENT_ID, CLIENT_SECRET, TOKEN = (
    "INFISICAL_UNIVERSAL_AUTH_CLIENT_ID",
    "INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET",
    "INFISICAL_TOKEN",
)

_EARLY = 0.9
"""A token is replaced after this part of its life, so that it does not end on the way."""


class UniversalAuth:
    """Logs in with the first request, again before the token ends, and again when one is refused."""

    def __init__(
        self, rest: Rest, client_id: str, client_secret: Secret, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rest = rest
        self._client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Secret | None = None
        self._good_until = 0.0

    def headers(self) -> Mapping[str, str]:
        """See :class:`~keyform.stores.http_access.Credential`."""
        with self._lock:
            token = self._token
            if token is None or self._clock() >= self._good_until:
                token = self._token = self._log_in()
            return Bearer(token).headers()

    def renew(self, refused: Mapping[str, str]) -> bool:
        """See :class:`~keyform.stores.http_access.Credential`."""
        with self._lock:
            if self._token is not None and Bearer(self._token).headers() == refused:
                self._token = None
        return True

    def hidden(self) -> tuple[Secret, ...]:
        """See :class:`~keyform.stores.http_access.Credential`."""
        token = self._token
        return (self._client_secret,) if token is None else (self._client_secret, token)

    def _log_in(self) -> Secret:
        """POST /api/v1/auth/universal-auth/login."""
        body = {"clientId": self._client_id, "clientSecret": self._client_secret.reveal()}
        answer = self._rest.call(
            "POST", "/api/v1/auth/universal-auth/login", "log in", None, body=body, secret=self._client_secret
        )
        token, life = answer.body.get("accessToken"), answer.body.get("expiresIn")
        if not isinstance(token, str) or not isinstance(life, int | float):
            raise StoreError(
                "Infisical's answer to a login holds no token",
                "Check the store's `endpoint` in the configuration.",
            )
        self._good_until = self._clock() + _EARLY * life
        return Secret(token)


def credential_of(store: str, options: Mapping[str, Any], env: Mapping[str, str], rest: Rest) -> Credential:
    """By the options, or else by the variables that Infisical's own tools read. Raises ``StoreError``."""
    if options.get("token"):
        token = credential(store, options, {}, "token", TOKEN)
        return Bearer(token) if token else _none(store)
    client_id = options.get("client_id") or env.get(CLIENT_ID)
    client_secret = credential(store, options, env, "client_secret", CLIENT_SECRET)
    if client_id and client_secret:
        return UniversalAuth(rest, client_id, client_secret)
    if client_id:
        raise missing(store, "client_secret", CLIENT_SECRET)
    token = credential(store, options, env, "token", TOKEN)
    return Bearer(token) if token else _none(store)


def _none(store: str) -> Credential:
    raise missing(store, "client_id", CLIENT_ID)
