"""The world as it is now, and the plan for it. Nothing here writes, and nothing takes the lock."""

from __future__ import annotations

from dataclasses import dataclass, replace

from keyform.apply.journal import Replay, read_journal
from keyform.apply.read import look, whereabouts
from keyform.apply.telling import about_running
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, warning
from keyform.engine.options import Options
from keyform.engine.plan import Plan
from keyform.engine.planner import make_plan
from keyform.engine.sight import Sight
from keyform.engine.whereabouts import refused
from keyform.errors import PlanError
from keyform.model import Place, ownership_label
from keyform.state import State


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known without asking any service: the state with what an interrupted apply had completed, what
    that apply has still to account for, and what there is to tell of it, or of one that is running."""

    state: State
    pending: frozenset[str] = frozenset()
    unsettled: frozenset[Place] = frozenset()
    minting: frozenset[str] = frozenset()
    elsewhere: tuple[Diagnostic, ...] = ()
    told: tuple[Diagnostic, ...] = ()


def plan_now(ws: Workspace, options: Options, *, present: bool = True) -> Plan:
    """Read and plan. What an interrupted apply had completed by then is taken as done, and the plan says that
    there is something to recover. Where a service or store is not the one that the state knows, nothing is
    asked of any: a credential is not for whoever answers there. ``present`` False: the clock tells another
    time, and no service's is held against it."""
    known = _known(ws)
    if known.elsewhere and not options.allow_endpoint_change:
        where, now = whereabouts(ws), ws.clock.now()
        sight = Sight(
            ws.desired, known.state, {}, now, ws.config.digest, where, known.pending, minting=known.minting
        )
    else:
        sight = _look(ws, known, options)
    if not present:
        views = {name: replace(view, skew=None) for name, view in sight.services.items()}
        sight = replace(sight, services=views)
    plan = make_plan(sight, options)
    return replace(plan, diagnostics=(*known.told, *plan.diagnostics)) if known.told else plan


def sight_now(
    ws: Workspace, options: Options, *, stores: bool = True, whole: bool = False
) -> tuple[Sight, tuple[Diagnostic, ...]]:
    """What a plan made now would see, and what there is to tell of an apply that is running or was
    interrupted. ``stores`` False: without a look at the stores; ``whole``: with every declared service,
    whether it can be used or not. Raises ``PlanError``, before anything is asked of a service, where one is
    no longer the one that the state knows."""
    known = _known(ws)
    if known.elsewhere and not options.allow_endpoint_change:
        raise PlanError(known.elsewhere)
    return _look(ws, known, options, stores=stores, whole=whole), known.told


def elsewhere(ws: Workspace, state: State, replay: Replay | None) -> tuple[Diagnostic, ...]:
    """Why nothing is to be asked of the services and stores: some are not those that the state knows by their
    names. ``replay``: what an interrupted apply left, which may have minted keys too."""
    if replay is not None:
        state = replay.folded_into(state)
    return tuple(refused(state, whereabouts(ws), _minting(replay)))


def elsewhere_now(ws: Workspace) -> dict[str, Diagnostic]:
    """By address (``services.NAME``, ``stores.NAME``), why that one is not to be asked for anything: it is
    not the one that the state knows."""
    state, _, replay = read_recorded(ws)
    return {problem.address or "": problem for problem in elsewhere(ws, state, replay)}


def read_recorded(ws: Workspace) -> tuple[State, str | None, Replay | None]:
    """The state, its version, and what an interrupted apply left. Before the first state is written, the
    journal is what knows its lineage."""
    state, version = ws.read_state()
    replay = read_journal(ws.backend.journal, state)
    if replay is not None and version is None and replay.sections:
        state = replace(state, lineage=replay.sections[0].lineage)
    if replay is not None:
        state = replay.placed_into(state)
    return state, version, replay


def _known(ws: Workspace) -> _Known:
    running = ws.backend.holder()
    state, _, replay = read_recorded(ws)
    moved = elsewhere(ws, state, replay)
    told = (about_running(running),) if running is not None else ()
    if replay is None:
        return _Known(state, elsewhere=moved, told=told)
    state = replay.folded_into(state)
    unsettled = frozenset(place for intent in replay.open for place in intent.step.places)
    unsettled |= {place for copy in replay.half_copied() for place in copy.places}
    leaked = sorted({intent.step.address for intent in replay.open if intent.step.now})
    until = f"Until then the old key of {', '.join(leaked)} may work, in spite of --now. " if leaked else ""
    interrupted = warning(
        "recovery-pending",
        "an earlier apply was interrupted; the next apply first finishes what it left",
        until + "Run `keyform apply`. A plan saved now will be refused, since recovery changes the state.",
    )
    pending = _pending(replay, state.lineage)
    return _Known(state, pending, unsettled, _minting(replay), moved, told or (interrupted,))


def _look(
    ws: Workspace, known: _Known, options: Options, *, stores: bool = True, whole: bool = False
) -> Sight:
    return look(
        ws, known.state, options, known.pending, known.unsettled, ahead=True, stores=stores, whole=whole
    )


def _minting(replay: Replay | None) -> frozenset[str]:
    """The services where an interrupted apply may have minted keys."""
    return frozenset(intent.step.service or "" for intent in replay.open) if replay else frozenset()


def _pending(replay: Replay, lineage: str) -> frozenset[str]:
    """By which a key that an open intent has minted is known: its label, and its id where that is known."""
    labels = {ownership_label(lineage, intent.marker) for intent in replay.open}
    return frozenset(labels | {intent.receipt.key_id for intent in replay.open if intent.receipt})
