"""Erasing secrets, and never the only copy of one that lives on.

Two places of a key may be one place that is spelled in two ways, by a default of the store, a link, or two
stores with options that mean the same. What was seen before a copy tells most of it before anything is
erased; what the places hold after the erasure tells the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from keyform.apply.places import Written, known_versions, labels_of
from keyform.apply.seen import Seen, is_of_write
from keyform.apply.workspace import Workspace
from keyform.errors import StoreError, Taken
from keyform.model import Place, Secret, fingerprint_matches
from keyform.ports import Held
from keyform.state import Generation, Versions

_FOREIGN = "it does not hold what keyform wrote there"


@dataclass(frozen=True, slots=True)
class Left:
    """A place that was not erased. ``twin`` is the place where the secret lives on if the two are one, and
    ``versions`` those of the write that brought it back there."""

    why: str
    twin: Place | None = None
    versions: Versions = ()


def twins(
    ws: Workspace, old: Iterable[Place], new: Iterable[Place], generation: Generation, seen: Seen
) -> dict[Place, Place]:
    """Those of the ``old`` places that may be one with a ``new`` one, which a copy is about to be written to:
    the new one holds the secret already (or what the store says is it), no interrupted copy brought it there,
    and the store does not tell the two apart by their versions. Raises ``StoreError``."""
    full = [place for place in new if not seen[place].begun and _is_full(place, seen, generation)]
    out = {}
    for place in old:
        twin = next((other for other in full if not _apart(ws, place, other)), None)
        if twin is not None:
            out[place] = twin
    return out


def _is_full(place: Place, seen: Seen, generation: Generation) -> bool:
    found = seen[place].found
    if isinstance(found, Held):
        return is_of_write(found, place, generation)
    return found is not None and fingerprint_matches(found, generation.fingerprint or "")


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
    kept = watch(ws, lives_at, generation, address)
    ws.backend.check_lock()
    secret = found if isinstance(found, Secret) else None
    try:
        store.delete(place, found)
    except Taken:
        return Left(_FOREIGN)
    except StoreError:
        with suppress(StoreError):  # what is told is why it could not be erased
            kept.mend(secret)
        raise
    mended = kept.mend(secret)
    twin = next(iter(mended), None)
    return Left("the secret is still in use there", twin, known_versions(mended)) if twin else None


@dataclass(frozen=True, slots=True)
class Watch:
    """Over the places that a secret lives on in, while other places are emptied of it. ``held`` is what was
    in each: the secret, or what is told of it where it cannot be read."""

    ws: Workspace
    labels: Mapping[str, str]
    held: Mapping[Place, Secret | Held]

    def mend(self, secret: Secret | None = None) -> Written:
        """Write the secret again wherever there is nothing any more; those places. ``secret`` is it, if it is
        in hand. Raises ``StoreError``, also where the last value that could be had is gone."""
        secret = secret or next((one for one in self.held.values() if isinstance(one, Secret)), None)
        mended: Written = {}
        for place in self.held:
            store = self.ws.store(place.store)
            if store.look(place) is not None:
                continue
            if secret is None:
                raise StoreError(
                    f"{place} was emptied by what was deleted elsewhere, so the two were one place, and no "
                    "store gives the secret back",
                    f"The next plan makes a new key for {self.labels['address']}.",
                )
            mended[place] = store.put(place, secret, self.labels, None)
            back = store.get(place) == secret if store.readable else store.look(place) is not None
            if not back:
                raise StoreError(
                    f"{place} was emptied, and does not read back the secret that was written there again",
                    f"The next plan says what becomes of {self.labels['address']}. Run `keyform doctor`.",
                )
        return mended


def watch(ws: Workspace, places: Iterable[Place], generation: Generation, address: str) -> Watch:
    """Look at those of the places that hold the secret of a generation or, where that cannot be read, hold
    anything. Raises ``StoreError``."""
    held: dict[Place, Secret | Held] = {}
    for place in places:
        if place.store not in ws.config.stores:
            continue
        store = ws.store(place.store)
        found: Secret | Held | None = store.get(place) if store.readable else store.look(place)
        if isinstance(found, Held) or (
            found is not None and fingerprint_matches(found, generation.fingerprint or "")
        ):
            held[place] = found
    return Watch(ws, labels_of(address, generation.id, generation.number), held)


def forget_versions(ws: Workspace, generation: Generation | None) -> None:
    """Have the stores let go of what they keep of a generation that has ended. What a store fails to drop is
    the value of a key that works no more, and stops nothing."""
    for place, version in generation.versions if generation else ():
        if place.store in ws.config.stores:
            with suppress(StoreError):
                ws.store(place.store).forget(place, version)
