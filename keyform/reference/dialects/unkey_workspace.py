"""An Unkey workspace: its API namespaces, permissions and roles, and what root keys may do with them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..account import Account
from ..credentials import new_id
from ..refusal import Refusal
from ..storage import pack
from ..web import cursor_after, position

_TABLES = """
CREATE TABLE IF NOT EXISTS apis (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL
) STRICT;
INSERT OR IGNORE INTO apis (id, name) VALUES ('api_keyform', 'keyform');
CREATE TABLE IF NOT EXISTS permissions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL, description TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS roles (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
    description TEXT, permissions TEXT NOT NULL
) STRICT;
"""

_Json = dict[str, Any]
Page = tuple[object, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class RootKey:
    """What a root key may do: permissions such as `api.*.read_key` or `api.api_1.read_key`; `*` is all."""

    permissions: frozenset[str]

    def may(self, what: str, which: str, action: str) -> bool:
        """Whether it may do this to that resource."""
        wanted = {"*", f"{what}.*.{action}", f"{what}.{which}.{action}"}
        return not wanted.isdisjoint(self.permissions)

    def may_anywhere(self, action: str) -> bool:
        """Whether it may do this in some API namespace."""
        return "*" in self.permissions or any(held.endswith(f".{action}") for held in self.permissions)

    def need(self, what: str, which: str, action: str) -> None:
        """403 unless it may."""
        if not self.may(what, which, action):
            message = f"The root key lacks the permission {what}.{which}.{action}."
            raise Refusal(403, "insufficient_permissions", message)


class Workspace:
    """API namespaces, permissions and roles. What a caller may not read is a 404 to it, as if it were not."""

    def __init__(self, account: Account) -> None:
        self._storage = account.storage
        self._storage.add_tables(_TABLES)

    def create_api(self, root: RootKey, given: _Json) -> _Json:
        """apis.createApi"""
        root.need("api", "*", "create_api")
        api_id = new_id("api")
        with self._storage.write() as connection:
            connection.execute("INSERT INTO apis (id, name) VALUES (?, ?)", (api_id, given["name"]))
        return {"apiId": api_id}

    def get_api(self, root: RootKey, given: _Json) -> _Json:
        """apis.getApi"""
        with self._storage.read() as connection:
            row = self.api(connection, root, given["apiId"])
        return {"id": row["id"], "name": row["name"]}

    def api(self, connection: sqlite3.Connection, root: RootKey, api_id: str, *actions: str) -> sqlite3.Row:
        """The namespace, for a caller that may read it (else 404) and do `actions` to it (else 403)."""
        row: sqlite3.Row | None = connection.execute("SELECT * FROM apis WHERE id = ?", (api_id,)).fetchone()
        if row is None or not root.may("api", api_id, "read_api"):
            raise Refusal(404, "api_not_found", "There is no such API namespace.")
        for action in actions:
            root.need("api", api_id, action)
        return row

    def create_permission(self, root: RootKey, given: _Json) -> _Json:
        """permissions.createPermission"""
        root.need("rbac", "*", "create_permission")
        with self._storage.write() as connection:
            return {"permissionId": _add_permission(connection, **given)}

    def ensure_permissions(self, connection: sqlite3.Connection, root: RootKey, slugs: Iterable[str]) -> None:
        """Make the permissions that are not there yet; 403 for a caller that may not."""
        for slug in slugs:
            if not connection.execute("SELECT 1 FROM permissions WHERE slug = ?", (slug,)).fetchone():
                root.need("rbac", "*", "create_permission")
                _add_permission(connection, slug, slug)

    def list_permissions(self, root: RootKey, given: _Json) -> Page:
        """permissions.listPermissions"""
        root.need("rbac", "*", "read_permission")
        with self._storage.read() as connection:
            rows, pagination = self._page(
                connection, "SELECT * FROM permissions WHERE seq > ? ORDER BY seq", given
            )
            return [_permission(row) for row in rows], pagination

    def create_role(self, root: RootKey, given: _Json) -> _Json:
        """permissions.createRole"""
        root.need("rbac", "*", "create_role")
        role_id, slugs = new_id("role"), sorted(set(given.get("permissions", ())))
        with self._storage.write() as connection:
            self.ensure_permissions(connection, root, slugs)
            try:
                connection.execute(
                    "INSERT INTO roles (id, name, description, permissions) VALUES (?, ?, ?, ?)",
                    (role_id, given["name"], given.get("description"), pack(slugs)),
                )
            except sqlite3.IntegrityError:
                raise Refusal(409, "role_exists", "There is a role of this name already.") from None
        return {"roleId": role_id}

    def list_roles(self, root: RootKey, given: _Json) -> Page:
        """permissions.listRoles"""
        root.need("rbac", "*", "read_role")
        with self._storage.read() as connection:
            rows, pagination = self._page(connection, "SELECT * FROM roles WHERE seq > ? ORDER BY seq", given)
            return [_role(connection, row) for row in rows], pagination

    def permissions_of_roles(self, connection: sqlite3.Connection, names: Iterable[str]) -> set[str]:
        """The permissions that these roles carry; 404 for a role that does not exist."""
        held: set[str] = set()
        for name in names:
            row = connection.execute("SELECT permissions FROM roles WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise Refusal(404, "role_not_found", f"There is no role {name!r}.")
            held.update(json.loads(row["permissions"]))
        return held

    def _page(
        self, connection: sqlite3.Connection, statement: str, given: _Json
    ) -> tuple[list[sqlite3.Row], Mapping[str, object]]:
        after = position(given["cursor"]) if "cursor" in given else 0
        rows = connection.execute(statement, (after,)).fetchall()
        term = given.get("search", "").lower()
        rows = [row for row in rows if any(term in str(value).lower() for value in tuple(row)[1:])]
        return cut(rows, given.get("limit", 100))


def cut(rows: Sequence[sqlite3.Row], limit: int) -> tuple[list[sqlite3.Row], Mapping[str, object]]:
    """The first `limit` of these rows, and the pagination that says whether more follow."""
    if len(rows) <= limit:
        return list(rows), {"hasMore": False}
    return list(rows[:limit]), {"hasMore": True, "cursor": cursor_after(rows[limit - 1]["seq"])}


def _add_permission(
    connection: sqlite3.Connection, name: str, slug: str, description: str | None = None
) -> str:
    permission_id = new_id("perm")
    try:
        connection.execute(
            "INSERT INTO permissions (id, slug, name, description) VALUES (?, ?, ?, ?)",
            (permission_id, slug, name, description),
        )
    except sqlite3.IntegrityError:
        raise Refusal(409, "permission_exists", "There is a permission of this slug already.") from None
    return permission_id


def _permission(row: sqlite3.Row) -> _Json:
    return {name: row[name] for name in ("id", "name", "slug", "description") if row[name] is not None}


def _role(connection: sqlite3.Connection, row: sqlite3.Row) -> _Json:
    statement = "SELECT * FROM permissions WHERE slug IN (SELECT value FROM json_each(?)) ORDER BY slug"
    permissions = connection.execute(statement, (row["permissions"],))
    shown = {name: row[name] for name in ("id", "name", "description") if row[name] is not None}
    return shown | {"permissions": [_permission(found) for found in permissions]}
