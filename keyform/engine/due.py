"""Why a key needs a new generation, or another expiry, by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from operator import itemgetter

from keyform.engine.diff import duration_diff, sentence
from keyform.model import DesiredKey, KeySpec, LiveKey, Place, Rotation, format_duration, instant
from keyform.state import Generation, KeyRecord


def resolve_expiry(want: DesiredKey, record: KeyRecord, now: datetime) -> tuple[KeySpec, str | None]:
    """The declared spec with the moment its expiry means for this generation; and, where that moment
    has passed already, why a new generation is due."""
    if want.expires_in is None:
        return want.spec, None
    if want.expires_in == record.expires_in:
        ends = record.current.spec.expires_at
        return (want.spec if ends is None else replace(want.spec, expires_at=ends)), None
    ends = record.current.created_at + want.expires_in
    if ends > now:
        return replace(want.spec, expires_at=ends), None
    span = duration_diff("expires_in", record.expires_in, want.expires_in)
    return want.spec, f"{sentence(span)}, which this key has outlived already"


def no_longer_stored(want: DesiredKey, current: Generation, holders: Mapping[Place, str]) -> str | None:
    """Why a new generation is due when another key\'s secret is where this one\'s was, or None. ``holders``
    says whose secret is at a place."""
    if current.secret_lost:
        return f"nobody has the secret of {current.id}: it was lost in an interrupted apply"
    if current.fingerprint is None or current.places:
        return None
    takers = [holders[place] for place in want.places if holders.get(place, want.address) != want.address]
    return "its secret is no longer stored" + (f": {takers[0]} has taken its place" if takers else "")


LEAST_REST = timedelta(hours=24)
"""For how long at least no schedule rotates a key after a rollback, and how long before its end it is rotated
all the same."""


def held_back_until(policy: Rotation, rolled_back: datetime, ends: datetime | None) -> datetime:
    """Until when a generation that a rollback has made current again, and that expires at ``ends``, is not
    rotated by its schedule: the same schedule has brought about what was rolled back."""
    until = rolled_back + max(policy.overlap, LEAST_REST)
    return until if ends is None else min(until, ends - LEAST_REST)


def next_rotation(
    policy: Rotation | None, born: datetime, ends: datetime | None, rolled_back: datetime | None = None
) -> tuple[datetime, str] | None:
    """When a generation ``born`` then, which expires at ``ends``, is due to be followed by the next one, and
    why; None for never. ``rolled_back``: when a rollback made it current again."""
    if policy is None:
        return None
    moments = []
    if policy.every is not None:
        why = f"every {format_duration(policy.every)}, and it was minted {instant(born)}"
        moments.append((born + policy.every, why))
    if policy.before_expiry is not None and ends is not None:
        why = f"it expires {instant(ends)}, in less than {format_duration(policy.before_expiry)}"
        moments.append((ends - policy.before_expiry, why))
    first = min(moments, key=itemgetter(0), default=None)
    if first is None or rolled_back is None:
        return first
    return max(first[0], held_back_until(policy, rolled_back, ends)), first[1]


def rotation_due(want: DesiredKey, record: KeyRecord, live: LiveKey, now: datetime) -> str | None:
    """Why a new generation is due by the key's `rotation`, or None."""
    born, ends = record.current.created_at, live.spec.expires_at
    due = next_rotation(want.rotation, born, ends, record.rolled_back_at)
    return f"rotation is due: {due[1]}" if due is not None and due[0] <= now else None
