"""Where a key service is and what it is opened with: endpoints, credentials, options."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from keyform.diagnostics import error
from keyform.errors import ConfigError
from keyform.model import Secret
from keyform.options import option_faults, with_defaults
from keyform.profile import Profile

_LOOPBACK_4 = ipaddress.ip_network("127.0.0.0/8")
_LOOPBACK_6 = ipaddress.ip_address("::1")


def check_endpoint(service: str, endpoint: str, *, insecure: bool = False) -> str:
    """The endpoint without a trailing slash. Raises ``ConfigError`` for one that no credential may go to:
    no http(s) address, one that holds a password, a query or a fragment, or plain http to another
    machine unless ``insecure``. Opens nothing."""
    where = f"the endpoint of service {service!r}"
    try:
        parts = urlsplit(endpoint)
        host, _port = parts.hostname, parts.port
    except ValueError:
        parts, host = SplitResult("", "", "", "", ""), None
    if (
        parts.scheme not in ("http", "https")
        or not host
        or not endpoint.isascii()
        or not endpoint.isprintable()
    ):
        raise ConfigError(f"{where} is not an http(s) address", "Write it like https://keys.example.com.")
    if "@" in parts.netloc:
        raise ConfigError(f"{where} holds a user name or password", "Give it as `credential` instead.")
    if parts.query or parts.fragment or " " in endpoint:
        raise ConfigError(
            f"{where} has a query, a fragment or a space", "Write scheme, host, port and base path only."
        )
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        raise ConfigError(
            f"{where} is plain http, so anybody on the way could read the credential and every secret",
            "Use https, or set `insecure: true` on the service if you accept that.",
        )
    return endpoint.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: ``localhost``, 127.0.0.0/8 or ::1. A name like ``x.localhost`` may be
    resolved elsewhere."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address in _LOOPBACK_4 or address == _LOOPBACK_6


def check_credential(service: str, credential: Secret) -> None:
    """Raise ``ConfigError`` for a credential that cannot stand in a header. It is never shown."""
    text = credential.reveal()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError(
            f"the credential of service {service!r} is empty or holds blanks, line ends or other characters "
            "that no credential has",
            "Check the variable it comes from; a line end at the end of a file is a common cause.",
        )


def refuse_vendor_host(service: str, profile: Profile, address: str, operations: Sequence[str]) -> None:
    """Raise ``ConfigError`` where calls that a vendor does not document would go to that vendor."""
    if is_host_of(profile, address):
        raise ConfigError(
            f"service {service!r}: {profile.title} documents no call for {', '.join(operations)}, so "
            f"none is sent to {urlsplit(address).hostname}",
            "Use `mode: assisted`, or the `endpoint` of a service that speaks keyform's contract.",
        )


def is_host_of(profile: Profile, address: str) -> bool:
    """Whether an address is in one of the vendor's own domains."""
    host = (urlsplit(address).hostname or "").lower().rstrip(".")
    return any(host == domain or host.endswith("." + domain) for domain in profile.domains)


def check_options(service: str, profile: Profile, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a service with the defaults of its profile. Raises ``ConfigError`` with everything that
    is wrong with them."""
    faults = tuple(option_faults(service, profile, given))
    if faults:
        raise ConfigError(tuple(error(fault.code, fault.summary, fault.detail) for fault in faults))
    return with_defaults(profile, given)
