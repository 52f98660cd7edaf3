"""Copying a secret to further places, and taking back a copy that was not completed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from keyform.apply.copies import Copy
from keyform.apply.erase import watch
from keyform.apply.places import (
    Written,
    known_versions,
    put_secret,
    recorded_secret,
    take_back_unread,
    take_back_value,
)
from keyform.apply.seen import Before, Seen
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, error
from keyform.errors import StoreError
from keyform.masking import mask_error
from keyform.model import Place, Secret
from keyform.ports import ANYTHING
from keyform.state import Generation, State, Versions


def copy_secret(
    ws: Workspace,
    sources: tuple[Place, ...],
    places: tuple[Place, ...],
    generation: Generation,
    labels: Mapping[str, str],
    seen: Seen,
) -> Versions:
    """Bring a secret to its new places, and leave the old as they are. Repeating it is harmless. Raises
    ``StoreError`` when no old or new place holds the secret."""
    missing = sorted({source.store for source in sources} - set(ws.config.stores))
    if missing:
        raise StoreError(
            f"the secret cannot be moved out of {', '.join(missing)}, which is no longer declared",
            "Declare the store again until the secret has moved.",
        )
    secret = recorded_secret(ws, (*places, *sources), generation)
    if secret is None:
        raise StoreError(
            f"the secret cannot be moved: {', '.join(map(str, sources))} does not hold what keyform "
            f"wrote there",
            "Put `secret` back as it was, or replace the key so that a new secret is stored.",
        )
    written: Written = {}
    try:
        put_secret(ws, places, secret, labels, seen, written)
    except StoreError as problem:
        left = _take_back(ws, written, generation, labels["address"], seen, secret)
        mask_error(problem, (secret,))
        raise StoreError((*problem.diagnostics, *left)) from None
    return known_versions(written)


def _take_back(
    ws: Workspace, written: Written, generation: Generation, address: str, seen: Seen, secret: Secret
) -> tuple[Diagnostic, ...]:
    """Take a copy that was not completed out of the places that it may have reached, except where it belongs
    and can be read; what it was in before keeps it. What could not be taken back, and why."""
    left = []
    others = [place for place in generation.places if place not in written]
    for place, version in written.items():
        before = seen[place]
        if place in generation.places and ws.store(place.store).readable:
            continue
        try:
            kept = watch(ws, others, generation, address)
            if not ws.store(place.store).readable:
                take_back_unread(ws, place, before, version, restore=False)
            elif before.begun or before.found != secret:
                found = None if before.begun else before.found
                take_back_value(ws, place, generation.fingerprint or "", found, {"address": address})
            kept.mend(secret)
        except StoreError as problem:
            mask_error(problem, (secret,))
            left.append(
                error(
                    "copy-left",
                    f"{place} may hold a copy of the secret of {address}, which could not be taken back: "
                    f"{problem.diagnostics[0].summary}",
                    "Apply again, so that the secret gets there as declared, or delete the copy by hand.",
                    address=address,
                )
            )
    return tuple(left)


def take_back_copies(ws: Workspace, copies: Iterable[Copy], state: State) -> None:
    """Take what an interrupted run was about to copy out of the places that it may have reached: those that
    cannot be read, and those that can and hold the secret, if it can be had where the state has it.
    What the copy's source was keeps it. Raises ``StoreError``."""
    for copy in copies:
        record = state.keys.get(copy.address or "")
        current = record.current if record is not None else None
        others = [place for place in current.places if place not in copy.places] if current else []
        kept = watch(ws, others, current, copy.address or "") if current is not None else None
        for place, held in copy.unread:
            if place.store in ws.config.stores and not ws.store(place.store).readable:
                take_back_unread(ws, place, Before(held, ANYTHING), None, restore=False)
        if current is None or kept is None:
            continue
        elsewhere = any(isinstance(found, Secret) for found in kept.held.values())
        for place in copy.empty if elsewhere else ():
            if place.store in ws.config.stores and place not in current.written:
                take_back_value(ws, place, current.fingerprint or "", None, {})
        kept.mend()
