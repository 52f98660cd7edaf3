"""How long keys live: without end, without a successor, or past what was declared."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from keyform.diagnostics import NOTE
from keyform.engine.audit.finding import Finding, ManagedKey
from keyform.engine.audit.rules import DIES_UNREPLACED, NO_EXPIRY, NO_ROTATION, ROTATION_OVERDUE
from keyform.engine.due import next_rotation
from keyform.model import DesiredKey, format_duration, instant

SOON = timedelta(days=14)


def policies(key: ManagedKey) -> Iterator[Finding]:
    """Declared keys that never end, or that nothing replaces."""
    want = key.want
    if want is None:
        return
    profile = key.view.profile
    rotates = _rotates(want)
    if want.expires_in is None and want.spec.expires_at is None:
        if profile.expiry.settable and profile.fields & {"expires_in", "expires_at"}:
            yield key.found(
                NO_EXPIRY, f"it never expires, although keys of {profile.title} can", "expires_in"
            )
        elif not rotates:
            message = f"it never expires: keyform knows of no way to let keys of {profile.title} expire"
            yield key.found(NO_EXPIRY, message, severity=NOTE)
    if not rotates and want.spec.expires_at is None:
        ends = want.expires_in
        until = f", so its users stop when it expires after {format_duration(ends)}" if ends else ""
        yield key.found(NO_ROTATION, f"nothing rotates it{until}", "rotation")


def deadlines(key: ManagedKey, now: datetime, grace: timedelta) -> Iterator[Finding]:
    """Rotations that are overdue, and expiries that nothing will forestall."""
    want, record, seen = key.want, key.record, key.seen
    if want is None or record is None or seen is None or seen.live is None:
        return
    ends = seen.live.spec.expires_at
    due = next_rotation(want.rotation, record.current.created_at, ends)
    if seen.expired:
        at = f" since {instant(ends)}" if ends is not None else ""
        yield key.found(DIES_UNREPLACED, f"{record.current.id} has been expired{at}", "rotation")
        return
    if due is not None and due[0] + grace <= now:
        message = f"its rotation has been due since {instant(due[0])}: {due[1]}"
        yield key.found(ROTATION_OVERDUE, message, "rotation")
    # Whoever wrote `expires_at` wants it to end then.
    replaced = due is not None and ends is not None and due[0] < ends
    if ends is not None and ends - SOON <= now and want.spec.expires_at is None and not replaced:
        message = f"it expires {instant(ends)}, and nothing rotates it before"
        yield key.found(DIES_UNREPLACED, message, "rotation")


def _rotates(want: DesiredKey) -> bool:
    policy = want.rotation
    return policy is not None and (policy.every is not None or policy.before_expiry is not None)
