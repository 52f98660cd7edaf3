"""Why a key needs a new generation, or another expiry, by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from keyform.engine.diff import duration_diff, sentence
from keyform.model import DesiredKey, KeySpec, LiveKey, Place, format_duration, instant
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


def rotation_due(want: DesiredKey, record: KeyRecord, live: LiveKey, now: datetime) -> str | None:
    """Why a new generation is due by the key's `rotation`, or None."""
    policy = want.rotation
    if policy is None:
        return None
    born = record.current.created_at
    if policy.every is not None and born + policy.every <= now:
        return f"rotation is due: every {format_duration(policy.every)}, and it was minted {instant(born)}"
    ends = live.spec.expires_at
    if policy.before_expiry is not None and ends is not None and ends - policy.before_expiry <= now:
        margin = format_duration(policy.before_expiry)
        return f"rotation is due: it expires {instant(ends)}, in less than {margin}"
    return None
