"""Finishing what an interrupted apply left, by the table in docs/adr/0003 (crash safety).

For every open intent that was sent, the key that carries its marker is looked for at the service. If it
is there and its secret is in the store, it is adopted; if its secret is not there, it is revoked, and the
plan that follows mints it again. If it is not there, it may still come: the create is claimed, which is
to send it once more, so that whatever arrives later is a repetition. Where nothing can be looked at or
claimed, a doubt is kept. Nothing else is touched.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from keyform.apply.assist import settle_unseen, undoing
from keyform.apply.intents import Intent, Receipt
from keyform.apply.journal import JournalWriter
from keyform.apply.mint import Owned, create, minted_event, told_of
from keyform.apply.places import Written, finish_secret, labels_of, take_back, value_at
from keyform.apply.promote import finish_promotion
from keyform.apply.read import view_services, whereabouts
from keyform.apply.reroll import copies_of, made_then, recover_original, several_copies
from keyform.apply.seen import Before
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, note, warning
from keyform.doubt import Doubt
from keyform.ended import Undone
from keyform.engine.events import Event
from keyform.engine.plan import PROMOTE
from keyform.engine.sight import ServiceView
from keyform.errors import KeyformError, Pending, Refused, ServiceError, StateError, StoreError
from keyform.model import (
    REVOKED,
    LiveKey,
    Place,
    Secret,
    fingerprint,
    fingerprint_matches,
    ownership_label,
)
from keyform.ports import ANSWER_TIMEOUT, ANYTHING, Service
from keyform.profile import ASSISTED
from keyform.state import State, Versions


@dataclass(slots=True)
class Resolved:
    """What became of the intents: the events of those that came through, notes and warnings on the others,
    and why some are open still. ``waiting`` are those that only a person's answer can close, ``doubts`` what
    those became that nothing can close."""

    events: list[tuple[int, Event]] = field(default_factory=list)
    notes: list[Diagnostic] = field(default_factory=list)
    problems: list[KeyformError] = field(default_factory=list)
    waiting: list[Intent] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)


def resolve(
    ws: Workspace, journal: JournalWriter, state: State, intents: tuple[Intent, ...], *, in_run: bool
) -> Resolved:
    """Close every intent that can be closed, in the journal too. ``state`` knows every key that came
    through so far. ``in_run``: the run that minted is not over, so a store that fails may recover yet; the
    next apply does not wait for it where the key is gone already."""
    unsent = [intent.marker for intent in intents if intent.sent is None]
    if unsent:
        journal.void(*unsent)
    by_service: dict[str, list[Intent]] = {}
    recovery = _Recovery(ws, journal, state, in_run)
    for intent in intents:
        if intent.sent is not None and intent.step.op == PROMOTE:
            recovery.finish_rollback(intent)
        elif intent.sent is not None:
            by_service.setdefault(intent.step.service or "", []).append(intent)
    for name, waiting in by_service.items():
        try:
            recovery.settle(name, waiting)
        except KeyformError as problem:
            recovery.resolved.problems.append(problem)
    return recovery.resolved


class _Recovery:
    def __init__(self, ws: Workspace, journal: JournalWriter, state: State, in_run: bool) -> None:
        self._ws = ws
        self._journal = journal
        self._state = state
        self._lineage = state.lineage
        self._where = {**state.services, **whereabouts(ws).services}
        self._generations = [g for record in state.keys.values() for g in record.generations()]
        self._owned = {(generation.service, generation.id) for generation in self._generations}
        self._in_run = in_run
        self.resolved = Resolved()

    def settle(self, name: str, intents: list[Intent]) -> None:
        """All intents of one service. Raises ``KeyformError`` when it cannot be read whole; what is wrong
        with a single intent is in ``resolved``."""
        if name not in self._ws.config.services:
            if all(i.receipt is None and i.sent is not None and i.sent.unseen for i in intents):
                for intent in intents:
                    self._doubt(intent, None)
                return
            raise StateError(
                f"an interrupted apply was minting keys at {name}, which is no longer declared",
                "Declare the service again and apply, so that keyform can look for those keys.",
            )
        service = self._ws.service(name)
        self._wait_out_lag(service, intents)
        unclaimed = self._round(service, intents, last=False)
        if unclaimed:
            # Nobody waits for those creates any more, and after this nothing can come of them.
            self._ws.clock.sleep((ANSWER_TIMEOUT + service.profile.list_lag).total_seconds())
            self._round(service, unclaimed, last=True)

    def finish_rollback(self, intent: Intent) -> None:
        """Finish or drop one; what is wrong is in ``resolved``."""
        try:
            event = finish_promotion(self._ws, self._journal, self._state, intent)
        except KeyformError as problem:
            self.resolved.problems.append(problem)
            return
        number = intent.step.generation
        if event is None:
            self._tell(intent, f"the interrupted rollback to generation {number} had changed nothing")
        else:
            self.resolved.events.append((intent.index, event))
            self._tell(intent, f"finished the interrupted rollback to generation {number}")

    def _wait_out_lag(self, service: Service, intents: list[Intent]) -> None:
        """Let pass the time for which the listing may not show a key that was just made; never more than
        that, even if the clocks of two machines or of two days disagree."""
        lag = service.profile.list_lag
        now = self._ws.clock.now()
        wait = max((min(i.sent.at + lag - now, lag) for i in intents if i.sent), default=lag)
        if wait.total_seconds() > 0:
            self._ws.clock.sleep(wait.total_seconds())

    def _round(self, service: Service, intents: list[Intent], last: bool) -> list[Intent]:
        """Look once and settle what can be settled; returns the others. ``last``: absence is proof now."""
        view = view_services(self._ws, (service.name,))[service.name]
        if service.profile.lists and not view.listing.complete:
            raise ServiceError(
                f"recovery needs the whole listing of {service.name}, and it is incomplete",
                "Nothing was changed. Apply again when the service can be read whole.",
            )
        labelled: dict[str | None, list[LiveKey]] = {}
        for key in view.listing.keys:
            if key.status != REVOKED:
                labelled.setdefault(key.label, []).append(key)
        unclaimed = []
        for intent in intents:
            carriers = list(labelled.get(ownership_label(self._lineage, intent.marker), ()))
            if intent.original is not None:
                carriers = list(copies_of(service, view, intent, carriers))
            minted = self._minted(view, intent.receipt) if intent.receipt else None
            if minted is not None and minted.status != REVOKED and minted not in carriers:
                carriers.append(minted)
            if intent.receipt is None and (alone := self._made_alone(service, view, intent)) is not None:
                carriers.append(alone)
            try:
                if intent.receipt is not None or (last and not carriers):
                    recover_original(service, view, intent, self._ws.clock.now())
                if intent.original is not None and intent.receipt is None and carriers:
                    self._drop_copy(service, view, intent, carriers)
                elif carriers:
                    self._found(service, intent, carriers)
                elif intent.receipt is not None:
                    self._gone(service, intent, intent.receipt)
                elif last or self._claim(service, intent):
                    self._close(intent, "the interrupted apply had minted nothing")
                elif not service.profile.lists:
                    self._settle_unseen(service, intent)
                else:
                    unclaimed.append(intent)
            except KeyformError as problem:
                self.resolved.problems.append(problem)
                if isinstance(problem, Pending):
                    self.resolved.waiting.append(intent)
        return unclaimed

    def _minted(self, view: ServiceView, receipt: Receipt) -> LiveKey | None:
        """The key of a receipt as it is shown; where nothing lists keys, as it was when it was minted."""
        if not view.profile.lists:
            return LiveKey(receipt.key_id, receipt.spec, created_at=receipt.created_at)
        return view.keys.get(receipt.key_id)

    def _made_alone(self, service: Service, view: ServiceView, intent: Intent) -> LiveKey | None:
        """The key of a kind that has exactly one, where the intent made it: the plan saw none, or the one
        that was rotated; the state does not know this one, and it was made just after what was sent."""
        key = view.holder(intent.step.spec.kind if intent.step.spec else None)
        if key is None or (service.name, key.id) in self._owned or intent.sent is None:
            return None
        return key if made_then(service, intent.sent, key) else None

    def _found(self, service: Service, intent: Intent, keys: list[LiveKey]) -> None:
        """One of the keys is kept, if its secret is stored; there is more than one only if somebody copied
        the label or the service minted twice."""
        kept: Receipt | None = None
        versions: Versions = ()
        for key in keys:
            held = self._stored(service, intent, key)
            if held is not None:
                kept, versions = held
                break
        if kept is None and not service.profile.revokes:
            self._keep_without_secret(intent, keys[0])
            return
        others = [key.id for key in keys if kept is None or key.id != kept.key_id]
        for key_id in others:
            with undoing(self._ws, intent.step, key_id):
                service.revoke(key_id)
        if kept is None:
            self._erase(intent)
            what = ", ".join(others)
            self._close(intent, f"revoked {what}, which the interrupted apply minted and never stored")
            return
        event = minted_event(self._ws, intent, kept, versions)
        self._journal.event(intent.index, event, intent.marker)
        self.resolved.events.append((intent.index, event))
        also = f", and revoked {', '.join(others)}, which carried the same label" if others else ""
        self._tell(intent, f"kept {kept.key_id}, which the interrupted apply minted and stored{also}")
        self.resolved.notes += told_of(service, event, intent.sent, kept.spec)

    def _keep_without_secret(self, intent: Intent, key: LiveKey) -> None:
        """Own a key that cannot be revoked and whose secret is lost; the plan that follows rotates it."""
        self._erase(intent)
        known = Receipt(key.id, key.spec, key.created_at or self._ws.clock.now(), "")
        event = minted_event(self._ws, intent, known, ())
        if event.generation is not None:
            event = replace(event, generation=replace(event.generation, places=(), fingerprint=None))
        self._journal.event(intent.index, event, intent.marker)
        self.resolved.events.append((intent.index, event))
        self._tell(
            intent,
            f"the interrupted apply made {key.id} and never stored its secret; it cannot be revoked, so the "
            "next plan rotates it",
        )

    def _gone(self, service: Service, intent: Intent, receipt: Receipt) -> None:
        if service.profile.list_lag and service.profile.revokes:
            service.revoke(receipt.key_id)  # the listing may be slower still than its profile says
        try:
            self._erase(intent)
        except StoreError as problem:
            if self._in_run:
                raise
            self.resolved.notes += (
                warning(
                    "value-left",
                    f"{intent.step.address}: {diagnostic.summary}",
                    f"It may hold the secret of {receipt.key_id}, which is gone and works no more. "
                    "Delete it by hand.",
                    address=intent.step.address,
                )
                for diagnostic in problem.diagnostics
            )
        self._close(intent, f"{receipt.key_id}, which the interrupted apply minted, is gone")

    def _claim(self, service: Service, intent: Intent) -> bool:
        """Send the create again and revoke the key that comes of it, so that whatever is still on its way is
        recognised as a repetition. False where that cannot be had."""
        if intent.sent is None or intent.step.key_id is not None or not service.profile.idempotent:
            return False
        label = ownership_label(self._lineage, intent.marker)
        try:
            minted = create(service, intent.step, intent.sent, label, Owned(self._owned))
        except Refused:
            return False
        service.revoke(minted.key.id)
        return True

    def _settle_unseen(self, service: Service, intent: Intent) -> None:
        """Nothing shows what came of the intent: who works by hand is asked, elsewhere it becomes a doubt."""
        if service.profile.operations.get("revoke") == ASSISTED:
            told = settle_unseen(self._ws, intent)
            self._journal.void(intent.marker)
            self.resolved.notes.append(told)
            return
        label = ownership_label(self._lineage, intent.marker) if service.profile.marks else None
        self._doubt(intent, label)

    def _doubt(self, intent: Intent, label: str | None) -> None:
        step, sent = intent.step, intent.sent
        if sent is None:  # then no service has ever heard of it
            return
        service = step.service or ""
        where = self._where.get(service, "")
        doubt = Doubt(intent.marker, step.address, service, where, sent.spec, sent.at, label)
        self._journal.doubt(doubt)
        self.resolved.doubts.append(doubt)

    def _stored(self, service: Service, intent: Intent, key: LiveKey) -> tuple[Receipt, Versions] | None:
        """The receipt of a key whose secret every place holds, with the stores' versions of it; what was half
        written is finished. Without a receipt, only the service can tell whose secret the store holds."""
        places = intent.step.places
        if any(place.store not in self._ws.config.stores for place in places):
            return None
        if intent.receipt is not None:
            if intent.receipt.key_id != key.id:
                return None
            labels = labels_of(intent.step.address, key.id, intent.step.generation or 1)
            prints = intent.receipt.fingerprint
            finished = finish_secret(self._ws, places, prints, labels, self._is_ours)
            return None if finished is None else (intent.receipt, finished)
        if not service.profile.proves:
            return None
        secret = self._common_secret(places)
        if secret is None:
            return None
        try:
            if service.prove(secret, key) != key.id:
                return None
        except Refused:
            return None
        return Receipt(key.id, key.spec, key.created_at or self._ws.clock.now(), fingerprint(secret)), ()

    def _is_ours(self, place: Place, value: Secret) -> bool:
        return any(
            place in g.written and g.fingerprint is not None and fingerprint_matches(value, g.fingerprint)
            for g in self._generations
        )

    def _common_secret(self, places: tuple[Place, ...]) -> Secret | None:
        values = [value_at(self._ws, place) for place in places]
        first = values[0] if values else None
        return first if all(value == first for value in values) else None

    def _erase(self, intent: Intent) -> None:
        """Take the secret of a key that is no more out of whichever places it had reached. What changed in a
        place that cannot be read, between the look before the mint and now, is taken for the run's own."""
        if intent.receipt is not None:
            seen = {place: Before(held, ANYTHING) for place, held in intent.receipt.unread}
            written: Written = dict.fromkeys(seen)
            prints = intent.receipt.fingerprint
            take_back(self._ws, intent.step.places, prints, seen, written, {}, restore=False)

    def _drop_copy(self, service: Service, view: ServiceView, intent: Intent, keys: list[LiveKey]) -> None:
        """Revoke a copy whose secret is lost. Of several, one is the run's own, and no one can say which, so
        none is touched. The old key is seen to last, since its end tells what was made of it."""
        alone = keys[0].id if len(keys) == 1 else None
        if alone is not None:
            service.revoke(alone)
        recover_original(service, view, intent, self._ws.clock.now())
        if alone is not None:
            self._close(intent, f"revoked {alone}, which the interrupted apply minted and never stored")
            return
        self._journal.void(intent.marker)
        self.resolved.notes.append(several_copies(intent, keys))

    def _close(self, intent: Intent, what: str) -> None:
        if intent.receipt is None:
            self._journal.void(intent.marker)
        else:
            number, prints = intent.step.generation or 1, intent.receipt.fingerprint
            self._journal.undo(intent.marker, Undone(intent.step.address, number, prints))
        self._tell(intent, what)

    def _tell(self, intent: Intent, what: str) -> None:
        address = intent.step.address
        self.resolved.notes.append(note("recovered", f"{address}: {what}", address=address))
