"""An apply from lock to unlock: recover, plan or check the plan, prove the stores, execute, commit."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from keyform.apply.assist import announced, expect
from keyform.apply.check import check_places, check_saved_plan
from keyform.apply.execute import Chain, Executor, Report, Results, chains
from keyform.apply.journal import JournalWriter, Replay, read_journal
from keyform.apply.mint import new_intent
from keyform.apply.places import probe_stores
from keyform.apply.read import look
from keyform.apply.recover import resolve
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, error, warning
from keyform.engine.events import fold
from keyform.engine.plan import MINT, RELOCATE, Plan, digest_of
from keyform.engine.planner import make_plan
from keyform.engine.sight import Options, Sight
from keyform.errors import KeyformError, PlanError
from keyform.state import State, dump_state


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an apply came to. ``done`` and ``skipped`` count changes."""

    plan: Plan
    done: int = 0
    failed: tuple[Diagnostic, ...] = ()
    skipped: int = 0
    interrupted: bool = False
    declined: bool = False


def plan_now(ws: Workspace, options: Options) -> Plan:
    """Read and plan; writes nothing and takes no lock. What an interrupted apply had completed by then is
    taken as done, and the plan says that there is something to recover."""
    state, _, replay = _read(ws)
    if replay is None:
        return make_plan(look(ws, state), options)
    plan = make_plan(look(ws, replay.folded_into(state)), options)
    pending = warning(
        "recovery-pending",
        "an earlier apply was interrupted; the next apply first finishes what it left",
        "Run `keyform apply`. A plan saved now will be refused, since recovery changes the state.",
    )
    return replace(plan, diagnostics=(pending, *plan.diagnostics))


def apply(
    ws: Workspace,
    options: Options,
    *,
    plan: Plan | None = None,
    approve: Callable[[Plan], bool],
    parallelism: int = 10,
    overwrite: bool = False,
    on_event: Report,
    stop: threading.Event,
) -> Outcome:
    """Bring the world to what is declared, or to what a saved ``plan`` says.

    ``approve`` is asked with the plan before anything is changed (not for a saved plan). ``overwrite``
    allows writing over a value that is in a key's place in the store and that keyform did not write.
    Raises ``KeyformError`` for whatever forbids the whole apply; what fails for one key is in the
    outcome.
    """
    with ws.locked() as dead:
        if dead is not None:
            on_event(_told(_about_dead(dead.who, dead.host, dead.operation)))
        state, version, replay = _read(ws)
        done: frozenset[int] = frozenset()
        if replay is not None:
            resumed = plan is not None and plan.serial == state.serial and replay.is_of(digest_of(plan))
            state, version, completed = _recover(ws, state, version, replay, on_event)
            if plan is not None and resumed:
                done = completed
                plan = replace(plan, serial=state.serial)
        sight = look(ws, state)
        if plan is None:
            plan = make_plan(sight, options)
            if plan.failed:
                raise PlanError(plan.diagnostics)
            on_event({"type": "planned", "summary": plan.summary, "digest": digest_of(plan)})
            if plan.empty or not approve(plan):
                return Outcome(plan, declined=not plan.empty)
        else:
            state = check_saved_plan(plan, sight, version is None, done)
        return _carry_out(ws, plan, sight, state, version, done, parallelism, overwrite, on_event, stop)


def _read(ws: Workspace) -> tuple[State, str | None, Replay | None]:
    """The state, its version, and what an interrupted apply left. Before the first state is written, the
    journal is what knows its lineage."""
    state, version = ws.read_state()
    replay = read_journal(ws.backend.journal, state)
    if replay is not None and version is None and replay.sections:
        state = replace(state, lineage=replay.sections[0].lineage)
    return state, version, replay


