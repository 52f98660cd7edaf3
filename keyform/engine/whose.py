"""Whose key a leaked string is: by fingerprint of what the state knows, and by its looks of the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from keyform.diagnostics import Diagnostic
from keyform.engine.plan import END, Plan
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
    options of the configuration (``services.payments.credential``) whose value it is; ``unknown_looks``
    services of which nobody knows what their keys look like."""

    matches: tuple[Match, ...] = ()
    credentials: tuple[str, ...] = ()
    likenesses: tuple[Likeness, ...] = ()
    unknown_looks: tuple[str, ...] = ()


GONE, UNKNOWN = "revoked or gone", "unknown"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the service of a match says of it: its ``status``, and ``live`` as it shows it. ``why``: what the
    status rests on or means, where it is not simply what the service shows. ``gate``: for how long an old one
    has to be unused before it is revoked. ``ender``: the title of a service that ends it alone, at its time,
    with no call that would end it sooner."""

    status: str = UNKNOWN
    live: LiveKey | None = None
    why: str = ""
    gate: timedelta | None = None
    ender: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A live key whose shown characters fit the string; ``record`` and ``generation`` where keyform manages
    it, though the whole secret of it is another one, or keyform never had it."""

    service: str
    key: LiveKey
    record: KeyRecord | None = None
    generation: Generation | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the services say: of each match, and which of their live keys it looks like if there is none.
    ``plan`` ends the matched keys; None where none is needed or possible, or nobody could be asked."""

    seen: tuple[Seen, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    plan: Plan | None = None
    told: tuple[Diagnostic, ...] = ()

    def of(self, index: int) -> Seen | None:
        """What is seen of a match; None where nobody could be asked."""
        return self.seen[index] if self.seen else None

    def revoked_by_plan(self, match: Match) -> bool:
        """Whether the plan itself revokes the matched generation, in the run that stores the new one."""
        steps = (step for change in self.plan.changes for step in change.steps) if self.plan else ()
        this = (match.generation.service, match.generation.id) if match.generation else None
        return any(step.op == END and (step.service, step.key_id) == this for step in steps)


_AROUND = " \t\r\n'\"`,;()[]{}<>"
_AFTER = ".:!?"
_MOST_READINGS = 16


def readings(found: Secret) -> tuple[Secret, ...]:
    """What a string that somebody found may stand for, itself first: without the quotes, brackets and commas
    of the text around it, and the value alone of ``NAME=value`` and ``name:value``."""
    texts = [found.reveal()]
    for text in texts:
        bare = text.strip(_AROUND)
        values = (text.partition(sign)[2] for sign in "=:")
        for other in (bare, bare.rstrip(_AFTER), *values):
            if other and other not in texts and len(texts) < _MOST_READINGS:
                texts.append(other)
    return tuple(map(Secret, texts))


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


def looks_unknown(profile: Profile) -> bool:
    """Whether nothing says what keys of this service look like."""
    return not profile.key_format and not any(k.key_format or k.prefix for k in profile.kinds.values())


def candidates(found: Secret, view: ServiceView, state: State) -> Iterator[Candidate]:
    """The keys of a listing that may be the string's: what the service shows of their secrets fits it."""
    texts = [one.reveal() for one in readings(found)]
    managed = {
        (generation.service, generation.id): (record, generation)
        for record in state.keys.values()
        for generation in record.generations()
    }
    for key in view.listing.keys:
        hint = key.hint
        if hint and key.status != REVOKED and any(_fits(text, hint) for text in texts):
            record, generation = managed.get((view.name, key.id), (None, None))
            yield Candidate(view.name, key, record, generation)


def _fits(text: str, hint: str) -> bool:
    start, *rest = _ELLIPSIS.split(hint.strip())
    end = rest[-1] if rest else ""
    if len(start) + len(end) < _SHOWN_AT_LEAST:
        return False
    if rest:
        return text.startswith(start) and text.endswith(end)
    return text.startswith(start) or text.endswith(start)
