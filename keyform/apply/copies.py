"""What the journal keeps of a copy that is about to be made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyform.apply.intents import Unread, unread_from_json, unread_to_json
from keyform.model import Place
from keyform.state import place_from_json, place_to_json


@dataclass(frozen=True, slots=True)
class Copy:
    """A secret of the key ``address`` that is about to be copied (None in older journals): to places whose
    values cannot be read back, and to those that can and are ``empty`` of it."""

    address: str | None
    unread: Unread = ()
    empty: tuple[Place, ...] = ()

    @property
    def places(self) -> tuple[Place, ...]:
        """All that the copy may have reached."""
        return (*(place for place, _ in self.unread), *self.empty)

    def as_json(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "address": self.address,
            "unread": unread_to_json(self.unread),
            "empty": [place_to_json(place) for place in self.empty],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Copy:
        """The copy that :meth:`as_json` wrote."""
        empty = tuple(place_from_json(place) for place in data.get("empty", ()))
        return Copy(data.get("address"), unread_from_json(data["unread"]), empty)
