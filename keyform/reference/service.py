"""The shared core: keys and projects over storage, whatever dialect is spoken in front of it."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from . import rules
from .catalogue import Catalogue
from .credentials import Mint, new_id
from .records import Key, KeyRequest, Project
from .refusal import Refusal, invalid
from .storage import Row, Storage, pack

_IDEMPOTENCY_MILLISECONDS = 24 * 3600 * 1000

_INSERT_KEY = """INSERT INTO keys (id, lookup, start, salt, digest, kind, environment, project, name,
    description, scopes, allowed_origins, expires_at, metadata, rate_limit, created_at)
VALUES (:id, :lookup, :start, :salt, :digest, :kind, :environment, :project, :name, :description,
    :scopes, :allowed_origins, :expires_at, :metadata, :rate_limit, :created_at)"""
_UPDATE_KEY = """UPDATE keys SET name = :name, description = :description, scopes = :scopes,
    allowed_origins = :allowed_origins, expires_at = :expires_at, metadata = :metadata,
    rate_limit = :rate_limit
WHERE id = :id"""
_PUT_PROJECT = """INSERT INTO projects (id, allowed_origins, created_at, updated_at)
VALUES (:id, :origins, :now, :now)
ON CONFLICT (id) DO UPDATE SET allowed_origins = :origins, updated_at = max(updated_at, :now)"""
_INSERT_IDEMPOTENCY = """INSERT INTO idempotency (idempotency_key, request, key_id, created_at)
VALUES (?, ?, ?, ?)"""
_KEY_PAGE = """SELECT * FROM keys WHERE kind IN (SELECT value FROM json_each(?)) AND seq > ?
ORDER BY seq LIMIT ?"""
_PROJECT_KEY_PAGE = """SELECT * FROM keys WHERE kind IN (SELECT value FROM json_each(?)) AND seq > ?
AND project = ? ORDER BY seq LIMIT ?"""
_PROJECT_PAGE = "SELECT * FROM projects WHERE seq > ? ORDER BY seq LIMIT ?"


@dataclass(frozen=True, slots=True)
class Created:
    """The answer to a create; `secret` is None when an earlier create is replayed."""

    key: Key
    secret: str | None = field(repr=False)


class KeyService:
    """Every operation of the service. clock: Unix time in seconds. Refusals come as Refusal."""

    def __init__(
        self, storage: Storage, mint: Mint, catalogue: Catalogue, clock: Callable[[], float]
    ) -> None:
        self._storage = storage
        self._mint = mint
        self._catalogue = catalogue
        self._clock = clock
        listed = sorted(name for name, kind in catalogue.kinds.items() if kind.listed)
        self._listed = pack(listed)
        self._unlisted = frozenset(catalogue.kinds) - frozenset(listed)

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return int(self._clock() * 1000)

    def list_keys(self, *, after: int, limit: int, project: str | None) -> list[Key]:
        """Up to `limit` keys behind the sequence number `after`, in creation order."""
        if project is None:
            rows = self._storage.fetch(_KEY_PAGE, self._listed, after, limit)
        else:
            rows = self._storage.fetch(_PROJECT_KEY_PAGE, self._listed, after, project, limit)
        return [Key.of(row) for row in rows]

    def get_key(self, key_id: str) -> Key:
        """One key; 404 when there is none."""
        with self._storage.read() as connection:
            return self._key(connection, key_id)

    def create_key(
        self, request: KeyRequest, idempotency_key: str | None, held: frozenset[str] | None
    ) -> Created:
        """Mint a key, or replay the create that already used this idempotency key. held: the scopes of the
        caller, None for all."""
        now = self.now()
        digest = hashlib.sha256(pack(asdict(request)).encode()).digest() if idempotency_key else b""
        with self._storage.write() as connection:
            if idempotency_key is not None:
                connection.execute(
                    "DELETE FROM idempotency WHERE created_at <= ?", (now - _IDEMPOTENCY_MILLISECONDS,)
                )
                earlier = _one(
                    connection, "SELECT * FROM idempotency WHERE idempotency_key = ?", idempotency_key
                )
                if earlier is not None:
                    return _replay(connection, earlier, digest)
            kind = rules.check_kind(self._catalogue, request.kind, request.environment, request.project)
            scopes = rules.granted_scopes(self._catalogue, request.kind, request.scopes)
            rules.check_held(held, scopes)
            self._check_origins(connection, request.kind, request.allowed_origins, request.project)
            rules.check_expiry(self._catalogue, request.expires_at, now)
            key_id, secret = self.insert(connection, kind.prefix, replace(request, scopes=scopes), now)
            if idempotency_key is not None:
                connection.execute(
                    _INSERT_IDEMPOTENCY,
                    (idempotency_key, digest, key_id, now),
                )
            return Created(_key(connection, key_id), secret)

    def update_key(self, key_id: str, changes: Mapping[str, Any], held: frozenset[str] | None) -> Key:
        """Replace the named fields (of Key, already well-formed); 409 key_revoked on a revoked key. held: the
        scopes of the caller, None for all."""
        with self._storage.write() as connection:
            before = self._key(connection, key_id)
            key = replace(before, **changes)
            if key.revoked_at is not None:
                raise Refusal(409, "key_revoked", "The key is revoked and cannot be changed.")
            if "scopes" in changes:
                rules.check_scopes(self._catalogue, key.kind, key.scopes)
                rules.check_held(held, sorted(set(key.scopes) - set(before.scopes)))
            if "allowed_origins" in changes:
                self._check_origins(connection, key.kind, key.allowed_origins, key.project)
            if "expires_at" in changes:
                rules.check_expiry(self._catalogue, key.expires_at, self.now())
            connection.execute(_UPDATE_KEY, {"id": key_id, **_columns(key)})
            return key

    def revoke_key(self, key_id: str) -> Key:
        """Revoke for good; a revoked key stays as it is."""
        with self._storage.write() as connection:
            self._key(connection, key_id)
            connection.execute(
                "UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (self.now(), key_id)
            )
            return _key(connection, key_id)

    def list_projects(self, *, after: int, limit: int) -> list[Project]:
        """Up to `limit` projects behind the sequence number `after`, in creation order."""
        return [Project.of(row) for row in self._storage.fetch(_PROJECT_PAGE, after, limit)]

    def get_project(self, project_id: str) -> Project:
        """One project; 404 when there is none."""
        with self._storage.read() as connection:
            return _project(connection, project_id)

    def put_project(
        self, project_id: str, allowed_origins: tuple[str, ...], held: frozenset[str] | None
    ) -> Project:
        """Create the project, or replace its exact set of origins. held: the scopes of the caller, None for
        all."""
        if self._catalogue.project_scope is not None:
            rules.check_held(held, [self._catalogue.project_scope])
        rules.check_project(self._catalogue, allowed_origins)
        with self._storage.write() as connection:
            connection.execute(
                _PUT_PROJECT, {"id": project_id, "origins": pack(allowed_origins), "now": self.now()}
            )
            return _project(connection, project_id)

    def _check_origins(
        self, connection: sqlite3.Connection, kind: str, own: tuple[str, ...], project_id: str | None
    ) -> None:
        of_project: tuple[str, ...] = ()
        if project_id is not None:
            project = _find_project(connection, project_id)
            if project is None:
                message = f"There is no project {project_id!r}; create it before the key."
                raise invalid("project", message, "unknown_project")
            of_project = project.allowed_origins
        rules.check_key_origins(self._catalogue, kind, own, of_project)

    def insert(
        self, connection: sqlite3.Connection, prefix: str, request: KeyRequest, now: int
    ) -> tuple[str, str]:
        """Mint a key inside a transaction of the caller's, who has checked it: its id and its text."""
        key_id = new_id()
        while True:
            minted = self._mint.mint(prefix, request.environment)
            # The lookup part is short, so two keys may draw the same one: draw again.
            if _one(connection, "SELECT * FROM keys WHERE lookup = ?", minted.lookup) is None:
                break
        row = {
            "id": key_id,
            "lookup": minted.lookup,
            "start": minted.start,
            "salt": minted.salt,
            "digest": minted.digest,
            "kind": request.kind,
            "environment": request.environment,
            "project": request.project,
            "created_at": now,
        }
        connection.execute(_INSERT_KEY, row | _columns(request))
        return key_id, minted.text

    def _key(self, connection: sqlite3.Connection, key_id: str) -> Key:
        """A key that the contract may see; 404 when there is none."""
        key = _key(connection, key_id)
        if key.kind in self._unlisted:
            raise _no_such_key()
        return key


