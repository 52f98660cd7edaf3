"""Where the secrets are: two keys in one place, and places that hold something else by now."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from keyform.engine.audit.finding import Finding, ManagedKey
from keyform.engine.audit.rules import PLACE_ALTERED, SHARED_PLACE
from keyform.engine.holding import HELD, UNKNOWN, worded
from keyform.engine.plan import Stored
from keyform.engine.sight import Sight
from keyform.model import Place


def altered(key: ManagedKey, sight: Sight) -> Iterator[Finding]:
    """Places that do not hold the secret that is recorded there."""
    current = key.record.current if key.record is not None else None
    for place in current.places if current is not None and current.fingerprint else ():
        found = sight.stores.at(place)
        if found.kind not in (HELD, UNKNOWN):
            said = worded(Stored(place, found.kind, "", found.generation))
            yield key.found(PLACE_ALTERED, said, "secret", about=str(place))


def shared(sight: Sight, keys: tuple[ManagedKey, ...]) -> Iterator[Finding]:
    """Places that secrets of two keys are in, or are declared for; told once for each later key."""
    taken: dict[tuple[str, str], list[tuple[Place, ManagedKey]]] = {}
    for key in keys:
        for place in _places(key):
            others = taken.setdefault((_same_store(sight, place.store), _folded(place.path)), [])
            for other, owner in others:
                if owner.address != key.address and _overlap(place, other):
                    yield key.found(
                        SHARED_PLACE, _told(sight, place, other, owner), "secret", about=f"{place} {other}"
                    )
                    break
            others.append((place, key))


def _places(key: ManagedKey) -> tuple[Place, ...]:
    declared = key.want.places if key.want is not None else ()
    recorded = key.record.generations() if key.record is not None else ()
    return tuple(dict.fromkeys((*declared, *(place for old in recorded for place in old.places))))


def _same_store(sight: Sight, store: str) -> str:
    """What two names of one store have in common, where its options say at all where that is."""
    where = sight.where.stores.get(store, "")
    return where if "=" in where else store


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _overlap(one: Place, other: Place) -> bool:
    """Whether they are one place, or one is a field of the other."""
    return one.field == other.field or None in (one.field, other.field)


def _told(sight: Sight, place: Place, other: Place, owner: ManagedKey) -> str:
    if place.store == other.store:
        return f"`{place}` is also a place of {owner.address}, `{other}`"
    return (
        f"`{place}` is also `{other}` of {owner.address}: the stores {place.store!r} and {other.store!r} are "
        f"both {sight.where.stores[place.store]}"
    )
