"""What a reader of a plan has to know about the services: what cannot be seen, and what takes effect late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from keyform.diagnostics import Diagnostic, note, warning
from keyform.engine.access import origins_lost
from keyform.engine.adoption import never_had
from keyform.engine.diff import EVERYTHING
from keyform.engine.gates import time_decides
from keyform.engine.idle import idle_keys
from keyform.engine.plan import DROP, END, MINT, REFRESH, Change
from keyform.engine.sight import ServiceView, Sight
from keyform.model import DISABLED, format_duration, instant
from keyform.profile import ASSISTED

SHOWN_STALE = 5


def notes(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """Notes on the services that the plan looked at or changes."""
    yield from _unseen(sight)
    yield from _disabled(sight, changes)
    yield from never_had(sight, changes)
    yield from _stale(sight, changes)
    for name, view in sight.services.items():
        profile = view.profile
        ended = sum(step.op == END and step.service == name for change in changes for step in change.steps)
        if ended and profile.revocation_lag:
            keys = "a revoked key" if ended == 1 else f"{ended} revoked keys"
            yield note(
                "revocation-lag",
                f"{keys} at {name} may go on working for up to {format_duration(profile.revocation_lag)}",
                profile.cite("cache"),
            )
    yield from time_decides(sight, changes)
    yield from _left_alive(sight, changes)
    yield from _made_too(sight, changes)
    for change in changes:
        lost = origins_lost(change)
        if lost:
            these = "this origin" if len(lost) == 1 else "these origins"
            rule = sight.services[change.service or ""].profile.cite("allowed_origins")
            yield warning(
                "origins-removed",
                f"{change.address}: {', '.join(lost)} will lose access, as if the keys there were revoked",
                f"Browsers at {these} are refused as soon as this is applied. {rule}".rstrip(),
                address=change.address,
            )
        if any((d.path, d.after) == ("scopes", EVERYTHING) for d in change.diff):
            rule = sight.services[change.service or ""].profile.cite("scopes")
            yield warning(
                "full-access",
                f"{change.address}: without scopes the key may do everything",
                f"Name the scopes that it needs. {rule}".rstrip(),
                address=change.address,
            )
        if credits_lost(change):
            rule = sight.services[change.service or ""].profile.cite("credits")
            yield warning(
                "credits-removed",
                f"{change.address}: without credits the key may be used without end",
                f"Nothing counts its use any more as soon as this is applied. {rule}".rstrip(),
                address=change.address,
            )


def credits_lost(change: Change) -> bool:
    """Whether a change takes away what limited how often a key may be used."""
    return change.action != REFRESH and any(
        difference.path in ("credits", "credits.remaining")
        and difference.before is not None
        and difference.after is None
        for difference in change.diff
    )


def _disabled(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """Keys that somebody switched off at their service, unless the plan ends them."""
    rotating = {change.address for change in changes for step in change.steps if step.op == MINT}
    ending = {(step.service, step.key_id) for change in changes for step in change.steps if step.op == END}
    for address, record in sight.state.keys.items():
        current = record.current
        view = sight.services.get(current.service)
        live = view.keys.get(current.id) if view else None
        if live is None or live.status != DISABLED or (current.service, current.id) in ending:
            continue
        yield warning(
            "disabled-key",
            f"{address}: {current.id} is disabled at {current.service}: it is refused there for now, "
            "and can be enabled again",
            "The new key works for everybody who reads it from its store. Find out why the old one was "
            "disabled before you apply this."
            if address in rotating
            else "keyform does not enable it, and rotates it only if it is asked to while it is disabled. "
            "Enable it at the service if it is to work, or take it out of the configuration to revoke it.",
            address=address,
        )


def _stale(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """Keys that nobody has used for as long as their service's ``stale_after`` says, in one warning per
    service. Keys that the plan ends or replaces are left out."""
    after = {name: view.stale_after for name, view in sight.services.items() if view.stale_after}
    if not after:
        return
    leaving = {change.address for change in changes for step in change.steps if step.op in (END, MINT, DROP)}
    found = tuple(idle_keys(sight.state, sight.services, after, sight.now))
    for name, span in after.items():
        stale = [key for key in found if key.service == name and key.address not in leaving]
        if not stale:
            continue
        named = ", ".join(
            f"{key.address} ({'never, minted' if key.never_used else 'last'} {instant(key.since)})"
            for key in stale[:SHOWN_STALE]
        )
        more = f" and {len(stale) - SHOWN_STALE} more" if len(stale) > SHOWN_STALE else ""
        many = "1 key has" if len(stale) == 1 else f"{len(stale)} keys have"
        lag = sight.services[name].profile.last_used_lag
        late = (
            f" Last uses may be told {format_duration(lag)} late there, which is allowed for." if lag else ""
        )
        yield warning(
            "stale-keys",
            f"{name}: {many} not been used for {format_duration(span)} (`stale_after`): {named}{more}",
            f"Take what nobody needs out of the configuration, which revokes it.{late}",
        )


def still_working(
    services: Mapping[str, ServiceView], ended: Iterable[str | None], now: datetime
) -> Iterator[Diagnostic]:
    """Until when keys that have just been revoked may go on working. ``ended``: the service of each."""
    for name, count in Counter(ended).items():
        view = services.get(name or "")
        if view is not None and view.profile.revocation_lag:
            keys = "the revoked key" if count == 1 else f"the {count} revoked keys"
            yield note(
                "revocation-lag",
                f"{keys} at {view.name} may go on working until {instant(now + view.profile.revocation_lag)}",
                view.profile.cite("cache"),
            )


def _unseen(sight: Sight) -> Iterator[Diagnostic]:
    """What cannot be known about services that show keyform no listing."""
    views = [view for view in sight.services.values() if not view.profile.lists]
    by_hand = [view for view in views if view.backing("create") == ASSISTED]
    for group, where, after in (
        (by_hand, "in a dashboard", "asks whether the key is there"),
        (
            [view for view in views if view not in by_hand],
            "at the service",
            "can revoke the key only if its id had arrived; otherwise every plan tells of it until somebody "
            "has looked there and says so",
        ),
    ):
        if group:
            rules = dict.fromkeys(view.profile.cite("list") for view in group)
            yield note(
                "no-listing",
                f"{', '.join(view.name for view in group)}: keyform sees no listing of keys there and goes "
                "by the state alone",
                f"What somebody makes, changes or revokes {where} outside keyform goes unnoticed, and so "
                "does a key that was granted something else than was asked for. After a crash between a new "
                f"key and its stored secret, the next apply {after}. {' '.join(rules)}".rstrip(),
            )


def _left_alive(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """Keys that keyform lets go of because nothing can revoke them."""
    for change in changes:
        view = sight.services.get(change.service or "")
        record = sight.state.keys.get(change.address)
        if view is None or record is None or view.profile.revokes:
            continue
        if any(step.op == DROP for step in change.steps):
            places = ", ".join(map(str, record.current.places))
            yield warning(
                "left-alive",
                f"{change.address}: {change.key_id} goes on working at {change.service}; keyform forgets it"
                + (f" and leaves its secret at {places}" if places else ""),
                f"Delete that value by hand if nobody needs it. {view.profile.cite('revoke')}".rstrip(),
                address=change.address,
            )


def _made_too(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """Keys that a create makes beside the one that is asked for, and that nobody declares."""
    declared = {(want.service, want.spec.kind) for want in sight.desired.keys}
    creating = dict.fromkeys(
        step.service or ""
        for change in changes
        for step in change.steps
        if step.op == MINT and step.key_id is None
    )
    for view in (sight.services[name] for name in creating if name in sight.services):
        others = [
            kind
            for kind in view.profile.kinds
            if view.profile.made_together and (view.name, kind) not in declared and not view.holder(kind)
        ]
        if others:
            yield warning(
                "made-too",
                f"{view.name} makes its {' and '.join(others)} key as well, and nobody will have its secret",
                "Declare that key too, and its secret is stored; declared later, it is rotated first. "
                + view.profile.cite("create"),
            )
