"""What the listings show beside the keys of the state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from keyform.diagnostics import Diagnostic, warning
from keyform.engine.plan import INCOMPLETE_LISTING
from keyform.engine.sight import ServiceView, Sight
from keyform.engine.whereabouts import owners, same_service
from keyform.model import ACTIVE, DISABLED, LiveKey
from keyform.state import State

SHOWN_STRAYS = 5


def unmanaged_keys(sight: Sight) -> tuple[tuple[tuple[str, int], ...], list[Diagnostic]]:
    """Live keys that the state does not own, counted; those that carry this state's own label, named."""
    counts, strays = [], []
    others: dict[str, list[LiveKey]] = {}
    for view, key in unowned_keys(sight):
        others.setdefault(view.name, []).append(key)
    for name, keys in others.items():
        if active := sum(key.status == ACTIVE for key in keys):
            counts.append((name, active))
        revoked = {one.id for one in sight.state.ended if one.service == name}
        marked = [
            key.id
            for key in keys
            if key.label and key.id not in revoked and not is_of_another_state(sight.state, key)
        ]
        if marked:
            named = ", ".join(marked[:SHOWN_STRAYS]) + (" and others" if len(marked) > SHOWN_STRAYS else "")
            strays.append(
                warning(
                    "stray",
                    f"{name} has live keys with this state's label that the state does not know "
                    f"({len(marked)}): {named}",
                    "They were forgotten on purpose, belong to another entry for the same service, were "
                    "taken back by an apply whose revocation the service did not carry out, or the state is "
                    "an older copy. Adopt them with `imports`, or revoke them at the service.",
                )
            )
    return tuple(counts), strays


def unowned_keys(sight: Sight) -> Iterator[tuple[ServiceView, LiveKey]]:
    """Keys that work, or can be enabled again, and that the state does not own; keyform's own credential and
    keys that are to be adopted are left out."""
    owned = owners(sight.state, sight.where)
    imported = {entry.id for entry in sight.desired.imports}
    for name, view in sight.services.items():
        service = same_service(sight.state, sight.where, name)
        for key in view.listing.keys:
            if (
                key.status in (ACTIVE, DISABLED)
                and (service, key.id) not in owned
                and key.id not in imported
                and key.id != view.own_key
                and not {key.id, key.label} & sight.pending
            ):
                yield view, key


def is_of_another_state(state: State, key: LiveKey) -> bool:
    """Whether a key carries the ownership label of another state."""
    return bool(key.label) and not (key.label or "").startswith(state.lineage + "/")


def about_listings(sight: Sight) -> Iterator[Diagnostic]:
    """What a plan says about listings that are not whole."""
    for view in sight.services.values():
        if not view.listing.complete:
            if view.listing.problem is not None:
                yield replace(view.listing.problem, severity="warning")
            yield warning(
                INCOMPLETE_LISTING,
                f"the listing of {view.name} is incomplete, so keys missing from it are left as they are",
                "Plan again when the service can be read whole.",
            )
