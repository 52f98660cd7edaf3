"""What the service allows: pure checks of a key against the catalogue. Each raises Refusal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .catalogue import Catalogue, Kind
from .refusal import Refusal, invalid

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_ORIGIN = re.compile(rf"(https?)://({_HOST})(?::([1-9][0-9]{{0,4}}))?", re.ASCII)
_LONGEST_HOST = 253
_LOCAL_HOSTS = {"localhost", "127.0.0.1"}
_DEFAULT_PORTS = {"https": 443, "http": 80}
_DAY_MILLISECONDS = 24 * 3600 * 1000
# The caller counts a span from its own clock, and a little before the service does.
_EXPIRY_TOLERANCE_MILLISECONDS = 3600 * 1000


def check_kind(catalogue: Catalogue, kind: str, environment: str, project: str | None) -> Kind:
    """The kind, when it exists and may live where it is asked to."""
    found = catalogue.kinds.get(kind)
    if found is None or not found.listed:
        kinds = _words(name for name, known in catalogue.kinds.items() if known.listed)
        raise invalid("kind", f"There is no kind {kind!r}; kinds: {kinds}.")
    if environment not in catalogue.environments:
        known = _words(catalogue.environments)
        raise invalid("environment", f"There is no environment {environment!r}; environments: {known}.")
    if project is not None and not found.in_project:
        raise invalid("project", f"A key of kind {kind} belongs to no project; leave project out.")
    if project is None and found.needs_project:
        raise invalid("project", "A key belongs to one project; name it.", "project_required")
    return found


def granted_scopes(catalogue: Catalogue, kind: str, scopes: Sequence[str]) -> tuple[str, ...]:
    """The scopes that a key gets: those asked for where they may be chosen, else those of its kind."""
    if not scopes and catalogue.scopes_fixed:
        return tuple(sorted(catalogue.kinds[kind].scopes))
    check_scopes(catalogue, kind, scopes)
    if catalogue.scopes_fixed and set(scopes) != catalogue.kinds[kind].scopes:
        held = _words(catalogue.kinds[kind].scopes)
        message = f"The kind decides on the scopes; a key of kind {kind} holds: {held}."
        raise invalid("scopes", message, "scope_not_allowed_for_kind")
    return tuple(scopes)


def check_scopes(catalogue: Catalogue, kind: str, scopes: Sequence[str]) -> None:
    """Scopes are a subset of what the kind may carry; empty only where that means all of them."""
    if not scopes and not catalogue.scopes_optional:
        raise invalid("scopes", "A key needs at least one scope.")
    for scope in scopes:
        if catalogue.scope_pattern is not None:
            if not catalogue.scope_pattern.fullmatch(scope):
                raise invalid("scopes", f"{scope[:100]!r} is not the form of a scope.", "unknown_scope")
            continue
        if scope not in catalogue.scopes:
            known = _words(catalogue.scopes)
            raise invalid("scopes", f"There is no scope {scope!r}; scopes: {known}.", "unknown_scope")
        if scope not in catalogue.kinds[kind].scopes:
            allowed = _words(catalogue.kinds[kind].scopes)
            message = f"A key of kind {kind} cannot hold the scope {scope}; it may hold: {allowed}."
            raise invalid("scopes", message, "scope_not_allowed_for_kind")


def check_held(held: frozenset[str] | None, scopes: Iterable[str]) -> None:
    """A management key does and grants what its own scopes allow; held is None for the root token."""
    for scope in scopes:
        if held is not None and scope not in held:
            message = f"The credential does not hold the scope {scope}, so it can neither use nor grant it."
            raise Refusal(403, "insufficient_scope", message, details={"scope": scope})


def check_key_origins(catalogue: Catalogue, kind: str, own: Sequence[str], of_project: Sequence[str]) -> None:
    """Only kinds used from browsers carry origins, and those need one, their own or the project's."""
    needs_origin = catalogue.kinds[kind].needs_origin
    if own and not needs_origin:
        message = f"A key of kind {kind} carries no origins; leave allowed_origins empty."
        raise invalid("allowed_origins", message, "origins_not_allowed_for_kind")
    check_origins(own)
    if needs_origin and not own and not of_project:
        message = f"A key of kind {kind} needs an allowed origin, its own or its project's."
        raise invalid("allowed_origins", message, "origins_required")


def check_origins(origins: Sequence[str]) -> None:
    """Every entry is an origin exactly as a browser sends it."""
    for origin in origins:
        problem = _problem_with(origin)
        if problem:
            raise invalid("allowed_origins", f"{origin!r} is not an origin: {problem}.", "invalid_origin")


def check_expiry(catalogue: Catalogue, expires_at: int | None, now: int) -> None:
    """An expiry lies in the future, a span away that the service offers. Both in epoch milliseconds."""
    if expires_at is None:
        return
    if expires_at <= now:
        raise invalid("expires_at", "The expiry must be in the future.", "expiry_in_past")
    days = catalogue.expiry_days
    offered = (abs(expires_at - now - span * _DAY_MILLISECONDS) for span in days)
    if days and not any(distance <= _EXPIRY_TOLERANCE_MILLISECONDS for distance in offered):
        spans = ", ".join(str(span) for span in days)
        message = f"A key expires never or after one of these numbers of days: {spans}."
        raise invalid("expires_at", message, "expiry_not_offered")


def check_project(catalogue: Catalogue, origins: Sequence[str]) -> None:
    """The service knows projects, and they carry origins only where some kind of key needs them."""
    if not any(kind.in_project for kind in catalogue.kinds.values()):
        raise invalid("id", "This service has no projects.", "field_not_supported")
    if origins and not any(kind.needs_origin for kind in catalogue.kinds.values()):
        message = "The projects of this service have no origins; leave allowed_origins empty."
        raise invalid("allowed_origins", message, "field_not_supported")
    check_origins(origins)


def _problem_with(origin: str) -> str | None:
    found = _ORIGIN.fullmatch(origin)
    if found is None or len(found[2]) > _LONGEST_HOST:
        return "write scheme://host or scheme://host:port in lower case, without path, slash or wildcard"
    scheme, host, port = found.groups()
    if scheme == "http" and host not in _LOCAL_HOSTS:
        return "http is for localhost and 127.0.0.1 only; use https"
    if port is not None:
        if int(port) > 65535:
            return "the port is above 65535"
        if int(port) == _DEFAULT_PORTS[scheme]:
            return f"browsers leave out the default port; write {scheme}://{host}"
    return None


def _words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
