"""Events: what an apply has brought about. The journal is made of them, and the state is their sum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from keyform.encoding import spec_from_json, spec_to_json
from keyform.ended import Ended
from keyform.engine.remember import remembering
from keyform.model import KeySpec, Place, instant, parse_instant
from keyform.state import (
    Generation,
    KeyRecord,
    ProjectRecord,
    State,
    Versions,
    generation_from_json,
    generation_to_json,
    place_from_json,
    place_to_json,
    stored_to_json,
    versions_from_json,
)
from keyform.terms import Terms

MINTED, ADOPTED, UPDATED, RECORDED = "minted", "adopted", "updated", "recorded"
RELOCATED, ERASED, REVOKED, FORGOTTEN = "relocated", "erased", "revoked", "forgotten"
RENAMED, ORIGINS, PROJECT_FORGOTTEN, READDRESSED = "renamed", "origins", "project_forgotten", "readdressed"
PROMOTED = "promoted"
KINDS = (
    MINTED, ADOPTED, UPDATED, RECORDED, RELOCATED, ERASED, REVOKED, FORGOTTEN, RENAMED, ORIGINS,
    PROJECT_FORGOTTEN, READDRESSED, PROMOTED,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is so now.

    ``minted``, ``at`` that moment: ``generation`` is current; the one before is deposed until ``revoke_at``,
    or no longer exists when ``revoke_at`` is None; with ``now``, all older ones are to end. ``adopted``:
    likewise for a key that existed. ``updated``: the current generation is as ``spec``, but for the fields
    ``otherwise``, which the service granted otherwise. ``recorded``: the record has ``terms``. ``relocated``:
    its secret is at ``places``, in ``versions`` as far as it was written there, and at the old ones no longer
    needed; old ones that may be the same under another name (``twins``) are forgotten. ``erased``: it is no
    longer at ``places``, which were such old ones; where that emptied others, it is there in ``versions``.
    ``revoked``: the generation ``key_id`` of ``service`` is no more, as the service said ``at`` that moment
    where its listing can show it. ``forgotten``: the address has left the state. ``renamed``: it was
    ``before``. ``origins``: ``project`` allows exactly ``origins``.
    ``project_forgotten``: the project has left the state. ``readdressed``: the service or store of that
    address is at ``where``. ``promoted``: the deposed ``key_id`` is current again, ``at`` that moment, its
    secret at ``places`` in ``versions``; the one that was is deposed until ``revoke_at``.
    """

    kind: str
    address: str
    service: str | None = None
    generation: Generation | None = None
    key_id: str | None = None
    spec: KeySpec | None = None
    terms: Terms | None = None
    places: tuple[Place, ...] = ()
    revoke_at: datetime | None = None
    before: str | None = None
    project: str | None = None
    origins: tuple[str, ...] = ()
    where: str | None = None
    versions: Versions = ()
    twins: tuple[Place, ...] = ()
    at: datetime | None = None
    now: bool = False
    otherwise: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """JSON form; absent parts are left out."""
        out: dict[str, Any] = {"kind": self.kind, "address": self.address}
        for name in ("service", "key_id", "before", "project", "where"):
            if (value := getattr(self, name)) is not None:
                out[name] = value
        if self.generation is not None:
            out["generation"] = generation_to_json(self.generation)
        if self.spec is not None:
            out["spec"] = spec_to_json(self.spec)
        if self.terms is not None:
            out["terms"] = self.terms.as_json()
        if self.places:
            out["secret"] = stored_to_json(self.places, self.versions)
        if rewritten := tuple(place for place, _ in self.versions if place not in self.places):
            out["rewritten"] = stored_to_json(rewritten, self.versions)
        if self.twins:
            out["twins"] = [place_to_json(place) for place in self.twins]
        if self.revoke_at is not None:
            out["revoke_at"] = instant(self.revoke_at)
        if self.at is not None:
            out["at"] = instant(self.at)
        if self.now:
            out["now"] = True
        if self.otherwise:
            out["granted_otherwise"] = list(self.otherwise)
        if self.kind == ORIGINS:
            out["origins"] = list(self.origins)
        return out

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Event:
        """The inverse of :meth:`as_json`. Raises ``ValueError`` for a kind that is not known here: what an
        event says must never be left out of the state."""
        if data["kind"] not in KINDS:
            raise ValueError(f"unknown event {data['kind']!r}")
        revoke_at, at = data.get("revoke_at"), data.get("at")
        return Event(
            data["kind"],
            data["address"],
            data.get("service"),
            generation_from_json(data["generation"]) if "generation" in data else None,
            data.get("key_id"),
            spec_from_json(data["spec"]) if "spec" in data else None,
            Terms.from_json(data["terms"]) if "terms" in data else None,
            tuple(place_from_json(place) for place in data.get("secret", ())),
            parse_instant(revoke_at) if revoke_at else None,
            data.get("before"),
            data.get("project"),
            tuple(data.get("origins", ())),
            data.get("where"),
            versions_from_json((*data.get("secret", ()), *data.get("rewritten", ()))),
            tuple(place_from_json(place) for place in data.get("twins", ())),
            parse_instant(at) if at else None,
            data.get("now", False),
            tuple(data.get("granted_otherwise", ())),
        )


