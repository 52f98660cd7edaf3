"""What becomes of one declared key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from keyform.diagnostics import Diagnostic
from keyform.engine.diff import changed_fields, duration_diff, explain, sentence
from keyform.engine.due import no_longer_stored, resolve_expiry, rotation_due
from keyform.engine.holding import Amends, Holdings, amends
from keyform.engine.moving import secret_moves
from keyform.engine.plan import (
    ALTER,
    CREATE,
    END,
    MINT,
    RECORD,
    REPLACE,
    ROTATE,
    UPDATE,
    Change,
    FieldDiff,
    Step,
    Stored,
)
from keyform.engine.sight import Presence, ServiceView, presence, recorded_terms, seen_digest, terms_of
from keyform.engine.single import rerolled, taken
from keyform.engine.wording import reasons_of, terms_diff, whole, with_on_revoke, worded
from keyform.model import (
    DesiredKey,
    KeySpec,
    LiveKey,
    Place,
    format_duration,
    instant,
)
from keyform.profile import Profile
from keyform.state import Generation, KeyRecord

NO_OVERLAP = timedelta(0)
NO_HOLDINGS = Holdings()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is planned for one address: a change or none, and what to tell the user."""

    change: Change | None = None
    diagnostics: tuple[Diagnostic, ...] = ()


UNCHANGED = Verdict()


def plan_first(want: DesiredKey, view: ServiceView, records: Collection[KeyRecord]) -> Change | Diagnostic:
    """A first key for an address that the state does not know; where a kind has exactly one key, it may be
    there already."""
    beside = rerolled(want, view, None, records)
    if beside is None:
        return taken(want, view) or plan_new(want, view)
    change = plan_new(want, view)
    (mint,) = change.steps
    return replace(
        change,
        reason=f"declared; {beside} was made together with another key of keyform's, and nobody has its "
        "secret, so it is rotated",
        key_id=beside,
        seen=seen_digest(view.keys[beside]),
        backing=view.backing("reroll"),
        steps=(replace(mint, key_id=beside),),
    )


def plan_new(want: DesiredKey, view: ServiceView, generation: int = 1) -> Change:
    """A first key for an address that the state does not know."""
    return Change(
        want.address,
        CREATE,
        f"declared, and not yet at {view.name}",
        service=view.name,
        generation=generation,
        diff=whole(want, view.profile),
        backing=view.backing("create"),
        steps=(_mint(want, generation),),
    )


def plan_known(
    want: DesiredKey,
    record: KeyRecord,
    view: ServiceView,
    now: datetime,
    holders: Mapping[Place, str] = MappingProxyType({}),
    stores: Holdings = NO_HOLDINGS,
) -> Verdict:
    """A declared key that the state knows: nothing, an update, a replacement, a rotation, or a new mint
    for one that was revoked outside keyform. ``holders`` says whose secret is at a place, ``stores`` what
    is there."""
    verdict = _plan_known(want, record, view, now, holders, stores)
    if verdict.change is None:
        return verdict
    return replace(verdict, change=replace(verdict.change, held=stores.digest_of(record.current)))


def _plan_known(
    want: DesiredKey,
    record: KeyRecord,
    view: ServiceView,
    now: datetime,
    holders: Mapping[Place, str],
    stores: Holdings,
) -> Verdict:
    current = record.current
    if current.service != view.name:
        return Verdict(
            _successor(
                want,
                record,
                REPLACE,
                f"service changed from {current.service} to {view.name}; a new key replaces it",
                view,
                (
                    FieldDiff("service", current.service, view.name),
                    *_other_fields(want, record, view.profile),
                ),
            )
        )
    found = presence(view, current, now)
    if found.live is None and (problem := taken(want, view, current.id)):
        return Verdict(None, (problem,))
    if found.live is None:
        change = replace(
            plan_new(want, view, current.number + 1),
            reason=f"{current.id} was revoked or deleted at {view.name} outside keyform, so a new key is "
            "minted",
            drift=True,
            seen=seen_digest(None),
        )
        (mint,) = change.steps
        if set(current.written) <= set(want.places):
            return Verdict(replace(change, steps=(replace(mint, gone=True),)))
        # The old generation stays known until its dead value is erased.
        return Verdict(replace(change, steps=(replace(mint, overlap=NO_OVERLAP), _end(want, current))))
    if not found.known:
        return UNCHANGED
    wanted, too_short = resolve_expiry(want, record, now)
    if found.expired:
        ends = found.live.spec.expires_at
        when = f" on {instant(ends)}" if ends else ""
        return Verdict(_successor(want, record, ROTATE, f"{current.id} expired{when}", view, (), found))
    if too_short:
        return Verdict(_successor(want, record, ROTATE, too_short, view, (), found))
    amiss = amends(want, current, stores)
    if amiss.problem is not None:
        return Verdict(None, (amiss.problem,))
    # Somebody switched a disabled key off; a new one that came about by itself would undo that.
    due = None if found.disabled else amiss.rotate or _due(want, record, found.live, now, holders)
    changed = changed_fields(found.live.spec, wanted)
    fixed = changed - view.profile.mutable
    if fixed or due:
        reasons = [*reasons_of(changed, found.live, record, view)] if fixed else []
        if due:
            reasons.append(due)
        return Verdict(
            _successor(
                want,
                record,
                REPLACE if fixed else ROTATE,
                "; ".join(reasons),
                view,
                explain(found.live.spec, wanted, changed, view.profile),
                found,
                amiss.stored,
            )
        )
    return _in_place(want, record, view, found.live, wanted, changed, amiss, stores)


