"""Services whose create takes no order: it makes whatever is missing, and shows each new secret once.

A profile says so with ``implementation: ensured`` and ``one_per_kind: together``. The ``items`` of its
``create`` are the places of the keys in the answer, and ``secret`` stands in each of them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from keyform.errors import AnswerLost, ServiceError
from keyform.model import KeySpec, LiveKey, Secret
from keyform.ports import Minted
from keyform.services.calls import CREATE
from keyform.services.paging import items_of
from keyform.services.readers import secret_reader

if TYPE_CHECKING:
    from keyform.services import Opening
    from keyform.services.rest import RestService


class Ensured:
    """The client that the profile describes, but for ``create``. What one call made beside the key that was
    asked for is kept in memory for the create that asks for it; calls never overlap."""

    def __init__(self, service: RestService, opening: Opening) -> None:
        self._service = service
        self._profile = opening.profile
        self._made: dict[str | None, tuple[LiveKey, Secret]] = {}
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    def create(self, spec: KeySpec, label: str) -> Minted:
        """The key of a kind that has none. Raises ``ServiceError``, with nothing made, where it has one."""
        with self._lock:
            if spec.kind not in self._made:
                self._refuse_existing(spec.kind)
                self._ensure(spec.kind)
            return Minted(*self._made.pop(spec.kind))

    def _refuse_existing(self, kind: str | None) -> None:
        listing = self._service.list()
        if not listing.complete:
            raise ServiceError(
                f"service {self._service.name!r}: which keys there are cannot be seen as a whole",
                "Nothing was created. Apply again when the service can be read.",
            )
        there = next((key.id for key in listing.keys if key.spec.kind == kind), None)
        if there is not None:
            raise self._exists(kind, there)

    def _ensure(self, kind: str | None) -> None:
        service, doing = self._service, f"creating the {kind} key"
        operation = service.operation("create")
        find, read_secret = items_of(operation.tree["items"]), secret_reader(operation.tree["secret"])
        body = service.send(operation, doing, {}, CREATE, repeatable=False)
        made = [
            (service.understood(doing, operation.key, entry), service.understood(doing, read_secret, entry))
            for entry in service.understood(doing, find, body)
        ]
        asked = next(((key, secret) for key, secret in made if key.spec.kind == kind), None)
        if asked is None:
            raise AnswerLost(
                f"service {service.name!r}: {doing} failed: the answer holds no {kind} key",
                "It may have been carried out all the same; apply again, and keyform looks.",
            )
        if asked[1] is None:
            raise self._exists(kind, asked[0].id)  # somebody else came first
        shown = self._shown()
        for key, secret in made:
            if secret is not None:
                self._made[key.spec.kind] = shown.get(key.id, key), secret

    def _shown(self) -> dict[str, LiveKey]:
        """The keys as the service shows them, with when they were made. A failed read changes nothing."""
        try:
            return {key.id: key for key in self._service.list().keys}
        except ServiceError:
            return {}

    def _exists(self, kind: str | None, key_id: str) -> ServiceError:
        return ServiceError(
            f"service {self._service.name!r} has its one {kind} key already, {key_id}, and does not give "
            "its secret again",
            "Nothing was created. If a call of keyform made it whose answer was lost, apply again: keyform "
            f"takes it over. Else adopt it with `imports`, by the id {key_id}; a rotation brings a new one.",
        )
