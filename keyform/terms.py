"""What the state keeps about a declared key beside what its service holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from keyform.encoding import rotation_from_json, rotation_to_json
from keyform.model import Rotation


@dataclass(frozen=True, slots=True)
class Terms:
    """What the state keeps about a declared key beside what its service holds."""

    expires_in: timedelta | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    protect: bool = False
    rotation: Rotation | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON form; absent parts are left out."""
        out: dict[str, Any] = {}
        if self.expires_in is not None:
            out["expires_in_s"] = int(self.expires_in.total_seconds())
        if self.owner is not None:
            out["owner"] = self.owner
        if self.tags:
            out["tags"] = list(self.tags)
        if self.protect:
            out["protect"] = True
        if self.rotation is not None:
            out["rotation"] = rotation_to_json(self.rotation)
        return out

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Terms:
        """The inverse of :meth:`as_json`."""
        seconds = data.get("expires_in_s")
        return Terms(
            timedelta(seconds=seconds) if seconds is not None else None,
            data.get("owner"),
            tuple(data.get("tags", ())),
            data.get("protect", False),
            rotation_from_json(data["rotation"]) if "rotation" in data else None,
        )
