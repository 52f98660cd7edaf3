"""From what is declared, recorded and live to a plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from keyform.diagnostics import ERROR, Diagnostic, error
from keyform.engine.adoption import plan_import
from keyform.engine.again import plan_again
from keyform.engine.alone import held_back
from keyform.engine.asking import not_to_be_had, with_old_ended
from keyform.engine.calendar import expiring_before_next_run
from keyform.engine.checklist import with_checklists
from keyform.engine.declared import plan_first, plan_known
from keyform.engine.doubts import about_doubt
from keyform.engine.guards import guard, guard_again
from keyform.engine.holding import about_stores, drift_notes
from keyform.engine.lapsed import asked_of
from keyform.engine.leaving import about_left, with_left
from keyform.engine.listings import about_listings, unmanaged_keys
from keyform.engine.notes import notes
from keyform.engine.options import DESTROY, IMPORT_ONLY, REFRESH_ONLY, Options
from keyform.engine.plan import (
    DROP,
    END,
    IMPORT,
    MINT,
    MOVE,
    RELOCATE,
    RENAME,
    Change,
    FieldDiff,
    Plan,
    Step,
)
from keyform.engine.privilege import with_privilege
from keyform.engine.refresh import plan_refresh
from keyform.engine.renames import Lookalikes
from keyform.engine.rollback import plan_rollback
from keyform.engine.sight import ServiceView, Sight
from keyform.engine.then import with_passing
from keyform.engine.undeclared import (
    plan_deposed,
    plan_forgotten,
    plan_left,
    plan_project,
    plan_project_removed,
    plan_removed,
    service_gone,
)
from keyform.engine.whereabouts import owners, readdressed, refused, same_service
from keyform.model import Desired
from keyform.state import KeyRecord, State

Planned = Change | Diagnostic


def make_plan(sight: Sight, options: Options) -> Plan:
    """Plan. Pure: the same arguments give the same plan."""
    sight = replace(sight, now=_in_a_file(sight.now))
    elsewhere = (
        () if options.allow_endpoint_change else tuple(refused(sight.state, sight.where, sight.minting))
    )
    if elsewhere:
        return _plan_of(sight, options, diagnostics=elsewhere)
    protected = frozenset(want.address for want in sight.desired.keys if want.protect)
    if options.mode == DESTROY:
        sight = replace(sight, desired=Desired())
    planned: list[Planned] = []
    if options.mode == REFRESH_ONLY:
        planned += plan_refresh(sight)
        planned += drift_notes(sight.state, sight.stores)
    else:
        moved, state = _moves(sight)
        planned += moved
        sight = replace(
            sight, state=with_old_ended(state, frozenset(options.end_old), sight.services, sight.now)
        )
        planned += _projects(sight)
        planned += not_to_be_had(sight, options)
        planned += _declared_keys(sight, options)
        planned += _undeclared_keys(sight, options.mode == DESTROY, protected)
        planned += plan_again(sight)
    if options.scope:
        planned = [p for p in planned if p.address is None or is_targeted(p.address, options, sight.desired)]
    if options.mode == IMPORT_ONLY:
        planned = [p for p in planned if not isinstance(p, Change) or p.action == IMPORT]
    changes = _spare_claimed(tuple(p for p in planned if isinstance(p, Change)))
    changes = with_left(changes, sight.state, sight.stores)
    changes = with_checklists((*readdressed(sight.state, sight.where), *changes), sight)
    changes = with_passing(with_privilege(changes, sight), sight)
    diagnostics = [p for p in planned if isinstance(p, Diagnostic)]
    forbidden = [*guard(sight, options, changes)]
    if held := held_back(sight.desired, options, (*diagnostics, *forbidden)):
        changes = tuple(change for change in changes if change.address not in held)
        forbidden += guard_again(sight, changes)  # what is held back may be in the way of others
    unmanaged, strays = unmanaged_keys(sight)
    diagnostics += strays
    diagnostics += about_listings(sight)
    diagnostics += (
        about_doubt(doubt, sight.state)
        for doubt in sight.state.doubts
        if not options.scope or is_targeted(doubt.address, options, sight.desired)
    )
    near = _nearby(sight, options, changes)
    diagnostics += notes(near, changes)
    diagnostics += expiring_before_next_run(near, changes)
    declared = frozenset(want.address for want in sight.desired.keys)
    diagnostics += about_stores(near.state, declared, sight.stores, changes)
    diagnostics += about_left(changes, sight.stores)
    diagnostics += forbidden
    unchanged = _unchanged(sight, options, planned)
    return _plan_of(sight, options, changes, unchanged, unmanaged, diagnostics, held)


def _nearby(sight: Sight, options: Options, changes: tuple[Change, ...]) -> Sight:
    """What there is to tell about beside the changes: where the plan is limited to some keys, those and their
    services alone."""
    if not options.scope:
        return sight
    targeted = {a: r for a, r in sight.state.keys.items() if is_targeted(a, options, sight.desired)}
    names = {generation.service for record in targeted.values() for generation in record.generations()}
    names |= {w.service for w in sight.desired.keys if is_targeted(w.address, options, sight.desired)}
    names |= {change.service or "" for change in changes}
    names |= {step.service or "" for change in changes for step in change.steps}
    services = {name: view for name, view in sight.services.items() if name in names}
    return replace(sight, state=replace(sight.state, keys=targeted), services=services)


def _in_a_file(now: datetime) -> datetime:
    """The moment as a plan file keeps it, so that the plan can be made once more from that."""
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _plan_of(
    sight: Sight,
    options: Options,
    changes: tuple[Change, ...] = (),
    unchanged: int = 0,
    unmanaged: tuple[tuple[str, int], ...] = (),
    diagnostics: Iterable[Diagnostic] = (),
    held: tuple[str, ...] = (),
) -> Plan:
    return Plan(
        sight.state.lineage,
        sight.state.serial,
        sight.config_digest,
        sight.now,
        changes,
        unchanged,
        unmanaged,
        tuple(dict.fromkeys(diagnostics)),
        options,
        held,
    )


def _unchanged(sight: Sight, options: Options, planned: list[Planned]) -> int:
    """How many keys and projects the plan leaves as they are."""
    told = {p.address for p in planned if isinstance(p, Change) or p.severity == ERROR}
    return len(_covered(sight, options) - told)


def covered(sight: Sight, options: Options) -> frozenset[str]:
    """The addresses of the keys and projects that a plan is about."""
    if options.mode == DESTROY:
        sight = replace(sight, desired=Desired())
    return _covered(sight if options.mode == REFRESH_ONLY else after_moves(sight), options)


def _covered(sight: Sight, options: Options) -> frozenset[str]:
    known = {*sight.state.keys, *sight.state.projects}
    if options.mode != REFRESH_ONLY:
        known |= {want.address for want in sight.desired.keys}
        known |= {project.address for project in sight.desired.projects}
    if options.scope:
        known = {address for address in known if is_targeted(address, options, sight.desired)}
    return frozenset(known)


def _spare_claimed(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """A place that a key writes is not erased after an older generation of the same key. (Where another key
    takes a place over, apply erases what the new secret did not replace.)"""
    claimed = {
        (step.address, place)
        for change in changes
        for step in change.steps
        if step.op in (MINT, RELOCATE)
        for place in step.places
    }

    def spare(step: Step) -> Step:
        if step.op not in (END, DROP):
            return step
        kept = tuple(place for place in step.places if (step.address, place) not in claimed)
        return step if kept == step.places else replace(step, places=kept)

    return tuple(replace(change, steps=tuple(map(spare, change.steps))) for change in changes)


def after_moves(sight: Sight) -> Sight:
    """The same with the addresses that the `moved` entries give."""
    return replace(sight, state=_moves(sight)[1])


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
        if view and (change := plan_project(project, sight.state.projects.get(project.address), view)):
            yield change
    for address, record in sight.state.projects.items():
        if address not in declared:
            yield plan_project_removed(record, "no longer declared")


def _declared_keys(sight: Sight, options: Options) -> list[Planned]:
    out: list[Planned] = []
    imports = {entry.address: entry.id for entry in sight.desired.imports}
    owned = owners(sight.state, sight.where) if imports else {}
    holders = {
        place: record.address for record in sight.state.keys.values() for place in record.current.places
    }
    for want in sight.desired.keys:
        view = sight.services.get(want.service)
        if view is None:
            continue
        record = sight.state.keys.get(want.address)
        if record is not None and record.current.service not in sight.services:
            out.append(service_gone(want.address, record.current))
        elif record is not None:
            if options.rolls_back(want.address):
                why = options.rollback_reason
                out.append(plan_rollback(want, record, sight.services, sight.stores, sight.now, why))
                continue
            asked = asked_of(record, options)
            verdict = plan_known(want, record, sight.services, sight.now, holders, sight.stores, asked)
            out += [p for p in (verdict.change, *verdict.diagnostics) if p is not None]
            if record.deposed:
                steps = verdict.change.steps if verdict.change else ()
                ended = {(step.service, step.key_id) for step in steps if step.op == END}
                out += plan_deposed(record, want, sight.services, sight.now, ended)
        elif (wanted_id := imports.get(want.address)) is None:
            out.append(plan_first(want, view, sight.state.keys.values()))
        elif owner := owned.get((same_service(sight.state, sight.where, want.service), wanted_id)):
            out.append(
                error(
                    "import-owned",
                    f"{wanted_id} cannot be imported: it is {owner} already",
                    "Use a `moved` entry to rename a key.",
                    address=want.address,
                )
            )
        else:
            verdict = plan_import(
                want, view, wanted_id, sight.now, sight.state.lineage, options.mode == IMPORT_ONLY
            )
            out += [p for p in (verdict.change, *verdict.diagnostics) if p is not None]
    return out


def _undeclared_keys(sight: Sight, destroying: bool, protected: frozenset[str]) -> Iterator[Planned]:
    declared = {want.address for want in sight.desired.keys}
    removals = {entry.address: entry for entry in sight.desired.removals}
    lookalikes = Lookalikes(sight)
    for address, record in sight.state.keys.items():
        if address in declared:
            continue
        removal = removals.get(address) or removals.get(address.partition("[")[0])
        if removal is not None and not removal.revoke:
            yield plan_forgotten(record, "`removed` says to forget it")
            continue
        why = "destroy revokes everything that the state owns" if destroying else "no longer declared"
        record = replace(record, protect=record.protect or address in protected)
        renamed = None if removal else lookalikes.of(record)
        view = _view_of(sight, record)
        if destroying and view and not view.profile.revokes and not record.protect:
            yield plan_left(record, view)
            continue
        removed = plan_removed(record, view, why, sight.now, renamed)
        if isinstance(removed, Change):
            removed = replace(removed, held=sight.stores.digest_of(record.current))
        yield removed
        if renamed is not None and not record.protect:
            yield lookalikes.hint(record, renamed)


def _view_of(sight: Sight, record: KeyRecord) -> ServiceView | None:
    return sight.services.get(record.current.service)


def is_targeted(address: str, options: Options, desired: Desired) -> bool:
    """Whether the plan is about this address, where it is limited to some."""
    wanted = set(options.scope)
    if address in wanted or address.partition("[")[0] in wanted:
        return True
    # A key's project has to be there before the key is, so it comes along.
    projects = {(p.service, p.id): p.address for p in desired.projects}
    return address.startswith("projects.") and any(
        projects.get((want.service, want.spec.project or "")) == address
        for want in desired.keys
        if want.address in wanted or want.address.partition("[")[0] in wanted
    )
