"""Things as they were when a plan was made: what has passed by itself since is taken back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from keyform.engine.gates import gate_of
from keyform.engine.holding import Holdings, unseen_in
from keyform.engine.passing import Passing
from keyform.engine.plan import Change, Plan
from keyform.engine.sight import ServiceView, Sight
from keyform.model import ACTIVE, EXPIRED, DesiredKey, LiveKey, instant
from keyform.state import Generation, State

SKEW = timedelta(minutes=5)
"""By how much the clocks of machines and services may differ."""


def with_passing(changes: tuple[Change, ...], sight: Sight) -> tuple[Change, ...]:
    """The changes, each with what passes by itself of the key that it is about."""
    wants = {want.address: want for want in sight.desired.keys}
    known = _by_id(sight.state)
    out = []
    for change in changes:
        found = _found(change, known, sight)
        if found is not None:
            given = _given(change, known, wants.get(change.address))
            passing = _passing(*found, given, wants.get(change.address))
            change = replace(change, passing=passing) if passing != change.passing else change
        out.append(change)
    return tuple(out)


def as_then(sight: Sight, plan: Plan) -> Sight:
    """``sight`` at the moment when the plan was made. What passes by itself is as the plan says that it was,
    where that can have been so."""
    wants = {want.address: want for want in sight.desired.keys}
    known = _by_id(sight.state)
    keys: dict[str, dict[str, LiveKey]] = {}
    for change in plan.changes:
        found = _found(change, known, sight)
        if found is not None:
            view, live = found
            then = _then(view, live, change.passing, wants.get(change.address), plan.created_at)
            if then is not live:
                keys.setdefault(view.name, {})[live.id] = then
    services = dict(sight.services)
    for name, others in keys.items():
        view = services[name]
        shown = tuple(others.get(key.id, key) for key in view.listing.keys)
        services[name] = replace(
            view, listing=replace(view.listing, keys=shown), keys={**view.keys, **others}
        )
    return replace(sight, services=services, stores=_as_seen(sight.stores, plan), now=plan.created_at)


Known = Mapping[str, list[Generation]]


def _by_id(state: State) -> Known:
    known: dict[str, list[Generation]] = {}
    for record in state.keys.values():
        for generation in record.generations():
            known.setdefault(generation.id, []).append(generation)
    return known


def _found(change: Change, known: Known, sight: Sight) -> tuple[ServiceView, LiveKey] | None:
    """The key that a change is about, at the service where its generation is."""
    if change.key_id is None:
        return None
    names = [generation.service for generation in known.get(change.key_id, ())]
    at = change.service if change.service in names or not names else names[0]
    view = sight.services.get(at or "")
    live = view.keys.get(change.key_id) if view else None
    return (view, live) if view is not None and live is not None else None


def _given(change: Change, known: Known, want: DesiredKey | None) -> bool:
    """Whether the credits of a key are those that keyform gave it, or is about to: it goes by those, whatever
    is left of them."""
    generations = known.get(change.key_id or "")
    specs = [generation.spec for generation in generations] if generations else [want.spec] if want else []
    return any(spec.credits for spec in specs)


def _passing(view: ServiceView, live: LiveKey, given: bool, want: DesiredKey | None) -> Passing:
    credits = live.spec.credits
    return Passing(
        live.last_used_at if _gated(view, want) else None,
        credits.remaining if credits is not None and not given else None,
        live.status == EXPIRED,
    )


def _gated(view: ServiceView, want: DesiredKey | None) -> bool:
    return want is not None and gate_of(want.rotation, view) is not None


def _then(
    view: ServiceView, live: LiveKey, said: Passing, want: DesiredKey | None, made: datetime
) -> LiveKey:
    """The key as the plan that was ``made`` then says that it was. A last use is another one only where the
    service may have told of the later one since, and a key expires but once."""
    used, ends = live.last_used_at, live.spec.expires_at
    if _gated(view, want) and used is not None and used > made - view.profile.last_used_lag - SKEW:
        before = said.last_used_at
        if before is None or instant(before) < instant(used):
            live = replace(live, last_used_at=before)
    if live.status == EXPIRED and not said.expired and (ends is None or ends > made - SKEW):
        live = replace(live, status=ACTIVE)
    if said.credits is not None and live.spec.credits is not None:
        left = replace(live.spec.credits, remaining=said.credits)
        live = replace(live, spec=replace(live.spec, credits=left))
    return live


def _as_seen(stores: Holdings, plan: Plan) -> Holdings:
    """What the stores hold without those that could not be looked at when the plan was made."""
    unseen = unseen_in(plan.diagnostics, {place.store for place in stores.found})
    if not unseen:
        return stores
    return replace(stores, found={p: found for p, found in stores.found.items() if p.store not in unseen})
