"""Secrets in their places: writing with read-back, finding them, and taking back what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from keyform.apply.seen import Before, Seen
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic
from keyform.errors import StoreError, Taken
from keyform.masking import mask_error
from keyform.model import Place, Secret, fingerprint_matches
from keyform.ports import ANYTHING, Held
from keyform.state import Generation, Versions

Written = dict[Place, str | None]
"""What became of writes: the version of each that came through; None for one that has no version, or that
failed and may have come through all the same."""


def labels_of(address: str, key_id: str, generation: int) -> dict[str, str]:
    """What a store is to keep beside a secret. None of it is secret."""
    return {"address": address, "key_id": key_id, "generation": str(generation)}


def put_secret(
    ws: Workspace,
    places: Iterable[Place],
    secret: Secret,
    labels: Mapping[str, str],
    seen: Seen,
    written: Written,
) -> None:
    """Write to every place over what was ``seen`` there, and read back. Raises ``StoreError`` when a place
    does not hold it then. ``written`` is filled as it goes.

    A write that failed and yet is there (its answer was lost) counts as written. Places that cannot be read
    come last, since nothing can be brought back there.
    """
    for place in sorted(places, key=lambda place: not ws.store(place.store).readable):
        store = ws.store(place.store)
        ws.backend.check_lock()  # whoever broke it may have written there since
        if written and _is_there_already(ws, place, seen[place].found, secret, labels, written):
            raise StoreError(
                f"{place} and {next(iter(written))} are one place: what is written to one is in the other",
                "Leave one of the two out of `secret`.",
            )
        try:
            version = store.put(place, secret, labels, seen[place].over)
        except StoreError as problem:
            if not isinstance(problem, Taken):
                written[place] = None
            held = _as_written(ws, place, secret, labels)
            if held is None:
                mask_error(problem, (secret,))
                raise
            written[place] = held.version
            continue
        written[place] = version
        if store.readable:
            arrived = store.get(place) == secret
        else:
            held = store.look(place)
            arrived = held is not None and held.version == version
        if not arrived:
            raise StoreError(
                f"{place} does not read back what was written to it",
                "Somebody else may write there too, or the store is failing. Run `keyform doctor`.",
            )


def _is_there_already(
    ws: Workspace,
    place: Place,
    before: Secret | Held | None,
    secret: Secret,
    labels: Mapping[str, str],
    written: Written,
) -> bool:
    """Whether what was written elsewhere has come to be in this place too."""
    store = ws.store(place.store)
    if store.readable:
        return before != secret and store.get(place) == secret
    held = store.look(place)
    if held is None or (isinstance(before, Held) and before.version == held.version):
        return False
    return held.version in written.values() or dict(held.labels) == labels


def _as_written(ws: Workspace, place: Place, secret: Secret, labels: Mapping[str, str]) -> Held | None:
    """What the store tells of the secret if it is there. Where it cannot be read, only labels can tell."""
    store = ws.store(place.store)
    with suppress(StoreError):
        if store.readable and store.get(place) == secret:
            return store.look(place) or Held()
        if not store.readable and (held := store.look(place)) and dict(held.labels) == labels:
            return held
    return None


def known_versions(written: Written) -> Versions:
    """The versions in the form that events and the state keep."""
    return tuple((place, version) for place, version in written.items() if version is not None)


def find_secret(ws: Workspace, places: Iterable[Place], fingerprint: str) -> Secret | None:
    """The secret with this fingerprint from the first place that holds it and can be read, else None."""
    for place in places:
        found = value_at(ws, place)
        if found is not None and fingerprint_matches(found, fingerprint):
            return found
    return None


def value_at(ws: Workspace, place: Place) -> Secret | None:
    """The value there; None too where no value can be read."""
    if place.store not in ws.config.stores:
        return None
    store = ws.store(place.store)
    return store.get(place) if store.readable else None


def recorded_secret(ws: Workspace, places: tuple[Place, ...], generation: Generation) -> Secret | None:
    """The secret of a generation from a place that holds it or, failing that, from one whose store still
    keeps the version that was written there."""
    found = find_secret(ws, places, generation.fingerprint or "")
    if found is not None:
        return found
    for place in places:
        version = generation.version_at(place)
        if version is not None and ws.store(place.store).readable:
            found = ws.store(place.store).get(place, version)
            if found is not None and fingerprint_matches(found, generation.fingerprint or ""):
                return found
    return None


def take_back(
    ws: Workspace,
    places: Iterable[Place],
    fingerprint: str,
    seen: Seen,
    written: Written,
    labels: Mapping[str, str],
    *,
    restore: bool,
) -> None:
    """Undo a :func:`put_secret`: where the secret with this fingerprint is, the value of before comes back,
    or nothing stays. ``restore``: a place must not end up empty that held something before. Raises
    ``StoreError``, after trying every place that it makes sense for."""
    problems: list[Diagnostic] = []
    declared = (place for place in places if place.store in ws.config.stores)
    for place in sorted(declared, key=lambda place: ws.store(place.store).readable):
        before = seen.get(place, Before(None, ANYTHING))
        try:
            if ws.store(place.store).readable:
                take_back_value(ws, place, fingerprint, before.found, labels)
                if place in written and written[place] is None:
                    _come_first(ws, place, before.found)
            elif place in written:
                take_back_unread(ws, place, before, written[place], restore=restore)
        except StoreError as problem:
            if isinstance(before.found, Secret):
                mask_error(problem, (before.found,))
            problems += problem.diagnostics
            if restore and not ws.store(place.store).readable:
                break  # the other places keep the new secret: a recovery brings it here from there
    if problems:
        raise StoreError(tuple(problems))


def take_back_value(
    ws: Workspace, place: Place, fingerprint: str, before: Secret | Held | None, labels: Mapping[str, str]
) -> None:
    """Where the value with this fingerprint is, bring back the one of before, or leave nothing. Raises
    ``StoreError``."""
    store = ws.store(place.store)
    value = store.get(place)
    if value is None or not fingerprint_matches(value, fingerprint):
        return
    ws.backend.check_lock()
    with suppress(Taken):  # somebody has written there since, and what was written is gone
        if isinstance(before, Secret):
            undone = store.look(place)
            store.put(place, before, labels, value)
            if undone is not None and undone.version is not None:
                store.forget(place, undone.version)
        else:
            store.delete(place, value)


def _come_first(ws: Workspace, place: Place, before: Secret | Held | None) -> None:
    """The write that is undone may still be under way. Where the value of before is back, write it once more:
    a conditional write to the version that was there then comes too late. What a store makes of it matters no
    more, since what comes late all the same is known by its fingerprint."""
    store = ws.store(place.store)
    with suppress(StoreError):
        if isinstance(before, Secret) and (held := store.look(place)) is not None:
            store.put(place, before, held.labels, before)


def take_back_unread(
    ws: Workspace, place: Place, before: Before, version: str | None, *, restore: bool
) -> None:
    """Where no value can be read: what is there counts as written by the run if it is of the write's version
    or, where that is not known, if it is something else than was seen before. Raises ``StoreError``."""
    store = ws.store(place.store)
    held = store.look(place)
    if held is None or (version is not None and held.version != version):
        return
    if isinstance(before.found, Held) and before.found.version == held.version:
        return
    if restore and before.found is not None:
        raise StoreError(
            f"{place} cannot be brought back: store {place.store!r} gives no value back once it is written",
            "It may hold the new secret by now.",
        )
    ws.backend.check_lock()
    with suppress(Taken):
        store.delete(place, held)


def finish_secret(
    ws: Workspace,
    places: Iterable[Place],
    fingerprint: str,
    labels: Mapping[str, str],
    ours: Callable[[Place, Secret], bool],
) -> Versions | None:
    """Bring the secret with this fingerprint from the places that a crashed run had written to those that it
    had not. The versions of it everywhere; None where no place gives it, or one holds a value that is not
    ``ours``. Where values cannot be read, labels tell whose it is; without them it is written again."""
    held: Written = {}
    missing: dict[Place, Before] = {}
    secret = None
    for place in places:
        store = ws.store(place.store)
        if store.readable:
            value = store.get(place)
            if value is not None and fingerprint_matches(value, fingerprint):
                secret, told = value, store.look(place)
                held[place] = told.version if told else None
            elif value is None or ours(place, value):
                missing[place] = Before(value, value)
            else:
                return None
        elif (told := store.look(place)) is not None and dict(told.labels) == labels:
            held[place] = told.version
        else:
            missing[place] = Before(told, told)
    if missing:
        if secret is None:
            return None
        try:
            put_secret(ws, missing, secret, labels, missing, held)
        except Taken:
            return None
    return known_versions(held)


def probe_stores(ws: Workspace, names: Iterable[str]) -> None:
    """Prove every named store before anything is minted. Raises ``StoreError`` with all that failed."""
    problems: list[Diagnostic] = []
    for name in sorted(set(names)):
        try:
            ws.store(name).probe()
        except StoreError as problem:
            problems += problem.diagnostics
    if problems:
        raise StoreError(tuple(problems))
