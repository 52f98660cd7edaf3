"""When an old generation may end: its overlap is over and nobody uses it, or it has been held long enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keyform.diagnostics import Diagnostic, note
from keyform.engine.idle import is_unused_for, unused_since
from keyform.engine.plan import END, MINT, Change
from keyform.engine.sight import ServiceView, Sight
from keyform.model import EXPIRED, REVOKED, Rotation, format_duration, instant
from keyform.state import Generation, KeyRecord


@dataclass(frozen=True, slots=True)
class Use:
    """An old generation that is taken to be in use: its ``last`` use in words, and what it waits for."""

    last: str
    waits: str


def gate_of(rotation: Rotation | None, view: ServiceView) -> timedelta | None:
    """For how long an old generation has to be unused before it is revoked, where its service can tell."""
    gate = rotation.revoke_when_unused_for if rotation else None
    return gate if view.profile.shows_last_used else None


def in_use(generation: Generation, rotation: Rotation | None, view: ServiceView, now: datetime) -> Use | None:
    """What keeps a generation from being revoked by its gate: it has not certainly been unused for as long as
    `revoke_when_unused_for` says, and the lag of its service's "last used" more. One that has ended
    already is in nobody's use."""
    gate, live = gate_of(rotation, view), view.keys.get(generation.id)
    if gate is None or live is None or live.status in (EXPIRED, REVOKED):
        return None
    since, lag = unused_since(live, generation.created_at), view.profile.last_used_lag
    if is_unused_for(gate, since, view.profile, now):
        return None
    when = f"{ago(now - since)} ({instant(since)})"
    last = f"used {when}" if live.last_used_at else f"not used since it was minted {when}"
    margin = f", and {format_duration(lag)} more, by which its last use may be told late" if lag else ""
    return Use(last, f"it must be unused for {format_duration(gate)}{margin}")


def deadline(generation: Generation, record: KeyRecord, rotation: Rotation | None) -> datetime | None:
    """By when a deposed generation is revoked, used or not; None for never."""
    if rotation is None or rotation.revoke_within is None:
        return None
    every = record.generations()
    # A state of an earlier keyform does not say when it was replaced.
    replaced = generation.replaced_at or every[every.index(generation) + 1].created_at
    return replaced + rotation.revoke_within


def holds(
    generation: Generation, record: KeyRecord, rotation: Rotation | None, view: ServiceView, now: datetime
) -> Diagnostic | None:
    """Why a generation that is due to be revoked, or whose successor has just come, is held; None where its
    gate lets it end, or its last day is over."""
    use = in_use(generation, rotation, view, now)
    just_replaced = replace(generation, replaced_at=now) if generation is record.current else generation
    latest = deadline(just_replaced, record, rotation)
    if use is None or (latest is not None and latest <= now):
        return None
    return held(record.address, generation, use, latest)


def held(address: str, generation: Generation, use: Use, latest: datetime | None) -> Diagnostic:
    """The note on an old generation that is kept alive, until ``latest`` or for as long as it is used."""
    by = (
        f", and {instant(latest)} at the latest, used or not (`revoke_within`)"
        if latest
        else ". `rotation.revoke_within` would set a time by which it ends, used or not"
    )
    return note(
        "held",
        f"{address} generation {generation.number} is held: {use.last}, and {use.waits}",
        f"It is revoked by the first apply after it has been unused for long enough{by}.",
        address=address,
    )


_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def ago(span: timedelta) -> str:
    """A span that has passed, in its largest unit: ``3 minutes ago``, ``25 hours ago``, ``2 days ago``."""
    seconds = int(span.total_seconds())
    for unit, size in _UNITS:
        count = seconds // size
        if count > 1 or (count == 1 and unit != "day"):
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def time_decides(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """A note for each service that shows no last use, where the plan leaves an old generation to its overlap
    or ends one because that is over."""
    for name in dict.fromkeys(_by_time(change, sight.state.keys) for change in changes):
        view = sight.services.get(name or "")
        if view is not None and not view.profile.shows_last_used:
            yield note(
                "time-decides",
                f"{view.name} does not show when a key was last used, so old generations there end by time "
                "alone",
                "Make `rotation.overlap` long enough for everybody to fetch the new secret; whether somebody "
                "still uses the old one cannot be seen.",
            )


def _by_time(change: Change, records: Mapping[str, KeyRecord]) -> str | None:
    """The service of an old generation that the change gives a time to end, or ends because of it."""
    record = records.get(change.address)
    if record is None:
        return None
    if any(step.op == MINT and step.overlap for step in change.steps):
        return record.current.service
    old = {(generation.service, generation.id) for generation in record.deposed}
    timed = all(step.op == END and (step.service, step.key_id) in old for step in change.steps)
    return change.service if timed else None
