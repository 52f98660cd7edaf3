"""What passes by itself of a key, by use and by time: no change of it, but the words of a plan go by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keyform.model import instant, parse_instant


@dataclass(frozen=True, slots=True)
class Passing:
    """What the service showed of a key when a plan was made, as far as the plan goes by it: its last use
    where a gate looks at it, the credits that were left of those that keyform did not give it, and whether it
    had ``expired``."""

    last_used_at: datetime | None = None
    credits: int | None = None
    expired: bool = False

    def as_json(self) -> dict[str, Any]:
        """JSON form; absent parts are left out."""
        out: dict[str, Any] = {}
        if self.last_used_at is not None:
            out["last_used_at"] = instant(self.last_used_at)
        if self.credits is not None:
            out["credits"] = self.credits
        if self.expired:
            out["expired"] = True
        return out

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Passing:
        """The inverse of :meth:`as_json`."""
        used = data.get("last_used_at")
        return Passing(
            parse_instant(used) if used is not None else None, data.get("credits"), data.get("expired", False)
        )


NOTHING_PASSES = Passing()
