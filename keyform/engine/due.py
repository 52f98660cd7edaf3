"""Why a key needs a new generation, or another expiry, by now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from operator import itemgetter

from keyform.engine.diff import duration_diff, sentence
from keyform.engine.granted import same_end
from keyform.model import DesiredKey, KeySpec, Place, Rotation, format_duration, instant
from keyform.profile import Profile
from keyform.state import Generation, KeyRecord

_LONGER = timedelta(days=1)
"""By how much the life that a key has left may be longer than its span: clocks differ, and by no more."""


def resolve_expiry(
    want: DesiredKey, record: KeyRecord, shown: datetime | None, profile: Profile, now: datetime
) -> tuple[KeySpec, str | None]:
    """The declared spec with the moment its expiry means for this generation, as its service has ``shown`` it
    if that is the same; and, where that moment has passed already, why a new generation is due."""
    if want.expires_in is None:
        same = same_end(shown, want.spec.expires_at, profile)
        return (replace(want.spec, expires_at=shown) if same else want.spec), None
    counted = record.current.created_at + want.expires_in
    if want.expires_in == record.expires_in:
        ends = record.current.spec.expires_at
        longer = ends is not None and ends - now > want.expires_in + _LONGER
        if ends is None or (longer and record.rolled_back_at is None):
            ends = counted  # the service granted what is recorded, and nobody asked for it
        if same_end(shown, ends, profile, counted):
            return replace(want.spec, expires_at=shown), None
        # An end that is over by now would be one of a key that works.
        over = f"{record.current.id} was to expire on {instant(ends)}" if ends <= now else None
        return replace(want.spec, expires_at=ends), over
    ends = shown if shown is not None and same_end(shown, counted, profile) else counted
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


def rotation_due(
    want: DesiredKey, record: KeyRecord, ends: Iterable[datetime | None], now: datetime
) -> str | None:
    """Why a new generation is due by the key's `rotation`, or None. ``ends``: when it ends, as is shown and
    as is meant; the first counts."""
    first = min((end for end in ends if end is not None), default=None)
    due = next_rotation(want.rotation, record.current.created_at, first, record.rolled_back_at)
    return f"rotation is due: {due[1]}" if due is not None and due[0] <= now else None
