"""What must hold before anything is changed: a saved plan still fits, and every place can be had."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, error
from keyform.engine import plan as pl
from keyform.engine.afresh import shown_otherwise
from keyform.engine.diff import changed_fields
from keyform.engine.plan import ALTER, END, MINT, PROMOTE, SET_ORIGINS, Change, Plan, Step
from keyform.engine.planner import after_moves
from keyform.engine.rollback import target
from keyform.engine.sight import Sight, presence, seen_digest, without_balance
from keyform.engine.vetting import vet
from keyform.errors import PlanError, StoreError
from keyform.model import REVOKED
from keyform.state import Generation, State

STALE = "Plan again (`keyform plan --out FILE`), and have the new plan reviewed."


def check_saved_plan(
    plan: Plan, sight: Sight, no_state_yet: bool, done: frozenset[int] | None = None
) -> State:
    """Refuse a plan that has errors, that was made from another configuration, another state, or services
    that have moved since, or that holds or shows what planning would not have put there. ``done`` are the
    steps that an interrupted apply of this same plan took, or None when there was none. Returns the state to
    work on: the first apply has the plan's lineage."""
    state = sight.state
    if plan.failed:
        raise PlanError(tuple(d for d in plan.diagnostics if d.severity == "error"))
    if no_state_yet and plan.serial == 0:
        state = replace(state, lineage=plan.lineage)
    if plan.lineage != state.lineage:
        raise PlanError(
            "the plan was made for another state",
            f"The plan's lineage is {plan.lineage}, the state's is {state.lineage}. Check the folder and "
            f"the `state:` block. {STALE}",
        )
    # What the interrupted apply of this plan brought about has been written since, and nothing else has.
    if done is None and plan.serial != state.serial:
        raise PlanError(
            "the plan is stale: the state was written since it was made",
            f"The plan was made at serial {plan.serial}, the state is at {state.serial}. {STALE}",
        )
    if plan.config_digest != sight.config_digest:
        raise PlanError(
            "the plan is stale: the configuration or its variables changed since it was made",
            f"Apply it with the files and variables that it was made from. {STALE}",
        )
    sight = replace(sight, state=state)
    problems = _moved(plan, sight, done) or _too_late(plan, sight) or tuple(vet(plan, sight, done))
    if done is None and not problems:  # else it was held against planning before its first step
        problems = tuple(shown_otherwise(plan, sight))
    if problems:
        raise PlanError(tuple(dict.fromkeys(problems)))
    return state


def _too_late(plan: Plan, sight: Sight) -> tuple[Diagnostic, ...]:
    """Rollbacks that could be had when the plan was made, and cannot now, since time has passed."""
    wants = {want.address: want for want in sight.desired.keys}
    out = []
    for step in (step for change in plan.changes for step in change.steps if step.op == PROMOTE):
        want, record = wants.get(step.address), sight.state.keys.get(step.address)
        if want is None or record is None:
            continue
        why = target(want, record, sight.services, sight.now)
        then = target(want, record, sight.services, plan.created_at)
        if isinstance(why, Diagnostic) and not isinstance(then, Diagnostic):
            summary = f"the plan was applied too late: {why.summary}"
            out.append(
                error("plan-late", summary, f"Nothing was changed. {why.detail}", address=step.address)
            )
    return tuple(out)


def check_unmoved(plan: Plan, sight: Sight) -> None:
    """Refuse a plan whose keys and projects are no longer as they were when it was made. Raises
    ``PlanError`` naming all that moved."""
    if moved := _moved(plan, sight, None):
        raise PlanError(tuple(moved))


def _moved(plan: Plan, sight: Sight, done: frozenset[int] | None) -> list[Diagnostic]:
    moved = []
    index = 0
    sight = after_moves(sight)  # which the addresses of the changes are after
    for change in plan.changes:
        steps = range(index, index + len(change.steps))
        index += len(change.steps)
        stale = f"{change.address} changed at {change.service} since the plan was made"
        if change.seen is None or change.seen == _seen(change, sight):
            # What a resumed run wrote itself is not told from what others wrote; its writes are conditional.
            if done is not None or change.held is None or change.held == _held(change, sight):
                continue
            stale = f"what the stores hold of {change.address} changed since the plan was made"
        if done is None or not (done.intersection(steps) or _came_true(change, sight)):
            moved.append(error("plan-stale", stale, f"Nothing was changed. {STALE}", address=change.address))
    return moved


def _came_true(change: Change, sight: Sight) -> bool:
    """Whether its service shows what the change was to bring about: the interrupted apply did it, and died
    before it could write that down."""
    effects = [step for step in change.steps if step.op in (MINT, ALTER, END, SET_ORIGINS)]
    return bool(effects) and all(_shows(step, sight) for step in effects)


def _shows(step: Step, sight: Sight) -> bool:
    view = sight.services.get(step.service or "")
    if view is None:
        return False
    key, project = view.keys.get(step.key_id or ""), view.projects.get(step.project or "")
    if key is not None and key.status == REVOKED:
        key = None
    match step.op:
        case pl.END:
            return key is None and view.profile.lists
        case pl.ALTER:
            spec = step.spec
            if key is None or spec is None:
                return False
            return not changed_fields(without_balance(key.spec), without_balance(spec), step.fields)
        case pl.SET_ORIGINS:
            return project is not None and project.allowed_origins == step.origins
        case _:  # a mint is known by its marker, never by how things look
            return False


def _seen(change: Change, sight: Sight) -> str:
    view = sight.services.get(change.service or "")
    if view is None:
        return ""
    for step in change.steps:
        if step.project is not None:
            return seen_digest(view.projects.get(step.project))
    generation = _generation(change, sight.state)
    if generation is not None:
        return seen_digest(presence(view, generation, sight.now).live)
    return seen_digest(view.keys.get(change.key_id or ""))


def _held(change: Change, sight: Sight) -> str | None:
    generation = _generation(change, sight.state)
    return sight.stores.digest_of(generation) if generation else None


def _generation(change: Change, state: State) -> Generation | None:
    """The recorded generation that a change is about; one that is gone from its service is minted anew, and
    one that is declared at another service has its own still."""
    record = state.keys.get(change.address)
    if record is None or change.key_id is None:
        return record.current if record else None
    known = [generation for generation in record.generations() if generation.id == change.key_id]
    here = [generation for generation in known if generation.service == change.service]
    return next(iter(here or known), None)


def check_fit(ws: Workspace, steps: Iterable[Step]) -> None:
    """Refuse places that their stores cannot hold, without asking the stores. Raises ``StoreError`` naming
    every such place."""
    problems: list[Diagnostic] = []
    for step in steps:
        for place in step.places:
            try:
                ws.store(place.store).check(place)
            except StoreError as problem:
                problems += (replace(d, address=d.address or step.address) for d in problem.diagnostics)
    if problems:
        raise StoreError(tuple(problems))
