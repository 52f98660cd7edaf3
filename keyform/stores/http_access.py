"""Where a REST API is and what is shown to it, checked before anything is sent."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from keyform.errors import StoreError
from keyform.model import Secret


class Credential(Protocol):
    """What a request shows."""

    def headers(self) -> Mapping[str, str]:
        """The headers that prove who asks. Raises ``StoreError`` where that cannot be had (a login)."""

    def renew(self, refused: Mapping[str, str]) -> bool:
        """Whether there is something else to show than the headers that were ``refused``."""

    def hidden(self) -> tuple[Secret, ...]:
        """What must not appear in any message."""


class Bearer:
    """A token that is good until it expires."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def headers(self) -> Mapping[str, str]:
        """See :class:`Credential`."""
        return {"Authorization": f"Bearer {self._token.reveal()}"}

    def renew(self, refused: Mapping[str, str]) -> bool:
        """There is only this one."""
        return False

    def hidden(self) -> tuple[Secret, ...]:
        """See :class:`Credential`."""
        return (self._token,)


def checked_address(store: str, address: str, *, insecure: bool) -> str:
    """The address without a slash at its end. Raises ``StoreError`` for what is no http(s) address, holds a
    password or a query, or is plain http to another machine unless ``insecure``."""
    try:
        parts = urlsplit(address)
        host, _port = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if (
        not host
        or parts.scheme not in ("http", "https")
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
    ):
        raise StoreError(
            f"Store {store!r}: its address is not that of a server",
            "Write scheme, host and port, without credentials, like https://secrets.example.com.",
        )
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        raise StoreError(
            f"Store {store!r}: {host} is reached by plain http: anybody on the way can read every secret",
            "Use https, or set `insecure: true` on the store if you accept that.",
        )
    return address.rstrip("/")


def credential(
    store: str, options: Mapping[str, Any], env: Mapping[str, str], option: str, variable: str
) -> Secret | None:
    """A credential from the option, else from the environment variable that the vendor's own tools read.
    Raises ``StoreError`` for one that cannot stand in a header; it is never shown."""
    given = options.get(option)
    if given is None and not env.get(variable):
        return None
    secret = given if isinstance(given, Secret) else Secret(env[variable])
    text = secret.reveal()
    if not text.isascii() or not text.isprintable() or " " in text or not text:
        raise StoreError(
            f"Store {store!r}: its `{option}` holds a blank, a line end or a sign that no credential has",
            f"Check the variable that it comes from ({variable} unless `{option}` is given).",
        )
    return secret


def missing(store: str, option: str, variable: str) -> StoreError:
    """What is said when neither the option nor the environment variable is there."""
    return StoreError(
        f"Store {store!r} has no `{option}`",
        f"Set `{option}` on the store in the configuration, or the environment variable {variable}.",
    )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
