"""Minting one key: send, mint, receipt, proof, store, read back, commit; and undoing it when that fails.

The proof comes before the store (docs/adr/0004), so that a key which does not work never replaces the
value of one that does.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from keyform.apply.assist import undoing
from keyform.apply.intents import Intent, Receipt, Sent
from keyform.apply.journal import JournalWriter
from keyform.apply.places import Written, known_versions, labels_of, put_secret, take_back
from keyform.apply.reroll import NO_SKEW, copy_key, finish_copy, original_of, returned
from keyform.apply.seen import Seen, unread_of
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, error
from keyform.encoding import spec_from_json, spec_to_json
from keyform.ended import Undone
from keyform.engine.events import MINTED, Event
from keyform.engine.granted import TOLERANCE, about_granted, another_key, otherwise, recorded
from keyform.engine.plan import Step
from keyform.engine.reroll import lives_on
from keyform.errors import AnswerLost, KeyformError, Pending, ServiceError
from keyform.key_text import misfit
from keyform.masking import gives_away, mask_diagnostics, mask_error
from keyform.model import KeySpec, LiveKey, Secret, fingerprint, ownership_label
from keyform.ports import Minted, Service
from keyform.state import Generation, Versions

MINT_ATTEMPTS = 3


class Owned:
    """The keys that are somebody's, by their service and id: those that the state knows, and each one that
    is minted. For several threads at once."""

    def __init__(self, known: Iterable[tuple[str, str]]) -> None:
        self._keys = set(known)
        self._turn = threading.Lock()

    def take(self, service: str, key_id: str) -> bool:
        """Whether the key was nobody's until now."""
        with self._turn:
            taken = (service, key_id) in self._keys
            self._keys.add((service, key_id))
            return not taken


def new_intent(index: int, step: Step) -> Intent:
    """An intent with a marker of its own."""
    return Intent(uuid.uuid4().hex, index, step)


def mint(
    ws: Workspace,
    journal: JournalWriter,
    lineage: str,
    intent: Intent,
    owned: Owned,
    seen: Seen,
    before: LiveKey | None = None,
) -> tuple[Event, tuple[Diagnostic, ...]]:
    """Carry out one ``mint`` step over what was ``seen`` in its places. ``before`` is the key that the step
    names, as it is shown. Returns its event, already in the journal, and warnings.

    Raises ``KeyformError``; the key, if there was one, is revoked again then, and the intent closed. If
    even that could not be done, the intent stays open for recovery.
    """
    step = intent.step
    service = ws.service(step.service or "")
    intent, key, secret = _create(ws, journal, service, lineage, intent, owned, before)
    written: Written | None = None
    try:
        if intent.sent is not None and intent.original is not None:
            journal.receipt(intent.marker, _receipt(ws, service, intent, key, secret, seen))
            key = finish_copy(service, intent.original, key, intent.sent.spec, ws.clock.now())
        if gives_away(key, secret):
            raise ServiceError(
                f"{step.address}: {service.name} shows the new secret among what anybody may read",
                "Nothing of that answer was kept. Tell whoever runs the service.",
            )
        _check_minted(service, step.address, intent.sent, key, secret)
        receipt = _receipt(ws, service, intent, key, secret, seen)
        journal.receipt(intent.marker, receipt)
        if service.profile.proves:
            _prove(service, secret, key)
        written = {}
        put_secret(
            ws, step.places, secret, labels_of(step.address, key.id, step.generation or 1), seen, written
        )
    except Exception as problem:
        raise _undo(ws, journal, intent, key, secret, seen, written, problem) from problem
    event = minted_event(ws, intent, receipt, known_versions(written))
    journal.event(intent.index, event, intent.marker)
    return event, told_of(service, event, intent.sent, key.spec)


def create(service: Service, step: Step, sent: Sent, label: str, owned: Owned) -> Minted:
    """Ask for the key with this label, by the call that the step says. Raises ``AnswerLost`` too when the
    answer is about another key: that one is nobody's to touch, and the key that was asked for may exist
    beside it."""
    overlap = step.overlap or timedelta(0)
    if step.key_id is None:
        minted = service.create(sent.spec, label)
    elif sent.original is not None:
        minted = copy_key(service, sent.original, sent, label)
    else:
        minted = service.reroll(step.key_id, sent.spec, lives_on(service.profile, overlap), label)
    what = None
    if service.profile.marks and minted.key.label != label:
        what = "does not carry the label that was sent"
    elif not owned.take(service.name, minted.key.id):
        what = "was there before"
    if what is not None:
        problem = AnswerLost(
            f"service {service.name!r}: a create was answered with {minted.key.id}, which {what}",
            "Nothing was done with that key. The service, or something before it, mixes up its answers: ask "
            "whoever runs it, then apply again; keyform first looks for the key that it asked for.",
        )
        mask_error(problem, (minted.secret,) if minted.secret else ())
        raise problem
    return minted


