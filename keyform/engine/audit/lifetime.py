"""How long keys live: without end, without a successor, or past what was declared."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from keyform.engine.audit.finding import Finding, ManagedKey
from keyform.engine.audit.rules import DIES_UNREPLACED, NO_EXPIRY, NO_ROTATION, ROTATION_OVERDUE
from keyform.engine.due import next_rotation
from keyform.model import DesiredKey, format_duration, instant
from keyform.profile import REQUIRED, Profile

SOON = timedelta(days=14)


def policies(key: ManagedKey) -> Iterator[Finding]:
    """Declared keys that never end, or that nothing replaces. A key that works from its origins only sits in
    web pages for all to see, so that neither would keep a secret."""
    want = key.want
    if want is None or want.spec.expires_at is not None or _is_public(want, key.view.profile):
        return
    profile = key.view.profile
    can_expire = profile.expiry.settable and bool(profile.fields & {"expires_in", "expires_at"})
    if want.expires_in is None and can_expire:
        yield key.found(NO_EXPIRY, f"it never expires, although keys of {profile.title} can", "expires_in")
    if not _rotates(want):
        after = ""
        if want.expires_in is not None:
            after = f", so its users stop when it expires after {format_duration(want.expires_in)}"
        elif not can_expire:
            after = f", and keyform knows of no way to let keys of {profile.title} expire"
        yield key.found(NO_ROTATION, f"nothing rotates it{after}", "rotation")


def deadlines(key: ManagedKey, now: datetime, grace: timedelta) -> Iterator[Finding]:
    """Rotations that are overdue, and expiries that nothing will forestall."""
    want, record, seen = key.want, key.record, key.seen
    if want is None or record is None or seen is None or seen.live is None:
        return
    ends = seen.live.spec.expires_at
    due = next_rotation(want.rotation, record.current.created_at, ends)
    if seen.expired:
        at = f" since {instant(ends)}" if ends is not None else ""
        late = due is not None and ends is not None and due[0] < ends
        missed = f"; its rotation was due {instant(due[0])}, and no run has done it" if due and late else ""
        yield key.found(DIES_UNREPLACED, f"{record.current.id} has been expired{at}{missed}", "rotation")
        return
    if due is not None and due[0] + grace <= now:
        message = f"its rotation has been due since {instant(due[0])}: {due[1]}"
        yield key.found(ROTATION_OVERDUE, message, "rotation")
    # Whoever wrote `expires_at` wants it to end then.
    replaced = due is not None and ends is not None and due[0] < ends
    if ends is not None and ends - SOON <= now and want.spec.expires_at is None and not replaced:
        message = f"it expires {instant(ends)}, and nothing rotates it before"
        yield key.found(DIES_UNREPLACED, message, "rotation")


def _is_public(want: DesiredKey, profile: Profile) -> bool:
    kind = profile.kinds.get(want.spec.kind or "")
    return kind is not None and kind.origins == REQUIRED


def _rotates(want: DesiredKey) -> bool:
    policy = want.rotation
    return policy is not None and (policy.every is not None or policy.before_expiry is not None)
