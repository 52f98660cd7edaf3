"""What the listings show beside the keys of the state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from keyform.diagnostics import Diagnostic, warning
from keyform.engine.plan import INCOMPLETE_LISTING
from keyform.engine.sight import Sight
from keyform.model import ACTIVE, DISABLED

SHOWN_STRAYS = 5


def unmanaged_keys(sight: Sight) -> tuple[tuple[tuple[str, int], ...], list[Diagnostic]]:
    """Live keys that the state does not own, counted; those that carry this state's own label, named."""
    owned: dict[str, set[str]] = {}
    for record in sight.state.keys.values():
        for generation in record.generations():
            owned.setdefault(generation.service, set()).add(generation.id)
    imported = {entry.id for entry in sight.desired.imports}
    counts, strays = [], []
    ours = sight.state.lineage + "/"
    for name, view in sight.services.items():
        known = owned.get(name, set())
        others = [
            key
            for key in view.listing.keys
            if key.status in (ACTIVE, DISABLED)
            and key.id not in known
            and key.id not in imported
            and key.id != view.own_key
            and not {key.id, key.label} & sight.pending
        ]
        if active := sum(key.status == ACTIVE for key in others):
            counts.append((name, active))
        marked = [key.id for key in others if key.label and key.label.startswith(ours)]
        if marked:
            named = ", ".join(marked[:SHOWN_STRAYS]) + (" and others" if len(marked) > SHOWN_STRAYS else "")
            strays.append(
                warning(
                    "stray",
                    f"{name} has live keys with this state's label that the state does not know "
                    f"({len(marked)}): {named}",
                    "They were forgotten on purpose, belong to another entry for the same service, or the "
                    "state is an older copy. Adopt them with `imports`, or revoke them at the service.",
                )
            )
    return tuple(counts), strays


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
