"""How a service writes values: times, names of its own, and the place of keyform's ownership label.

Both ways: :class:`Speech` turns a key specification into the values that request templates take, and
gives the functions that read them back.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from keyform.model import LABEL, LATEST, Credits, KeySpec, instant, parse_instant
from keyform.services.templates import KEEP, OMIT, Template, compile_template

RFC3339, EPOCH_S, EPOCH_MS = "rfc3339", "epoch_s", "epoch_ms"
TIMES = (RFC3339, EPOCH_S, EPOCH_MS)
_IN_WORDS = {
    RFC3339: "text as RFC 3339 has it",
    EPOCH_S: "a number of seconds since 1970",
    EPOCH_MS: "a number of milliseconds since 1970",
}

METADATA, TAGS, NAME, DESCRIPTION = "metadata", "tags", "name", "description"
PLACES = (METADATA, TAGS, NAME, DESCRIPTION)

SUFFIX = " [keyform:{label}]"

KEY_VALUES = frozenset((
    "kind", "environment", "project", "name", "description", "scopes", "scopes.text", "scopes.csv",
    "allowed_origins", "expires_at",
    "expires_in", "expiry_window", "rate_limit", "rate_limit.limit", "rate_limit.per_seconds",
    "rate_limit.per_ms", "credits", "credits.remaining", "credits.refill", "credits.amount",
    "credits.interval", "credits.refill_day", "metadata", "tags", "label", "idempotency_key",
))  # fmt: skip
"""What a template may take from a key specification and its label."""


@dataclass(frozen=True, slots=True)
class Marker:
    """Where the ownership label stands: an entry of the metadata, one of the tags (with a prefix), or the
    end of the name or description."""

    place: str
    entry: str = LABEL
    before: str = ""
    after: str = ""

    @staticmethod
    def of(tree: Any) -> Marker | None:
        """From a profile's ``marker``."""
        if tree is None:
            return None
        if isinstance(tree, str):
            tree = {"in": tree}
        place = tree["in"]
        if place in (NAME, DESCRIPTION):
            before, _, after = tree.get("suffix", SUFFIX).partition("{label}")
            return Marker(place, before=before, after=after)
        return Marker(place, tree.get("entry", LABEL), tree.get("prefix", f"{LABEL}:"))

    def join(self, text: str, label: str | None) -> str:
        """A name or description with the label at its end."""
        return text if label is None else f"{text}{self.before}{label}{self.after}"

    def split(self, text: str) -> tuple[str, str | None]:
        """The text that people see, and the label."""
        shown, found, rest = text.rpartition(self.before)
        if not found or not rest.endswith(self.after):
            return text, None
        label = rest[: len(rest) - len(self.after)]
        return (shown, label) if label and "/" in label and " " not in label else (text, None)


