"""What the services show: keys that nobody manages or uses, and managed ones that do not work."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from keyform.diagnostics import NOTE
from keyform.engine.audit.finding import Finding, ManagedKey
from keyform.engine.audit.rules import (
    DEPOSED_HELD,
    DISABLED_KEY,
    KEY_GONE,
    NEVER_USED,
    PERHAPS_STRAY,
    SECRET_UNKNOWN,
    STALE,
    UNMANAGED,
)
from keyform.engine.gates import deadline, in_use
from keyform.engine.idle import idle_keys
from keyform.engine.listings import is_of_another_state, unowned_keys
from keyform.engine.sight import Sight, presence
from keyform.model import ACTIVE, LiveKey, format_duration, instant

STALE_AFTER = timedelta(days=90)
"""For services that declare no ``stale_after``."""


def unmanaged(sight: Sight) -> Iterator[Finding]:
    """Active keys that the state does not own. Those with the label of another state are left to that."""
    for view, key in unowned_keys(sight):
        if key.status != ACTIVE or is_of_another_state(sight.state, key):
            continue
        message = f"{_named(key)} is active at {view.name} and not managed"
        if key.label is not None:
            message += ", although it carries the label of this state"
        if view.profile.shows_last_used:
            used = instant(key.last_used_at) if key.last_used_at else "never"
            message += f"; last used: {used}"
        yield Finding(UNMANAGED, message, UNMANAGED.severity, None, view.name, key.id)


def unused(sight: Sight, keys: tuple[ManagedKey, ...]) -> Iterator[Finding]:
    """Managed keys that nobody uses, with the services' lag allowed for."""
    after = {name: view.stale_after or STALE_AFTER for name, view in sight.services.items()}
    by_address = {key.address: key for key in keys}
    for idle in idle_keys(sight.state, sight.services, after, sight.now):
        if (key := by_address.get(idle.address)) is None:
            continue
        span = format_duration(after[idle.service])
        if idle.never_used:
            message = (
                f"it has never been used since it was minted {instant(idle.since)}, {span} ago or longer"
            )
        else:
            message = f"it was last used {instant(idle.since)}, {span} ago or longer"
        yield key.found(NEVER_USED if idle.never_used else STALE, message)


def broken(key: ManagedKey) -> Iterator[Finding]:
    """Declared keys that somebody disabled or revoked, and those whose secret nobody has."""
    if key.record is None or key.seen is None or key.want is None:
        return
    current = key.record.current
    if key.seen.disabled:
        yield key.found(DISABLED_KEY, f"{current.id} is disabled at {key.view.name}")
    if key.seen.live is None and key.seen.known:
        yield key.found(KEY_GONE, f"{current.id} is revoked, or gone, at {key.view.name}")
    elif current.fingerprint is None:
        how = "its secret was lost in an interrupted apply" if current.secret_lost else "it was adopted"
        yield key.found(SECRET_UNKNOWN, f"{how}, so no store has the secret of {current.id}", "secret")


def held(key: ManagedKey, sight: Sight, grace: timedelta) -> Iterator[Finding]:
    """Old generations that work on after their overlap; those that their gate holds are a note."""
    record = key.record
    rotation = key.want.rotation if key.want is not None else None
    for old in record.deposed if record is not None else ():
        view = sight.services.get(old.service)
        if view is None or record is None or old.revoke_at is None or old.revoke_at + grace > sight.now:
            continue
        seen = presence(view, old, sight.now)
        if seen.live is None or not seen.known or seen.expired:
            continue
        message = (
            f"generation {old.number} ({old.id}) still works at {view.name}; its overlap was over "
            f"{instant(old.revoke_at)}"
        )
        use = None if old.revoke_now else in_use(old, rotation, view, sight.now)
        latest = deadline(old, record, rotation)
        gated = use is not None and (latest is None or latest > sight.now)
        if use is not None:
            message += f"; held: {use.last}" if gated else f"; its time is up, though: {use.last}"
        yield key.found(DEPOSED_HELD, message, "rotation", about=old.id, severity=NOTE if gated else None)


def doubtful(sight: Sight) -> Iterator[Finding]:
    """Keys that may have been minted where nobody can look."""
    for doubt in sight.state.doubts:
        message = (
            f"a key may have been minted at {doubt.service} on {instant(doubt.at)}; nobody has looked yet"
        )
        want = next((key for key in sight.desired.keys if key.address == doubt.address), None)
        source = want.source if want is not None else None
        rule = PERHAPS_STRAY
        yield Finding(
            rule, message, rule.severity, doubt.address, doubt.service, about=doubt.marker, source=source
        )


def _named(key: LiveKey) -> str:
    return f'{key.id} ("{key.spec.name}")' if key.spec.name else key.id
