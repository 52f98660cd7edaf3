"""Guards: what no plan may do, whatever brought it about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from keyform.diagnostics import Diagnostic, error
from keyform.engine.alone import OVER
from keyform.engine.clocks import guard_clocks
from keyform.engine.options import Options
from keyform.engine.plan import (
    ALTER,
    CREATE,
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
from keyform.engine.sight import ServiceView, Sight
from keyform.engine.whereabouts import same_service
from keyform.engine.written import key_in_yaml
from keyform.model import Place, instant
from keyform.state import Generation

MASS_SHARE = 0.3
MASS_FROM = 10

_ENDS_A_KEY = (REVOKE, REPLACE, ROTATE)


def guard(sight: Sight, options: Options, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """The errors that forbid this plan, or what it does at one address."""
    yield from guard_again(sight, changes)
    if not options.allow_mass_change:
        yield from _mass_change(sight, changes)


def guard_again(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """The errors that forbid these changes, however they were approved."""
    yield from _over(sight, changes)
    yield from _protected(sight, changes)
    yield from _own_credential(sight, changes)
    yield from _incomplete(sight, changes)
    yield from _undeclared_services(sight, changes)
    yield from _unrevocable(sight, changes)
    yield from _taken_places(sight, changes)
    yield from guard_clocks(sight, changes)


def _over(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """A key is not made to be dead from the start, nor ended by an edit of when it ends."""
    ends = {want.address: want.spec.expires_at for want in sight.desired.keys}
    for change in changes:
        end = ends.get(change.address)
        if end is None or end > sight.now:
            continue
        if any(step.op == MINT for step in change.steps):
            known = change.address in sight.state.keys
            what, then = ("has expired", "nothing") if known else ("is not minted", "no key")
            consequence = f"{then} is minted for it"
        elif any(step.op == ALTER and "expires_at" in step.fields for step in change.steps):
            what, consequence = "would expire at once", "it is left as it is"
        else:
            continue
        yield error(
            OVER,
            f"{change.address} {what}: its `expires_at`, {instant(end)}, has passed, so {consequence}",
            "Write a later `expires_at`, or remove the key.",
            address=change.address,
        )


def _protected(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    declared = {want.address: want.protect for want in sight.desired.keys}
    for change in changes:
        record = sight.state.keys.get(change.address)
        if record is None or not (record.protect or declared.get(change.address)):
            continue
        lift = "set `protect: false` on it and apply that first."
        if change.action == REPLACE:
            yield error(
                "protected",
                f"{change.address} is protected and would be replaced: {change.reason}",
                f"Undo the edit that calls for a new key, or {lift}",
                address=change.address,
            )
        elif change.action == REVOKE and _ends(change, record.current):
            yield error(
                "protected",
                f"{change.address} is protected and would be revoked: {change.reason}",
                f"Put it back, or {lift}",
                address=change.address,
            )
        elif change.action == CREATE and declared.get(change.address):
            yield error(
                "protected",
                f"{change.address} is protected, and {record.current.id} is no longer at "
                f"{record.current.service}",
                "Look whether the endpoint and the credential are the right ones. If the key is gone "
                "indeed, set `protect: false` on it, and the next apply mints it again.",
                address=change.address,
            )


def _ends(change: Change, generation: Generation) -> bool:
    return any(
        step.op == END and (step.service, step.key_id) == (generation.service, generation.id)
        for step in change.steps
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
    """The service whose own credential the change, or some step of it, would touch, under whatever name."""
    touched = [(step.service, step.key_id) for step in change.steps if step.op in (ALTER, END)]
    if change.action in (*_ENDS_A_KEY, UPDATE, FORGET):
        touched.append((change.service, change.key_id))
    for service, key_id in touched:
        at = same_service(sight.state, sight.where, service or "")
        for view in sight.services.values():
            own = key_id is not None and key_id == view.own_key
            if own and same_service(sight.state, sight.where, view.name) == at:
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


def _unrevocable(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """A key that nothing can revoke is neither removed nor replaced: it would live on, known to nobody."""
    for change in changes:
        ending = {step.key_id: step.service for step in change.steps if step.op == END and not step.gone}
        record = sight.state.keys.get(change.address)
        if change.action == REPLACE and record is not None:
            ending[record.current.id] = record.current.service
        for key_id, service in ending.items():
            view = sight.services.get(service or "")
            if view is None or view.profile.revokes:
                continue
            name = key_in_yaml(change.address)
            rule = view.profile.cite("revoke")
            yield error(
                "not-revocable",
                f"{change.address}: {key_id} would be revoked, and {service} has no call for that: "
                f"{change.reason}",
                f"Undo the edit, or let go of the key with `removed: [{{key: {name}, revoke: false}}]`: it "
                f"then lives on, and its secret stays where it is. {rule}".rstrip(),
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
    wanted = {
        change.address: step.places
        for change in changes
        for step in change.steps
        if step.op in (MINT, RELOCATE)
    }
    for change in changes:
        for step in change.steps:
            for place in step.places if step.op in (MINT, RELOCATE) else ():
                holder, key = holders.get(place, (change.address, None))
                if holder == change.address or (step.op == MINT and key in leaving):
                    continue
                detail = f"Apply the change of {holder} first, or choose another `secret`."
                if _comes_round(change.address, wanted, {p: who for p, (who, _) in holders.items()}):
                    detail = (
                        f"{change.address} and {holder} trade places, and a place holds one secret: give one "
                        "of them a third place, apply, and then give it the place that it is to have."
                    )
                yield error(
                    "place-in-use",
                    f"{change.address} would write to {place}, which holds the secret of {holder}",
                    detail,
                    address=change.address,
                )


def _comes_round(start: str, wanted: Mapping[str, tuple[Place, ...]], holders: Mapping[Place, str]) -> bool:
    """Whether the key at ``start`` wants a place whose holder wants the place of another, and so on, until
    somebody wants the place of the first."""
    at, seen = start, {""}
    while at not in seen:
        seen.add(at)
        at = next((holders[p] for p in wanted.get(at, ()) if holders.get(p, at) != at), "")
    return at == start


def _mass_change(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    owned = sight.state.keys
    ending = [
        change
        for change in changes
        if change.address in owned
        and (
            change.action in (REPLACE, CREATE)  # one that is created again has vanished from its service
            or (change.action == ROTATE and change.stored)  # its secret has vanished from its store
            or (change.action == REVOKE and _ends(change, owned[change.address].current))
        )
    ]
    if len(owned) < MASS_FROM or len(ending) <= MASS_SHARE * len(owned):
        return
    vanished = sum(change.action == CREATE for change in ending)
    lost = sum(bool(change.stored) for change in ending)
    yield error(
        "mass-change",
        f"this plan revokes, replaces or mints again {len(ending)} of the {len(owned)} keys that the state "
        f"owns, which is more than {MASS_SHARE:.0%}"
        + (f"; {vanished} of them are no longer at their service" if vanished else "")
        + (f"; the secrets of {lost} are no longer in their stores" if lost else ""),
        "If that is what you want, say so with --allow-mass-change. If not, look for a wrong folder, "
        "variable file, state, store, endpoint or credential.",
    )