@dataclass(frozen=True, slots=True)
class Speech:
    """``names``: for kinds, environments, scopes and expiry windows, keyform's word to the service's.
    ``forms``: how a field is written as a whole. ``groups``: scopes that the service keeps apart, by the
    prefix that they have at keyform (``role:admin``)."""

    writes_times: str = RFC3339
    reads_times: str = RFC3339
    never: tuple[Any, ...] = ()
    names: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    forms: Mapping[str, Template] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    marker: Marker | None = None

    @staticmethod
    def of(tree: Mapping[str, Any]) -> Speech:
        """From a profile's ``times``, ``names``, ``write`` and ``marker``."""
        times = tree.get("times", RFC3339)
        if isinstance(times, str):
            times = {"read": times, "write": times}
        never = times.get("never", [])
        # A part of a field is written before the field that holds it.
        forms = sorted(tree.get("write", {}).items(), key=lambda form: -form[0].count("."))
        return Speech(
            times.get("write", RFC3339),
            times.get("read", times.get("write", RFC3339)),
            tuple(never) if isinstance(never, list) else (never,),
            tree.get("names", {}),
            {name: compile_template(form) for name, form in forms},
            tree.get("scope_groups", {}),
            Marker.of(tree.get("marker")),
        )

    def values(
        self, spec: KeySpec, label: str | None, now: datetime, before: KeySpec | None = None
    ) -> dict[str, Any]:
        """What the placeholders of a request stand for; ``before`` is what an update starts from."""
        values: dict[str, Any] = {
            "kind": self._named("kinds", spec.kind),
            "environment": self._named("environments", spec.environment),
            "project": spec.project,
            "name": spec.name,
            "description": spec.description,
            "scopes": [self._named("scopes", scope) for scope in spec.scopes],
            "allowed_origins": list(spec.allowed_origins),
            "metadata": dict(spec.metadata),
            "label": label,
            "tags": [],
        }
        for group, prefix in self.groups.items():
            held = [scope for scope in values["scopes"] if scope.startswith(prefix)]
            values["scopes"] = [scope for scope in values["scopes"] if not scope.startswith(prefix)]
            values[f"scopes.{group}"] = [scope[len(prefix) :] for scope in held]
        values["scopes.text"] = " ".join(map(str, values["scopes"]))
        values["scopes.csv"] = ",".join(map(str, values["scopes"]))
        if label is not None:
            values["idempotency_key"] = idempotency_key(label)
        if spec.rate_limit is not None:
            limit, seconds = spec.rate_limit.limit, spec.rate_limit.per_seconds
            values |= {
                "rate_limit": limit,
                "rate_limit.limit": limit,
                "rate_limit.per_seconds": seconds,
                "rate_limit.per_ms": seconds * 1000,
            }
        if spec.credits is not None:
            values |= self._credits(spec.credits, before.credits if before else None)
        if spec.expires_at is None:
            values["expiry_window"] = self.names.get("windows", {}).get("never")
        else:
            left = (spec.expires_at - now).total_seconds()
            values["expires_at"] = self.write_time(spec.expires_at)
            values["expires_in"] = max(1, math.ceil(left - 0.5))
            values["expiry_window"] = self._window(left)
        self._mark(values, label)
        for name, form in self.forms.items():
            if values.get(name) not in (None, "", [], {}):
                made = form(values)
                values[name] = None if made is OMIT else made
        return values

    def write_time(self, moment: datetime) -> str | int:
        """A time as the service takes it."""
        if self.writes_times == RFC3339:
            return instant(moment)
        return int(moment.timestamp() * (1000 if self.writes_times == EPOCH_MS else 1))

    @property
    def time_words(self) -> str:
        """How the service shows a time, for messages."""
        return _IN_WORDS[self.reads_times]

    def time_reader(self) -> Callable[[Any], datetime]:
        """A function from what the service shows to a time. It raises ``ValueError`` or
        ``OverflowError`` for what is none."""
        if self.reads_times == RFC3339:
            return _read_text
        scale = 1000 if self.reads_times == EPOCH_MS else 1

        def read(value: Any) -> datetime:
            if type(value) is str and _NUMBER.fullmatch(value):  # some write numbers as texts
                value = float(value) if "." in value else int(value)
            if type(value) is not int and type(value) is not float:
                raise ValueError("no number")
            if value > _LATEST * scale:  # some say never by a number beyond all calendars
                return _END_OF_TIME
            return FIRST_MOMENT + timedelta(seconds=value / scale)

        return read

    def _credits(self, credits: Credits, before: Credits | None) -> dict[str, Any]:
        unchanged = before is not None and before.remaining == credits.remaining
        values: dict[str, Any] = {
            "credits": credits.remaining,
            "credits.remaining": KEEP if unchanged else credits.remaining,
        }
        if credits.refill is not None:
            values |= {
                "credits.refill": credits.refill.amount,
                "credits.amount": credits.refill.amount,
                "credits.interval": self._named("intervals", credits.refill.interval),
                "credits.refill_day": credits.refill.refill_day,
            }
        return values

    def _named(self, what: str, word: str | None) -> Any:
        return None if word is None else self.names.get(what, {}).get(word, word)

    def _window(self, seconds: float) -> Any:
        windows = [
            (abs(span_seconds(span) - seconds), said)
            for span, said in self.names.get("windows", {}).items()
            if span != "never"
        ]
        return min(windows, key=lambda pair: pair[0])[1] if windows else None

    def _mark(self, values: dict[str, Any], label: str | None) -> None:
        marker = self.marker
        if marker is None or label is None:
            return
        if marker.place == METADATA:
            values["metadata"][marker.entry] = label
        elif marker.place == TAGS:
            values["tags"] = [marker.before + label]
        else:
            values[marker.place] = marker.join(values[marker.place], label)


def idempotency_key(label: str) -> str:
    """The idempotency key of the create that carries an ownership label: always the same for the same."""
    return "keyform-" + hashlib.sha256(label.encode()).hexdigest()


FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
"""No key service is older."""
_END_OF_TIME = LATEST - timedelta(seconds=1)
_LATEST = int(_END_OF_TIME.timestamp())
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,9})?")
_SPAN = re.compile(r"([0-9]{1,6})([smhdy])")


def span_seconds(text: str) -> int:
    """Seconds in ``90d`` or ``1y``. Raises ``ValueError``."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no span of time")
    return int(match[1]) * _UNITS[match[2]]


def _read_text(value: Any) -> datetime:
    if type(value) is not str:
        raise ValueError("no text")
    return parse_instant(value)
