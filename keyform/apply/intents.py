"""What a journal says of a mint: that it is to happen, what was sent for it, and the key that came of it.

A rollback has an intent too, without a receipt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from keyform.encoding import spec_from_json, spec_to_json
from keyform.engine.plan import Step
from keyform.model import KeySpec, Place, instant, parse_instant
from keyform.ports import Held
from keyform.state import place_from_json, place_to_json

Unread = tuple[tuple[Place, Held | None], ...]
"""Places whose values cannot be read back, and what was told of them before a write."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A key that a service said it minted. ``unread``: what its places held before, of those whose values
    cannot be read back."""

    key_id: str
    spec: KeySpec
    created_at: datetime
    fingerprint: str
    unread: Unread = ()

    def as_json(self) -> dict[str, Any]:
        """JSON form."""
        out: dict[str, Any] = {
            "key_id": self.key_id,
            "spec": spec_to_json(self.spec),
            "created_at": instant(self.created_at),
            "fingerprint": self.fingerprint,
        }
        return {**out, "unread": unread_to_json(self.unread)} if self.unread else out

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Receipt:
        """The inverse of :meth:`as_json`."""
        return Receipt(
            data["key_id"],
            spec_from_json(data["spec"]),
            parse_instant(data["created_at"]),
            data["fingerprint"],
            unread_from_json(data.get("unread", ())),
        )


@dataclass(frozen=True, slots=True)
class Original:
    """The key that a service is to copy, as it was shown before: what its label and its end were. ``life``:
    for how long, in whole seconds, the service is asked to let it live on."""

    key_id: str
    label: str | None
    spec: KeySpec
    life: timedelta

    def as_json(self) -> dict[str, Any]:
        """JSON form."""
        life = int(self.life.total_seconds())
        return {"key_id": self.key_id, "label": self.label, "spec": spec_to_json(self.spec), "life_s": life}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Original:
        """The inverse of :meth:`as_json`."""
        life = timedelta(seconds=data["life_s"])
        return Original(data["key_id"], data["label"], spec_from_json(data["spec"]), life)


@dataclass(frozen=True, slots=True)
class Sent:
    """A create that was about to be sent: exactly what it asks for, and when. ``unseen``: nothing can ever
    show whether it was carried out, unless its answer comes. ``original``: the key that it copies."""

    spec: KeySpec
    at: datetime
    unseen: bool = False
    original: Original | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON form; absent parts are left out."""
        out: dict[str, Any] = {"spec": spec_to_json(self.spec), "at": instant(self.at)}
        if self.unseen:
            out["unseen"] = True
        if self.original is not None:
            out["original"] = self.original.as_json()
        return out

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Sent:
        """The inverse of :meth:`as_json`."""
        return Sent(
            spec_from_json(data["spec"]),
            parse_instant(data["at"]),
            data.get("unseen", False),
            Original.from_json(data["original"]) if "original" in data else None,
        )


@dataclass(frozen=True, slots=True)
class Intent:
    """A mint that is to happen; what was sent for it, and its receipt once there is one. ``index`` is the
    place of its step in the plan. Without ``sent`` no service has ever heard of it."""

    marker: str
    index: int
    step: Step
    sent: Sent | None = None
    receipt: Receipt | None = None

    @property
    def original(self) -> Original | None:
        """The key that was to be copied, where that was sent."""
        return self.sent.original if self.sent is not None else None

    def as_json(self) -> dict[str, Any]:
        """JSON form of the intent alone."""
        return {"marker": self.marker, "index": self.index, "step": self.step.as_json()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Intent:
        """The inverse of :meth:`as_json`."""
        return Intent(data["marker"], data["index"], Step.from_json(data["step"]))


def unread_to_json(unread: Unread) -> list[dict[str, Any]]:
    """JSON form of what was told of places that cannot be read."""
    return [
        {**place_to_json(place), "held": held is not None, "version": held and held.version}
        for place, held in unread
    ]


def unread_from_json(data: Iterable[Mapping[str, Any]]) -> Unread:
    """The inverse of :func:`unread_to_json`."""
    return tuple(
        (place_from_json(entry), Held(entry["version"]) if entry["held"] else None) for entry in data
    )
