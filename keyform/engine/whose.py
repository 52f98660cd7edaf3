"""Whose key a leaked string is: by fingerprint of what the state knows, and by its looks of the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keyform.diagnostics import Diagnostic
from keyform.engine.plan import Plan
from keyform.engine.sight import ServiceView
from keyform.model import REVOKED, LiveKey, Secret, fingerprint_matches
from keyform.profile import Profile
from keyform.state import Generation, KeyRecord, State

CURRENT, OLD, ENDED = "current", "old", "ended"

_SHOWN_AT_LEAST = 4
"""Characters of a secret that a hint has to show before it says anything about which key it is."""

_ELLIPSIS = re.compile(r"(?:…|\.{2,}|\*+|•+)")


@dataclass(frozen=True, slots=True)
class Match:
    """A generation whose secret a string is. ``standing``: the ``current`` one, an ``old`` one that is still
    in its overlap, or one that has ``ended``, of which no more than the number is kept."""

    record: KeyRecord
    number: int
    standing: str
    generation: Generation | None = None


@dataclass(frozen=True, slots=True)
class Likeness:
    """A service whose keys look like the string; ``kind`` where kinds can be told apart."""

    service: str
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """What the state and the configuration say of a string, without asking anybody. ``credentials`` are
    options of the configuration (``services.payments.credential``) whose value it is."""

    matches: tuple[Match, ...] = ()
    credentials: tuple[str, ...] = ()
    likenesses: tuple[Likeness, ...] = ()


GONE, UNKNOWN = "revoked or gone", "unknown"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the services say. ``status`` of each match: whether it still works; ``live`` as its service shows
    it. ``candidates`` are keys that nobody declared and whose hint fits the string, by service. ``plan`` ends
    the matched keys; None where none is needed, or nobody could be asked."""

    status: tuple[str, ...] = ()
    live: tuple[LiveKey | None, ...] = ()
    candidates: tuple[tuple[str, LiveKey], ...] = ()
    plan: Plan | None = None
    told: tuple[Diagnostic, ...] = ()


def matches(secret: Secret, state: State) -> tuple[Match, ...]:
    """The generations that have this secret; more than one only where a key was adopted twice."""
    out = []
    for record in state.keys.values():
        for generation in record.generations():
            if generation.fingerprint and fingerprint_matches(secret, generation.fingerprint):
                standing = CURRENT if generation is record.current else OLD
                out.append(Match(record, generation.number, standing, generation))
        for past in record.past:
            if fingerprint_matches(secret, past.fingerprint):
                out.append(Match(record, past.number, ENDED))
    return tuple(out)


def likenesses(secret: Secret, profiles: Mapping[str, Profile]) -> Iterator[Likeness]:
    """Which services' keys look like the string, by the format or the prefix of their keys. Nothing is known
    of a service that says neither."""
    for name, profile in profiles.items():
        yield from (Likeness(name, kind) for kind in profile.kinds_like(secret.reveal()))


def candidates(secret: Secret, view: ServiceView) -> Iterator[LiveKey]:
    """The keys of a listing that may be the string's: what the service shows of their secrets fits it."""
    text = secret.reveal()
    for key in view.listing.keys:
        if key.hint and key.status != REVOKED and _fits(text, key.hint):
            yield key


def _fits(text: str, hint: str) -> bool:
    start, *rest = _ELLIPSIS.split(hint.strip())
    end = rest[-1] if rest else ""
    if len(start) + len(end) < _SHOWN_AT_LEAST:
        return False
    if rest:
        return text.startswith(start) and text.endswith(end)
    return text.startswith(start) or text.endswith(start)
