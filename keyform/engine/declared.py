"""What becomes of one declared key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from keyform.diagnostics import Diagnostic, error
from keyform.engine.diff import changed_fields, duration_diff, explain, sentence
from keyform.engine.due import no_longer_stored, resolve_expiry, rotation_due
from keyform.engine.holding import Amends, Holdings, amends
from keyform.engine.moving import secret_moves
from keyform.engine.options import Asked
from keyform.engine.plan import ALTER, CREATE, RECORD, REPLACE, ROTATE, UPDATE, Change, FieldDiff, Step
from keyform.engine.rollback import held_back
from keyform.engine.sight import ServiceView, presence, seen_digest, terms_of
from keyform.engine.single import rerolled, taken
from keyform.engine.succession import NO_OVERLAP, deposed_to_end, end, kept_diff, mint, succeed
from keyform.engine.wording import reasons_of, whole
from keyform.model import DesiredKey, KeySpec, LiveKey, Place, instant
from keyform.profile import Profile
from keyform.state import KeyRecord

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
    (step,) = change.steps
    return replace(
        change,
        reason=f"declared; {beside} was made together with another key of keyform's, and nobody has its "
        "secret, so it is rotated",
        key_id=beside,
        seen=seen_digest(view.keys[beside]),
        backing=view.backing("reroll"),
        steps=(replace(step, key_id=beside),),
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
        steps=(mint(want, generation),),
    )


def plan_known(
    want: DesiredKey,
    record: KeyRecord,
    services: Mapping[str, ServiceView],
    now: datetime,
    holders: Mapping[Place, str] = MappingProxyType({}),
    stores: Holdings = NO_HOLDINGS,
    asked: Asked | None = None,
) -> Verdict:
    """A declared key that the state knows: nothing, an update, a replacement, a rotation, or a new mint
    for one that was revoked outside keyform. ``holders`` says whose secret is at a place, ``stores`` what
    is there; ``asked`` that somebody wants a new generation."""
    verdict = _plan_known(want, record, services, now, holders, stores, asked)
    if verdict.change is None:
        waits = held_back(want, record, services[want.service], now)
        return replace(verdict, diagnostics=(*verdict.diagnostics, *([waits] if waits else ())))
    return replace(verdict, change=replace(verdict.change, held=stores.digest_of(record.current)))


def _plan_known(
    want: DesiredKey,
    record: KeyRecord,
    services: Mapping[str, ServiceView],
    now: datetime,
    holders: Mapping[Place, str],
    stores: Holdings,
    asked: Asked | None,
) -> Verdict:
    current, view = record.current, services[want.service]
    told = [asked.words] if asked else []
    if current.service != view.name:
        told.append(f"service changed from {current.service} to {view.name}; a new key replaces it")
        diff = (
            FieldDiff("service", current.service, view.name),
            *_other_fields(want, record, view.profile),
        )
        return Verdict(succeed(want, record, REPLACE, "; ".join(told), services, now, diff, asked=asked))
    found = presence(view, current, now)
    if found.live is None and (problem := taken(want, view, current.id)):
        return Verdict(None, (problem,))
    if found.live is None:
        return Verdict(_anew(want, record, services, told, asked))
    if not found.known:
        return UNCHANGED if asked is None else Verdict(None, (_unseen(want, current.id, view),))
    wanted, too_short = resolve_expiry(want, record, found.live.spec.expires_at, view.profile, now)
    # Somebody switched a disabled key off, and no end that it should have had brings about a new one.
    if found.disabled and want.expires_in == record.expires_in:
        too_short = None
    if found.expired or too_short:
        ends = found.live.spec.expires_at
        when = f" on {instant(ends)}" if ends else ""
        told.append((not found.expired and too_short) or f"{current.id} expired{when}")
        return Verdict(succeed(want, record, ROTATE, "; ".join(told), services, now, (), found, asked=asked))
    amiss = amends(want, current, stores)
    if amiss.problem is not None:
        return Verdict(None, (amiss.problem,))
    # Somebody switched a disabled key off; a new one that came about by itself would undo that.
    either = (found.live.spec.expires_at, wanted.expires_at)
    due = None if found.disabled else amiss.rotate or _due(want, record, either, now, holders)
    changed = changed_fields(found.live.spec, wanted)
    fixed = changed - view.profile.mutable
    if fixed or due or asked:
        told += reasons_of(changed, found.live, record, view) if fixed else []
        told += [due] if due else []
        return Verdict(
            succeed(
                want,
                record,
                REPLACE if fixed else ROTATE,
                "; ".join(told),
                services,
                now,
                explain(found.live.spec, wanted, changed, view.profile),
                found,
                amiss.stored,
                asked,
            )
        )
    return _in_place(want, record, view, found.live, wanted, changed, amiss, stores)


def _anew(
    want: DesiredKey,
    record: KeyRecord,
    services: Mapping[str, ServiceView],
    told: list[str],
    asked: Asked | None,
) -> Change:
    """A new key for one that is no longer at its service."""
    current, view = record.current, services[want.service]
    change = plan_new(want, view, record.next_number)
    told.append(f"{current.id} was revoked or deleted at {view.name} outside keyform, so a new key is minted")
    now = asked is not None and asked.now
    (step,) = change.steps
    step = replace(step, now=now)
    ending = deposed_to_end(record, services) if now else []
    if set(current.written) <= set(want.places):
        step = replace(step, gone=True)
    else:  # the old generation stays known until its dead value is erased
        step, ending = replace(step, overlap=NO_OVERLAP), [current, *ending]
    return replace(
        change,
        reason="; ".join(told),
        drift=True,
        seen=seen_digest(None),
        steps=(step, *(end(record, generation, want.places) for generation in ending)),
    )


def _unseen(want: DesiredKey, key_id: str, view: ServiceView) -> Diagnostic:
    return error(
        "incomplete-listing",
        f"{want.address}: keyform will not rotate {key_id}, which the incomplete listing of {view.name} does "
        "not show",
        "Ask again when the service can be read whole.",
        address=want.address,
    )


def _due(
    want: DesiredKey,
    record: KeyRecord,
    ends: tuple[datetime | None, ...],
    now: datetime,
    holders: Mapping[Place, str],
) -> str | None:
    return no_longer_stored(want, record.current, holders) or rotation_due(want, record, ends, now)


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
    terms, old_terms = terms_of(want), record.terms
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
    kept = kept_diff(want, record)
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
