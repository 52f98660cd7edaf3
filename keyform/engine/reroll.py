"""Generations that a service makes from the one before, by its own rotation, and not by a create.

Where a kind has exactly one key there is no other way. Elsewhere the service makes a *copy*, with the label
and the end of the old key, and ends the old one in a while; keyform takes that only as another way to mint:
what was done to the old key is undone, and it ends as any old generation does (docs/adr/0014).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from keyform.engine.diff import changed_fields
from keyform.engine.due import resolve_expiry
from keyform.engine.sight import ServiceView, presence
from keyform.engine.single import rerolled
from keyform.model import ACTIVE, DesiredKey
from keyform.profile import Profile
from keyform.state import KeyRecord

LEAST = timedelta(seconds=1)
SOON = timedelta(hours=1)
"""A key that ends so soon may have ended by the time it is copied."""
SHORTER = timedelta(minutes=3)
"""By how much an end that a copied key is given comes before its own: enough to tell the two apart, however
the service rounds."""


def copies(profile: Profile) -> bool:
    """Whether the service's rotation makes a copy of a key, though keys can be created too."""
    return profile.reroll_deadline is not None and "reroll" in profile.operations


def source(
    want: DesiredKey,
    view: ServiceView,
    record: KeyRecord | None,
    records: Collection[KeyRecord],
    now: datetime,
) -> str | None:
    """The id of the key that the next generation is made from by the service's own rotation; None where it is
    created. ``record`` is that of ``want``, ``records`` are those of the whole state."""
    if view.profile.one_per_kind:
        return rerolled(want, view, record, records)
    if record is None or not copies(view.profile) or record.current.service != view.name:
        return None
    return record.current.id if _copied(want, view, record, now) else None


def _copied(want: DesiredKey, view: ServiceView, record: KeyRecord, now: datetime) -> bool:
    """Whether a copy is all that is wanted: the key works, carries the label that keyform gave it, and is as
    declared. An expired key cannot be copied, and an adopted one is to become keyform's in everything."""
    current = record.current
    shown = view.keys.get(current.id)
    marker = (shown.label or "").rpartition("/")[2] if shown else ""
    if shown is None or shown.status != ACTIVE or not marker or marker != current.marker:
        return False
    found = presence(view, current, now)
    if found.live is None or not found.known or found.expired:
        return False
    if (ends := found.live.spec.expires_at) is not None and ends - now < SOON:
        return False
    wanted, too_short = resolve_expiry(want, record, found.live.spec.expires_at, view.profile, now)
    return too_short is None and not changed_fields(found.live.spec, wanted)


def lives_on(profile: Profile, overlap: timedelta) -> timedelta:
    """For how long the old key lives on beside a new one that was made from it. Where only the service ends
    it: ``overlap`` in whole steps, and never less than one, so that it works until the new one is stored."""
    if copies(profile):
        return overlap
    step = profile.overlap_step or LEAST
    return max(-(-overlap // step), 1) * step


def asked_life(profile: Profile, overlap: timedelta, ends: datetime | None, now: datetime) -> timedelta:
    """How long a service that makes copies is asked to leave the old key alive, until its own end is put
    back, in whole seconds: as long as the profile says, the ``overlap`` at least, and not quite as long as
    the key was to live, to its ``ends``. A step is the least."""
    asked = max(profile.reroll_deadline or overlap, overlap)
    if ends is not None:
        asked = min(asked, ends - now - SHORTER)
    return max(asked // LEAST * LEAST, profile.overlap_step, LEAST)
