"""From what is declared, recorded and live to a plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from keyform.diagnostics import Diagnostic, error, warning
from keyform.engine.adoption import plan_import
from keyform.engine.declared import plan_known, plan_new
from keyform.engine.guards import guard
from keyform.engine.notes import notes
from keyform.engine.plan import (
    DROP,
    END,
    MINT,
    MOVE,
    RELOCATE,
    RENAME,
    Change,
    FieldDiff,
    Plan,
    Step,
)
from keyform.engine.refresh import plan_refresh
from keyform.engine.sight import (
    DESTROY,
    REFRESH_ONLY,
    Options,
    ServiceView,
    Sight,
)
from keyform.engine.undeclared import (
    plan_deposed,
    plan_forgotten,
    plan_project,
    plan_project_removed,
    plan_removed,
    service_gone,
)
from keyform.model import ACTIVE, Desired
from keyform.state import KeyRecord, State

Planned = Change | Diagnostic


def make_plan(sight: Sight, options: Options) -> Plan:
    """Plan. Pure: the same arguments give the same plan."""
    protected = frozenset(want.address for want in sight.desired.keys if want.protect)
    if options.mode == DESTROY:
        sight = replace(sight, desired=Desired())
    planned: list[Planned] = []
    if options.mode == REFRESH_ONLY:
        planned += plan_refresh(sight)
        unchanged = len(sight.state.keys) - sum(isinstance(p, Change) for p in planned)
    else:
        moved, state = _moves(sight)
        planned += moved
        sight = replace(sight, state=state)
        planned += _projects(sight)
        keys, unchanged = _declared_keys(sight, options)
        planned += keys
        planned += _undeclared_keys(sight, options.mode == DESTROY, protected)
    if options.targets:
        planned = [p for p in planned if p.address is None or _targeted(p.address, options, sight)]
    changes = _spare_claimed(tuple(p for p in planned if isinstance(p, Change)))
    diagnostics = [p for p in planned if isinstance(p, Diagnostic)]
    unmanaged, strays = _unmanaged(sight)
    diagnostics += strays
    diagnostics += _about_listings(sight)
    diagnostics += notes(sight, changes)
    diagnostics += guard(sight, options, changes)
    return Plan(
        sight.state.lineage,
        sight.state.serial,
        sight.config_digest,
        sight.now,
        changes,
        unchanged,
        unmanaged,
        tuple(dict.fromkeys(diagnostics)),
        options.mode,
        options.targets,
    )


def _spare_claimed(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """A place that another key writes in this plan is not erased after the key that leaves it."""
    claimed = {
        place: step.address
        for change in changes
        for step in change.steps
        if step.op in (MINT, RELOCATE)
        for place in step.places
    }

    def spare(step: Step) -> Step:
        if step.op not in (END, DROP):
            return step
        kept = tuple(p for p in step.places if claimed.get(p, step.address) == step.address)
        return step if kept == step.places else replace(step, places=kept)

    return tuple(replace(change, steps=tuple(map(spare, change.steps))) for change in changes)


def _moves(sight: Sight) -> tuple[list[Planned], State]:
    """``moved`` entries that still have something to move, and the state as it is after them."""
    out: list[Planned] = []
    keys, projects = dict(sight.state.keys), dict(sight.state.projects)
    for move in sight.desired.moves:
        if move.before in keys:
            if move.after in keys:
                out.append(
                    error(
                        "move-collides",
                        f"{move.before} cannot move to {move.after}: the state knows both",
                        "Remove the `moved` entry, or revoke one of the two keys first.",
                        address=move.after,
                    )
                )
                continue
            keys[move.after] = replace(keys.pop(move.before), address=move.after)
            current = keys[move.after].current
            service, key_id = current.service, current.id
        elif move.before in projects and move.after not in projects:
            projects[move.after] = replace(projects.pop(move.before), address=move.after)
            service, key_id = projects[move.after].service, None
        else:
            continue
        out.append(
            Change(
                move.after,
                MOVE,
                f"moved from {move.before}; nothing changes at {service}",
                service,
                key_id,
                diff=(FieldDiff("address", move.before, move.after),),
                steps=(Step(RENAME, move.after, before=move.before),),
            )
        )
    return out, replace(sight.state, keys=keys, projects=projects)


def _projects(sight: Sight) -> Iterator[Planned]:
    declared = {project.address for project in sight.desired.projects}
    for project in sight.desired.projects:
        view = sight.services.get(project.service)
        # Without a call that sets origins, projects are made by hand; a declaration only names one.
        if view is None or "set_origins" not in view.profile.operations:
            continue
        if change := plan_project(project, sight.state.projects.get(project.address), view):
            yield change
    for address, record in sight.state.projects.items():
        if address not in declared:
            yield plan_project_removed(record, "no longer declared")


def _declared_keys(sight: Sight, options: Options) -> tuple[list[Planned], int]:
    out: list[Planned] = []
    unchanged = 0
    imports = {entry.address: entry.id for entry in sight.desired.imports}
    owners = {
        (g.service, g.id): record.address
        for record in sight.state.keys.values()
        for g in record.generations()
    }
    for want in sight.desired.keys:
        view = sight.services.get(want.service)
        if view is None:
            continue
        record = sight.state.keys.get(want.address)
        if record is not None and record.current.service not in sight.services:
            out.append(service_gone(want.address, record.current))
        elif record is not None:
            verdict = plan_known(want, record, view, sight.now)
            if verdict.change is None and not verdict.diagnostics:
                unchanged += 1
            else:
                out += [p for p in (verdict.change, *verdict.diagnostics) if p is not None]
            if record.deposed:
                out += plan_deposed(record, want, sight.services, sight.now)
        elif (wanted_id := imports.get(want.address)) is None:
            out.append(plan_new(want, view))
        elif (want.service, wanted_id) in owners:
            out.append(
                error(
                    "import-owned",
                    f"{wanted_id} cannot be imported: it is {owners[(want.service, wanted_id)]} already",
                    "Use a `moved` entry to rename a key.",
                    address=want.address,
                )
            )
        else:
            verdict = plan_import(want, view, wanted_id, sight.now)
            out += [p for p in (verdict.change, *verdict.diagnostics) if p is not None]
    return out, unchanged


def _undeclared_keys(sight: Sight, destroying: bool, protected: frozenset[str]) -> Iterator[Planned]:
    declared = {want.address for want in sight.desired.keys}
    removals = {entry.address: entry for entry in sight.desired.removals}
    for address, record in sight.state.keys.items():
        if address in declared:
            continue
        removal = removals.get(address) or removals.get(address.partition("[")[0])
        if removal is not None and not removal.revoke:
            yield plan_forgotten(record, "`removed` says to forget it")
            continue
        why = "destroy revokes everything that the state owns" if destroying else "no longer declared"
        record = replace(record, protect=record.protect or address in protected)
        yield plan_removed(record, _view_of(sight, record), why, sight.now)


def _view_of(sight: Sight, record: KeyRecord) -> ServiceView | None:
    return sight.services.get(record.current.service)


def _targeted(address: str, options: Options, sight: Sight) -> bool:
    wanted = set(options.targets)
    if address in wanted or address.partition("[")[0] in wanted:
        return True
    # A key's project has to be there before the key is, so it comes along.
    projects = {(p.service, p.id): p.address for p in sight.desired.projects}
    return address.startswith("projects.") and any(
        projects.get((want.service, want.spec.project or "")) == address
        for want in sight.desired.keys
        if want.address in wanted or want.address.partition("[")[0] in wanted
    )


def _unmanaged(sight: Sight) -> tuple[tuple[tuple[str, int], ...], list[Diagnostic]]:
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
            if key.status == ACTIVE
            and key.id not in known
            and key.id not in imported
            and key.id != view.own_key
        ]
        if others:
            counts.append((name, len(others)))
        strays += [
            warning(
                "stray",
                f"{name} key {key.id} carries this state's label, and the state does not know it",
                "The state may have been restored from an older copy. Adopt the key with an `imports` "
                "entry, or revoke it at the service.",
            )
            for key in others
            if key.label and key.label.startswith(ours)
        ]
    return tuple(counts), strays


def _about_listings(sight: Sight) -> Iterator[Diagnostic]:
    for view in sight.services.values():
        if not view.listing.complete:
            if view.listing.problem is not None:
                yield replace(view.listing.problem, severity="warning")
            yield warning(
                "incomplete-listing",
                f"the listing of {view.name} is incomplete, so keys missing from it are left as they are",
                "Plan again when the service can be read whole.",
            )