def _replay(connection: sqlite3.Connection, earlier: Row, digest: bytes) -> Created:
    if earlier["request"] != digest:
        message = "This Idempotency-Key was used for a create with another body; use a new one."
        raise Refusal(409, "idempotency_conflict", message)
    return Created(_key(connection, earlier["key_id"]), None)


def _columns(fields: Key | KeyRequest) -> dict[str, object]:
    """The columns that may change during a key's life."""
    return {
        "name": fields.name,
        "description": fields.description,
        "scopes": pack(fields.scopes),
        "allowed_origins": pack(fields.allowed_origins),
        "expires_at": fields.expires_at,
        "metadata": pack(fields.metadata),
        "rate_limit": pack(fields.rate_limit) if fields.rate_limit else None,
    }


def _key(connection: sqlite3.Connection, key_id: str) -> Key:
    row = _one(connection, "SELECT * FROM keys WHERE id = ?", key_id)
    if row is None:
        raise _no_such_key()
    return Key.of(row)


def _no_such_key() -> Refusal:
    return Refusal(404, "not_found", "There is no such key.")


def _find_project(connection: sqlite3.Connection, project_id: str) -> Project | None:
    row = _one(connection, "SELECT * FROM projects WHERE id = ?", project_id)
    return None if row is None else Project.of(row)


def _project(connection: sqlite3.Connection, project_id: str) -> Project:
    project = _find_project(connection, project_id)
    if project is None:
        raise Refusal(404, "not_found", "There is no such project.")
    return project


def _one(connection: sqlite3.Connection, statement: str, value: str) -> Row | None:
    row: Row | None = connection.execute(statement, (value,)).fetchone()
    return row
