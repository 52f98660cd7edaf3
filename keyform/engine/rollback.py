"""Making an older generation current again, while it works and its secret can still be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from keyform.diagnostics import Diagnostic, error, note
from keyform.engine.diff import changed_fields, explain
from keyform.engine.due import held_back_until, next_rotation
from keyform.engine.holding import Holdings
from keyform.engine.plan import PROMOTE, ROLLBACK, Change, FieldDiff, Step
from keyform.engine.sight import ServiceView, presence, seen_digest
from keyform.engine.wording import command
from keyform.model import DesiredKey, KeySpec, LiveKey, Place, format_duration, instant
from keyform.state import Generation, KeyRecord


def plan_rollback(
    want: DesiredKey,
    record: KeyRecord,
    services: Mapping[str, ServiceView],
    stores: Holdings,
    now: datetime,
    reason: str | None = None,
) -> Change | Diagnostic:
    """Make the newest older generation that still works current again, or say why that cannot be."""
    old = target(want, record, services, now)
    if isinstance(old, Diagnostic):
        return old
    view, current = services[old.service], record.current
    given = stores.earlier.get((old.service, old.id))
    if given is None or not given.places:
        return _refused(
            record,
            f"nobody gives the secret of generation {old.number} any more"
            + (f": {given.why}" if given and given.why else ""),
            "A store that keeps versions gives it back for as long as it keeps them. "
            f"{command('rotate', want.address)} makes a new key instead.",
        )
    overlap = want.rotation.overlap if want.rotation else timedelta(0)
    live = presence(view, old, now).live
    spec = live.spec if live is not None else old.spec
    why = f"asked for: {reason}" if reason else "asked for"
    other = sorted(changed_fields(spec, _declared(want, spec)))
    until = f"; not as declared until the next apply: {', '.join(other)}" if other else ""
    changed = changed_fields(current.spec, spec) - {"expires_at"}
    return Change(
        want.address,
        ROLLBACK,
        f"{why}; generation {old.number} is current again, with its secret from {given.places[0]}; "
        f"{current.id} lives on for {format_duration(overlap)} beside it{until}",
        old.service,
        old.id,
        old.number,
        (
            FieldDiff("generation", current.number, old.number),
            *explain(current.spec, spec, changed, view.profile),
        ),
        seen=seen_digest(live),
        held=stores.digest_of(old),
        steps=(
            Step(
                PROMOTE,
                want.address,
                old.service,
                old.id,
                generation=old.number,
                places=written_by_rollback(want, record),
                sources=given.places,
                overlap=overlap,
            ),
        ),
    )


def written_by_rollback(want: DesiredKey, record: KeyRecord) -> tuple[Place, ...]:
    """Where the secret of the older generation is to be: where that of the current one is."""
    return record.current.places or want.places


def target(
    want: DesiredKey, record: KeyRecord, services: Mapping[str, ServiceView], now: datetime
) -> Generation | Diagnostic:
    """The generation that a rollback goes to, or why there is none."""
    dead: list[str] = []
    for old in reversed(record.deposed):
        view = services.get(old.service)
        found = presence(view, old, now) if view is not None else None
        if view is not None and not view.profile.revokes:
            ends = f", {instant(old.revoke_at)}" if old.revoke_at else ""
            return _refused(
                record,
                f"{view.profile.title} ends generation {old.number} by itself{ends}, and nothing prolongs it",
                f"{command('rotate', want.address)} makes a new key.",
            )
        if view is None or found is None:
            dead.append(f"generation {old.number} is at {old.service}, which is no longer declared")
        elif not found.known:
            return _refused(
                record,
                f"the listing of {view.name} is incomplete, and does not show generation {old.number}",
                "Ask again when the service can be read whole.",
            )
        elif found.live is None:
            dead.append(f"generation {old.number} is revoked")
        elif found.expired or found.disabled:
            dead.append(f"generation {old.number} {'has expired' if found.expired else 'is disabled'}")
        else:
            problem = _unfit(want, record, old, view, found.live, now)
            return old if problem is None else problem
    return _refused(
        record,
        "no older generation works: " + "; ".join(dead) if dead else "there is no older generation",
        f"{command('rotate', want.address)} makes a new key.",
    )


def _unfit(
    want: DesiredKey,
    record: KeyRecord,
    old: Generation,
    view: ServiceView,
    live: LiveKey,
    now: datetime,
) -> Diagnostic | None:
    """Why the newest generation that works cannot be current again."""
    rotate = f"{command('rotate', want.address)} makes a new key."
    this = f"generation {old.number}"
    if old.revoke_now:
        return _refused(record, f"{this} was to end at once, as somebody asked with --now", rotate)
    if old.revoke_at is None or old.revoke_at <= now:
        over = f", {instant(old.revoke_at)}" if old.revoke_at else ""
        return _refused(record, f"the overlap of {this} is over{over}", rotate)
    if old.fingerprint is None:
        return _refused(record, f"keyform never had the secret of {this}", rotate)
    fixed = sorted(changed_fields(live.spec, _declared(want, live.spec)) - view.profile.mutable)
    if old.service != want.service or fixed:
        other = ", ".join(fixed) if old.service == want.service else f"service ({old.service})"
        return _refused(
            record,
            f"{this} has another {other} than is declared, so the next apply would replace it again",
            "Undo the edit that replaced it first, and roll back then.",
        )
    return None


def _declared(want: DesiredKey, live: KeySpec) -> KeySpec:
    """What is declared, with the end that the generation has, where each has one of its own."""
    return want.spec if want.expires_in is None else replace(want.spec, expires_at=live.expires_at)


def _refused(record: KeyRecord, why: str, what: str) -> Diagnostic:
    return error(
        "no-rollback", f"{record.address} cannot be rolled back: {why}", what, address=record.address
    )


def held_back(want: DesiredKey, record: KeyRecord, view: ServiceView, now: datetime) -> Diagnostic | None:
    """A note that a rotation which is due waits because of a rollback."""
    live, back = view.keys.get(record.current.id), record.rolled_back_at
    if back is None or want.rotation is None:
        return None
    born, ends = record.current.created_at, (live or record.current).spec.expires_at
    due = next_rotation(want.rotation, born, ends)
    until = held_back_until(want.rotation, back, ends)
    if due is None or not due[0] <= now < until:
        return None
    return note(
        "held-back",
        f"{record.address}: rotation is due, held back until {instant(until)} because of a rollback "
        f"{instant(back)}",
        f"{command('rotate', record.address)} rotates it before.",
        address=record.address,
    )
