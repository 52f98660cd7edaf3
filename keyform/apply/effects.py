"""What each step of a plan does to a service and a store, and the event that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from keyform.apply.assist import turn
from keyform.apply.copies import Copy
from keyform.apply.copying import copy_secret
from keyform.apply.erase import erase_secret, forget_versions, twins
from keyform.apply.intents import Intent
from keyform.apply.journal import JournalWriter
from keyform.apply.mint import Owned, mint
from keyform.apply.places import labels_of
from keyform.apply.promote import promote
from keyform.apply.reroll import NO_SKEW
from keyform.apply.seen import Seen, empty_of, unread_of, written_by
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, warning
from keyform.engine import events as ev
from keyform.engine import plan as pl
from keyform.engine.events import Event
from keyform.engine.granted import about_granted, otherwise, recorded
from keyform.engine.plan import Step
from keyform.engine.sight import ServiceView, with_balance_of
from keyform.errors import KeyformError, StoreError
from keyform.model import REVOKED, LiveKey, Place
from keyform.state import Generation, State, Versions


class Effects:
    """Takes steps, for several threads at once. ``views`` are the listings that the plan was checked
    against, ``seen`` is what the places hold that the run may write to."""

    def __init__(
        self,
        ws: Workspace,
        journal: JournalWriter,
        state: State,
        views: Mapping[str, ServiceView],
        seen: Seen,
    ) -> None:
        self._ws = ws
        self._journal = journal
        self._views = views
        self._seen = seen
        self._lineage = state.lineage
        self._generations: dict[tuple[str, str], Generation] = {
            (generation.service, generation.id): generation
            for record in state.keys.values()
            for generation in record.generations()
        }
        self._owned = Owned(self._generations)

        # Whose secret each place holds, by the state and by what this run has written.
        self._holders: dict[Place, set[str]] = {}
        self._current = {record.address: record.current for record in state.keys.values()}
        self._places = {record.address: record.current.places for record in state.keys.values()}
        for address, places in self._places.items():
            self._hold(address, places)
        self._twins: dict[tuple[str, Place], Place] = {}

    def _hold(self, address: str, places: tuple[Place, ...]) -> None:
        for place in places:
            self._holders.setdefault(place, set()).add(address)

    def take(self, index: int, step: Step, intent: Intent | None) -> tuple[Event, tuple[Diagnostic, ...]]:
        """Take the plan's step ``index``; a mint and a rollback have an ``intent``. Returns its event, which
        is in the journal by then, and warnings. Raises ``KeyformError``."""
        self._ws.backend.check_lock()  # whoever broke it may have done this step, or be about to
        with turn(self._ws, step, self._generations.values()):
            return self._carry_out(index, step, intent)

    def _carry_out(
        self, index: int, step: Step, intent: Intent | None
    ) -> tuple[Event, tuple[Diagnostic, ...]]:
        if intent is not None and step.op == pl.PROMOTE:
            old = self._generations[(step.service or "", step.key_id or "")]
            event = promote(self._ws, self._journal, intent, old, self._live(step), self._seen)
            self._hold(step.address, step.places)
            self._places[step.address] = step.places
            return event, ()
        if intent is not None:
            view = self._views.get(step.service or "")
            before = view.keys.get(step.key_id or "") if view else None
            event, warnings = mint(
                self._ws, self._journal, self._lineage, intent, self._owned, self._seen, before
            )
            if step.gone:
                forget_versions(self._ws, self._current.get(step.address))
            if event.generation is not None:
                self._generations[(step.service or "", event.generation.id)] = event.generation
            self._hold(step.address, step.places)
            return event, warnings
        self._announce_copy(index, step)
        event, warnings = self._effect(step)
        self._journal.event(index, event)
        return event, warnings

    def _announce_copy(self, index: int, step: Step) -> None:
        places = written_by(step, self._generations)
        generation = self._generations.get((step.service or "", step.key_id or ""))
        if places and generation is not None:
            unread = unread_of(self._ws, places, self._seen)
            empty = empty_of(self._ws, places, generation, self._seen)
            if unread or empty:
                self._journal.copying(index, Copy(step.address, unread, empty))

    def _effect(self, step: Step) -> tuple[Event, tuple[Diagnostic, ...]]:
        """Bring one step about. Every branch may be repeated after a crash without harm."""
        match step.op:
            case pl.ALTER:
                return self._alter(step)
            case pl.END:
                gone = self._is_gone(step)
                if not step.gone:
                    self._ws.service(step.service or "").revoke(step.key_id or "")
                view = self._views.get(step.service or "")
                shown = view is not None and view.profile.lists and not (gone or step.gone)
                at = self._ws.clock.now() if shown else None
                event = Event(ev.REVOKED, step.address, step.service, key_id=step.key_id, at=at)
                _, left = self._erase(step, gone)
                forget_versions(self._ws, self._generations.get((step.service or "", step.key_id or "")))
                return event, left
            case pl.ERASE:
                versions, left = self._erase(step)
                return Event(ev.ERASED, step.address, places=step.places, versions=versions), left
            case pl.DROP:
                _, left = self._erase(step, gone=True)
                return Event(ev.FORGOTTEN, step.address), left
            case pl.ADOPT:
                live = self._live(step)
                generation = Generation(
                    step.generation or 1,
                    step.service or "",
                    live.id,
                    step.spec or live.spec,
                    live.created_at or self._ws.clock.now(),
                    step.places,
                )
                self._generations[(generation.service, live.id)] = generation
                return Event(ev.ADOPTED, step.address, step.service, generation, terms=step.terms), ()
            case pl.RENAME:
                kept = self._places.pop(step.before or "", ())
                for place in kept:
                    self._holders[place] = self._holders[place] - {step.before or ""} | {step.address}
                self._places[step.address] = kept
                return Event(ev.RENAMED, step.address, before=step.before), ()
            case pl.RELOCATE:
                same = self._same(step)
                versions = self._relocate(step)
                self._hold(step.address, step.places)
                self._places[step.address] = step.places
                self._twins |= {(step.address, place): twin for place, twin in same.items()}
                event = Event(
                    ev.RELOCATED, step.address, places=step.places, versions=versions, twins=tuple(same)
                )
                return event, tuple(_may_be_one(step, place, twin) for place, twin in same.items())
            case pl.RESTORE:
                kept = self._generations[(step.service or "", step.key_id or "")].places
                versions = self._relocate(step)
                return Event(ev.RELOCATED, step.address, places=kept, versions=versions), ()
            case pl.RECORD if step.project is not None:
                return self._origins_event(step), ()
            case pl.RECORD if step.spec is not None:
                return Event(ev.UPDATED, step.address, spec=step.spec, terms=step.terms), ()
            case pl.RECORD:
                return Event(ev.RECORDED, step.address, terms=step.terms), ()
            case pl.SET_ORIGINS:
                self._ws.service(step.service or "").set_origins(step.project or "", step.origins)
                return self._origins_event(step), ()
            case pl.DROP_PROJECT:
                return Event(ev.PROJECT_FORGOTTEN, step.address), ()
            case pl.READDRESS:
                return Event(ev.READDRESSED, step.address, where=step.where), ()
            case unknown:
                raise KeyformError(
                    f"the plan has a step {unknown!r} that this keyform does not know",
                    "It was made by another version of keyform. Plan again.",
                )

    def _alter(self, step: Step) -> tuple[Event, tuple[Diagnostic, ...]]:
        live = self._live(step)
        if step.spec is None:
            raise KeyformError(f"{step.address}: the plan's update step has no spec", "Plan again.")
        service = self._ws.service(step.service or "")
        shown = service.update(live, step.spec, frozenset(step.fields))
        profile, now = service.profile, self._ws.clock.now()
        differing = otherwise(profile, step.spec, shown.spec, now, now + (service.clock_skew() or NO_SKEW))
        after = recorded(step.spec, shown.spec, profile, differing)
        event = Event(ev.UPDATED, step.address, spec=after, terms=step.terms, otherwise=differing)
        told = about_granted(step.address, service.name, step.spec, shown.spec, profile, differing)
        return event, tuple(told)

    def _live(self, step: Step) -> LiveKey:
        """The key as the listing that the plan was checked against shows it, its credits as recorded."""
        view = self._views.get(step.service or "")
        live = view.keys.get(step.key_id or "") if view else None
        recorded = self._generations.get((step.service or "", step.key_id or ""))
        if live is not None:
            return live if recorded is None else replace(live, spec=with_balance_of(recorded.spec, live.spec))
        if recorded is None and view is not None and not view.profile.lists and step.spec is not None:
            return LiveKey(step.key_id or "", step.spec)
        if recorded is None:
            raise KeyformError(f"{step.address}: {step.key_id} is no longer at {step.service}", "Plan again.")
        return LiveKey(recorded.id, recorded.spec, created_at=recorded.created_at)

    def _same(self, step: Step) -> dict[Place, Place]:
        """The places that the secret is to leave and that may be the same as one that it goes to."""
        generation = self._generations.get((step.service or "", step.key_id or ""))
        if generation is None or generation.fingerprint is None:
            return {}
        old = generation.moved_to(step.places).leftovers
        return twins(self._ws, old, written_by(step, self._generations), generation, self._seen)

    def _relocate(self, step: Step) -> Versions:
        generation = self._generations.get((step.service or "", step.key_id or ""))
        places = written_by(step, self._generations)
        if not places or generation is None or generation.fingerprint is None:
            return ()
        labels = labels_of(step.address, generation.id, generation.number)
        return copy_secret(self._ws, step.sources, places, generation, labels, self._seen)

    def _is_gone(self, step: Step) -> bool:
        """Whether the listing shows that the key had ended before this run."""
        view = self._views.get(step.service or "")
        if view is None or not (view.profile.lists and view.listing.complete):
            return False
        live = view.keys.get(step.key_id or "")
        return live is None or live.status == REVOKED

    def _erase(self, step: Step, gone: bool = False) -> tuple[Versions, tuple[Diagnostic, ...]]:
        """Erase the step's places. A store that fails stops the step, so that the next apply tries again;
        but the value of a key that was ``gone`` before is not worth stopping for ever. Returns the versions
        of what had to be written again, and what was left."""
        generation = self._generations.get((step.service or "", step.key_id or ""))
        left: list[Diagnostic] = []
        versions: Versions = ()
        lives_at = self._places.get(step.address, ()) if step.op == pl.ERASE else ()
        for place in step.places:
            if (step.address, place) in self._twins or not self._holders.get(place, set()) <= {step.address}:
                continue
            try:
                kept = erase_secret(self._ws, place, generation, step.address, lives_at)
                twin, why = (kept.twin, kept.why) if kept else (None, None)
                versions += kept.versions if kept else ()
            except StoreError as problem:
                if not gone:
                    raise
                twin, why = None, "; ".join(diagnostic.summary for diagnostic in problem.diagnostics)
            if twin is not None:
                left.append(_is_one(step, place, twin))
            elif why is not None:
                left.append(
                    warning(
                        "value-left",
                        f"{place} was left as it is: {why}",
                        f"keyform kept the secret of {step.address} there, and forgets the place now. See "
                        "what it holds, and delete it by hand if nobody needs it.",
                        address=step.address,
                    )
                )
        return versions, tuple(left)

    def _origins_event(self, step: Step) -> Event:
        return Event(ev.ORIGINS, step.address, step.service, project=step.project, origins=step.origins)


def _is_one(step: Step, place: Place, twin: Place) -> Diagnostic:
    return warning(
        "one-place",
        f"{place} and {twin} are one place, so the secret of {step.address} was left there",
        f"The state knows it as {twin} from now on. Do not delete it.",
        address=step.address,
    )


def _may_be_one(step: Step, place: Place, twin: Place) -> Diagnostic:
    return warning(
        "one-place",
        f"{place} was not erased: it may be one place with {twin}, which held the secret of {step.address} "
        "before it was copied there",
        f"keyform forgets {place} now. If the two are different places, delete the value there by hand, and "
        f"see that {twin} still holds it.",
        address=step.address,
    )
