"""The state: what keyform owns, as recorded by the last apply. It never holds a secret.

One key stands on one line of the file, so that a diff of two states reads well.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from keyform.doubt import Doubt
from keyform.encoding import spec_from_json, spec_to_json
from keyform.ended import Ended, Undone
from keyform.errors import StateError
from keyform.model import KeySpec, Place, Rotation, instant, parse_instant
from keyform.terms import Terms

FORMAT = "keyform-state"
VERSION = 1

Versions = tuple[tuple[Place, str], ...]
"""By place, what a store called a write; a store without versions is left out."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One key at ``service`` that belongs, or belonged, to a declared key.

    ``fingerprint`` None: the secret was never seen (an adopted key), or was lost (one with a ``marker``).
    ``revoke_at`` is set on deposed generations only. ``marker`` is the label it was minted with, or None
    when adopted. ``leftovers`` are places that the secret has moved away from and that may hold it still.
    ``versions`` are what the stores called the writes of it, where they number writes at all. A deposed one
    was replaced at ``replaced_at`` (None in older states); with ``revoke_now`` it ends used or not, a
    current one when another follows it. ``spec`` is what was asked for; ``otherwise`` names the fields that
    the service granted otherwise.
    """

    number: int
    service: str
    id: str
    spec: KeySpec
    created_at: datetime
    places: tuple[Place, ...] = ()
    fingerprint: str | None = None
    marker: str | None = None
    revoke_at: datetime | None = None
    leftovers: tuple[Place, ...] = ()
    versions: Versions = ()
    replaced_at: datetime | None = None
    revoke_now: bool = False
    otherwise: tuple[str, ...] = ()

    @property
    def secret_lost(self) -> bool:
        """Whether keyform minted it, could not store its secret, and could not revoke it either."""
        return self.marker is not None and self.fingerprint is None and not self.places

    @property
    def secret_unseen(self) -> bool:
        """Whether it was adopted, so that keyform never had its secret."""
        return self.marker is None and self.fingerprint is None

    @property
    def written(self) -> tuple[Place, ...]:
        """Every place where its secret may be."""
        return (*self.places, *self.leftovers)

    def version_at(self, place: Place) -> str | None:
        """The version of the last write there that is known."""
        return next((version for where, version in self.versions if where == place), None)

    def stored_as(self, versions: Versions) -> Generation:
        """The same with these versions beside those that its places had already."""
        known = {**dict(self.versions), **dict(versions)}
        return replace(self, versions=tuple((p, known[p]) for p in self.written if p in known))

    def moved_to(self, places: tuple[Place, ...], versions: Versions = ()) -> Generation:
        """The same, kept at ``places`` from now on. A secret that was never seen leaves nothing behind;
        ``on_revoke`` says nothing about a place that it has left."""
        old = [place for place in self.written if place not in places] if self.fingerprint else []
        left = tuple(Place(place.store, place.path, place.field) for place in old)
        return replace(self, places=places, leftovers=left).stored_as(versions)


PAST = 5
"""Of how many generations that have ended the record of a key keeps the fingerprint."""


@dataclass(frozen=True, slots=True)
class Past:
    """A generation that has ended: its salted fingerprint, by which its secret is known again."""

    number: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A declared key in the state: its current generation and the deposed ones, oldest first. ``past`` are
    the last ``PAST`` that have ended, oldest first. ``rolled_back_at``: when a rollback made the current one
    current again."""

    address: str
    current: Generation
    deposed: tuple[Generation, ...] = ()
    expires_in: timedelta | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    protect: bool = False
    rotation: Rotation | None = None
    past: tuple[Past, ...] = ()
    rolled_back_at: datetime | None = None

    @property
    def terms(self) -> Terms:
        """What is kept of the declaration beside what the service holds."""
        return Terms(self.expires_in, self.owner, self.tags, self.protect, self.rotation)

    @property
    def next_number(self) -> int:
        """The number of the next generation: no number is given twice, a rollback in between or not."""
        numbers = [g.number for g in self.generations()] + [one.number for one in self.past]
        return max(numbers) + 1

    def remembering(self, ended: Generation) -> KeyRecord:
        """The same with a generation among the past ones."""
        return self if ended.fingerprint is None else self.knowing(Past(ended.number, ended.fingerprint))

    def knowing(self, past: Past) -> KeyRecord:
        """The same with one more that has ended."""
        others = (one for one in self.past if one.fingerprint != past.fingerprint)
        return replace(self, past=(*others, past)[-PAST:])

    def generations(self) -> tuple[Generation, ...]:
        """Every generation, the current one last."""
        return (*self.deposed, self.current)