def fold(state: State, events: Iterable[Event]) -> State:
    """The state after ``events``. The serial is the writer's business and stays as it is."""
    keys = dict(state.keys)
    projects = dict(state.projects)
    where = {"services": dict(state.services), "stores": dict(state.stores)}
    taken: dict[Place, str] = {}
    ended = {(one.service, one.id): one for one in state.ended}
    for event in events:
        if event.kind == READDRESSED:
            section, _, name = event.address.partition(".")
            where[section][name] = event.where or ""
            if section == "services":
                there = {key: one for key, one in ended.items() if one.service == name}
                ended |= {key: replace(one, where=event.where or "") for key, one in there.items()}
            continue
        if (one := _ended(keys, ended, where["services"], event)) is not None:
            ended[one.service, one.id] = one
        _fold_one(keys, projects, event)
        _take_places(keys, taken, event)
    if taken:
        keys = {address: _left_to(record, taken) for address, record in keys.items()}
    after = replace(
        state,
        keys=keys,
        projects=projects,
        services=where["services"],
        stores=where["stores"],
        ended=tuple(ended.values()),
    )
    return remembering(after)


def _ended(
    keys: Mapping[str, KeyRecord],
    known: Mapping[tuple[str, str], Ended],
    where: Mapping[str, str],
    event: Event,
) -> Ended | None:
    """The key that was revoked now, or once more, where its service may yet show that it is gone."""
    if event.kind != REVOKED or event.at is None or event.service is None or event.key_id is None:
        return None
    if (before := known.get((event.service, event.key_id))) is not None:
        return replace(before, at=event.at)
    record = keys.get(event.address)
    for generation in record.generations() if record else ():
        if (generation.service, generation.id) == (event.service, event.key_id) and event.service in where:
            return Ended(
                event.address, event.service, where[event.service], event.key_id, generation.number, event.at
            )
    return None


def _take_places(keys: Mapping[str, KeyRecord], taken: dict[Place, str], event: Event) -> None:
    """Note whose secret each place holds by now."""
    record = keys.get(event.address)
    if record is None or record.current.fingerprint is None:
        return
    for place in record.current.places:
        if event.kind in (MINTED, RELOCATED, PROMOTED) or (
            event.kind == RENAMED and taken.get(place) == event.before
        ):
            taken[place] = event.address


def _left_to(record: KeyRecord, taken: Mapping[Place, str]) -> KeyRecord:
    """The record without the places that another key's secret has been put to: a place holds one value."""
    if all(taken.get(p, record.address) == record.address for g in record.generations() for p in g.written):
        return record

    def kept(places: tuple[Place, ...]) -> tuple[Place, ...]:
        return tuple(place for place in places if taken.get(place, record.address) == record.address)

    def left(generation: Generation) -> Generation:
        places, leftovers = kept(generation.places), kept(generation.leftovers)
        return replace(generation, places=places, leftovers=leftovers).stored_as(())

    return replace(record, current=left(record.current), deposed=tuple(map(left, record.deposed)))


