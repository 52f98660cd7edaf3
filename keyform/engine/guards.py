"""Guards: plans that are refused as a whole, whatever brought them about."""

from __future__ import annotations

from collections.abc import Iterator

from keyform.diagnostics import Diagnostic, error
from keyform.engine.plan import FORGET, MINT, RELOCATE, REPLACE, REVOKE, ROTATE, UPDATE, Change
from keyform.engine.sight import DESTROY, Options, Sight

MASS_SHARE = 0.3
MASS_FROM = 10

_ENDS_A_KEY = (REVOKE, REPLACE, ROTATE)


def guard(sight: Sight, options: Options, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """The errors that forbid this plan."""
    yield from _protected(sight, changes)
    yield from _own_credential(sight, changes)
    yield from _incomplete(sight, changes)
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
        view = sight.services.get(change.service or "")
        if view is None or view.own_key is None or change.key_id != view.own_key:
            continue
        if change.action in (*_ENDS_A_KEY, UPDATE, FORGET):
            yield error(
                "own-credential",
                f"{change.address} is {change.key_id}, the very key that keyform uses at {view.name}; "
                f"keyform will not {change.action} it",
                "Give the service another credential first.",
                address=change.address,
            )


def _incomplete(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    for change in changes:
        view = sight.services.get(change.service or "")
        if view is not None and not view.listing.complete and change.action in _ENDS_A_KEY:
            yield error(
                "incomplete-listing",
                f"{change.address}: keyform will not {change.action} a key while the listing of {view.name} is "
                "incomplete",
                "Plan again when the service can be read whole.",
                address=change.address,
            )


def _taken_places(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """A place that holds another key's secret is free only once that key is gone or has moved out."""
    holders = {
        place: record.address
        for record in sight.state.keys.values()
        for generation in record.generations()
        for place in generation.places
    }
    leaving = {change.address for change in changes if change.action == REVOKE}
    for change in changes:
        for step in change.steps:
            for place in step.places if step.op in (MINT, RELOCATE) else ():
                holder = holders.get(place, change.address)
                if holder != change.address and not (step.op == MINT and holder in leaving):
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
