"""Holding a saved plan against the state and the configuration: it does nothing that planning could not.

A plan file can be written by anybody who can write files, digest included. So each of its steps has to be
one that fits its change, stands where planning puts it, and touches only what the state owns at that address
or the configuration declares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from keyform.diagnostics import Diagnostic, error
from keyform.engine import plan as pl
from keyform.engine.checklist import with_checklists
from keyform.engine.events import RENAMED, Event, fold
from keyform.engine.fitting import KeySteps
from keyform.engine.guards import guard_again
from keyform.engine.options import NORMAL
from keyform.engine.plan import Change, Plan, Step
from keyform.engine.sequences import misplaced, out_of_turn
from keyform.engine.sight import Sight
from keyform.engine.then import as_then
from keyform.model import Place
from keyform.state import State


def remaining(plan: Plan, done: frozenset[int]) -> tuple[Change, ...]:
    """The plan's changes without the steps that an interrupted apply took."""
    out = []
    index = 0
    for change in plan.changes:
        numbered = enumerate(change.steps, index)
        index += len(change.steps)
        left = tuple(step for number, step in numbered if number not in done)
        if left or not change.steps:
            out.append(replace(change, steps=left))
    return tuple(out)


def vet(plan: Plan, sight: Sight, done: frozenset[int] | None) -> Iterator[Diagnostic]:
    """The errors that forbid what is left of a saved plan. ``done`` are the steps that an interrupted apply
    of it took, or None when there was none. ``sight`` is as things are now."""
    shapes = [(change, why) for change in plan.changes if (why := misplaced(change))]
    if shapes or (shapes := list(out_of_turn(plan.changes))):
        yield from (_unfit(change, why) for change, why in shapes)
        return
    changes = remaining(plan, done or frozenset())
    renames = [step for change in changes for step in change.steps if step.op == pl.RENAME]
    for step in renames:
        if not _known(step.before or "", sight.state) or _known(step.address, sight.state):
            yield _unfit(step, f"the state cannot rename {step.before} to it")
    state = fold(sight.state, (Event(RENAMED, step.address, before=step.before) for step in renames))
    written = [p for c in plan.changes for s in c.steps if s.op in (pl.MINT, pl.RELOCATE) for p in s.places]
    sight = replace(sight, state=state)
    vetting = _Vetting(sight, as_then(sight, plan), plan.mode, frozenset(written if done is not None else ()))
    for change in changes:
        yield from vetting.change(change)
    yield from _other_checklists(changes, sight)
    yield from guard_again(sight, changes)


def _other_checklists(changes: tuple[Change, ...], sight: Sight) -> Iterator[Diagnostic]:
    """A person does what a checklist says, so each has to be the one that the step calls for."""
    bare = (replace(c, steps=tuple(replace(step, checklist=()) for step in c.steps)) for c in changes)
    for change, right in zip(changes, with_checklists(tuple(bare), sight), strict=True):
        for step, expected in zip(change.steps, right.steps, strict=True):
            if step.checklist != expected.checklist:
                yield _unfit(step, "another checklist than the one for this step")


def _known(address: str, state: State) -> bool:
    return address in state.keys or address in state.projects


def _unfit(step: Step | Change, why: str) -> Diagnostic:
    return error(
        "plan-unfit",
        f"{step.address}: the plan holds what planning would not have put there: {why}",
        "Nothing was changed. Make a new plan with `keyform plan --out FILE`, and ask who wrote this one.",
        address=step.address,
    )


class _Vetting:
    """``then`` is the sight as the plan had it; ``taken`` are places that an interrupted apply of the plan
    may have written already."""

    def __init__(self, sight: Sight, then: Sight, mode: str, taken: frozenset[Place]) -> None:
        self._state, self._where = sight.state, sight.where
        self._key_steps = KeySteps(sight, then, mode, taken)
        self._normally = mode == NORMAL
        self._moves = {(move.before, move.after) for move in sight.desired.moves}
        self._projects = {project.address: project for project in sight.desired.projects}

    def change(self, change: Change) -> Iterator[Diagnostic]:
        for step in change.steps:
            section = step.address.partition(".")[0]
            if why := self._undeclared(step) or _SECTIONS[section](self, step, change):
                yield _unfit(step, why)

    def _undeclared(self, step: Step) -> str | None:
        if step.service is not None and step.service not in self._where.services and step.op != pl.DROP:
            return f"the service {step.service!r} is not declared"
        used = (*step.places, *step.sources) if step.op in (pl.MINT, pl.RELOCATE, pl.RESTORE) else ()
        missing = [place.store for place in used if place.store not in self._where.stores]
        return f"the store {missing[0]!r} is not declared" if missing else None

    def _of_address(self, step: Step, change: Change) -> str | None:
        section, _, name = step.address.partition(".")
        declared = self._where.services if section == "services" else self._where.stores
        if step.op == pl.READDRESS and step.where == declared.get(name):
            return None
        return "an address that is not declared"

    def _of_project(self, step: Step, change: Change) -> str | None:
        record, want = self._state.projects.get(step.address), self._projects.get(step.address)
        match step.op:
            case pl.SET_ORIGINS:
                asked = (step.service, step.project, step.origins)
                if want is None or asked != (want.service, want.id, want.allowed_origins):
                    return "origins that are not declared"
            case pl.RECORD:
                if record is None or (record.service, record.id) != (step.service, step.project):
                    return "the state does not know the project"
            case pl.DROP_PROJECT if record is None or (want is not None and self._normally):
                return "a project that is declared, or that the state does not know"
            case pl.RENAME if record is None or (step.before, step.address) not in self._moves:
                return "a rename that no `moved` entry declares"
            case pl.DROP_PROJECT | pl.RENAME:
                return None
            case _:
                return f"a step {step.op!r} of a project"
        return None

    def _of_key(self, step: Step, change: Change) -> str | None:
        return self._key_steps.unfit(step, change)


_SECTIONS: Mapping[str, Callable[[_Vetting, Step, Change], str | None]] = {
    "keys": _Vetting._of_key,
    "projects": _Vetting._of_project,
    "services": _Vetting._of_address,
    "stores": _Vetting._of_address,
}
