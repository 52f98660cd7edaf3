"""What is to come: every expiry, rotation and revocation of the keys of the state, as far as policies tell.

The first of each follows from what is recorded and live. Those after it suppose that every rotation is
carried out when it is due. Nothing is foretold of a key beyond a moment at which it stops working.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from keyform.diagnostics import Diagnostic, warning
from keyform.engine.due import next_rotation
from keyform.engine.gates import deadline, gate_of
from keyform.engine.idle import unused_since
from keyform.engine.plan import ALTER, EXPIRES_SOON, MINT, Change
from keyform.engine.reroll import lives_on
from keyform.engine.sight import ServiceView, Sight, presence
from keyform.engine.wording import command
from keyform.model import DesiredKey, format_duration, instant
from keyform.state import KeyRecord

FORMAT, VERSION = "keyform-calendar", 1
_NONE = timedelta(0)
EXPIRES, ROTATES, REVOKES = "expires", "rotates", "revokes"

MOST = 400
"""Rotations of one key; a rotation every minute is not written out for a year."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that comes at ``at`` (not before, for what is due already). ``key_id`` None: of a generation
    that is still to be minted. ``outage``: the key stops working then, and nothing has taken its place."""

    at: datetime
    event: str
    address: str
    service: str
    generation: int
    key_id: str | None
    why: str
    outage: bool = False

    def as_json(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "at": instant(self.at),
            "event": self.event,
            "address": self.address,
            "service": self.service,
            "generation": self.generation,
            "key_id": self.key_id,
            "why": self.why,
            "outage": self.outage,
        }


@dataclass(frozen=True, slots=True)
class Calendar:
    """What comes from ``since`` until ``until``, in order. ``unminted``: declared keys that are still to be
    made, of which nothing is known yet. ``cut``: keys of which no more than ``MOST`` rotations are written
    out, with the time of the last."""

    lineage: str
    since: datetime
    until: datetime
    entries: tuple[Entry, ...]
    unminted: int = 0
    cut: tuple[tuple[str, datetime], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "lineage": self.lineage,
            "since": instant(self.since),
            "until": instant(self.until),
            "unminted": self.unminted,
            "cut": [{"address": address, "at": instant(at)} for address, at in self.cut],
            "entries": [entry.as_json() for entry in self.entries],
        }


def calendar(sight: Sight, until: datetime) -> Calendar:
    """Everything until then. Pure, like a plan."""
    declared = {want.address: want for want in sight.desired.keys}
    entries: list[Entry] = []
    cut: list[tuple[str, datetime]] = []
    for address, record in sight.state.keys.items():
        if (want := declared.get(address)) is not None:
            series = [entry for entry in _series(sight, record, want, until) if entry.at <= until]
            rotations = [entry.at for entry in series if entry.event == ROTATES]
            if len(rotations) > MOST:  # one more than is told, by which it is known that there are more
                series = [entry for entry in series if entry.at < rotations[MOST]]
                cut.append((address, rotations[MOST - 1]))
            entries += series
            entries += [entry for entry in _old(sight, record, want) if entry.at <= until]
    entries.sort(key=lambda entry: (entry.at, entry.address, entry.generation, entry.event))
    unminted = len(declared.keys() - sight.state.keys.keys())
    return Calendar(sight.state.lineage, sight.now, until, tuple(entries), unminted, tuple(cut))


def _series(sight: Sight, record: KeyRecord, want: DesiredKey, until: datetime) -> Iterator[Entry]:
    """What becomes of the current generation, and of those that follow it."""
    now, this = sight.now, record.current
    view = sight.services.get(this.service)
    found = presence(view, this, now) if view else None
    if view is None or found is None:
        return
    rotation = None if found.disabled else want.rotation
    old, back = _Generation(want, this.number, this.id), record.rolled_back_at
    first = record.next_number
    if found.live is not None:
        born, ends = this.created_at, found.live.spec.expires_at
    elif want.protect or not view.profile.revokes:
        return  # a plan says why no key takes its place by itself
    else:
        old = _Generation(want, first, None)
        yield old.entry(
            now, ROTATES, f"{this.id} is no longer at {view.name}; the next apply mints a new key"
        )
        born, ends = now, now + want.expires_in if want.expires_in else want.spec.expires_at
        back, first = None, first + 1
    for coming in range(first, first + MOST + 1):
        due = next_rotation(rotation, born, ends, back)
        if ends is not None and (due is None or due[0] >= ends):
            if ends > now:
                yield old.entry(ends, EXPIRES, _nothing_renews(want, found.disabled), outage=True)
            return
        if due is None or due[0] > until:
            return
        at = max(due[0], now)
        new = _Generation(want, coming, None)
        yield new.entry(at, ROTATES, f"generation {old.number} is due: {due[1]}")
        span = _overlap(want) if view.profile.revokes else lives_on(view.profile, _overlap(want))
        yield old.end(at + span, ends, span, gate_of(want.rotation, view), _ender(view))
        born, ends = at, at + want.expires_in if want.expires_in else None
        old, back = new, None


def _nothing_renews(want: DesiredKey, disabled: bool) -> str:
    if disabled:
        return "nothing renews it before: it is disabled"
    after = "" if want.expires_in is None else "; the first apply after that mints a new one"
    return f"nothing renews it before{after}"


def _old(sight: Sight, record: KeyRecord, want: DesiredKey) -> Iterator[Entry]:
    """What becomes of the generations in their overlap."""
    for generation in record.deposed:
        view = sight.services.get(generation.service)
        if view is None or generation.revoke_at is None:
            continue
        live = view.keys.get(generation.id)
        at, gate = generation.revoke_at, gate_of(want.rotation, view)
        if gate is not None and live is not None:
            at = max(at, unused_since(live, generation.created_at) + gate + view.profile.last_used_lag)
        if (latest := deadline(generation, record, want.rotation)) is not None:
            at = min(at, max(latest, generation.revoke_at))
        span = _overlap(want)
        if generation.replaced_at is not None:
            span = timedelta(seconds=round((generation.revoke_at - generation.replaced_at).total_seconds()))
        if generation.revoke_now:
            at, gate = generation.revoke_at, None
        ends = live.spec.expires_at if live else generation.spec.expires_at
        old = _Generation(want, generation.number, generation.id, generation.service)
        yield old.end(max(at, sight.now), ends, span, gate, _ender(view))


def _ender(view: ServiceView) -> str:
    """The title of a service that ends old keys itself, where no call does."""
    return "" if view.profile.revokes else view.profile.title


def _overlap(want: DesiredKey) -> timedelta:
    return want.rotation.overlap if want.rotation else _NONE


@dataclass(frozen=True, slots=True)
class _Generation:
    want: DesiredKey
    number: int
    key_id: str | None
    service: str | None = None

    def entry(self, at: datetime, event: str, why: str, *, outage: bool = False) -> Entry:
        service = self.service or self.want.service
        return Entry(at, event, self.want.address, service, self.number, self.key_id, why, outage)

    def end(
        self, at: datetime, ends: datetime | None, span: timedelta, gate: timedelta | None, ender: str = ""
    ) -> Entry:
        """How a generation that another one has followed ends, which it outlives by ``span``: revoked, by its
        service ``ender`` itself, or by its own expiry before that."""
        if ends is not None and ends <= at:
            return self.entry(ends, EXPIRES, "it is an old generation by then")
        if ender:
            return self.entry(
                at, REVOKES, f"{ender} ends it by itself, {format_duration(span)} after its successor"
            )
        why = f"its overlap of {format_duration(span)} is over" if span > _NONE else "the new key is stored"
        if gate is not None:
            why += f", if it has not been used for {format_duration(gate)}"
            latest = self.want.rotation.revoke_within if self.want.rotation else None
            why += f"; {format_duration(latest)} after it was replaced, used or not" if latest else ""
        return self.entry(at, REVOKES, why)


_AHEAD = timedelta(days=14)
"""How long before a key ends for good plans begin to say so."""

_LATER_END = (
    "No rotation renews what ends at a moment of choice, and nothing is minted after it. Give it a later "
    "`expires_at`, or remove the key once nobody needs it."
)


def expiring_before_next_run(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """The declared keys that expire before the run after this one, what the plan changes of them included;
    and those that end for good (`expires_at`) in a while."""
    span_of_runs = sight.schedule or timedelta(0)
    steps = {step.address: step for change in changes for step in change.steps if step.op in (MINT, ALTER)}
    for want in sight.desired.keys:
        record, step = sight.state.keys.get(want.address), steps.get(want.address)
        if step is not None and step.terms is not None and step.op == MINT:
            span = step.terms.expires_in
            ends = sight.now + span if span else want.spec.expires_at
        elif step is not None and step.spec is not None:
            ends = step.spec.expires_at
        else:
            ends = _expiry(sight, record) if record else None
        for_good = want.spec.expires_at is not None
        if ends is None or ends <= sight.now:
            continue
        if ends <= sight.now + span_of_runs:
            yield warning(
                EXPIRES_SOON,
                f"{want.address} expires {instant(ends)}, before the next run: `schedule` has one every "
                f"{format_duration(span_of_runs)}",
                _LATER_END
                if for_good
                else "Nothing renews it before that. Rotate it now with "
                f"{command('rotate', want.address)}, and give it a "
                "`rotation.before_expiry` that is longer than the time between two runs.",
                address=want.address,
            )
        elif for_good and record is not None and ends <= sight.now + _AHEAD:
            yield warning(
                "ends-soon",
                f"{want.address} expires {instant(ends)}, for good: nothing renews an `expires_at`",
                _LATER_END,
                address=want.address,
            )


def _expiry(sight: Sight, record: KeyRecord) -> datetime | None:
    view = sight.services.get(record.current.service)
    live = presence(view, record.current, sight.now).live if view else None
    return live.spec.expires_at if live else None
