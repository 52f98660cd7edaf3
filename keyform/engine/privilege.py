"""The direction of privilege: whether a change widens, narrows or moves what a key can do, and how.

What counts is what the live key can do and what it will be able to do, so that what somebody changed outside
keyform is told as what it is.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from keyform.engine import plan as pl
from keyform.engine.gates import gate_of
from keyform.engine.plan import MOVES, WIDENS, Change, Plan, Step
from keyform.engine.reach import compare, origin_turns, whole
from keyform.engine.sight import ServiceView, Sight, as_adopted, presence, with_balance_of
from keyform.engine.turns import GAIN, LOSS, SIDEWAYS, Reach, Turn, direction, in_words
from keyform.model import KeySpec, Rotation, format_duration
from keyform.state import Generation, KeyRecord


def with_privilege(changes: tuple[Change, ...], sight: Sight) -> tuple[Change, ...]:
    """The changes, each with its direction of privilege and the words for it. ``sight`` is what the plan is
    made from."""
    powers = _Powers(sight)
    out = []
    for change in changes:
        turns = powers.turns(change)
        out.append(replace(change, privilege=direction(turns), privilege_words=in_words(turns)))
    return tuple(out)


def widening(plan: Plan) -> tuple[Change, ...]:
    """The changes by which some key can do something that it could not do before."""
    return tuple(change for change in plan.changes if change.privilege in (WIDENS, MOVES))


class _Powers:
    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._recorded = {(p.service, p.id): p.allowed_origins for p in sight.state.projects.values()}
        self._declared = {(p.service, p.id): p.allowed_origins for p in sight.desired.projects}

    def turns(self, change: Change) -> tuple[Turn, ...]:
        section = change.address.partition(".")[0]
        if section == "projects":
            return self._of_project(change)
        return self._of_key(change) if section == "keys" else ()

    def _of_project(self, change: Change) -> tuple[Turn, ...]:
        for step in change.steps:
            view = self._sight.services.get(step.service or "")
            if view is None or step.project is None:
                continue
            recorded = self._recorded.get((view.name, step.project), ())
            live = view.projects.get(step.project)
            if step.op == pl.SET_ORIGINS:
                before = live.allowed_origins if live else () if view.shows_projects else recorded
                return origin_turns(before, step.origins)
            if step.op == pl.RECORD:
                return origin_turns(recorded, step.origins)
        return ()

    def _of_key(self, change: Change) -> tuple[Turn, ...]:
        record = self._sight.state.keys.get(change.address)
        by_op = {step.op: step for step in reversed(change.steps)}
        if mint := by_op.get(pl.MINT):
            return self._minted(change, mint, record)
        if promote := by_op.get(pl.PROMOTE):
            return self._promoted(promote, record)
        if alter := by_op.get(pl.ALTER):
            return self._altered(alter, record)
        if noted := by_op.get(pl.RECORD):
            return self._noted(noted, record)
        if change.action == pl.REVOKE and (end := by_op.get(pl.END)):
            return self._ended(change, end, record)
        return ()

    def _minted(self, change: Change, mint: Step, record: KeyRecord | None) -> tuple[Turn, ...]:
        view = self._sight.services.get(mint.service or "")
        if view is None or mint.spec is None:
            return ()
        after = self._reach(view, mint, mint.spec)
        if record is None:
            return whole(after, view.profile)
        if change.action == pl.CREATE:
            again = Turn(GAIN, f"works again: it was revoked or deleted at {view.name} outside keyform")
            return (again, *whole(after, view.profile))
        old = record.current
        ends = any(s.op == pl.END and (s.service, s.key_id) == (old.service, old.id) for s in change.steps)
        rotation = mint.terms.rotation if mint.terms else None
        if old.service != view.name:
            elsewhere = Turn(SIDEWAYS, f"works at {view.name}, and no longer at {old.service}")
            turns = (elsewhere, *whole(after, view.profile))
            return turns if ends else self._still(turns, old, mint.overlap, rotation)
        woken = presence(view, old, self._sight.now).disabled
        turns = compare(
            self._now(view, record, mint.spec), after, view.profile, self._sight.now, renewed=True
        )
        turns = turns if ends else self._still(turns, old, mint.overlap, rotation)
        return (Turn(GAIN, f"works again: {old.id} is disabled at {view.name}"), *turns) if woken else turns

    def _promoted(self, step: Step, record: KeyRecord | None) -> tuple[Turn, ...]:
        """What an older generation can do that is current again; its end comes sooner by nature."""
        view = self._sight.services.get(step.service or "")
        own = record.deposed if record else ()
        old = next((g for g in own if (g.service, g.id) == (step.service, step.key_id)), None)
        if view is None or record is None or old is None:
            return ()
        live = presence(view, old, self._sight.now).live
        spec = live.spec if live is not None else old.spec
        span = record.expires_in if spec.expires_at == old.spec.expires_at else None
        after = Reach(spec, span, self._project_origins(view, spec.project))
        if record.current.service != view.name:
            elsewhere = Turn(SIDEWAYS, f"works at {view.name}, and no longer at {record.current.service}")
            turns = (elsewhere, *whole(after, view.profile))
            return self._still(turns, record.current, step.overlap, record.rotation)
        before = self._now(view, record, spec)
        turns = compare(before, after, view.profile, self._sight.now, renewed=True)
        return self._still(turns, record.current, step.overlap, record.rotation)

    def _still(
        self, turns: tuple[Turn, ...], old: Generation, overlap: timedelta | None, rotation: Rotation | None
    ) -> tuple[Turn, ...]:
        """The turns of a series whose ``old`` generation lives on beside the new one: what is lost is lost
        only when that has ended."""
        view = self._sight.services.get(old.service)
        found = presence(view, old, self._sight.now) if view else None
        if found is None or found.live is None or found.expired or found.disabled or view is None:
            return turns
        if not any(turn.way in (LOSS, SIDEWAYS) for turn in turns):
            return turns
        gate = gate_of(rotation, view)
        spans = [f"for {format_duration(overlap)}"] if overlap else []
        spans += [f"until it has not been used for {format_duration(gate)}"] if gate else []
        lives = ", and ".join(spans)
        lost = f"but until {old.id} has ended, that one still can: it lives on {lives}"
        return (*turns, Turn(LOSS, lost)) if spans else turns

    def _altered(self, step: Step, record: KeyRecord | None) -> tuple[Turn, ...]:
        view = self._sight.services.get(step.service or "")
        if view is None or step.spec is None:
            return ()
        after = self._reach(view, step, step.spec)
        if record is not None:
            return compare(self._now(view, record, step.spec), after, view.profile, self._sight.now)
        live = view.keys.get(step.key_id or "")
        if live is None:
            return ()
        adopted = replace(after, spec=as_adopted(live.spec, step.spec, view.profile))
        return compare(adopted, after, view.profile, self._sight.now)

    def _noted(self, step: Step, record: KeyRecord | None) -> tuple[Turn, ...]:
        """What somebody changed outside keyform, or how long the generations to come live."""
        view = self._sight.services.get(record.current.service) if record else None
        if view is None or record is None:
            return ()
        origins = self._project_origins(view, record.current.spec.project)
        before = Reach(record.current.spec, record.expires_in, origins)
        if step.spec is not None:
            seen = Reach(step.spec, record.expires_in, origins)
            return compare(before, seen, view.profile, self._sight.now)
        terms = Reach(before.spec, step.terms.expires_in if step.terms else None, origins)
        return compare(before, terms, view.profile, self._sight.now)

    def _ended(self, change: Change, end: Step, record: KeyRecord | None) -> tuple[Turn, ...]:
        if record is not None and record.current.id not in {step.key_id for step in change.steps}:
            return (Turn(LOSS, f"its old generation {end.generation} can no longer be used"),)
        return (Turn(LOSS, "can no longer be used: it is revoked"),)

    def _now(self, view: ServiceView, record: KeyRecord, want: KeySpec) -> Reach:
        """What the live key can do that is to be as ``want``. An end that was changed outside keyform is no
        longer what the recorded span came to; of credits that came from outside, use decides what is left."""
        current = record.current
        live = presence(view, current, self._sight.now).live
        spec = live.spec if live is not None else current.spec
        if current.spec.credits is None:
            spec = with_balance_of(want, spec)
        span = record.expires_in if spec.expires_at == current.spec.expires_at else None
        return Reach(spec, span, self._project_origins(view, spec.project))

    def _reach(self, view: ServiceView, step: Step, spec: KeySpec) -> Reach:
        declared = self._declared.get((view.name, spec.project or ""))
        origins = self._project_origins(view, spec.project) if declared is None else declared
        return Reach(spec, step.terms.expires_in if step.terms else None, origins)

    def _project_origins(self, view: ServiceView, project: str | None) -> tuple[str, ...]:
        live = view.projects.get(project or "")
        return live.allowed_origins if live else self._recorded.get((view.name, project or ""), ())
