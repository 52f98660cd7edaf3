"""Minting one key: mint, receipt, proof, store, read back, commit; and undoing it when that fails.

The proof comes before the store (docs/adr/0004), so that a key which does not work never replaces the
value of one that does.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

from keyform.apply.journal import Intent, JournalWriter, Receipt
from keyform.apply.places import put_secret, take_back
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, error, warning
from keyform.engine.events import MINTED, Event
from keyform.engine.plan import Step
from keyform.errors import AnswerLost, KeyformError, ServiceError
from keyform.model import LiveKey, Place, Secret, fingerprint, ownership_label
from keyform.ports import Service
from keyform.state import Generation

MINT_ATTEMPTS = 3


def new_intent(index: int, step: Step, ws: Workspace) -> Intent:
    """An intent with a marker of its own."""
    return Intent(uuid.uuid4().hex, index, step, ws.clock.now())


def mint(
    ws: Workspace, journal: JournalWriter, lineage: str, intent: Intent
) -> tuple[Event, tuple[Diagnostic, ...]]:
    """Carry out one ``mint`` step. Returns its event, already in the journal, and warnings.

    Raises ``KeyformError``; the key, if there was one, is revoked again then, and the intent closed. If
    even that could not be done, the intent stays open for recovery.
    """
    step = intent.step
    service = ws.service(step.service or "")
    try:
        before = _values_before(ws, step)
    except KeyformError:
        journal.void(intent.marker)
        raise
    intent, key, secret = _create(ws, journal, service, lineage, intent)
    try:
        receipt = Receipt(key.id, key.spec, key.created_at or ws.clock.now(), fingerprint(secret))
        journal.receipt(intent.marker, receipt)
        if service.profile.proves:
            service.prove(secret, key)
        labels = {"address": step.address, "key_id": key.id, "generation": str(step.generation)}
        put_secret(ws, step.places, secret, labels)
    except Exception as problem:
        raise _undo(ws, journal, intent, key, secret, before, problem) from problem
    event = minted_event(ws, intent, receipt)
    journal.event(intent.index, event, intent.marker)
    return event, granted_otherwise(service, step, key)


def minted_event(ws: Workspace, intent: Intent, receipt: Receipt) -> Event:
    """The event of a mint that came through, made in the same way by an apply and by a recovery."""
    step = intent.step
    hidden = ws.service(step.service or "").profile.fields_unseen
    spec, asked = receipt.spec, step.spec
    if asked is not None:
        # Where other scopes were granted, what the service shows from now on is drift.
        spec = replace(spec, scopes=asked.scopes)
    if hidden and asked is not None:
        if step.terms and step.terms.expires_in is not None:
            asked = replace(asked, expires_at=receipt.created_at + step.terms.expires_in)
        spec = replace(spec, **{name: getattr(asked, name) for name in hidden})
    generation = Generation(
        step.generation or 1,
        step.service or "",
        receipt.key_id,
        spec,
        receipt.created_at,
        step.places,
        receipt.fingerprint,
        intent.marker,
    )
    keeps_old = step.overlap is not None and not step.gone
    return Event(
        MINTED,
        step.address,
        step.service,
        generation,
        terms=step.terms,
        revoke_at=ws.clock.now() + (step.overlap or timedelta(0)) if keeps_old else None,
    )


def _create(
    ws: Workspace, journal: JournalWriter, service: Service, lineage: str, intent: Intent
) -> tuple[Intent, LiveKey, Secret]:
    """Mint until an answer with a secret arrives. A key whose answer was lost is revoked: its secret can
    no longer be had."""
    for _ in range(MINT_ATTEMPTS):
        spec = intent.step.spec
        if spec is None:
            raise ServiceError(f"{intent.step.address}: the plan's mint step has no spec", "Plan again.")
        terms = intent.step.terms
        if terms and terms.expires_in is not None:
            spec = replace(spec, expires_at=ws.clock.now() + terms.expires_in)
        try:
            minted = service.create(spec, ownership_label(lineage, intent.marker))
        except AnswerLost:
            raise
        except KeyformError:
            journal.void(intent.marker)
            raise
        if minted.secret is not None:
            return intent, minted.key, minted.secret
        service.revoke(minted.key.id)
        journal.void(intent.marker)
        intent = new_intent(intent.index, intent.step, ws)
        journal.intent(intent)
    journal.void(intent.marker)
    raise AnswerLost(
        f"{service.name} lost the answer to {MINT_ATTEMPTS} creates of {intent.step.address} in a row",
        "Nothing is left behind: each of those keys was revoked. Look into the connection and apply again.",
    )


def _values_before(ws: Workspace, step: Step) -> dict[Place, Secret]:
    """What the places hold of the generation that is replaced, so that an undo can bring it back."""
    if step.overlap is None or step.gone:
        return {}
    values = {place: ws.store(place.store).get(place) for place in step.places}
    return {place: value for place, value in values.items() if value is not None}


def _undo(
    ws: Workspace,
    journal: JournalWriter,
    intent: Intent,
    key: LiveKey,
    secret: Secret,
    before: dict[Place, Secret],
    problem: Exception,
) -> KeyformError:
    """Bring the places back to what they held and revoke the key that could not be kept; the error to raise
    says what became of it. The places come first: after a crash in between, recovery revokes the key."""
    cause = (
        problem.diagnostics
        if isinstance(problem, KeyformError)
        else (error("bug", f"{type(problem).__name__} while {intent.step.address} was being stored"),)
    )
    address = intent.step.address
    left: list[Diagnostic] = []
    try:
        take_back(ws, intent.step.places, fingerprint(secret), before, {"address": address})
    except KeyformError as failure:
        left += failure.diagnostics
        left.append(
            error(
                "undo-failed",
                f"{address}: what was written of {key.id} could not be taken out of the store yet",
                "The journal knows of it: the next `keyform apply` does it.",
                address=address,
            )
        )
    try:
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
    if all(diagnostic.code == "mint-undone" for diagnostic in left):
        try:
            journal.void(intent.marker)
        except KeyformError as failure:
            left += failure.diagnostics
    return KeyformError((*cause, *left))


def granted_otherwise(service: Service, step: Step, key: LiveKey) -> tuple[Diagnostic, ...]:
    """Some services silently grant something else than was asked for; say so. ``key`` as it is shown."""
    if step.spec is None or "scopes" not in service.profile.shown or key.spec.scopes == step.spec.scopes:
        return ()
    return (
        warning(
            "granted-otherwise",
            f"{step.address}: {service.name} granted the scopes [{', '.join(key.spec.scopes)}] where "
            f"[{', '.join(step.spec.scopes)}] were asked for",
            "Check what the credential may grant; the next plan shows the difference.",
            address=step.address,
        ),
    )