def _due(
    want: DesiredKey, record: KeyRecord, live: LiveKey, now: datetime, holders: Mapping[Place, str]
) -> str | None:
    return no_longer_stored(want, record.current, holders) or rotation_due(want, record, live, now)


def _in_place(
    want: DesiredKey,
    record: KeyRecord,
    view: ServiceView,
    live: LiveKey,
    wanted: KeySpec,
    changed: frozenset[str],
    amiss: Amends,
    stores: Holdings,
) -> Verdict:
    terms, old_terms = terms_of(want), recorded_terms(record)
    gives = tuple(place for place in record.current.places if stores.gives(place))
    why, moves, left = secret_moves(want, record.current, amiss, gives)
    if amiss.rotate is not None:  # of a disabled key: nothing is copied, and nothing takes its place
        why, moves, left = [], [], []
    if not changed and terms == old_terms and not moves:
        return UNCHANGED
    steps: list[Step] = []
    diff = list(explain(live.spec, wanted, changed, view.profile))
    span = _span_diff(want, record)
    if span is not None:
        diff.insert(0, span)
    reasons = reasons_of(changed, live, record, view, span)
    if span is not None and "expires_at" not in changed:
        reasons.insert(0, sentence(span))
    if changed:
        steps.append(
            Step(
                ALTER,
                want.address,
                view.name,
                record.current.id,
                spec=wanted,
                fields=tuple(sorted(changed)),
                terms=terms,
            )
        )
    elif terms != old_terms:
        steps.append(Step(RECORD, want.address, terms=terms))
    kept = _kept_diff(want, record)
    diff += kept
    reasons += [f"{sentence(d)} (kept by keyform; no call)" for d in kept if d.path != "secret"]
    reasons += why
    steps += moves
    diff += left
    drift = any(getattr(live.spec, f) != getattr(record.current.spec, f) for f in changed)
    return Verdict(
        Change(
            want.address,
            UPDATE,
            "; ".join(reasons),
            view.name,
            record.current.id,
            record.current.number,
            tuple(diff),
            drift or bool(amiss.stored),
            seen_digest(live),
            view.backing("update") if changed else None,
            tuple(steps),
            amiss.stored,
        )
    )


def _span_diff(want: DesiredKey, record: KeyRecord) -> FieldDiff | None:
    """A changed ``expires_in``. Nothing stands on a side that has a moment (``expires_at``) instead."""
    if want.expires_in == record.expires_in:
        return None
    span = duration_diff("expires_in", record.expires_in, want.expires_in)
    if want.spec.expires_at is not None:
        return replace(span, after=None)
    if record.expires_in is None and record.current.spec.expires_at is not None:
        return replace(span, before=None)
    return span


def _other_fields(want: DesiredKey, record: KeyRecord, profile: Profile) -> tuple[FieldDiff, ...]:
    """What a key at another service will be that the one before it is not."""
    have, spec = record.current.spec, want.spec
    if want.expires_in is not None:
        spec = replace(spec, expires_at=have.expires_at)  # it follows from the span
    span = _span_diff(want, record)
    return (*explain(have, spec, changed_fields(have, spec), profile), *((span,) if span else ()))


def _kept_diff(want: DesiredKey, record: KeyRecord) -> list[FieldDiff]:
    """What differs in the things that the service knows nothing of."""
    out = [d for d in terms_diff(recorded_terms(record), terms_of(want)) if d.before != d.after]
    places, old_places = want.places, record.current.places
    if with_on_revoke(places) != with_on_revoke(old_places):
        out.append(FieldDiff("secret", [worded(p) for p in old_places], [worded(p) for p in places]))
    return out


def _successor(
    want: DesiredKey,
    record: KeyRecord,
    action: str,
    reason: str,
    view: ServiceView,
    diff: tuple[FieldDiff, ...],
    found: Presence | None = None,
    stored: tuple[Stored, ...] = (),
) -> Change:
    """A new generation: minted and stored first, the old one revoked last, after its overlap."""
    old = record.current
    overlap = want.rotation.overlap if want.rotation else NO_OVERLAP
    if found and found.expired:
        overlap = NO_OVERLAP
    mint = replace(_mint(want, old.number + 1), overlap=overlap)
    operation = "create"
    if action == ROTATE and rerolled(want, view, record, ()) is not None:
        operation, overlap = "reroll", view.profile.rerolled_overlap(overlap)
        mint = replace(mint, key_id=old.id, overlap=overlap)
    steps = [mint]
    if not overlap:
        steps.append(_end(want, old))
    else:
        reason += f"; {old.id} lives on for {format_duration(overlap)} beside the new key"
    diff = (*diff, *_kept_diff(want, record))
    live = found.live if found else None
    drift = live is not None and live.spec != old.spec
    return Change(
        want.address,
        action,
        reason,
        view.name,
        old.id,
        old.number + 1,
        diff,
        drift or bool(stored),
        seen_digest(live) if live else None,
        view.backing(operation),
        tuple(steps),
        stored,
    )


def _end(want: DesiredKey, old: Generation) -> Step:
    """Revoke a generation and erase its secret, except where the new one's is."""
    return Step(
        END,
        want.address,
        old.service,
        old.id,
        generation=old.number,
        places=tuple(place for place in old.written if place not in want.places),
    )


def _mint(want: DesiredKey, generation: int) -> Step:
    return Step(
        MINT,
        want.address,
        want.service,
        generation=generation,
        spec=want.spec,
        places=want.places,
        terms=terms_of(want),
    )