def minted_event(ws: Workspace, intent: Intent, receipt: Receipt, versions: Versions) -> Event:
    """The event of a mint that came through, made in the same way by an apply and by a recovery."""
    step = intent.step
    profile = ws.service(step.service or "").profile
    spec = receipt.spec
    differing: tuple[str, ...] = ()
    if (sent := intent.sent) is not None:
        differing = otherwise(profile, sent.spec, spec, sent.at, receipt.created_at)
        spec = recorded(sent.spec, spec, profile, differing)
    generation = Generation(
        step.generation or 1,
        step.service or "",
        receipt.key_id,
        spec,
        receipt.created_at,
        step.places,
        receipt.fingerprint,
        intent.marker,
        versions=versions,
        otherwise=differing,
    )
    now = ws.clock.now()
    return Event(
        MINTED,
        step.address,
        step.service,
        generation,
        terms=step.terms,
        revoke_at=now + (step.overlap or timedelta(0)) if _replaces(step) else None,
        at=now,
        now=step.now,
    )


def _replaces(step: Step) -> bool:
    """Whether there is a generation before, which lives on beside the new one for a while."""
    return step.overlap is not None and not step.gone


def _create(
    ws: Workspace,
    journal: JournalWriter,
    service: Service,
    lineage: str,
    intent: Intent,
    owned: Owned,
    before: LiveKey | None,
) -> tuple[Intent, LiveKey, Secret]:
    """Mint until an answer with a secret arrives. A key whose answer was lost is revoked: its secret can
    no longer be had."""
    lost: Diagnostic | None = None
    for _ in range(MINT_ATTEMPTS):
        unseen = not (service.profile.lists or service.profile.idempotent)
        try:
            original = original_of(service, intent.step, before, now := ws.clock.now())
            sent = Sent(_asked(ws, intent.step), now, unseen, original)
            journal.sent(intent.marker, sent)
            intent = replace(intent, sent=sent)
            minted = create(service, intent.step, sent, ownership_label(lineage, intent.marker), owned)
        except AnswerLost:
            raise
        except KeyformError as problem:
            if not (isinstance(problem, Pending) and problem.begun):
                journal.void(intent.marker)
            raise
        if minted.secret is not None:
            return intent, minted.key, minted.secret
        lost = minted.lost
        service.revoke(minted.key.id)
        journal.void(intent.marker)
        intent = new_intent(intent.index, intent.step)
        journal.intent(intent)
    journal.void(intent.marker)
    raise AnswerLost(
        f"{service.name} answered {MINT_ATTEMPTS} creates of {intent.step.address} in a row without a secret",
        "Nothing is left behind: each of those keys was revoked. "
        + (f"Of the last answer this is known: {lost.summary}. " if lost is not None else "")
        + "Either answers are lost on their way, and "
        "the service does not show a secret twice; or `create.secret` in its profile is not where the answer "
        "has the secret (`keyform services check FILE --endpoint URL` tries it out).",
    )


def _asked(ws: Workspace, step: Step) -> KeySpec:
    """What a create sent now asks for, as the journal can give it back to the letter."""
    if step.spec is None:
        raise ServiceError(f"{step.address}: the plan's mint step has no spec", "Plan again.")
    spec = step.spec
    if step.terms and step.terms.expires_in is not None:
        spec = replace(spec, expires_at=ws.clock.now() + step.terms.expires_in)
    return spec_from_json(spec_to_json(spec))


def _receipt(
    ws: Workspace, service: Service, intent: Intent, key: LiveKey, secret: Secret, seen: Seen
) -> Receipt:
    unread = unread_of(ws, intent.step.places, seen)
    return Receipt(key.id, key.spec, _born(ws, service, key), fingerprint(secret), unread)


def _born(ws: Workspace, service: Service, key: LiveKey) -> datetime:
    """When the key was made, by the service's clock."""
    skew = service.clock_skew() or NO_SKEW
    return key.created_at or ws.clock.now() + (skew if abs(skew) > TOLERANCE else NO_SKEW)


