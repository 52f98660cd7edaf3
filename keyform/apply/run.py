"""An apply from lock to unlock: recover, plan or check the plan, prove the stores, execute, commit."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from keyform.apply.assist import expect
from keyform.apply.check import check_fit, check_saved_plan, check_unmoved
from keyform.apply.copying import take_back_copies
from keyform.apply.doubts import ask_about_doubts
from keyform.apply.execute import Executor, Report, Results
from keyform.apply.gating import Gating
from keyform.apply.journal import JournalWriter, Replay, read_journal
from keyform.apply.mint import new_intent
from keyform.apply.now import elsewhere, read_recorded
from keyform.apply.order import Chain, Waiting, chains
from keyform.apply.places import probe_stores
from keyform.apply.read import SHORT_WHILE, look, whereabouts
from keyform.apply.recover import Resolved, resolve
from keyform.apply.seen import see_places, with_begun
from keyform.apply.telling import about_dead, about_lapsed, tell_of_doubts, tell_resolved, warn
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, error
from keyform.engine.again import without_proven
from keyform.engine.events import REVOKED, fold
from keyform.engine.lapsed import still_due
from keyform.engine.notes import still_working
from keyform.engine.options import Options
from keyform.engine.plan import MINT, PROMOTE, READDRESS, RELOCATE, RESTORE, Plan, digest_of
from keyform.engine.planner import make_plan
from keyform.engine.remember import remembering
from keyform.engine.sight import Sight
from keyform.engine.whereabouts import Whereabouts, with_whereabouts
from keyform.errors import Interrupted, KeyformError, PlanError
from keyform.model import Place
from keyform.state import State, dump_state


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery led to: the state, the steps of the interrupted run that have come true, and what still
    waits for a person, with what to tell about it. ``begun`` are places that it may have copied to.
    ``closed``: the state lacks doubts that were closed since it was written."""

    state: State
    version: str | None
    completed: frozenset[int] = frozenset()
    waiting: Waiting = field(default_factory=Waiting)
    told: tuple[Diagnostic, ...] = ()
    begun: frozenset[Place] = frozenset()
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an apply came to. ``done``, ``skipped`` and ``held`` count changes."""

    plan: Plan
    done: int = 0
    failed: tuple[Diagnostic, ...] = ()
    skipped: int = 0
    held: int = 0
    interrupted: bool = False
    declined: bool = False


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
            warn((about_dead(dead),), on_event)
        state, version, replay = read_recorded(ws)
        _refuse_elsewhere(ws, state, replay, options, plan)
        done: frozenset[int] | None = None
        recovered = Recovered(state, version)
        if replay is not None:
            resumed = plan is not None and replay.is_of(digest_of(plan))
            recovered = _recover(ws, state, version, replay, on_event)
            state = recovered.state
            if stop.is_set():  # whoever was asked left
                raise Interrupted(recovered.told)
            if resumed:
                done = recovered.completed
        saved = plan is not None
        looking = options if plan is None else plan.options
        looked = ws.clock.monotonic()
        sight = look(ws, state, looking)
        if plan is None:
            plan = make_plan(sight, options)
            if plan.failed:
                raise PlanError(plan.diagnostics)
            if plan.empty:
                return _nothing_to_do(ws, sight, options, recovered, on_event)
            on_event({"type": "planned", "summary": plan.summary, "digest": digest_of(plan)})
            asked = ws.clock.monotonic()
            if not approve(plan):
                return Outcome(plan, failed=recovered.told, declined=True)
        else:
            state = check_saved_plan(plan, sight, recovered.version is None, done)
            asked = ws.clock.monotonic()
        known = len(state.doubts)
        state = ask_about_doubts(ws, state, on_event)
        if saved:
            tell_of_doubts(state.doubts, state, on_event)
        if ws.clock.monotonic() - asked > SHORT_WHILE:
            looked = ws.clock.monotonic()
            sight = look(ws, state, looking)
            if saved:
                check_saved_plan(plan, sight, recovered.version is None, done)
            else:
                check_unmoved(plan, sight)
        closed = len(state.doubts) < known
        recovered = replace(recovered, state=state, completed=done or frozenset(), closed=closed)
        gating = Gating(ws, plan, sight, looked)
        return _carry_out(ws, plan, sight, recovered, gating, parallelism, overwrite, on_event, stop)


def _nothing_to_do(
    ws: Workspace, sight: Sight, options: Options, recovered: Recovered, on_event: Report
) -> Outcome:
    """Of a plan without changes only the doubts are left to ask about."""
    state = ask_about_doubts(ws, sight.state, on_event)
    if state is not sight.state:
        _commit(ws, state, recovered.version, state.run)
    plan = make_plan(replace(sight, state=state), options)
    on_event({"type": "planned", "summary": plan.summary, "digest": digest_of(plan)})
    return Outcome(plan, failed=recovered.told)


def _refuse_elsewhere(
    ws: Workspace, state: State, replay: Replay | None, options: Options, plan: Plan | None
) -> None:
    """Refuse to look for anything, a recovery's keys included, at a service or store that is not the one
    that the state knows by this name. A saved plan allows what it readdresses."""
    changes = plan.changes if plan else ()
    allowed = {step.address for change in changes for step in change.steps if step.op == READDRESS}
    problems = tuple(d for d in elsewhere(ws, state, replay) if d.address not in allowed)
    if problems and not options.allow_endpoint_change:
        raise PlanError(problems)


def _recover(ws: Workspace, state: State, version: str | None, replay: Replay, on_event: Report) -> Recovered:
    """Close what is open, put everything into the state, and empty the journal. What only a person can
    close stays in the journal. Raises ``KeyformError`` for what cannot be closed otherwise."""
    resolved = Resolved()
    journal = JournalWriter(ws.backend.journal, str(uuid.uuid4()))
    after = replay.folded_into(state)
    completed = [index for section in replay.sections for index in section.completed()]
    if replay.open:
        journal.begin(state.lineage, None, (), Whereabouts(state.services, state.stores))
        resolved = resolve(ws, journal, after, replay.open, in_run=False)
        tell_resolved(resolved, on_event)
        if len(resolved.problems) == 1 and not resolved.waiting:
            raise resolved.problems[0]
        if len(resolved.problems) > len(resolved.waiting):
            raise KeyformError(_told_by(resolved.problems))
        after = fold(after, (event for _, event in resolved.events)).doubting(resolved.doubts)
        after = remembering(after, journal.undone)
        waits = {intent.marker for intent in resolved.waiting}
        after = still_due(after, (intent.step for intent in replay.open if intent.marker not in waits))
        completed += [index for index, _ in resolved.events]
    warn(about_lapsed(state, after), on_event)
    take_back_copies(ws, replay.half_copied(), after)
    if after != state:
        # By the section that came last, a later look knows that all of them are in the state.
        run = journal.run if replay.open else replay.sections[-1].run
        state, version = _commit(ws, after, version, run)
    if not resolved.waiting:
        ws.backend.journal.clear()
    waiting = Waiting(
        frozenset(intent.step.service or "" for intent in resolved.waiting),
        frozenset(intent.step.address for intent in resolved.waiting),
    )
    told = _told_by(resolved.problems)
    return Recovered(state, version, frozenset(completed), waiting, told, replay.begun())


def _told_by(problems: Iterable[KeyformError]) -> tuple[Diagnostic, ...]:
    return tuple(diagnostic for problem in problems for diagnostic in problem.diagnostics)


def _carry_out(
    ws: Workspace,
    plan: Plan,
    sight: Sight,
    recovered: Recovered,
    gating: Gating,
    parallelism: int,
    overwrite: bool,
    on_event: Report,
    stop: threading.Event,
) -> Outcome:
    ws.backend.check_lock()  # it may have been broken while somebody was asked
    state, done, waiting = recovered.state, recovered.completed, recovered.waiting
    todo = chains(plan.changes, done)
    begun = [chain for chain in todo if waiting.why(chain) is None]
    steps = [(index, step) for chain in begun for _, numbered in chain.changes for index, step in numbered]
    written = [step for _, step in steps if step.op in (MINT, RELOCATE, RESTORE, PROMOTE)]
    check_fit(ws, written)
    probe_stores(ws, (place.store for step in written for place in step.places))
    seen = with_begun(see_places(ws, sight, state, written, parallelism, overwrite), recovered.begun)
    expect(ws, (step for _, step in steps))
    journal = JournalWriter(ws.backend.journal, str(uuid.uuid4()))
    intents = {index: new_intent(index, step) for index, step in steps if step.op in (MINT, PROMOTE)}
    if steps:
        ws.backend.check_lock()  # the journal is that of whoever holds it
        journal.begin(state.lineage, digest_of(plan), intents.values(), sight.where, done)
    executor = Executor(ws, journal, state, sight.services, intents, seen, gating)
    results = executor.run(todo, parallelism, on_event, stop, waiting)
    try:
        _commit_run(ws, sight, recovered, journal, results, bool(steps), on_event)
    except KeyformError as problem:
        problem.diagnostics = (*results.failed, *problem.diagnostics, *_in_journal(results))
        raise
    ended = [event.service for _, event in results.events if event.kind == REVOKED]
    warn(still_working(sight.services, ended, ws.clock.now()), on_event)
    outcome = Outcome(
        plan,
        results.done,
        (*recovered.told, *results.failed),
        results.skipped,
        results.held,
        interrupted=stop.is_set() and results.skipped > 0,
    )
    on_event(_complete(outcome, todo))
    return outcome


def _commit_run(
    ws: Workspace,
    sight: Sight,
    recovered: Recovered,
    journal: JournalWriter,
    results: Results,
    stepped: bool,
    on_event: Report,
) -> None:
    """Put what the run has come to into the state, and empty the journal where nothing is open in it."""
    state = recovered.state
    ws.backend.check_lock()  # whoever broke it goes on from the journal
    known = True
    if journal.open or journal.failed:
        known = _settle(ws, journal, state, results, on_event)
    if known and (results.events or results.doubts or recovered.closed or journal.undone):
        after = fold(state, (event for _, event in results.events)).doubting(results.doubts)
        after = without_proven(remembering(after, journal.undone), sight)
        _commit(ws, after, recovered.version, journal.run if stepped else state.run)
    # A step whose record failed may have come about; the next apply looks at what the journal says of it.
    if stepped and not journal.open and not journal.failed and not recovered.waiting.services:
        ws.backend.journal.clear()


def _in_journal(results: Results) -> tuple[Diagnostic, ...]:
    """What to tell where the state could not be written after things were done."""
    if not results.events:
        return ()
    done = "1 change" if results.done == 1 else f"{results.done} changes"
    return (
        error(
            "uncommitted",
            f"the state does not show what this run has done ({done}); its journal does",
            "Nothing is lost. Mend what the message above says and apply again: that puts it into the state "
            "first.",
        ),
    )


def _settle(ws: Workspace, journal: JournalWriter, state: State, results: Results, on_event: Report) -> bool:
    """Close the intents whose mint ended without an answer, as a recovery would; what cannot be closed now is
    the next apply's. A record whose write failed may be in the journal all the same, so what the run has come
    to is read from there. False where that cannot be read: then the journal alone knows."""
    known = False
    resolved = Resolved()
    try:
        replay = read_journal(ws.backend.journal, state) or Replay()
        unsettled = tuple(intent for intent in replay.open if intent.marker in journal.open)
        journal.open &= {intent.marker for intent in unsettled}
        after = fold(state, (event for _, event in replay.section_of(journal.run).events))
        resolved = resolve(ws, journal, after, unsettled, in_run=True)
        section = (read_journal(ws.backend.journal, state) or Replay()).section_of(journal.run)
        results.events, results.doubts = [*section.events], [*section.doubts]
        known = True
    except KeyformError as problem:
        resolved.problems.append(problem)
    tell_resolved(resolved, on_event)
    tell_of_doubts(resolved.doubts, state, on_event)
    if journal.open or not known:
        results.failed += _told_by(resolved.problems)
    if journal.open:
        one = len(journal.open) == 1
        results.failed.append(
            error(
                "unsettled",
                f"{len(journal.open)} interrupted {'mint' if one else 'mints'} could not be looked into yet",
                f"The journal knows of {'it' if one else 'them'}: the next `keyform apply` settles "
                f"{'it' if one else 'them'} first.",
            )
        )
    if not known:
        results.failed.append(
            error(
                "unwritten",
                "what this run did is in its journal, and was not written to the state",
                "The journal could not be read back. The next `keyform apply` begins by putting it there.",
            )
        )
    return known


def _commit(ws: Workspace, state: State, version: str | None, run: str | None) -> tuple[State, str]:
    state = with_whereabouts(replace(state, serial=state.serial + 1, run=run), whereabouts(ws))
    return state, ws.backend.write(dump_state(state), version)


def _complete(outcome: Outcome, todo: tuple[Chain, ...]) -> dict[str, object]:
    total = sum(len(chain.changes) for chain in todo)
    return {
        "type": "complete",
        "summary": {
            "done": outcome.done,
            "failed": total - outcome.done - outcome.skipped - outcome.held,
            "skipped": outcome.skipped,
            **({"held": outcome.held} if outcome.held else {}),
        },
    }