@dataclass(frozen=True, slots=True)
class ProjectRecord:
    """A project whose allowlist keyform manages."""

    address: str
    service: str
    id: str
    allowed_origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class State:
    """``lineage`` names the series of states for ever; ``serial`` counts its writes. ``run`` is the id of
    the apply that wrote it last, by which recovery knows whether a journal is in it already. ``services``
    and ``stores`` say by name where those are that hold something of this state (no secrets). ``doubts`` are
    keys of nobody that may exist, oldest first, ``ended`` those that no listing has shown to be gone yet,
    ``undone`` mints of addresses that have no record."""

    lineage: str
    serial: int = 0
    run: str | None = None
    keys: Mapping[str, KeyRecord] = field(default_factory=dict)
    projects: Mapping[str, ProjectRecord] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)
    stores: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[Doubt, ...] = ()
    ended: tuple[Ended, ...] = ()
    undone: tuple[Undone, ...] = ()

    @staticmethod
    def fresh() -> State:
        """An empty state of a new lineage."""
        return State(lineage=str(uuid.uuid4()))

    def with_key(self, record: KeyRecord) -> State:
        """This state with one key added or replaced."""
        return replace(self, keys={**self.keys, record.address: record})

    def doubting(self, doubts: Iterable[Doubt]) -> State:
        """This state with further doubts; one that it has already is added once only."""
        known = {doubt.marker: doubt for doubt in (*self.doubts, *doubts)}
        return replace(self, doubts=tuple(known.values()))


def place_to_json(place: Place) -> dict[str, Any]:
    out: dict[str, Any] = {"store": place.store, "path": place.path}
    if place.field is not None:
        out["field"] = place.field
    if place.on_revoke != "delete":
        out["on_revoke"] = place.on_revoke
    return out


def place_from_json(data: Mapping[str, Any]) -> Place:
    return Place(data["store"], data["path"], data.get("field"), data.get("on_revoke", "delete"))


def stored_to_json(places: tuple[Place, ...], versions: Versions) -> list[dict[str, Any]]:
    """Places with the versions that are known of them."""
    known = dict(versions)
    return [place_to_json(p) | ({"version": known[p]} if p in known else {}) for p in places]


def versions_from_json(data: Iterable[Mapping[str, Any]]) -> Versions:
    """The versions that :func:`stored_to_json` wrote."""
    return tuple((place_from_json(entry), entry["version"]) for entry in data if "version" in entry)


def generation_to_json(generation: Generation) -> dict[str, Any]:
    out: dict[str, Any] = {
        "number": generation.number,
        "service": generation.service,
        "id": generation.id,
        "spec": spec_to_json(generation.spec),
        "created_at": instant(generation.created_at),
        "secret": stored_to_json(generation.places, generation.versions),
        "fingerprint": generation.fingerprint,
        "marker": generation.marker,
    }
    if generation.revoke_at is not None:
        out["revoke_at"] = instant(generation.revoke_at)
    if generation.replaced_at is not None:
        out["replaced_at"] = instant(generation.replaced_at)
    if generation.revoke_now:
        out["revoke_now"] = True
    if generation.otherwise:
        out["granted_otherwise"] = list(generation.otherwise)
    if generation.leftovers:
        out["leftovers"] = stored_to_json(generation.leftovers, generation.versions)
    return out


def generation_from_json(data: Mapping[str, Any]) -> Generation:
    revoke_at, replaced_at = data.get("revoke_at"), data.get("replaced_at")
    return Generation(
        data["number"],
        data["service"],
        data["id"],
        spec_from_json(data["spec"]),
        parse_instant(data["created_at"]),
        tuple(place_from_json(place) for place in data["secret"]),
        data["fingerprint"],
        data["marker"],
        parse_instant(revoke_at) if revoke_at else None,
        tuple(place_from_json(place) for place in data.get("leftovers", ())),
        versions_from_json((*data["secret"], *data.get("leftovers", ()))),
        parse_instant(replaced_at) if replaced_at else None,
        data.get("revoke_now", False),
        tuple(data.get("granted_otherwise", ())),
    )


