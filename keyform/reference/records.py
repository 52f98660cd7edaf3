"""Keys and projects as the service hands them out, and what a caller may ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import moments
from .storage import Row


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a new key should be; every field is well-formed, none is checked against the catalogue yet."""

    kind: str
    environment: str
    name: str
    scopes: tuple[str, ...]
    project: str | None = None
    description: str = ""
    allowed_origins: tuple[str, ...] = ()
    expires_at: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    rate_limit: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A stored key without its secret. Times: milliseconds since the epoch. rate_limit: (limit, seconds)."""

    seq: int
    id: str
    kind: str
    environment: str
    project: str | None
    name: str
    description: str
    scopes: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    expires_at: int | None
    metadata: Mapping[str, str]
    rate_limit: tuple[int, int] | None
    start: str
    created_at: int
    last_used_at: int | None
    revoked_at: int | None

    @classmethod
    def of(cls, row: Row) -> Key:
        """Read a row of the table of keys."""
        return cls(
            seq=row["seq"],
            id=row["id"],
            kind=row["kind"],
            environment=row["environment"],
            project=row["project"],
            name=row["name"],
            description=row["description"],
            scopes=tuple(json.loads(row["scopes"])),
            allowed_origins=tuple(json.loads(row["allowed_origins"])),
            expires_at=row["expires_at"],
            metadata=json.loads(row["metadata"]),
            rate_limit=tuple(json.loads(row["rate_limit"])) if row["rate_limit"] else None,
            start=row["start"],
            created_at=row["created_at"],
            last_used_at=row["last_used_at"],
            revoked_at=row["revoked_at"],
        )

    def status(self, now: int) -> str:
        """active, expired or revoked at `now`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def view(self, now: int) -> dict[str, Any]:
        """The key as the contract shows it."""
        limit = self.rate_limit
        return {
            "id": self.id,
            "kind": self.kind,
            "environment": self.environment,
            "project": self.project,
            "name": self.name,
            "description": self.description,
            "scopes": self.scopes,
            "allowed_origins": self.allowed_origins,
            "expires_at": _moment(self.expires_at),
            "metadata": self.metadata,
            "rate_limit": {"limit": limit[0], "per_seconds": limit[1]} if limit else None,
            "status": self.status(now),
            "start": self.start,
            "created_at": _moment(self.created_at),
            "last_used_at": _moment(self.last_used_at),
            "revoked_at": _moment(self.revoked_at),
        }


@dataclass(frozen=True, slots=True)
class Project:
    """A project and its exact set of origins."""

    seq: int
    id: str
    allowed_origins: tuple[str, ...]
    created_at: int
    updated_at: int

    @classmethod
    def of(cls, row: Row) -> Project:
        """Read a row of the table of projects."""
        origins = tuple(json.loads(row["allowed_origins"]))
        return cls(row["seq"], row["id"], origins, row["created_at"], row["updated_at"])

    def view(self) -> dict[str, Any]:
        """The project as the contract shows it."""
        return {
            "id": self.id,
            "allowed_origins": self.allowed_origins,
            "created_at": _moment(self.created_at),
            "updated_at": _moment(self.updated_at),
        }


def _moment(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else moments.to_text(milliseconds)
