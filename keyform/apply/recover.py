"""Finishing what an interrupted apply left, by the table in docs/adr/0003 (crash safety).

For every open intent the key that carries its marker is looked for at the service. If it is there and
its secret is in the store, it is adopted; if its secret is not there, it is revoked, and the plan that
follows mints it again. Nothing else is touched.
"""

from __future__ import annotations

from collections.abc import Mapping

from keyform.apply.journal import Intent, JournalWriter, Receipt
from keyform.apply.mint import minted_event
from keyform.apply.places import find_secret, take_back
from keyform.apply.read import view_services
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, note
from keyform.engine.events import Event
from keyform.engine.sight import ServiceView
from keyform.errors import Refused, ServiceError, StateError
from keyform.model import REVOKED, LiveKey, Place, Secret, fingerprint, instant, ownership_label


def resolve(
    ws: Workspace, journal: JournalWriter, lineage: str, intents: tuple[Intent, ...]
) -> tuple[list[tuple[int, Event]], list[Diagnostic]]:
    """Close every intent, in the journal too. Returns the events of those that came through, and notes.

    Raises ``ServiceError`` when a service cannot be read whole, ``StateError`` when it is no longer
    declared; the intents stay open then.
    """
    if not intents:
        return [], []
    services = {intent.step.service or "" for intent in intents}
    missing = sorted(services - set(ws.config.services))
    if missing:
        raise StateError(
            f"an interrupted apply was minting keys at {', '.join(missing)}, which is no longer declared",
            "Declare the service again and apply, so that keyform can look for those keys.",
        )
    _wait_out_lag(ws, intents)
    views = view_services(ws, services)
    for view in views.values():
        if not view.listing.complete:
            raise ServiceError(
                f"recovery needs the whole listing of {view.name}, and it is incomplete",
                "Nothing was changed. Apply again when the service can be read whole.",
            )
    events: list[tuple[int, Event]] = []
    notes: list[Diagnostic] = []
    marked = {
        name: {key.label: key for key in view.listing.keys if key.label} for name, view in views.items()
    }
    for intent in intents:
        event, told = _resolve_one(ws, journal, intent, _find(views, marked, lineage, intent))
        notes.append(told)
        if event is not None:
            events.append((intent.index, event))
    return events, notes


def _wait_out_lag(ws: Workspace, intents: tuple[Intent, ...]) -> None:
    """Let pass the time for which a service's listing may not show a key that was just made."""
    now = ws.clock.now()
    waits = [
        (intent.began + ws.config.services[intent.step.service or ""].profile.list_lag - now).total_seconds()
        for intent in intents
    ]
    if max(waits) > 0:
        ws.clock.sleep(max(waits))


def _find(
    views: Mapping[str, ServiceView],
    marked: Mapping[str, Mapping[str, LiveKey]],
    lineage: str,
    intent: Intent,
) -> LiveKey | None:
    service = intent.step.service or ""
    receipt = intent.receipt
    if receipt is not None and not views[service].profile.lists:
        key: LiveKey | None = LiveKey(receipt.key_id, receipt.spec, created_at=receipt.created_at)
    elif receipt is not None:
        key = views[service].keys.get(receipt.key_id)
    else:
        key = marked[service].get(ownership_label(lineage, intent.marker))
    return None if key is None or key.status == REVOKED else key


def _resolve_one(
    ws: Workspace, journal: JournalWriter, intent: Intent, key: LiveKey | None
) -> tuple[Event | None, Diagnostic]:
    address = intent.step.address
    if key is None:
        _erase(ws, intent)
        journal.void(intent.marker)
        return None, note("recovered", f"{address}: {_outcome_unseen(ws, intent)}", address=address)
    held = _held_fingerprint(ws, intent, key)
    if held is None:
        ws.service(intent.step.service or "").revoke(key.id)
        _erase(ws, intent)
        journal.void(intent.marker)
        return None, note(
            "recovered",
            f"{address}: revoked {key.id}, which the interrupted apply minted and never stored",
            address=address,
        )
    receipt = intent.receipt or Receipt(key.id, key.spec, key.created_at or ws.clock.now(), held)
    event = minted_event(ws, intent, receipt)
    journal.event(intent.index, event, intent.marker)
    return event, note(
        "recovered",
        f"{address}: kept {key.id}, which the interrupted apply minted and stored",
        address=address,
    )


def _outcome_unseen(ws: Workspace, intent: Intent) -> str:
    """What is said of an intent without a key. Where nothing lists keys, that proves nothing."""
    service = ws.config.services[intent.step.service or ""]
    if service.profile.lists:
        return "the interrupted apply had minted nothing"
    name = intent.step.spec.name if intent.step.spec else ""
    return (
        f"{service.name} lists no keys, so keyform cannot tell whether the interrupted apply minted one; "
        f"look in its dashboard for a second key named {name!r}, made about {instant(intent.began)}, and "
        "revoke it"
    )


def _held_fingerprint(ws: Workspace, intent: Intent, key: LiveKey) -> str | None:
    """The fingerprint of the key's secret if its store holds it. Without a receipt, only the service can
    tell whose secret the store holds."""
    if any(place.store not in ws.config.stores for place in intent.step.places):
        return None
    if intent.receipt is not None:
        found = find_secret(ws, intent.step.places, intent.receipt.fingerprint)
        return intent.receipt.fingerprint if found is not None else None
    service = ws.service(intent.step.service or "")
    if not service.profile.proves:
        return None
    secret = _common_secret(ws, intent.step.places)
    if secret is None:
        return None
    try:
        return fingerprint(secret) if service.prove(secret, key) == key.id else None
    except Refused:
        return None


def _erase(ws: Workspace, intent: Intent) -> None:
    """Take the secret of a key that is no more out of whichever places it had reached."""
    if intent.receipt is not None:
        take_back(ws, intent.step.places, intent.receipt.fingerprint, {}, {})


def _common_secret(ws: Workspace, places: tuple[Place, ...]) -> Secret | None:
    values = [ws.store(place.store).get(place) for place in places]
    first = values[0] if values else None
    return first if all(value == first for value in values) else None
