"""What a refresh-only plan takes note of: nothing is changed at a service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from keyform.diagnostics import Diagnostic, note
from keyform.engine.diff import explain
from keyform.engine.plan import DROP_PROJECT, FORGET, RECORD, REFRESH, Change, FieldDiff, Step
from keyform.engine.sight import Sight, presence, seen_digest
from keyform.model import SPEC_FIELDS


def plan_refresh(sight: Sight) -> Iterator[Change | Diagnostic]:
    """What the services show differently from the state, and the steps that only take note of it."""
    declared = {want.address for want in sight.desired.keys}
    for address, record in sight.state.keys.items():
        view = sight.services.get(record.current.service)
        if view is None:
            continue
        found = presence(view, record.current, sight.now)
        if found.live is None:
            yield note(
                "gone",
                f"{address}: {record.current.id} was revoked or deleted at {view.name} outside keyform",
                "It stays in the state. The next apply "
                + ("mints the key again." if address in declared else "forgets it."),
                address=address,
            )
        elif found.known and found.live.spec != record.current.spec:
            differences = explain(record.current.spec, found.live.spec, SPEC_FIELDS, view.profile)
            terms = None
            if found.live.spec.expires_at != record.current.spec.expires_at:
                # What is recorded is no longer what the span came to, so the next plan compares anew.
                terms = replace(record.terms, expires_in=None)
            yield Change(
                address,
                REFRESH,
                ", ".join(d.path for d in differences) + f" changed at {view.name} outside keyform",
                view.name,
                record.current.id,
                record.current.number,
                differences,
                drift=True,
                seen=seen_digest(found.live),
                steps=(
                    Step(RECORD, address, view.name, record.current.id, spec=found.live.spec, terms=terms),
                ),
            )
    for address, project in sight.state.projects.items():
        view = sight.services.get(project.service)
        live = view.projects.get(project.id) if view else None
        if view is None or (live is None and not (view.listing.complete and view.shows_projects)):
            continue
        if live is None:
            yield Change(
                address,
                FORGET,
                f"{project.id} was deleted at {view.name} outside keyform",
                view.name,
                drift=True,
                seen=seen_digest(None),
                steps=(Step(DROP_PROJECT, address),),
            )
        elif live.allowed_origins != project.allowed_origins:
            yield Change(
                address,
                REFRESH,
                f"allowed_origins changed at {view.name} outside keyform",
                view.name,
                diff=(
                    FieldDiff("allowed_origins", list(project.allowed_origins), list(live.allowed_origins)),
                ),
                drift=True,
                seen=seen_digest(live),
                steps=(Step(RECORD, address, view.name, project=project.id, origins=live.allowed_origins),),
            )
