"""What a service is shown to let keyform in: a credential in a header, or a token that a login gives."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from keyform.errors import ServiceError
from keyform.model import Secret, instant
from keyform.ports import Clock
from keyform.services.calls import Answer, Call
from keyform.services.paths import compile_path, first_text
from keyform.services.templates import compile_template

Send = Callable[[Call], Answer]

_EARLY = 30.0  # seconds before the end of a token at which a new one is fetched
_LATE = timedelta(minutes=1)  # how far this machine's clock may be ahead of the service's


class Authority(Protocol):
    """Where a call's credential comes from. ``advice``: what to do where it is refused (401) for good; None
    for what is usual."""

    advice: str | None

    def headers(self, send: Send) -> dict[str, str]:
        """The headers of a call, which hold the credential. ``send`` carries out a login, if one is
        needed. Raises ``ServiceError``."""

    def renew(self, used: Mapping[str, str]) -> bool:
        """The service refused these headers (401): whether another attempt may have better ones."""

    def hidden(self) -> tuple[Secret, ...]:
        """The secrets that no message may show."""


class Static:
    """One credential, in one header; or none at all. ``renewing`` says what to do when it has ended."""

    advice: str | None = None

    def __init__(
        self,
        service: str,
        header: str,
        value: str,
        credential: Secret | None,
        clock: Clock,
        renewing: str = "",
    ) -> None:
        self._service = service
        self._header = header
        self._value = value
        self._credential = credential
        self._clock = clock
        self._renewing = renewing
        self._ends = None if credential is None else token_end(credential)

    def headers(self, send: Send) -> dict[str, str]:
        if self._credential is None:
            return {}
        if self._ends is not None and self._clock.now() > self._ends + _LATE:
            raise ServiceError(
                f"service {self._service!r}: its credential is a token that ended {instant(self._ends)}",
                self._renewing,
            )
        return {self._header: self._value.replace("{credential}", self._credential.reveal())}

    def renew(self, used: Mapping[str, str]) -> bool:
        return False

    def hidden(self) -> tuple[Secret, ...]:
        return () if self._credential is None else (self._credential,)


class Login:
    """A short-lived token, fetched when it is needed and again when it has run out or is refused.

    A credential that is given beside it serves as the first token, for as long as it lasts.
    """

    advice: str | None = (
        "The login was accepted, and the token that it gave is refused: ask whoever runs the service whether "
        "that account may manage keys."
    )

    def __init__(
        self,
        service: str,
        header: str,
        value: str,
        credential: Secret | None,
        tree: Mapping[str, Any],
        options: Mapping[str, Any],
        clock: Clock,
    ) -> None:
        self._service = service
        self._header = header
        self._value = value
        self._tree = tree
        self._secrets = tuple(value for value in options.values() if isinstance(value, Secret))
        self._options = options
        self._clock = clock
        tokens = tree["token"]
        self._find = first_text(tokens if isinstance(tokens, list) else [tokens])
        self._span = compile_path(tree["expires_in"]) if "expires_in" in tree else None
        self._turn = threading.Lock()
        self._token = credential
        self._tokens = () if credential is None else (credential,)  # all there were: a call may be under way
        self._ends: float | None = None  # by the monotonic clock
        if credential is not None and (end := token_end(credential)) is not None:
            self._ends = clock.monotonic() + (end - clock.now()).total_seconds() - _EARLY

    def headers(self, send: Send) -> dict[str, str]:
        with self._turn:
            if self._token is None or (self._ends is not None and self._clock.monotonic() >= self._ends):
                self._token = self._fetch(send)
                self._tokens = (*self._tokens, self._token)
            token = self._token
        return self._with(token)

    def renew(self, used: Mapping[str, str]) -> bool:
        with self._turn:
            if self._token is not None and self._with(self._token) == dict(used):
                self._token = None
        return True

    def hidden(self) -> tuple[Secret, ...]:
        return (*self._secrets, *self._tokens)

    def _with(self, token: Secret) -> dict[str, str]:
        return {self._header: self._value.replace("{credential}", token.reveal())}

    def _fetch(self, send: Send) -> Secret:
        values = {
            f"options.{name}": value.reveal() if isinstance(value, Secret) else value
            for name, value in self._options.items()
        }
        call = Call(
            "logging in",
            self._tree.get("method", "POST"),
            self._tree["path"],
            body=compile_template(self._tree.get("body", {}))(values),
            form=self._tree.get("encoding") == "form",
            managed=False,
            next_steps={401: "Check the service's login: the name or the password is wrong."},
        )
        body = send(call).body
        token = self._find(body)
        if not token or not token.isprintable() or not token.isascii():
            raise ServiceError(
                f"service {self._service!r}: logging in failed: the answer holds no token",
                "Check the service's `endpoint`, and where the profile says that the token stands.",
            )
        span = self._span(body) if self._span else None
        usable = isinstance(span, int | float) and span > 2 * _EARLY
        self._ends = self._clock.monotonic() + float(span or 0) - _EARLY if usable else None
        return Secret(token)


def token_end(token: Secret) -> datetime | None:
    """When a JWT says that it ends (``exp``: RFC 7519, section 4.1.4), to the second; None for any other
    text, and for one that does not say. Its signature is the service's business."""
    parts = token.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        ends = claims["exp"]
        return datetime.fromtimestamp(int(ends), UTC) if isinstance(ends, int | float) else None
    except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError):
        return None
