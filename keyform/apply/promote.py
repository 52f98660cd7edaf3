"""Making an older generation current again: read its secret, prove it, store it where the current one's is.

The journal has an intent for it. What a crash leaves is finished if the secret had reached any place, and
otherwise nothing has happened.
"""

from __future__ import annotations

from functools import partial

from keyform.apply.intents import Intent, Sent
from keyform.apply.journal import JournalWriter
from keyform.apply.places import (
    Written,
    finish_secret,
    known_versions,
    labels_of,
    put_secret,
    recorded_secret,
    take_back,
    value_at,
)
from keyform.apply.seen import Seen
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, error
from keyform.engine.events import PROMOTED, Event
from keyform.engine.plan import Step
from keyform.errors import KeyformError, Refused, ServiceError, StoreError
from keyform.masking import mask_diagnostics, mask_error
from keyform.model import LiveKey, Place, Secret, fingerprint_matches
from keyform.state import Generation, KeyRecord, State, Versions


def promote(
    ws: Workspace, journal: JournalWriter, intent: Intent, old: Generation, live: LiveKey, seen: Seen
) -> Event:
    """Carry out one ``promote`` step over what was ``seen`` in its places. Returns its event, already in the
    journal. Raises ``KeyformError``; the places then hold what they held, and the intent is closed, or it
    stays open for recovery if that could not be done."""
    step = intent.step
    secret = recorded_secret(ws, (*step.sources, *step.places), old)
    try:
        if secret is None:
            raise StoreError(
                f"{step.address}: no place gives the secret of generation {old.number} any more",
                "Nothing was changed. `keyform rotate` makes a new key.",
            )
        _prove(ws, step, secret, live)
        journal.sent(intent.marker, Sent(old.spec, ws.clock.now()))
    except KeyformError:
        journal.void(intent.marker)
        raise
    written: Written = {}
    labels = labels_of(step.address, old.id, old.number)
    try:
        put_secret(ws, step.places, secret, labels, seen, written)
    except Exception as problem:
        raise _undo(ws, journal, intent, old, secret, seen, written, problem) from problem
    event = promoted_event(ws, step, known_versions(written))
    journal.event(intent.index, event, intent.marker)
    return event


def promoted_event(ws: Workspace, step: Step, versions: Versions) -> Event:
    """The event of a rollback that came through, made in the same way by an apply and by a recovery."""
    now = ws.clock.now()
    return Event(
        PROMOTED,
        step.address,
        step.service,
        key_id=step.key_id,
        places=step.places,
        versions=versions,
        revoke_at=now + step.overlap if step.overlap is not None else now,
        at=now,
    )


def finish_promotion(ws: Workspace, journal: JournalWriter, state: State, intent: Intent) -> Event | None:
    """Finish what a crashed run began, in the journal too: the secret goes to the places that it had not
    reached. None where it had reached none, or where a place holds a value that is not keyform's: then the
    state stays, and the plan that follows sees to the places. Raises ``StoreError``."""
    step, record = intent.step, state.keys.get(intent.step.address)
    wanted = (step.service, step.key_id)
    old = next((g for g in record.deposed if (g.service, g.id) == wanted), None) if record else None
    event = None
    if record is not None and old is not None and old.fingerprint is not None:
        held = [value_at(ws, place) for place in step.places]
        if any(value is not None and fingerprint_matches(value, old.fingerprint) for value in held):
            labels = labels_of(step.address, old.id, old.number)
            versions = finish_secret(ws, step.places, old.fingerprint, labels, partial(_is_of, record))
            if versions is not None:
                event = promoted_event(ws, step, versions)
    if event is None:
        journal.void(intent.marker)
    else:
        journal.event(intent.index, event, intent.marker)
    return event


def _is_of(record: KeyRecord, place: Place, value: Secret) -> bool:
    """Whether a place holds a secret of this key."""
    prints = (generation.fingerprint for generation in record.generations())
    return any(one is not None and fingerprint_matches(value, one) for one in prints)


def _prove(ws: Workspace, step: Step, secret: Secret, live: LiveKey) -> None:
    service = ws.service(step.service or "")
    if not service.profile.proves:
        return
    try:
        proved = service.prove(secret, live)
    except Refused as refused:
        mask_error(refused, (secret,))
        raise ServiceError(
            f"{step.address}: {step.key_id} is refused by {service.name}, so it was not rolled back to",
            "Nothing was changed. `keyform rotate` makes a new key.",
        ) from refused
    if proved is not None and proved != step.key_id:
        raise ServiceError(
            f"service {service.name!r}: the secret of {step.key_id} is taken for that of {proved}",
            "Nothing was changed. The service mixes up its answers: ask whoever runs it.",
        )


def _undo(
    ws: Workspace,
    journal: JournalWriter,
    intent: Intent,
    old: Generation,
    secret: Secret,
    seen: Seen,
    written: Written,
    problem: Exception,
) -> KeyformError:
    """Bring the places back to what they held; the error to raise says what became of it."""
    step = intent.step
    told: list[Diagnostic] = []
    if isinstance(problem, KeyformError):
        told += problem.diagnostics
    else:
        told.append(error("bug", f"{type(problem).__name__} while {step.address} was being rolled back"))
    before = [found for place in step.places if isinstance(found := seen[place].found, Secret)]
    labels = {"address": step.address}
    try:
        take_back(ws, step.places, old.fingerprint or "", seen, written, labels, restore=True)
        journal.void(intent.marker)
    except KeyformError as failure:
        told += failure.diagnostics
        told.append(
            error(
                "undo-failed",
                f"{step.address}: what was written of generation {old.number} could not be taken back yet",
                "Both keys work. The next `keyform apply` finishes the rollback, or leaves the newer key.",
                address=step.address,
            )
        )
    return KeyformError(mask_diagnostics(tuple(told), (secret, *before)))