def _record_to_json(record: KeyRecord) -> dict[str, Any]:
    out: dict[str, Any] = {"current": generation_to_json(record.current)}
    if record.deposed:
        out["deposed"] = [generation_to_json(generation) for generation in record.deposed]
    out |= record.terms.as_json()
    if record.rolled_back_at is not None:
        out["rolled_back_at"] = instant(record.rolled_back_at)
    if record.past:
        out["past"] = [{"number": one.number, "fingerprint": one.fingerprint} for one in record.past]
    return out


def _record_from_json(address: str, data: Mapping[str, Any]) -> KeyRecord:
    terms, back = Terms.from_json(data), data.get("rolled_back_at")
    return KeyRecord(
        address,
        generation_from_json(data["current"]),
        tuple(generation_from_json(generation) for generation in data.get("deposed", ())),
        terms.expires_in,
        terms.owner,
        terms.tags,
        terms.protect,
        terms.rotation,
        tuple(Past(one["number"], one["fingerprint"]) for one in data.get("past", ())),
        parse_instant(back) if back else None,
    )


def dump_state(state: State) -> bytes:
    """The bytes of a state file."""

    def block(entries: Mapping[str, Any]) -> str:
        lines = [f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(entries.items())]
        return "{\n" + ",\n".join(lines) + "\n  }" if lines else "{}"

    keys = block({address: _record_to_json(record) for address, record in state.keys.items()})
    projects = block(
        {
            record.address: {
                "service": record.service,
                "id": record.id,
                "allowed_origins": list(record.allowed_origins),
            }
            for record in state.projects.values()
        }
    )
    told = ""
    for name, entries in (("doubts", state.doubts), ("ended", state.ended), ("undone", state.undone)):
        lines = ",\n".join(f"    {json.dumps(entry.as_json())}" for entry in entries)
        told += f'  "{name}": [\n{lines}\n  ],\n' if lines else ""
    return (
        f'{{\n  "format": {json.dumps(FORMAT)},\n  "version": {VERSION},\n'
        f'  "lineage": {json.dumps(state.lineage)},\n  "serial": {state.serial},\n'
        f'  "run": {json.dumps(state.run)},\n'
        f'  "services": {block(state.services)},\n  "stores": {block(state.stores)},\n'
        f'{told}  "projects": {projects},\n  "keys": {keys}\n}}\n'
    ).encode()


def load_state(data: bytes, where: str, advice: str = "Check the path in `state:`.") -> State:
    """The state in a file's bytes. ``where`` names the file in messages, ``advice`` says what to do when
    it is none.

    Raises :class:`StateError` for bytes that are no state, and for one of a newer version.
    """
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise StateError(
            f"{where} is not valid JSON",
            f"{problem}. It may have been edited or cut off; restore it from a backup.",
        ) from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise StateError(f"{where} is not a keyform state file", advice)
    version = raw.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise StateError(
            f"{where} has state version {version}, and this keyform reads up to {VERSION}",
            "It was written by a newer keyform. Upgrade keyform; nothing was changed.",
        )
    try:
        return State(
            raw["lineage"],
            raw["serial"],
            raw["run"],
            {address: _record_from_json(address, record) for address, record in raw["keys"].items()},
            {
                address: ProjectRecord(
                    address, record["service"], record["id"], tuple(record["allowed_origins"])
                )
                for address, record in raw["projects"].items()
            },
            dict(raw.get("services", {})),
            dict(raw.get("stores", {})),
            tuple(Doubt.from_json(doubt) for doubt in raw.get("doubts", ())),
            tuple(Ended.from_json(entry) for entry in raw.get("ended", ())),
            tuple(Undone.from_json(entry) for entry in raw.get("undone", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise StateError(
            f"{where} is damaged: {type(problem).__name__}: {problem}",
            "It may have been edited by hand; restore it from a backup.",
        ) from None
