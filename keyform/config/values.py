"""The small texts of a configuration: durations, times, origins, paths and names.

Every function gives the value or raises :class:`Bad` with a summary and what to do.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from keyform.model import LATEST, parse_instant

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_DURATION = re.compile(r"([0-9]{1,12})([ydhms])\Z")
_SECONDS = {"y": 365 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}
_LONGEST = 100 * 365 * 86400
_HOST = re.compile(r"(?=.{1,253}\Z)(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*\Z")
_LOOPBACK = frozenset({"localhost", "127.0.0.1"})
_DEFAULT_PORT = {"https": 443, "http": 80}
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
LONGEST_PATH = 512
LONGEST_EACH = 200


class Bad(ValueError):
    """A text that is not what it should be: ``summary`` says what, ``detail`` what to do."""

    def __init__(self, summary: str, detail: str = "") -> None:
        self.summary, self.detail = summary, detail
        super().__init__(summary)


def is_name(text: str) -> bool:
    """Whether ``text`` can name a key, a project, a service, a store or a variable."""
    return len(text) <= 128 and _NAME.match(text) is not None


def has_control(text: str) -> str | None:
    """The first control character or lone surrogate as ``U+0007``, or None."""
    if text.isprintable():
        return None
    for character in text:
        code = ord(character)
        if code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000:
            return f"U+{code:04X}"
    return None


def has_invisible(text: str) -> str | None:
    """The first character that a reader cannot see or that reorders others, as ``U+200B``, or None."""
    return next((f"U+{ord(character):04X}" for character in text if not character.isprintable()), None)


def duration(text: str, *, zero: bool = False) -> timedelta | None:
    """A span like ``90d``; None for ``never``. ``zero`` allows ``0s``."""
    if text == "never":
        return None
    match = _DURATION.match(text)
    if match is None:
        hint = "Write a whole number and a unit: 30s, 15m, 72h, 90d or 1y; or `never`."
        if text.isdecimal():
            raise Bad(f"`{text}` has no unit", f"For days write `{text}d`; the units are s, m, h, d and y.")
        if text.startswith("-"):
            raise Bad(f"`{text}` is negative", hint)
        raise Bad(f"`{text}` is not a duration", hint)
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds == 0 and not zero:
        raise Bad(f"`{text}` is no time at all", "Write a duration above zero, or `never`.")
    if seconds > _LONGEST:
        raise Bad(f"`{text}` is more than 100 years", "Write `never` for a key that does not expire.")
    return timedelta(seconds=seconds)


def end(text: str) -> datetime:
    """When a key is to expire: an RFC 3339 time with a zone."""
    if _DAY.match(text):
        raise Bad(f"`{text}` is a day, not a time", f"Write `{text}T00:00:00Z`.")
    moment = _moment(text)
    if moment >= LATEST:
        raise Bad(f"`{text}` is too far away", "Write `expires_in: never` for a key that does not expire.")
    return moment


def deadline(text: str) -> datetime:
    """The end of a day in UTC, or an RFC 3339 time with a zone."""
    if not _DAY.match(text):
        moment = _moment(text)
    else:
        try:
            moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError:
            raise Bad(f"there is no day `{text}`", "Write a day, like 2027-01-31.") from None
    if moment >= LATEST:
        raise Bad(f"`{text}` is too far away", "Write a day on which somebody is to look at it again.")
    return moment + timedelta(days=1) if _DAY.match(text) else moment


def _moment(text: str) -> datetime:
    try:
        return parse_instant(text)
    except (ValueError, OverflowError):
        zoneless = _is_zoneless(text)
        raise Bad(
            f"`{text}` has no time zone" if zoneless else f"`{text}` is not a time",
            "Write it in UTC, like 2027-01-31T00:00:00Z.",
        ) from None


def _is_zoneless(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


def origin(text: str, *, wildcard: bool = False, http: str = "localhost") -> str:
    """A web origin in its one form: scheme, lower-case host, port unless it is the scheme's own.

    ``wildcard`` allows ``https://*.example.com``; ``http`` is ``always``, ``localhost`` or ``never``.
    """
    if "@" in text:
        host = text.rpartition("@")[2].split("/")[0]
        summary = "this is not an origin: it contains a user name or a password"
        raise Bad(
            summary, f"Write `https://{host.lower()}`." if _HOST.match(host.lower()) else "Take them out."
        )
    shape = "An origin is scheme, host and perhaps port, like https://app.example.com."
    if has_control(text) or text != text.strip() or " " in text or "\\" in text:
        raise Bad(
            f"`{text.strip()}` is not an origin: it contains a space, a backslash or a control character",
            shape,
        )
    if text in ("*", "null"):
        raise Bad(f"`{text}` is not an origin", shape)
    if "://" not in text:
        raise Bad(f"`{text}` is not an origin: it has no scheme", f"Write `https://{text.rstrip('/')}`.")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = (parts.hostname or "").lower()
    except ValueError:
        raise Bad(f"`{text}` is not an origin: its host or port cannot be read", shape) from None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORT:
        raise Bad(f"`{text}` is not a web origin: its scheme is `{scheme}`", "Write https://…")
    if not host.isascii():
        raise Bad(
            f"`{text}` is an international name, and browsers send its ASCII form", _punycode(text, host)
        )
    if ":" in host:
        raise Bad(f"`{text}` is an IPv6 address, and key services take host names only", shape)
    if not _HOST.match(host[2:] if host.startswith("*.") else host):
        if "*" in host:
            raise Bad(
                f"`{text}` is not an origin: `*` is not allowed there",
                "Write every host out." if not wildcard else "Write it as https://*.example.com.",
            )
        raise Bad(f"`{text}` is not an origin: its host cannot be read", shape)
    clean = f"{scheme}://{host}" + (f":{port}" if port not in (None, _DEFAULT_PORT[scheme]) else "")
    if port == 0:
        raise Bad(f"`{text}` is not an origin: port 0", shape)
    if host.startswith("*.") and not wildcard:
        raise Bad(f"`{text}` is not an origin: wildcards are not supported here", "Write every host out.")
    if parts.path or parts.query or parts.fragment or text.endswith(("?", "#")):
        what = (
            "a trailing slash"
            if text.endswith("/") and parts.path == "/"
            else "a path"
            if parts.path
            else "a query"
        )
        raise Bad(f"`{text}` is not an origin: it has {what}", f"Write `{clean}`.")
    if scheme == "http" and http != "always" and not (http == "localhost" and host in _LOOPBACK):
        raise Bad(
            f"`{text}` is not encrypted",
            f"Write `https{clean[4:]}`" + ("; http is for localhost only." if http == "localhost" else "."),
        )
    return clean


def _punycode(text: str, host: str) -> str:
    try:
        ascii_host = host.encode("idna").decode()
    except UnicodeError:
        return "Write its host in punycode (xn--…)."
    scheme = text.split("://", 1)[0].lower()
    return f"Write `{scheme}://{ascii_host}`."


def secret_path(text: str) -> str:
    """A path in a store: relative, no empty, ``.`` or ``..`` segment, no backslash, at most 512 long."""
    if not text:
        raise Bad(
            "the path of a secret is empty", "Write where the secret goes, like prod/payments/checkout."
        )
    if control := has_control(text):
        raise Bad(f"the path of a secret contains a control character ({control})", "Remove it.")
    if hidden := has_invisible(text):
        raise Bad(f"the path of a secret contains an invisible character ({hidden})", "Remove it.")
    if len(text) > LONGEST_PATH:
        raise Bad(f"the path of a secret has {len(text)} characters; at most {LONGEST_PATH} are allowed")
    if "\\" in text:
        raise Bad(f"the path `{text}` contains a backslash", f"Write `{text.replace(chr(92), '/')}`.")
    if text.startswith("/"):
        raise Bad(
            f"the path `{text}` is absolute", f"Paths are relative to the store: write `{text.lstrip('/')}`."
        )
    segments = text.split("/")
    if ".." in segments:
        raise Bad(f"the path `{text}` climbs out of its store", "Write it without `..`.")
    if "" in segments or "." in segments:
        clean = "/".join(segment for segment in segments if segment not in ("", "."))
        raise Bad(f"the path `{text}` has an empty or `.` segment", f"Write `{clean}`." if clean else "")
    return text


def each_key(text: str) -> str:
    """One of a ``for_each``: any text of 1 to 200 characters without control characters."""
    if not text:
        raise Bad("an entry of `for_each` is empty", "Each entry becomes part of an address; give it a name.")
    if len(text) > LONGEST_EACH:
        raise Bad(f"an entry of `for_each` has {len(text)} characters; at most {LONGEST_EACH} are allowed")
    if control := has_control(text):
        raise Bad(f"an entry of `for_each` contains a control character ({control})", "Remove it.")
    return text
