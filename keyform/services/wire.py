"""The contract's JSON and keyform's values, both ways.

A listing of 10,000 keys passes through here, so each key costs a few plain checks and no more. What
does not have the agreed form raises :class:`Unintelligible`, never a ``TypeError``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from keyform.model import (
    ACTIVE,
    EXPIRED,
    LABEL,
    REVOKED,
    KeySpec,
    LiveKey,
    LiveProject,
    RateLimit,
    Secret,
    instant,
    parse_instant,
)

CHANGEABLE = (
    "name", "description", "scopes", "allowed_origins", "expires_at", "metadata", "rate_limit",
)  # fmt: skip
# No key service is older, and what is reckoned from a time within stays within what a calendar holds.
_FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MOMENT = datetime(9000, 1, 1, tzinfo=UTC)
_STATUSES = frozenset((ACTIVE, EXPIRED, REVOKED))


class Unintelligible(ValueError):
    """An answer is not of the agreed form; the text says how, and holds no value from the answer."""


def key_body(spec: KeySpec, label: str | None) -> dict[str, Any]:
    """The body of a create."""
    return {
        "kind": spec.kind,
        "environment": spec.environment,
        "project": spec.project,
        **changed_fields(spec, CHANGEABLE, label),
    }


def changed_fields(spec: KeySpec, fields: Iterable[str], label: str | None) -> dict[str, Any]:
    """The named fields of ``spec`` as the contract writes them; ``label`` goes in with the metadata."""
    body: dict[str, Any] = {}
    for name in fields:
        value = getattr(spec, name)
        if name == "metadata":
            value = dict(value)
            if label is not None:
                value[LABEL] = label
        elif name == "rate_limit" and value is not None:
            value = {"limit": value.limit, "per_seconds": value.per_seconds}
        elif isinstance(value, datetime):
            value = instant(value)
        body[name] = list(value) if isinstance(value, tuple) else value
    return body


def live_key(raw: object) -> LiveKey:
    """A key as the service shows it. Raises ``Unintelligible``."""
    if type(raw) is not dict:
        raise Unintelligible("a key that is no object")
    get = raw.get
    key_id, status = get("id"), get("status")
    if type(key_id) is not str or not key_id or not key_id.isprintable():
        raise Unintelligible("a key without an id")
    if type(status) is not str or status not in _STATUSES:
        raise Unintelligible("a key without a known status")
    metadata = get("metadata", {})
    if type(metadata) is not dict or not all(type(value) is str for value in metadata.values()):
        raise Unintelligible("a key whose metadata are no texts")
    label = metadata.pop(LABEL, None)
    return LiveKey(
        key_id,
        KeySpec(
            _text(get("kind"), "kind"),
            _text(get("environment"), "environment"),
            _text(get("project"), "project"),
            _text(get("name"), "name") or "",
            _text(get("description"), "description") or "",
            _texts(get("scopes"), "scopes"),
            _texts(get("allowed_origins"), "allowed_origins"),
            _moment(get("expires_at"), "expires_at"),
            _rate_limit(get("rate_limit")),
            tuple(sorted((_whole(name), _whole(text)) for name, text in metadata.items())),
        ),
        status,
        label,
        _moment(get("created_at"), "created_at"),
        _moment(get("last_used_at"), "last_used_at"),
        _text(get("start"), "start"),
    )


def live_project(raw: object) -> LiveProject:
    """A project as the service shows it. Raises ``Unintelligible``."""
    if type(raw) is not dict:
        raise Unintelligible("a project that is no object")
    project = raw.get("id")
    if type(project) is not str or not project or not project.isprintable():
        raise Unintelligible("a project without an id")
    return LiveProject(project, _texts(raw.get("allowed_origins"), "allowed_origins"))


def page(body: object) -> tuple[list[Any], str | None]:
    """The entries of one page, and the cursor of the next. Raises ``Unintelligible``."""
    if type(body) is not dict or type(body.get("data")) is not list:
        raise Unintelligible("a page without a list of entries")
    if "next_cursor" not in body:
        raise Unintelligible("a page that does not say whether more follow")
    cursor = body["next_cursor"]
    if cursor is not None and (type(cursor) is not str or not cursor):
        raise Unintelligible("a cursor that is no text")
    return body["data"], cursor


def secret(value: object) -> Secret | None:
    """The secret in the answer to a create, or None when there is none. (Half a character is not mended
    here: it would be another secret.)"""
    if not isinstance(value, str) or not value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unintelligible("a secret that is no text") from None
    return Secret(value)


def error_envelope(body: object) -> tuple[str, str]:
    """The service's own error code and message; "" for what is missing."""
    found = body.get("error") if isinstance(body, dict) else None
    if not isinstance(found, dict):
        return "", ""
    code, message = found.get("code"), found.get("message")
    return code if isinstance(code, str) else "", message if isinstance(message, str) else ""


def _text(value: object, name: str) -> str | None:
    if value is None:
        return None
    if type(value) is str:
        return value if value.isascii() else _whole(value)
    raise Unintelligible(f"a key whose {name} is no text")


def _whole(text: str) -> str:
    """JSON can hold half a character (a lone surrogate), which no file can; it becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _texts(value: object, name: str) -> tuple[str, ...]:
    if type(value) is list:
        try:
            if value and not "".join(value).isascii():
                value = [_whole(text) for text in value]
            return tuple(sorted(value))
        except TypeError:
            pass
    elif value is None:
        return ()
    raise Unintelligible(f"an entry whose {name} is no list of texts")


def _moment(value: object, name: str) -> datetime | None:
    if value is None:
        return None
    try:
        if type(value) is str:
            moment = parse_instant(value)
            if _FIRST_MOMENT <= moment < _LAST_MOMENT:
                return moment
    except (ValueError, OverflowError):
        pass
    raise Unintelligible(f"a key whose {name} is no time between the years 1970 and 9000")


def _rate_limit(value: object) -> RateLimit | None:
    if value is None:
        return None
    if type(value) is dict:
        limit, seconds = value.get("limit"), value.get("per_seconds")
        if type(limit) is int and type(seconds) is int:
            return RateLimit(limit, seconds)
    raise Unintelligible("a key whose rate_limit is no limit")
