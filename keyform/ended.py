"""Keys that keyform has revoked: until a service shows that they are gone, or to know their secrets again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keyform.model import instant, parse_instant


@dataclass(frozen=True, slots=True)
class Ended:
    """A generation of ``address`` that the service called revoked ``at`` that moment. ``where`` says which
    service ``service`` was, since another one may have the same id."""

    address: str
    service: str
    where: str
    id: str
    number: int
    at: datetime

    def as_json(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "address": self.address,
            "service": self.service,
            "where": self.where,
            "id": self.id,
            "number": self.number,
            "at": instant(self.at),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Ended:
        """The inverse of :meth:`as_json`."""
        return Ended(
            data["address"],
            data["service"],
            data["where"],
            data["id"],
            data["number"],
            parse_instant(data["at"]),
        )


@dataclass(frozen=True, slots=True)
class Undone:
    """What was to be generation ``number`` of ``address``. A write of its secret that nobody waits for any
    more may still come through; by its ``fingerprint`` it is known again as keyform's own."""

    address: str
    number: int
    fingerprint: str

    def as_json(self) -> dict[str, Any]:
        """JSON form."""
        return {"address": self.address, "number": self.number, "fingerprint": self.fingerprint}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Undone:
        """The inverse of :meth:`as_json`."""
        return Undone(data["address"], data["number"], data["fingerprint"])
