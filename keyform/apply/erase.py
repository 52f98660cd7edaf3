"""Erasing secrets, and never the only copy of one that lives on.

Two places of a key may be one place that is spelled in two ways, by a default of the store, a link, or two
stores with options that mean the same. What was seen before a copy tells most of it before anything is
erased; what the places hold after the erasure tells the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from keyform.apply.places import labels_of
from keyform.apply.seen import Seen, is_of_write
from keyform.apply.workspace import Workspace
from keyform.errors import StoreError, Taken
from keyform.model import Place, Secret, fingerprint_matches
from keyform.ports import Held
from keyform.state import Generation

_FOREIGN = "it does not hold what keyform wrote there"


@dataclass(frozen=True, slots=True)
class Left:
    """A place that was not erased. ``twin`` is the place where the secret lives on if the two are one."""

    why: str
    twin: Place | None = None


def twins(
    ws: Workspace, old: Iterable[Place], new: Iterable[Place], generation: Generation, seen: Seen
) -> dict[Place, Place]:
    """Those of the ``old`` places that may be one with a ``new`` one, which a copy is about to be written to:
    the new one holds the secret already, no interrupted copy brought it there, and the store does not tell
    the two apart by their versions. Raises ``StoreError``."""
    fingerprint = generation.fingerprint or ""
    full = [
        place
        for place in new
        if isinstance(found := seen[place].found, Secret)
        and fingerprint_matches(found, fingerprint)
        and not seen[place].begun
    ]
    out = {}
    for place in old:
        twin = next((other for other in full if not _apart(ws, place, other)), None)
        if twin is not None:
            out[place] = twin
    return out


def _apart(ws: Workspace, one: Place, other: Place) -> bool:
    """Whether two places are certainly two: one place has one version at a time."""
    if one.store not in ws.config.stores:
        return False
    if ws.config.stores[one.store].type != ws.config.stores[other.store].type:
        return False  # a command of the user's may well lead into another store
    versions = [held.version if held else None for held in (_look(ws, one), _look(ws, other))]
    return None not in versions and versions[0] != versions[1]


def _look(ws: Workspace, place: Place) -> Held | None:
    return ws.store(place.store).look(place)


def erase_secret(
    ws: Workspace, place: Place, generation: Generation | None, address: str, lives_at: Iterable[Place] = ()
) -> Left | None:
    """Delete what keyform wrote, as told by its fingerprint (or by the version of the write, where no value
    can be read), except where the place says to keep it. The secret lives on in the places ``lives_at``: one
    that the deletion emptied gets it back. Returns what was left as it is although it need not be kept.
    Raises ``StoreError``."""
    if place.on_revoke == "keep":
        return None
    if place.store not in ws.config.stores:
        return Left(f"the store {place.store} is no longer declared")
    store = ws.store(place.store)
    if store.readable:
        found: Secret | Held | None = store.get(place)
        recorded = generation.fingerprint if generation else None
        ours = isinstance(found, Secret) and recorded is not None and fingerprint_matches(found, recorded)
    else:
        found = store.look(place)
        ours = isinstance(found, Held) and generation is not None and is_of_write(found, place, generation)
    if found is None:
        return None
    if not ours or generation is None:
        return Left(_FOREIGN)
    kept = _kept(ws, lives_at, generation)
    ws.backend.check_lock()
    try:
        store.delete(place, found)
    except Taken:
        return Left(_FOREIGN)
    except StoreError:
        with suppress(StoreError):  # what is told is why it could not be erased
            _bring_back(ws, kept, generation, address)
        raise
    twin = _bring_back(ws, kept, generation, address)
    return Left("the secret is still in use there", twin) if twin else None


def _kept(ws: Workspace, places: Iterable[Place], generation: Generation) -> dict[Place, Secret]:
    """The secret by each of the places that hold it and can be read."""
    out = {}
    for place in places:
        if place.store in ws.config.stores and ws.store(place.store).readable:
            value = ws.store(place.store).get(place)
            if value is not None and fingerprint_matches(value, generation.fingerprint or ""):
                out[place] = value
    return out


def _bring_back(
    ws: Workspace, kept: dict[Place, Secret], generation: Generation, address: str
) -> Place | None:
    """Write the secret again where it was until another place was emptied; such a place, if there is one."""
    twin = None
    for place, secret in kept.items():
        store = ws.store(place.store)
        if store.get(place) is not None:
            continue
        twin = place
        store.put(place, secret, labels_of(address, generation.id, generation.number), None)
        if store.get(place) != secret:
            raise StoreError(
                f"{place} was emptied, and does not read back the secret that was written there again",
                f"The next plan says what becomes of {address}. Run `keyform doctor`.",
            )
    return twin


def forget_versions(ws: Workspace, generation: Generation | None) -> None:
    """Have the stores let go of what they keep of a generation that has ended. What a store fails to drop is
    the value of a key that works no more, and stops nothing."""
    for place, version in generation.versions if generation else ():
        if place.store in ws.config.stores:
            with suppress(StoreError):
                ws.store(place.store).forget(place, version)
