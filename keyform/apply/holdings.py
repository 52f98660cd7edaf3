"""Looking at the stores: whether each place still holds what was written to it. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from keyform.apply.places import recorded_secret
from keyform.apply.seen import is_of_write
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic
from keyform.engine.holding import (
    ANOTHER,
    AS_RECORDED,
    CHANGED,
    ENDED,
    MISSING,
    NOT_SEEN,
    OTHER,
    Earlier,
    Found,
    Holdings,
)
from keyform.engine.options import DESTROY, IMPORT_ONLY, NORMAL, Options
from keyform.engine.planner import is_targeted
from keyform.errors import StoreError
from keyform.model import Place, fingerprint_matches
from keyform.ports import Held, Store
from keyform.state import Generation, KeyRecord, State

FIRST = 16
QUICK = 0.002
"""Seconds: after ``FIRST`` looks, a store that took longer for each is asked by ``THREADS`` threads."""
THREADS = 16
GIVE_UP = 3
"""Failures after which a store is taken for one that cannot be looked at."""

Wanted = tuple[Place, KeyRecord | None]
"""A place, and the key whose secret is recorded there; None where a secret is to come for the first time."""


def look_at_stores(
    ws: Workspace, state: State, options: Options, unsettled: frozenset[Place], *, ahead: bool = False
) -> Holdings:
    """What the places of all declared keys hold; with ``ahead``, also whether something is where a secret is
    to come. ``unsettled`` are places that an interrupted apply may have written to; they are left out. A
    store that fails makes a diagnostic, and no error."""
    by_store: dict[str, list[Wanted]] = {}
    for place, record in (*_wanted(ws, state, options), *(_coming(ws, state, options) if ahead else ())):
        if place not in unsettled:
            by_store.setdefault(place.store, []).append((place, record))
    recorded = {place.store for r in state.keys.values() for g in r.generations() for place in g.written}
    used = recorded | {place.store for want in ws.desired.keys for place in want.places}
    coming = {place: want.address for want in ws.desired.keys for place in want.places}
    looks = [
        _Look(ws, state, name, tuple(wanted), coming)
        for name, wanted in by_store.items()
        if name in ws.config.stores
    ]
    if len(looks) > 1:
        with ThreadPoolExecutor(len(looks), thread_name_prefix="look") as pool:
            list(pool.map(_Look.run, looks))
    else:
        for look in looks:
            look.run()
    places: dict[Place, Found] = {}
    for look in looks:
        places |= look.found
    return Holdings(
        places,
        frozenset(_unread(ws, used)),
        frozenset(recorded - set(ws.config.stores)),
        {look.name: look.problem for look in looks if look.problem is not None},
        frozenset(place for look in looks for place in look.taken),
        frozenset(place for look in looks for place in look.own),
        _earlier(ws, state, options),
    )


def _earlier(ws: Workspace, state: State, options: Options) -> dict[tuple[str, str], Earlier]:
    """What is left of the secrets of older generations of the keys that are to be rolled back."""
    found = {}
    for address, record in state.keys.items():
        for generation in record.deposed if options.rolls_back(address) else ():
            looked = [(place, _not_given(ws, place, generation)) for place in generation.written]
            found[(generation.service, generation.id)] = Earlier(
                tuple(place for place, why in looked if why is None),
                "; ".join(why for _, why in looked if why),
            )
    return found


def _not_given(ws: Workspace, place: Place, generation: Generation) -> str | None:
    """Why the secret of a generation cannot be had from a place, not even as an earlier version."""
    if place.store not in ws.config.stores:
        return f"the store {place.store!r} is no longer declared"
    try:
        store = ws.store(place.store)
        if not store.readable:
            return f"nothing can be read back from {place}"
        if recorded_secret(ws, (place,), generation) is not None:
            return None
        version = generation.version_at(place)
        if version is None:
            return f"{place} holds another value by now, and its store keeps no earlier ones"
        if store.get(place, version) is None:
            return f"{place} holds another value by now, and its store does not give the one before"
    except StoreError as problem:
        return problem.diagnostics[0].summary
    return f"what {place} gives as the value of generation {generation.number} is another than keyform wrote"


def _wanted(ws: Workspace, state: State, options: Options) -> Iterator[Wanted]:
    if options.mode in (DESTROY, IMPORT_ONLY):
        return
    declared = {want.address for want in ws.desired.keys} | {move.before for move in ws.desired.moves}
    for address, record in state.keys.items():
        leaving = options.mode == NORMAL  # the secret of a key that is no longer declared is to be deleted
        known = (address in declared or leaving) and record.current.fingerprint is not None
        if known and (not options.scope or is_targeted(address, options, ws.desired)):
            for place in record.current.places:
                yield place, record


def _coming(ws: Workspace, state: State, options: Options) -> Iterator[Wanted]:
    """The declared places that no secret of the state is recorded at."""
    if options.mode != NORMAL:
        return
    known = {place for r in state.keys.values() for g in r.generations() for place in g.written}
    for want in ws.desired.keys:
        if not options.scope or is_targeted(want.address, options, ws.desired):
            yield from ((place, None) for place in want.places if place not in known)


def _unread(ws: Workspace, names: set[str]) -> Iterator[str]:
    """Those of the stores whose values cannot be read back. One that cannot be opened has told why."""
    for name in names & set(ws.config.stores):
        with suppress(StoreError):
            if not ws.store(name).readable:
                yield name


@dataclass(slots=True)
class _Look:
    """At one store. ``coming``: which key's secret is to be where."""

    ws: Workspace
    state: State
    name: str
    wanted: tuple[Wanted, ...]
    coming: Mapping[Place, str]
    found: dict[Place, Found] = field(default_factory=dict)
    taken: list[Place] = field(default_factory=list)
    own: list[Place] = field(default_factory=list)
    problem: Diagnostic | None = None
    failures: int = 0

    def run(self) -> None:
        try:
            store = self.ws.store(self.name)
        except StoreError as problem:
            self.problem = problem.diagnostics[0]
            return
        begun = self.ws.clock.monotonic()
        for entry in self.wanted[:FIRST]:
            self._one(store, entry)
        rest = self.wanted[FIRST:]
        if self.ws.clock.monotonic() - begun <= QUICK * FIRST:
            for entry in rest:
                self._one(store, entry)
        elif rest:
            with ThreadPoolExecutor(THREADS, thread_name_prefix="look") as pool:
                list(pool.map(lambda entry: self._one(store, entry), rest))

    def _is_own(self, store: Store, place: Place, held: Held) -> bool:
        """Whether what is there is a secret of the very key that is to come there, be it one of a mint that
        was undone. Then apply needs no leave to write."""
        address = self.coming.get(place, "")
        record = self.state.keys.get(address)
        generations = record.generations() if record else ()
        if not store.readable:
            return any(is_of_write(held, place, generation) for generation in generations)
        prints = [generation.fingerprint for generation in generations]
        prints += [past.fingerprint for past in (record.past if record else ())]
        prints += [one.fingerprint for one in self.state.undone if one.address == address]
        with suppress(StoreError):
            value = store.get(place) if any(prints) else None
            return value is not None and any(one and fingerprint_matches(value, one) for one in prints)
        return False

    def _one(self, store: Store, entry: Wanted) -> None:
        place, record = entry
        if self.failures >= GIVE_UP:
            return
        try:
            if record is not None:
                self.found[place] = _found(store, place, record)
            elif (held := store.look(place)) is not None:
                (self.own if self._is_own(store, place, held) else self.taken).append(place)
        except StoreError as problem:
            self.failures += 1
            self.problem = self.problem or problem.diagnostics[0]


