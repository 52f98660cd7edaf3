"""Reading requests of the contract: JSON in, well-formed values out. Each function raises Refusal."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from . import moments
from .catalogue import FIELDS, Catalogue
from .records import KeyRequest
from .refusal import invalid
from .verification import Asked

_Json = dict[str, Any]
_MAX_LIMIT, _MAX_SECONDS = 1_000_000, 86_400


def parse(body: bytes) -> _Json:
    """The JSON object in a body. Duplicate members, NaN and text that is not UTF-8 are refused."""
    try:
        document = json.loads(
            body.decode("utf-8"), object_pairs_hook=_members, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise invalid("", f"The body is not a JSON document: {reason}.") from None
    if not isinstance(document, dict):
        raise invalid("", "The body must be a JSON object.")
    return document


def key_request(body: _Json, catalogue: Catalogue) -> KeyRequest:
    """The body of a create. A field that the service does not honour may be there, but only empty; a kind
    also where it is the only one."""
    only = [name for name, kind in catalogue.kinds.items() if kind.listed]
    for name in sorted(FIELDS - catalogue.fields):
        chosen = body.get(name)
        if chosen not in (None, "", [], {}) and not (name == "kind" and [chosen] == only):
            message = f"This service knows no {name} of a key; leave it out."
            raise invalid(name, message, "field_not_supported")
    required = {"kind", "environment", "name", "scopes"} & catalogue.fields
    if catalogue.scopes_fixed or catalogue.scopes_optional:
        required -= {"scopes"}
    honoured = {name: read for name, read in _CREATE.items() if name in catalogue.fields}
    given = {name: value for name, value in body.items() if name not in FIELDS - catalogue.fields}
    values = read_fields(given, honoured, required=required)
    kind = catalogue.choose_kind(values.pop("kind", None))
    environment = catalogue.choose_environment(values.pop("environment", None))
    return KeyRequest(kind, environment, **({"scopes": ()} | values))


def key_changes(body: _Json, catalogue: Catalogue) -> Mapping[str, Any]:
    """The body of a PATCH: the fields to replace, by the names that Key uses."""
    for name in body:
        if name in FIELDS - catalogue.mutable:
            message = f"{name} cannot be changed; create a new key and revoke this one."
            raise invalid(name, message, "immutable_field")
    return read_fields(body, {name: read for name, read in _MUTABLE.items() if name in catalogue.mutable})


def project_origins(body: _Json) -> tuple[str, ...]:
    """The body of a PUT of a project."""
    origins: tuple[str, ...] = read_fields(body, _PROJECT, required=_PROJECT)["allowed_origins"]
    return origins


def asked(body: _Json, origin_header: str | None) -> Asked:
    """The body of a verify; the Origin header counts where the body names no origin."""
    values = read_fields(body, _VERIFY, required={"key"})
    return Asked(values.pop("key"), **({"origin": origin_header} | values))


def read_fields(
    body: _Json, readers: Mapping[str, Callable[[str, Any], Any]], *, required: Collection[str] = ()
) -> dict[str, Any]:
    """The values of a body; unknown, missing and ill-formed fields are refused."""
    for name in body:
        if name not in readers:
            raise invalid(
                name, f"There is no field {name[:40]!r} here; fields: {', '.join(sorted(readers))}."
            )
    for name in sorted(required):
        if name not in body:
            raise invalid(name, f"The field {name} is missing.")
    return {name: readers[name](name, value) for name, value in body.items()}


def text(shortest: int, longest: int) -> Callable[[str, Any], str]:
    """A reader of texts of so many characters."""

    def read(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise invalid(name, f"{name} must be a string.")
        if not shortest <= len(value) <= longest:
            raise invalid(name, f"{name} must have {shortest} to {longest} characters; it has {len(value)}.")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise invalid(name, f"{name} holds half of a surrogate pair, which is not a character.") from None
        return value

    return read


def text_set(most: int, longest: int) -> Callable[[str, Any], tuple[str, ...]]:
    """A reader of sets of texts: sorted, without repetition."""
    entry = text(1, longest)

    def read(name: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise invalid(name, f"{name} must be a list of strings.")
        if len(value) > most:
            raise invalid(name, f"{name} may have {most} entries at most; it has {len(value)}.")
        return tuple(sorted({entry(name, item) for item in value}))

    return read


def _expiry(name: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        return moments.from_text(text(1, 100)(name, value))
    except ValueError:
        raise invalid(name, f"{name} must be an RFC 3339 time such as 2030-01-31T12:00:00.000Z.") from None


def _metadata(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise invalid(name, f"{name} must be an object with string values.")
    if len(value) > 50:
        raise invalid(name, f"{name} may have 50 entries at most; it has {len(value)}.")
    read_key, read_value = text(1, 40), text(0, 500)
    return {read_key(name, entry): read_value(name, content) for entry, content in value.items()}


def _rate_limit(name: str, value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"limit", "per_seconds"}:
        raise invalid(name, f"{name} must be null or an object with limit and per_seconds.")
    limit, seconds = _whole(name, value["limit"]), _whole(name, value["per_seconds"])
    if not (1 <= limit <= _MAX_LIMIT and 1 <= seconds <= _MAX_SECONDS):
        raise invalid(name, f"{name}: limit is 1 to {_MAX_LIMIT}, per_seconds is 1 to {_MAX_SECONDS}.")
    return limit, seconds


def _whole(name: str, value: Any) -> int:
    # JSON knows one kind of number, so 5.0 is as whole as 5; true is not a number.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise invalid(name, f"{name}: limit and per_seconds must be whole numbers.")
    return int(value)


def _nullable(read: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: None if value is None else read(name, value)


def _members(pairs: list[tuple[str, Any]]) -> _Json:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object names the same member twice")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_MUTABLE: dict[str, Callable[[str, Any], Any]] = {
    "name": text(1, 200),
    "description": text(0, 1000),
    "scopes": text_set(100, 100),
    "allowed_origins": text_set(100, 300),
    "expires_at": _expiry,
    "metadata": _metadata,
    "rate_limit": _rate_limit,
}
_CREATE = _MUTABLE | {
    "kind": text(1, 40),
    "environment": text(1, 40),
    "project": _nullable(text(1, 100)),
}
_PROJECT = {"allowed_origins": text_set(100, 300)}
_VERIFY = {
    "key": text(0, 1000),
    "scope": text(1, 100),
    "origin": text(0, 300),
    "project": text(1, 100),
    "environment": text(1, 40),
}