def _check_minted(service: Service, address: str, sent: Sent | None, key: LiveKey, secret: Secret) -> None:
    """Refuse a key that is not of the kind that was asked for, before it can take another's place."""
    if sent is None:
        return
    if (other := another_key(address, service.name, sent.spec, key.spec, service.profile)) is not None:
        raise ServiceError(other)
    if wrong := misfit(service.profile, sent.spec, secret):
        raise ServiceError(
            f"{address}: the secret that {service.name} gave for {key.id} is not one of such a key: {wrong}",
            "It was stored nowhere. Ask whoever runs the service; where the profile is yours, check "
            "`create.secret`, and the `prefix` and `key_format` of the kind.",
        )


def told_of(service: Service, event: Event, sent: Sent | None, shown: KeySpec) -> tuple[Diagnostic, ...]:
    """Warnings about what a mint was granted otherwise, ``shown``, than was asked for."""
    if event.generation is None or sent is None:
        return ()
    differing = event.generation.otherwise
    return tuple(about_granted(event.address, service.name, sent.spec, shown, service.profile, differing))


def _prove(service: Service, secret: Secret, key: LiveKey) -> None:
    proved = service.prove(secret, key)
    if proved is not None and proved != key.id:
        raise ServiceError(
            f"service {service.name!r}: the secret that came with {key.id} is that of {proved}",
            "The service, or something before it, mixes up its answers. Ask whoever runs it.",
        )


def _undo(
    ws: Workspace,
    journal: JournalWriter,
    intent: Intent,
    key: LiveKey,
    secret: Secret,
    seen: Seen,
    written: Written | None,
    problem: Exception,
) -> KeyformError:
    """Bring the places back to what they held and revoke the key that could not be kept; the error to raise
    says what became of it. The places come first: after a crash in between, recovery revokes the key. Where
    they cannot be brought back, a key that replaces another lives on: a place may hold its secret alone."""
    cause = (
        problem.diagnostics
        if isinstance(problem, KeyformError)
        else (error("bug", f"{type(problem).__name__} while {intent.step.address} was being stored"),)
    )
    address = intent.step.address
    left: list[Diagnostic] = []
    places = intent.step.places if written is not None else ()
    before = [found for place in places if isinstance(found := seen[place].found, Secret)]
    lives = _replaces(intent.step)
    try:
        take_back(ws, places, fingerprint(secret), seen, written or {}, {"address": address}, restore=lives)
    except KeyformError as failure:
        left += failure.diagnostics
        left.append(
            error(
                "undo-failed",
                f"{address}: what was written of {key.id} could not be taken out of the store yet"
                + (", so that key was left alive beside the old one" if lives else ""),
                "The journal knows of it: the next `keyform apply` "
                + ("finishes or undoes it, as soon as the store can be read." if lives else "does it."),
                address=address,
            )
        )
        if lives:
            return KeyformError((*cause, *left))
    if not ws.service(intent.step.service or "").profile.revokes:
        left.append(
            error(
                "undo-failed",
                f"{address}: {key.id} was minted, could not be kept, and no call revokes it",
                "Its secret is stored nowhere. The next `keyform apply` rotates it, and stores the new one.",
                address=address,
            )
        )
        return KeyformError(mask_diagnostics((*cause, *left), (secret, *before)))
    try:
        with undoing(ws, intent.step, key.id):
            ws.service(intent.step.service or "").revoke(key.id)
    except KeyformError as failure:
        left += failure.diagnostics
        left.append(
            error(
                "undo-failed",
                f"{address}: {key.id} was minted, could not be kept, and could not be revoked yet",
                "The journal knows of it: the next `keyform apply` revokes it.",
                address=address,
            )
        )
    else:
        left.append(
            error(
                "mint-undone",
                f"{address}: {key.id} was minted, could not be kept, and was revoked again",
                "Mend what the message above says and apply again.",
                address=address,
            )
        )
    left += returned(ws, intent)  # last, since its end tells what was made of it
    if all(diagnostic.code == "mint-undone" for diagnostic in left):
        try:
            if None in (written or {}).values():
                number = intent.step.generation or 1
                journal.undo(intent.marker, Undone(address, number, fingerprint(secret)))
            else:
                journal.void(intent.marker)
        except KeyformError as failure:
            left += failure.diagnostics
    # A store or a service may have quoted what it was given.
    return KeyformError(mask_diagnostics((*cause, *left), (secret, *before)))
