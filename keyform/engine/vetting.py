"""Holding a saved plan against the state and the configuration: it does nothing that planning could not.

A plan file can be written by anybody who can write files, digest included. So each of its steps has to be
one that fits its change, and touches only what the state owns at that address or the configuration declares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from keyform.diagnostics import Diagnostic, error
from keyform.engine import plan as pl
from keyform.engine.checklist import with_checklists
from keyform.engine.events import RENAMED, Event, fold
from keyform.engine.guards import guard_again
from keyform.engine.plan import Change, Plan, Step
from keyform.engine.sight import Sight, terms_of
from keyform.engine.single import rerolled
from keyform.engine.whereabouts import owners, same_service
from keyform.model import Place
from keyform.state import State, spec_to_json

_OPS = {
    pl.CREATE: {pl.MINT, pl.END, pl.SET_ORIGINS},
    pl.UPDATE: {pl.ALTER, pl.RECORD, pl.RELOCATE, pl.RESTORE, pl.ERASE, pl.SET_ORIGINS},
    pl.REPLACE: {pl.MINT, pl.END},
    pl.ROTATE: {pl.MINT, pl.END},
    pl.REVOKE: {pl.END},
    pl.IMPORT: {pl.ADOPT, pl.ALTER},
    pl.MOVE: {pl.RENAME},
    pl.FORGET: {pl.DROP, pl.DROP_PROJECT, pl.END},
    pl.REFRESH: {pl.RECORD, pl.READDRESS},
}


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
    changes = remaining(plan, done or frozenset())
    renames = [step for change in changes for step in change.steps if step.op == pl.RENAME]
    for step in renames:
        if not _known(step.before or "", sight.state) or _known(step.address, sight.state):
            yield _unfit(step, f"the state cannot rename {step.before} to it")
    state = fold(sight.state, (Event(RENAMED, step.address, before=step.before) for step in renames))
    written = [p for c in plan.changes for s in c.steps if s.op in (pl.MINT, pl.RELOCATE) for p in s.places]
    sight = replace(sight, state=state)
    vetting = _Vetting(sight, frozenset(written if done is not None else ()))
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
    """``taken`` are places that an interrupted apply of the plan may have written already."""

    def __init__(self, sight: Sight, taken: frozenset[Place]) -> None:
        self._state, self._where, self._taken = sight.state, sight.where, taken
        self._services = sight.services
        self._keys = {want.address: want for want in sight.desired.keys}
        self._projects = {project.address: project for project in sight.desired.projects}

    def change(self, change: Change) -> Iterator[Diagnostic]:
        ops = [step.op for step in change.steps]
        if not ops:
            yield _unfit(change, f"a change {change.action!r} without steps")
        if change.action != pl.REVOKE and pl.END in ops and pl.MINT not in ops and not self._deposed(change):
            yield _unfit(change, f"a change {change.action!r} that only revokes")
        if change.action == pl.FORGET and any(step.op == pl.END and not step.gone for step in change.steps):
            yield _unfit(change, "a change that says to forget, and revokes")
        for step in change.steps:
            section = step.address.partition(".")[0]
            if step.address != change.address or step.op not in _OPS[change.action]:
                yield _unfit(change, f"a step {step.op!r} of {step.address} in a change {change.action!r}")
            elif why := self._undeclared(step) or _SECTIONS[section](self, step, change):
                yield _unfit(step, why)

    def _deposed(self, change: Change) -> bool:
        """Whether what the change revokes has had its successor minted already."""
        record = self._state.keys.get(change.address)
        old = {(g.service, g.id) for g in record.deposed} if record else set()
        return all((step.service, step.key_id) in old for step in change.steps if step.op == pl.END)

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
            case pl.DROP_PROJECT | pl.RENAME:
                return None if record else "the state does not know the project"
            case _:
                return f"a step {step.op!r} of a project"
        return None

    def _of_key(self, step: Step, change: Change) -> str | None:
        adopted = {(s.service, s.key_id) for s in change.steps if s.op == pl.ADOPT}
        match step.op:
            case pl.MINT:
                return self._minting(step)
            case pl.ADOPT:
                return self._adopting(step)
            case pl.ALTER if (step.service, step.key_id) in adopted:
                return None
            case pl.ALTER | pl.END | pl.RELOCATE | pl.RESTORE | pl.ERASE:
                return self._owned(step)
            case pl.DROP | pl.RECORD if step.key_id is not None:
                return self._owned(step)
            case pl.DROP | pl.RECORD | pl.RENAME if step.project is None and not step.places:
                return None if step.address in self._state.keys else "the state does not know the key"
        return f"such a step {step.op!r} of a key"

    def _minting(self, step: Step) -> str | None:
        want, record = self._keys.get(step.address), self._state.keys.get(step.address)
        if want is None or step.spec is None or step.terms is None:
            return "a new key that is not declared"
        asked = (step.service, spec_to_json(step.spec), step.places, step.terms.as_json())
        if asked != (want.service, spec_to_json(want.spec), want.places, terms_of(want).as_json()):
            return "a new key that is not the declared one"
        if step.generation != (record.current.number + 1 if record else 1):
            return f"a new key of generation {step.generation}"
        view = self._services.get(want.service)
        if view is None or step.key_id != rerolled(want, view, record, self._state.keys.values()):
            return f"a new key by rotating {step.key_id}"
        return None

    def _adopting(self, step: Step) -> str | None:
        want = self._keys.get(step.address)
        if want is None or (want.service, want.places) != (step.service, step.places):
            return "an import that is not as declared"
        owner = owners(self._state, self._where).get(
            (same_service(self._state, self._where, want.service), step.key_id or "")
        )
        return f"{step.key_id} is {owner} already" if owner else None

    def _owned(self, step: Step) -> str | None:
        record, want = self._state.keys.get(step.address), self._keys.get(step.address)
        for generation in record.generations() if record else ():
            if (generation.service, generation.id) == (step.service, step.key_id):
                break
        else:
            return f"the state does not own {step.key_id} at {step.service} there"
        view = self._services.get(step.service or "")
        if step.op == pl.END and step.gone and (view is None or view.profile.revokes):
            return f"{step.key_id} is passed over, and not revoked"
        if step.op == pl.RELOCATE and (want is None or want.places != step.places):
            return "a place that is not declared"
        if step.op == pl.RESTORE:
            apart = [p for p in step.places if p not in generation.places or not want or p not in want.places]
            if apart or record is None or generation is not record.current:
                return "a place where the secret is not to be"
        if step.op == pl.ERASE and (want is None or not set(want.places).isdisjoint(step.places)):
            return "the place where the secret is to be"
        left = step.sources if step.op in (pl.RELOCATE, pl.RESTORE) else step.places
        strange = [place for place in left if place not in generation.written and place not in self._taken]
        return f"{strange[0]} is no place of {step.key_id}" if strange else None


_SECTIONS: Mapping[str, Callable[[_Vetting, Step, Change], str | None]] = {
    "keys": _Vetting._of_key,
    "projects": _Vetting._of_project,
    "services": _Vetting._of_address,
    "stores": _Vetting._of_address,
}