def _same_key(one: Generation, other: Generation) -> bool:
    return (one.service, one.id) == (other.service, other.id)


def _fold_one(keys: dict[str, KeyRecord], projects: dict[str, ProjectRecord], event: Event) -> None:
    record = keys.get(event.address)
    match event.kind:
        case "minted" | "adopted" if event.generation is not None:
            deposed: tuple[Generation, ...] = record.deposed if record else ()
            again = record is not None and _same_key(record.current, event.generation)
            if record and event.revoke_at is not None and not again:
                old = replace(record.current, revoke_at=event.revoke_at, replaced_at=event.at)
                deposed = (*deposed, old)
            elif record and not again:
                record = record.remembering(record.current)
            if event.now:
                deposed = tuple(_at_once(generation, event) for generation in deposed)
            past = record.past if record else ()
            keys[event.address] = _with_terms(
                KeyRecord(event.address, event.generation, deposed, past=past), event.terms or Terms()
            )
        case "updated" if record and event.spec is not None:
            current = replace(record.current, spec=event.spec, otherwise=event.otherwise)
            keys[event.address] = _with_terms(replace(record, current=current), event.terms)
        case "recorded" if record:
            keys[event.address] = _with_terms(record, event.terms)
        case "relocated" if record:
            moved = record.current.moved_to(event.places, event.versions)
            left = tuple(place for place in moved.leftovers if place not in event.twins)
            keys[event.address] = replace(record, current=replace(moved, leftovers=left))
        case "promoted" if record:
            keys[event.address] = _promoted(record, event)
        case "erased" if record:
            left = tuple(place for place in record.current.leftovers if place not in event.places)
            current = replace(record.current, leftovers=left).stored_as(event.versions)
            keys[event.address] = replace(record, current=current)
        case "revoked" if record:
            ended = (event.service, event.key_id)
            lives = tuple(g for g in record.deposed if (g.service, g.id) != ended)
            for generation in record.generations():
                if (generation.service, generation.id) == ended:
                    record = record.remembering(generation)
            if (record.current.service, record.current.id) != ended:
                keys[event.address] = replace(record, deposed=lives)
            elif lives:
                keys[event.address] = replace(record, current=lives[-1], deposed=lives[:-1])
            else:
                del keys[event.address]
        case "forgotten":
            keys.pop(event.address, None)
        case "renamed" if event.before in keys:
            keys[event.address] = replace(keys.pop(event.before), address=event.address)
        case "origins" if event.service is not None and event.project is not None:
            projects[event.address] = ProjectRecord(
                event.address, event.service, event.project, event.origins
            )
        case "project_forgotten":
            projects.pop(event.address, None)


def _promoted(record: KeyRecord, event: Event) -> KeyRecord:
    asked = (event.service, event.key_id)
    old = next((g for g in record.deposed if (g.service, g.id) == asked), None)
    if old is None:  # it is current already
        return record
    back = replace(old, revoke_at=None, replaced_at=None).moved_to(event.places, event.versions)
    others = (g for g in record.deposed if g is not old)
    newer = replace(record.current, revoke_at=event.revoke_at, replaced_at=event.at)
    return replace(record, current=back, deposed=(*others, newer), rolled_back_at=event.at)


def _at_once(deposed: Generation, event: Event) -> Generation:
    """One that is to end now; except where its service, which revokes none, ends it by itself later."""
    waits = event.revoke_at is not None and event.at is not None and event.revoke_at > event.at
    if waits and deposed.service == event.service:
        return deposed
    moments = [moment for moment in (deposed.revoke_at, event.at) if moment is not None]
    return replace(deposed, revoke_at=min(moments, default=None), revoke_now=True)


def _with_terms(record: KeyRecord, terms: Terms | None) -> KeyRecord:
    if terms is None:
        return record
    return replace(
        record,
        expires_in=terms.expires_in,
        owner=terms.owner,
        tags=terms.tags,
        protect=terms.protect,
        rotation=terms.rotation,
    )
