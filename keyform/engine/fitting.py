"""Whether a step of a key in a saved plan is one that planning could have made of the key as it is now."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from keyform.diagnostics import Diagnostic
from keyform.encoding import spec_to_json
from keyform.engine import plan as pl
from keyform.engine.again import revoked_before
from keyform.engine.options import DESTROY
from keyform.engine.plan import Change, Step
from keyform.engine.reroll import lives_on, source
from keyform.engine.rollback import target, written_by_rollback
from keyform.engine.sight import Presence, Sight, presence, terms_of, without_balance
from keyform.engine.whereabouts import owners, same_service
from keyform.engine.wording import with_on_revoke
from keyform.model import Desired, DesiredKey, KeySpec, Place
from keyform.state import Generation, KeyRecord

NONE = timedelta(0)


class KeySteps:
    """``sight`` is as things are now, ``then`` as they were when the plan was made; ``taken`` are places that
    an interrupted apply of the plan may have written already; ``mode`` is that of the plan."""

    def __init__(self, sight: Sight, then: Sight, mode: str, taken: frozenset[Place]) -> None:
        self._sight, self._then, self._state, self._taken = sight, then, sight.state, taken
        self._destroying = mode == DESTROY
        desired = Desired() if self._destroying else sight.desired
        self._keys = {want.address: want for want in desired.keys}
        self._imports = {(entry.address, entry.id) for entry in desired.imports}
        self._moves = {(move.before, move.after) for move in desired.moves}
        self._spared = {entry.address for entry in desired.removals if not entry.revoke}

    def unfit(self, step: Step, change: Change) -> str | None:
        """Why the step is none that planning could have made, or None. ``change`` is what is left of its
        change."""
        record, want = self._state.keys.get(step.address), self._keys.get(step.address)
        match step.op:
            case pl.MINT:
                return self._minting(step, change, want, record)
            case pl.ADOPT:
                return self._adopting(step, want, record)
            case pl.PROMOTE:
                return self._promoting(step, want, record)
            case pl.ALTER if change.action == pl.IMPORT:
                return self._altering_adopted(step, change, want)
            case pl.RENAME:
                declared = (step.before, step.address) in self._moves
                return None if record and declared else "a rename that no `moved` entry declares"
            case pl.DROP if step.key_id is None:
                return self._letting_go(step, record)
            case pl.RECORD if step.key_id is None:
                return self._recording(step, want, record)
            case pl.ALTER | pl.END | pl.RELOCATE | pl.RESTORE | pl.ERASE | pl.RECORD | pl.DROP:
                return self._owned(step, change, want, record)
        return f"such a step {step.op!r} of a key"

    def _minting(
        self, step: Step, change: Change, want: DesiredKey | None, record: KeyRecord | None
    ) -> str | None:
        if want is None or step.spec is None or step.terms is None:
            return "a new key that is not declared"
        asked = (step.service, spec_to_json(step.spec), with_on_revoke(step.places), step.terms.as_json())
        declared = (want.service, spec_to_json(want.spec), with_on_revoke(want.places))
        if asked != (*declared, terms_of(want).as_json()):
            return "a new key that is not the declared one"
        if step.generation != (record.next_number if record else 1):
            return f"a new key of generation {step.generation}"
        view = self._sight.services.get(want.service)
        records, now = self._state.keys.values(), self._sight.now
        if view is None or step.key_id != source(want, view, record, records, now):
            return f"a new key by rotating {step.key_id}"
        return self._succeeding(step, change, want, record)

    def _succeeding(
        self, step: Step, change: Change, want: DesiredKey, record: KeyRecord | None
    ) -> str | None:
        """What becomes of the generation before the new one: it lives on for the declared overlap, is revoked
        after the mint where there is none (or where none was asked for), or is gone from its service
        already."""
        if record is None:
            first = change.action == pl.CREATE and step.overlap is None and not (step.gone or step.now)
            return None if first and len(change.steps) == 1 else "a first key that takes another's place"
        found = self._presence(record.current)
        lost = found is not None and found.live is None and record.current.service == want.service
        current = (record.current.service, record.current.id)
        ended = any(s.op == pl.END and (s.service, s.key_id) == current for s in change.steps)
        if (change.action == pl.CREATE) != lost:
            return f"{record.current.id} is {'no longer' if lost else 'still'} at its service"
        if lost:
            fits = ended and step.overlap == NONE if not step.gone else not ended and step.overlap is None
            return None if fits else f"what is left of {record.current.id} is not seen to"
        overlap = want.rotation.overlap if want.rotation else NONE
        spans = {NONE} if step.now or (found is not None and found.expired) else {overlap}
        if step.key_id is not None:
            profile = self._sight.services[want.service].profile
            spans = {lives_on(profile, span) for span in spans}
        # Without an overlap its gate alone may keep it alive.
        waits = want.rotation and want.rotation.revoke_when_unused_for is not None and not step.now
        right = (ended or waits) if step.overlap == NONE else not ended
        if step.gone or step.overlap not in spans or not right:
            return f"{record.current.id} does not end as declared"
        return None

    def _promoting(self, step: Step, want: DesiredKey | None, record: KeyRecord | None) -> str | None:
        if want is None or record is None:
            return "a rollback of a key that is not declared, or not known"
        old = target(want, record, self._sight.services, self._sight.now)
        if isinstance(old, Diagnostic):
            return old.summary
        if (old.service, old.id) != (step.service, step.key_id):
            return f"a rollback to {step.key_id}"
        places, overlap = written_by_rollback(want, record), want.rotation.overlap if want.rotation else NONE
        same = with_on_revoke(step.places) == with_on_revoke(places) and set(step.sources) <= set(old.written)
        right = same and (step.generation, step.overlap) == (old.number, overlap)
        return None if right else f"a rollback to {step.key_id} that is not as declared"

    def _adopting(self, step: Step, want: DesiredKey | None, record: KeyRecord | None) -> str | None:
        if want is None or record is not None or (step.address, step.key_id) not in self._imports:
            return "an import that is not declared"
        asked = (step.service, with_on_revoke(step.places), step.generation)
        if asked != (want.service, with_on_revoke(want.places), 1):
            return "an import that is not as declared"
        where = self._sight.where
        owner = owners(self._state, where).get(
            (same_service(self._state, where, want.service), step.key_id or "")
        )
        return f"{step.key_id} is {owner} already" if owner else None

    def _altering_adopted(self, step: Step, change: Change, want: DesiredKey | None) -> str | None:
        record = self._state.keys.get(step.address)
        now_adopted = [(s.service, s.key_id) for s in change.steps if s.op == pl.ADOPT]
        if not now_adopted and record is not None:
            now_adopted = [(record.current.service, record.current.id)]
        if want is None or step.spec is None or (step.service, step.key_id) not in now_adopted:
            return "a change of another key than the imported one"
        ends = step.spec.expires_at
        if want.expires_in is not None and (ends is None or ends > self._sight.now + want.expires_in):
            return "another expiry than declared"
        return _undeclared(step, want, ends if want.expires_in is not None else want.spec.expires_at)

    def _letting_go(self, step: Step, record: KeyRecord | None) -> str | None:
        if record is None or step.places or step.project is not None:
            return "the state does not know the key"
        spared = {step.address, step.address.partition("[")[0]} & self._spared
        view = self._sight.services.get(record.current.service)
        unrevocable = self._destroying and view is not None and not view.profile.revokes
        if step.address in self._keys or not (spared or unrevocable):
            return "nothing says to forget a key that lives"
        return None

    def _recording(self, step: Step, want: DesiredKey | None, record: KeyRecord | None) -> str | None:
        if record is None or step.project is not None or step.places:
            return "the state does not know the key"
        if want is None or step.spec is not None or step.terms is None:
            return "a record that is not declared"
        same = step.terms.as_json() == terms_of(want).as_json()
        return None if same else "a record that is not as declared"

    def _owned(
        self, step: Step, change: Change, want: DesiredKey | None, record: KeyRecord | None
    ) -> str | None:
        for generation in record.generations() if record else ():
            if (generation.service, generation.id) == (step.service, step.key_id):
                break
        else:
            if step.op == pl.END and not step.places and not step.gone and revoked_before(self._sight, step):
                return None
            return f"the state does not own {step.key_id} at {step.service} there"
        if record is None or (step.op != pl.END and generation is not record.current):
            return f"{step.key_id} is no longer the current key"
        left = step.sources if step.op in (pl.RELOCATE, pl.RESTORE) else step.places
        strange = [place for place in left if place not in generation.written and place not in self._taken]
        if strange:
            return f"{strange[0]} is no place of {step.key_id}"
        match step.op:
            case pl.END:
                return self._ending(step, change, want, record, generation)
            case pl.DROP:
                found = self._presence(generation)
                gone = found is not None and found.live is None and not record.deposed
                return None if gone and want is None else f"{step.key_id} is forgotten, and not revoked"
            case pl.RECORD:
                found = self._presence(generation)
                seen = found.live.spec if found is not None and found.live is not None else None
                same = seen and step.spec and without_balance(seen) == without_balance(step.spec)
                terms = (None, replace(record.terms, expires_in=None))
                return None if same and step.terms in terms else f"{step.key_id} is not so at {step.service}"
        if want is None:
            return f"{step.key_id} is no longer declared"
        if step.op == pl.ALTER:
            return _undeclared(step, want, _expiry(want, record, step))
        return _displaced(step, change, want, generation)

    def _ending(
        self,
        step: Step,
        change: Change,
        want: DesiredKey | None,
        record: KeyRecord,
        generation: Generation,
    ) -> str | None:
        """A generation ends after its successor was minted, when its overlap is over or not to be
        waited for, or, with all the others and last of them, when its key is declared no more."""
        view = self._sight.services.get(step.service or "")
        if step.gone != (change.action == pl.FORGET) or (step.gone and (not view or view.profile.revokes)):
            return f"{step.key_id} is passed over, and not revoked"
        if change.action not in (pl.REVOKE, pl.FORGET):
            minting = [s for s in change.steps if s.op == pl.MINT]
            kept = want is None or not set(step.places).isdisjoint(want.places)
            now = any(s.now for s in minting)
            right = now or (generation is record.current) == bool(minting)
            return None if right and not kept else f"{step.key_id} is revoked without its successor"
        if want is None:
            ends = [(s.service, s.key_id) for s in change.steps]
            every = ends == [(g.service, g.id) for g in record.generations()]
            return None if every else f"not every key of {step.address} is revoked, or in another order"
        over = generation.revoke_at is not None and generation.revoke_at <= self._sight.now
        over |= step.now and generation is not record.current
        return None if over and len(change.steps) == 1 else f"{step.key_id} is not due to be revoked"

    def _presence(self, generation: Generation) -> Presence | None:
        view = self._then.services.get(generation.service)
        return presence(view, generation, self._then.now) if view else None


def _expiry(want: DesiredKey, record: KeyRecord, step: Step) -> object:
    """The moment that the declared expiry means for the recorded key."""
    if want.expires_in is None:
        return want.spec.expires_at
    if want.expires_in == record.expires_in:
        return record.current.spec.expires_at or want.spec.expires_at
    return record.current.created_at + want.expires_in


def _undeclared(step: Step, want: DesiredKey, ends: object) -> str | None:
    """Why an update does not make the key what is declared. ``ends`` is when it is to expire."""
    if step.spec is None or step.terms is None or step.spec.expires_at != ends:
        return "another expiry than declared" if step.spec else "an update to nothing"
    same = _timeless(step.spec) == _timeless(want.spec)
    if not same or step.terms.as_json() != terms_of(want).as_json():
        return "an update to something that is not declared"
    return None


def _timeless(spec: KeySpec) -> object:
    return spec_to_json(replace(spec, expires_at=None))


def _displaced(step: Step, change: Change, want: DesiredKey, generation: Generation) -> str | None:
    """Why the secret of a key that lives on would not end up where it is declared. It is erased only where it
    is left over, after it was brought to each of its places."""
    if step.op == pl.RESTORE:
        apart = [p for p in step.places if p not in generation.places or p not in want.places]
        return "a place where the secret is not to be" if apart else None
    if step.op == pl.RELOCATE:
        if with_on_revoke(want.places) != with_on_revoke(step.places):
            return "a place that is not declared"
        new = generation.fingerprint is not None and not set(want.places) <= set(generation.places)
        return "a move that copies nothing" if new and not step.sources else None
    if not set(want.places).isdisjoint(step.places):
        return "the place where the secret is to be"
    moving = any(s.op == pl.RELOCATE for s in change.steps[: change.steps.index(step)])
    if with_on_revoke(want.places) != with_on_revoke(generation.places) and not moving:
        return f"the secret of {step.key_id} is erased before it is where it is to be"
    return None