def _recover(
    ws: Workspace, state: State, version: str | None, replay: Replay, on_event: Report
) -> tuple[State, str | None, frozenset[int]]:
    """Close what is open, put everything into the state, and empty the journal. The steps of the
    interrupted run that have come true are returned too."""
    journal = JournalWriter(ws.backend.journal, str(uuid.uuid4()))
    after = replay.folded_into(state)
    completed = [index for section in replay.sections for index, _ in section.events]
    if replay.open:
        journal.begin(state.lineage, None, ())
        events, notes = resolve(ws, journal, state.lineage, replay.open)
        for diagnostic in notes:
            on_event(_settled(diagnostic))
        after = fold(after, (event for _, event in events))
        completed += [index for index, _ in events]
    if (after.keys, after.projects) != (state.keys, state.projects):
        state, version = _commit(ws, after, version, journal.run)
    ws.backend.journal.clear()
    return state, version, frozenset(completed)


def _carry_out(
    ws: Workspace,
    plan: Plan,
    sight: Sight,
    state: State,
    version: str | None,
    done: frozenset[int],
    parallelism: int,
    overwrite: bool,
    on_event: Report,
    stop: threading.Event,
) -> Outcome:
    todo = chains(plan.changes, done)
    steps = [(index, step) for chain in todo for _, numbered in chain.changes for index, step in numbered]
    written = [step for _, step in steps if step.op in (MINT, RELOCATE)]
    probe_stores(ws, (place.store for step in written for place in step.places))
    if not overwrite:
        check_places(ws, state, written, parallelism)
    expect(ws, (step for _, step in steps))
    journal = JournalWriter(ws.backend.journal, str(uuid.uuid4()))
    intents = {index: new_intent(index, step, ws) for index, step in steps if step.op == MINT}
    if steps:
        journal.begin(state.lineage, digest_of(plan), announced(ws, intents.values()))
    executor = Executor(ws, journal, state, sight.services, intents)
    results = executor.run(todo, parallelism, on_event, stop)
    if journal.open:
        _settle(ws, journal, state, results, on_event)
    if results.events:
        after = fold(state, (event for _, event in results.events))
        _commit(ws, after, version, journal.run)
    if steps and not journal.open:
        ws.backend.journal.clear()
    outcome = Outcome(
        plan,
        results.done,
        tuple(results.failed),
        results.skipped,
        interrupted=stop.is_set() and results.skipped > 0,
    )
    on_event(_complete(outcome, todo))
    return outcome


def _settle(ws: Workspace, journal: JournalWriter, state: State, results: Results, on_event: Report) -> None:
    """Close the intents whose mint ended without an answer, as a recovery would. If that cannot be done
    now, the journal keeps them for the next apply."""
    replay = read_journal(ws.backend.journal, state)
    try:
        events, notes = resolve(ws, journal, state.lineage, replay.open if replay else ())
    except KeyformError as problem:
        results.failed += problem.diagnostics
        results.failed.append(
            error(
                "unsettled",
                f"{len(journal.open)} interrupted mints could not be looked into yet",
                "The journal knows of them: the next `keyform apply` settles them first.",
            )
        )
        return
    results.events += events
    for diagnostic in notes:
        on_event(_settled(diagnostic))


def _commit(ws: Workspace, state: State, version: str | None, run: str) -> tuple[State, str]:
    state = replace(state, serial=state.serial + 1, run=run)
    return state, ws.backend.write(dump_state(state), version)


def _complete(outcome: Outcome, todo: tuple[Chain, ...]) -> dict[str, object]:
    total = sum(len(chain.changes) for chain in todo)
    return {
        "type": "complete",
        "summary": {
            "done": outcome.done,
            "failed": total - outcome.done - outcome.skipped,
            "skipped": outcome.skipped,
        },
    }


def _about_dead(who: str, host: str, operation: str) -> Diagnostic:
    return warning(
        "lock-of-dead-process",
        f"the `keyform {operation}` that {who} ran on {host} ended without unlocking the state",
        "It was killed or crashed. This run finishes what it left.",
    )


def _settled(diagnostic: Diagnostic) -> dict[str, object]:
    """What became of an open intent; a doubt that only the user can settle is a warning."""
    if diagnostic.severity == "warning":
        return _told(diagnostic)
    return {"type": "recovered", "address": diagnostic.address, "what": diagnostic.summary}


def _told(diagnostic: Diagnostic) -> dict[str, object]:
    return {"type": "warning", "diagnostic": diagnostic.as_json()}