def _found(store: Store, place: Place, record: KeyRecord) -> Found:
    """Raises ``StoreError`` where nothing can be told."""
    held = store.look(place)
    if held is None:
        return Found(MISSING)
    recorded = record.current.version_at(place)
    if recorded is not None and held.version == recorded:
        return AS_RECORDED
    if not store.readable:
        if is_of_write(held, place, record.current):
            return AS_RECORDED
        return NOT_SEEN if recorded is None else Found(CHANGED, held.version)
    try:
        value = store.get(place)
    except StoreError as problem:
        if recorded is None:
            raise
        kept = _kept(store, place, record, recorded)
        return Found(CHANGED, held.version, kept=kept, why=problem.diagnostics[0].summary)
    if value is None:
        return Found(MISSING)
    for generation in (record.current, *record.deposed):
        if generation.fingerprint is not None and fingerprint_matches(value, generation.fingerprint):
            if generation is record.current:
                return AS_RECORDED
            kept = _kept(store, place, record, recorded)
            return Found(ANOTHER, held.version, generation.number, kept)
    for past in record.past:
        if fingerprint_matches(value, past.fingerprint):
            return Found(ENDED, held.version, past.number, _kept(store, place, record, recorded))
    return Found(OTHER, held.version, kept=_kept(store, place, record, recorded))


def _kept(store: Store, place: Place, record: KeyRecord, version: str | None) -> bool:
    """Whether the store still gives what keyform wrote there."""
    if version is None:
        return False
    try:
        value = store.get(place, version)
    except StoreError:
        return False
    return value is not None and fingerprint_matches(value, record.current.fingerprint or "")
