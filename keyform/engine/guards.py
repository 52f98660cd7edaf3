"""Guards: plans that are refused as a whole, whatever brought them about."""

from __future__ import annotations

from collections.abc import Iterator

from keyform.diagnostics import Diagnostic, error
from keyform.engine.plan import (
    ALTER,
    END,
    FORGET,
    MINT,
    RELOCATE,
    REPLACE,
    REVOKE,
    ROTATE,
    UPDATE,
    Change,
)
from keyform.engine.sight import DESTROY, Options, ServiceView, Sight

MASS_SHARE = 0.3
MASS_FROM = 10

_ENDS_A_KEY = (REVOKE, REPLACE, ROTATE)


def guard(sight: Sight, options: Options, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """The errors that forbid this plan."""
    yield from _protected(sight, changes)
    yield from _own_credential(sight, changes)
    yield from _incomplete(sight, changes)
    yield from _undeclared_services(sight, changes)
    yield from _taken_places(sight, changes)
    if options.mode != DESTROY and not options.allow_mass_change:
        yield from _mass_change(sight, changes)


def _protected(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    protected = {want.address for want in sight.desired.keys if want.protect}
    for change in changes:
        if change.action == REPLACE and change.address in protected:
            yield error(
                "protected",
                f"{change.address} is protected and would be replaced: {change.reason}",
                "Undo the edit that calls for a new key, or set `protect: false` on it.",
                address=change.address,
            )


def _own_credential(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    for change in changes:
        view = _own_service(sight, change)
        if view is not None:
            yield error(
                "own-credential",
                f"{change.address} is {view.own_key}, the very key that keyform uses at {view.name}; "
                f"keyform will not {change.action} it",
                "Give the service another credential first.",
                address=change.address,
            )


def _own_service(sight: Sight, change: Change) -> ServiceView | None:
    """The service whose own credential the change, or some step of it, would touch."""
    touched = [(step.service, step.key_id) for step in change.steps if step.op in (ALTER, END)]
    if change.action in (*_ENDS_A_KEY, UPDATE, FORGET):
        touched.append((change.service, change.key_id))
    for service, key_id in touched:
        view = sight.services.get(service or "")
        if view is not None and key_id is not None and key_id == view.own_key:
            return view
    return None


def _incomplete(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    for change in changes:
        if change.action not in _ENDS_A_KEY:
            continue
        names = dict.fromkeys((change.service, *(step.service for step in change.steps if step.op == END)))
        for view in map(sight.services.get, (name or "" for name in names)):
            if view is None or view.listing.complete:
                continue
            yield error(
                "incomplete-listing",
                f"{change.address}: keyform will not {change.action} a key while the listing of "
                f"{view.name} is incomplete",
                "Plan again when the service can be read whole.",
                address=change.address,
            )


def _undeclared_services(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    for change in changes:
        for step in change.steps:
            if step.op == END and step.service not in sight.services:
                yield error(
                    "service-not-declared",
                    f"{change.address}: {step.key_id} would be revoked at {step.service}, which is no longer "
                    "declared",
                    "Declare the service again until the key is revoked.",
                    address=change.address,
                )


def _taken_places(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """A place that holds another key's secret is free only once that key is gone or has moved out."""
    leaving = {
        (step.service, step.key_id)
        for change in changes
        if change.action == REVOKE
        for step in change.steps
        if step.op == END
    }
    holders = {
        place: (record.address, (generation.service, generation.id))
        for record in sight.state.keys.values()
        for generation in record.generations()
        for place in generation.places
    }
    for change in changes:
        for step in change.steps:
            for place in step.places if step.op in (MINT, RELOCATE) else ():
                holder, key = holders.get(place, (change.address, None))
                if holder != change.address and not (step.op == MINT and key in leaving):
                    yield error(
                        "place-in-use",
                        f"{change.address} would write to {place}, which holds the secret of {holder}",
                        f"Apply the change of {holder} first, or choose another `secret`.",
                        address=change.address,
                    )


def _mass_change(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    owned = len(sight.state.keys)
    current = {record.address: record.current.number for record in sight.state.keys.values()}
    ending = [
        change
        for change in changes
        if change.action == REPLACE
        or (change.action == REVOKE and change.generation == current.get(change.address))
    ]
    if owned >= MASS_FROM and len(ending) > MASS_SHARE * owned:
        yield error(
            "mass-change",
            f"this plan revokes or replaces {len(ending)} of the {owned} keys that the state owns, which is "
            f"more than {MASS_SHARE:.0%}",
            "If that is what you want, say so with --allow-mass-change. If not, look for a wrong folder, "
            "variable file or state.",
        )
