"""Keys of an Unkey workspace: created, shown, updated, rerolled, deleted, verified."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import sqlite3
from collections.abc import Mapping
from typing import Any

from ..account import Account
from ..credentials import KeyFormat, Mint, new_id
from ..limiter import Limiter
from ..refusal import Refusal, invalid
from ..storage import pack
from ..web import position
from .unkey_query import satisfied
from .unkey_workspace import Page, RootKey, Workspace, cut

_TABLES = """
CREATE TABLE IF NOT EXISTS unkey_keys (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, api TEXT NOT NULL REFERENCES apis (id),
    lookup TEXT NOT NULL UNIQUE, start TEXT NOT NULL, salt BLOB NOT NULL, digest BLOB NOT NULL,
    prefix TEXT NOT NULL, bytes INTEGER NOT NULL, fields TEXT NOT NULL, created_at INTEGER NOT NULL,
    updated_at INTEGER, last_used_at INTEGER, deleted_at INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS unkey_keys_by_api ON unkey_keys (api, seq);
"""
_INSERT = """INSERT INTO unkey_keys (id, api, lookup, start, salt, digest, prefix, bytes, fields, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_MINUTE = 60_000
# lastUsedAt is an approximation: Unkey promises no more than these five minutes.
_LAST_USED_STEP = 5 * _MINUTE
_PLAIN = ("name", "meta", "expires")

_Json = dict[str, Any]


def _draw(prefix: str, size: str) -> tuple[str, str]:
    """`{prefix}_{secret}`, or the secret alone; `size` is the number of random bytes."""
    secret = base64.b32encode(secrets.token_bytes(int(size))).decode().rstrip("=").lower()
    begin = f"{prefix}_" if prefix else ""
    return begin + secret, begin + secret[:4]


KEY_FORMAT = KeyFormat(re.compile(r"(?:[a-zA-Z0-9_]{1,16}_)?[a-z2-7]{26,408}", re.ASCII), _draw)


class Keys:
    """The operations on keys. A key in a namespace that the caller may not read is a 404 to it."""

    def __init__(self, account: Account, workspace: Workspace) -> None:
        self._account = account
        self._storage = account.storage
        self._storage.add_tables(_TABLES)
        self._workspace = workspace
        self._mint = Mint(account.pepper, KEY_FORMAT)
        self._limiter = Limiter(account.clock)

    def list_keys(self, root: RootKey, given: _Json) -> Page:
        """apis.listKeys"""
        after = position(given["cursor"]) if "cursor" in given else 0
        statement = """SELECT * FROM unkey_keys WHERE api = ?1 AND deleted_at IS NULL AND seq > ?2
            AND (?3 IS NULL OR json_extract(fields, '$.identity.externalId') = ?3) ORDER BY seq LIMIT ?4"""
        limit = given.get("limit", 100)
        with self._storage.read() as connection:
            self._workspace.api(connection, root, given["apiId"], "read_key")
            wanted = (given["apiId"], after, given.get("externalId"), limit + 1)
            rows, pagination = cut(connection.execute(statement, wanted).fetchall(), limit)
        return [_view(row) for row in rows], pagination

    def create(self, root: RootKey, given: _Json) -> _Json:
        """keys.createKey"""
        if given.get("recoverable"):
            raise invalid("recoverable", "Keys are never recoverable here.")
        with self._storage.write() as connection:
            self._workspace.api(connection, root, given["apiId"], "create_key")
            fields = self._changed(connection, root, {"enabled": True}, given)
            prefix, size = given.get("prefix", ""), given.get("byteLength", 16)
            return self._insert(connection, given["apiId"], prefix, size, fields)

    def get(self, root: RootKey, given: _Json) -> _Json:
        """keys.getKey"""
        with self._storage.read() as connection:
            return _view(self._key(connection, root, given["keyId"], "read_key"))

    def update(self, root: RootKey, given: _Json) -> _Json:
        """keys.updateKey: what is given replaces what was, permissions and roles included."""
        with self._storage.write() as connection:
            row = self._key(connection, root, given["keyId"], "update_key")
            self._save(
                connection, row["id"], self._changed(connection, root, json.loads(row["fields"]), given)
            )
        return {}

    def delete(self, root: RootKey, given: _Json) -> _Json:
        """keys.deleteKey"""
        with self._storage.write() as connection:
            row = self._key(connection, root, given["keyId"], "delete_key")
            if given.get("permanent"):
                connection.execute("DELETE FROM unkey_keys WHERE id = ?", (row["id"],))
            else:
                now = self._account.now()
                connection.execute("UPDATE unkey_keys SET deleted_at = ? WHERE id = ?", (now, row["id"]))
        return {}

    def reroll(self, root: RootKey, given: _Json) -> _Json:
        """keys.rerollKey: a new key with everything of the old one, its expiry included."""
        with self._storage.write() as connection:
            row = self._key(connection, root, given["keyId"], "create_key")
            fields, now = json.loads(row["fields"]), self._account.now()
            if fields.get("expires", now + 1) <= now:
                raise invalid("keyId", "The key has expired; an expired key cannot be rerolled.")
            made = self._insert(connection, row["api"], row["prefix"], row["bytes"], fields)
            ends = now
            if given["expiration"]:
                ends = -(-(now + given["expiration"]) // _MINUTE) * _MINUTE
            self._save(connection, row["id"], fields | {"expires": min(ends, fields.get("expires", ends))})
            return made

    def whoami(self, root: RootKey, given: _Json) -> _Json:
        """keys.whoami"""
        with self._storage.read() as connection:
            row = self._find(connection, given["key"])
            return _view(self._key(connection, root, "" if row is None else row["id"], "read_key"))

    def verify(self, root: RootKey, given: _Json) -> _Json:
        """keys.verifyKey: always an answer, never a refusal because of the key."""
        if not root.may_anywhere("verify_key"):
            raise Refusal(403, "insufficient_permissions", "The root key may not verify keys.")
        with self._storage.write() as connection:
            row = self._find(connection, given["key"])
            if row is None or not root.may("api", row["api"], "verify_key"):
                return {"valid": False, "code": "NOT_FOUND"}
            fields, now = json.loads(row["fields"]), self._account.now()
            roles = fields.get("roles", [])
            held = {
                *fields.get("permissions", ()),
                *self._workspace.permissions_of_roles(connection, roles),
            }
            limits = self._take(row["id"], fields, given)
            code = self._verdict(fields, given, held, limits, now)
            if code == "VALID":
                self._use(connection, row, fields, given, now)
        data = {name: fields[name] for name in (*_PLAIN, "enabled", "identity") if name in fields}
        remaining = fields.get("credits", {}).get("remaining")
        if remaining is not None:
            data["credits"] = remaining
        told = {"permissions": sorted(held), "roles": roles, "ratelimits": limits}
        return {"valid": code == "VALID", "code": code, "keyId": row["id"], **data, **told}

    def _verdict(self, fields: _Json, given: _Json, held: set[str], limits: list[_Json], now: int) -> str:
        if not fields["enabled"]:
            return "DISABLED"
        if fields.get("expires", now + 1) <= now:
            return "EXPIRED"
        if "permissions" in given and not satisfied(given["permissions"], held):
            return "INSUFFICIENT_PERMISSIONS"
        if any(limit["exceeded"] for limit in limits):
            return "RATE_LIMITED"
        remaining = fields.get("credits", {}).get("remaining")
        if remaining is not None and remaining < _cost(given):
            return "USAGE_EXCEEDED"
        return "VALID"

    def _use(
        self, connection: sqlite3.Connection, row: sqlite3.Row, fields: _Json, given: _Json, now: int
    ) -> None:
        if fields.get("credits", {}).get("remaining") is not None and _cost(given):
            fields["credits"]["remaining"] -= _cost(given)
            connection.execute("UPDATE unkey_keys SET fields = ? WHERE id = ?", (pack(fields), row["id"]))
        if row["last_used_at"] is None or now >= row["last_used_at"] + _LAST_USED_STEP:
            connection.execute("UPDATE unkey_keys SET last_used_at = ? WHERE id = ?", (now, row["id"]))

    def _take(self, key_id: str, fields: _Json, given: _Json) -> list[_Json]:
        """Count this verification against the limits that apply by themselves, and those that it names."""
        named = {limit["name"] for limit in given.get("ratelimits", ())}
        unknown = named - {limit["name"] for limit in fields.get("ratelimits", ())}
        if unknown:
            raise invalid("ratelimits", "The key has no rate limit of this name.")
        now, checked = self._account.now(), []
        for limit in fields.get("ratelimits", ()):
            if limit["autoApply"] or limit["name"] in named:
                allowance = self._limiter.take(
                    (key_id, limit["id"]),
                    amount=limit["limit"] * 1000,
                    per_seconds=limit["duration"],
                    burst=limit["limit"],
                )
                reset = min(max(1000, allowance.reset * 1000 - now), limit["duration"])
                told = {"exceeded": not allowance.allowed, "remaining": allowance.remaining, "reset": reset}
                checked.append(limit | told)
        return checked

    def _changed(self, connection: sqlite3.Connection, root: RootKey, fields: _Json, given: _Json) -> _Json:
        """The fields of a key after a create or an update; a null clears."""
        changed = dict(fields)
        for name in (*_PLAIN, "enabled"):
            if name in given:
                changed[name] = given[name]
        for name in ("permissions", "roles"):
            if name in given:
                changed[name] = sorted(set(given[name]))
        self._workspace.ensure_permissions(connection, root, given.get("permissions", ()))
        self._workspace.permissions_of_roles(connection, given.get("roles", ()))
        if "externalId" in given:
            changed["identity"] = _identity(given["externalId"])
        if "ratelimits" in given:
            changed["ratelimits"] = [{"id": new_id("rl"), **limit} for limit in given["ratelimits"]]
        if "credits" in given:
            changed["credits"] = _credits(fields.get("credits"), given["credits"], "keyId" in given)
        return {name: value for name, value in changed.items() if value is not None}

    def _insert(
        self, connection: sqlite3.Connection, api: str, prefix: str, size: int, fields: _Json
    ) -> _Json:
        minted, key_id = self._mint.mint(prefix, str(size)), new_id()
        kept = (minted.lookup, minted.start, minted.salt, minted.digest)
        connection.execute(_INSERT, (key_id, api, *kept, prefix, size, pack(fields), self._account.now()))
        return {"keyId": key_id, "key": minted.text}

    def _save(self, connection: sqlite3.Connection, key_id: str, fields: _Json) -> None:
        connection.execute(
            "UPDATE unkey_keys SET fields = ?, updated_at = ? WHERE id = ?",
            (pack(fields), self._account.now(), key_id),
        )

    def _key(self, connection: sqlite3.Connection, root: RootKey, key_id: str, action: str) -> sqlite3.Row:
        row: sqlite3.Row | None = connection.execute(
            "SELECT * FROM unkey_keys WHERE id = ? AND deleted_at IS NULL", (key_id,)
        ).fetchone()
        if row is None or not root.may("api", row["api"], "read_key"):
            raise Refusal(404, "key_not_found", "There is no such key.")
        root.need("api", row["api"], action)
        return row

    def _find(self, connection: sqlite3.Connection, text: str) -> sqlite3.Row | None:
        lookup = self._mint.lookup(text)
        row: sqlite3.Row | None = connection.execute(
            "SELECT * FROM unkey_keys WHERE lookup = ? AND deleted_at IS NULL", (lookup,)
        ).fetchone()
        salt, digest = (row["salt"], row["digest"]) if row else (None, None)
        return row if self._mint.matches(text, salt, digest) else None


def _view(row: sqlite3.Row) -> _Json:
    shown: _Json = {"keyId": row["id"], "start": row["start"], "createdAt": row["created_at"]}
    for name, column in (("updatedAt", "updated_at"), ("lastUsedAt", "last_used_at")):
        if row[column] is not None:
            shown[name] = row[column]
    fields: _Json = json.loads(row["fields"])
    return shown | fields


def _credits(earlier: Mapping[str, Any] | None, given: _Json | None, update: bool) -> _Json | None:
    """The credits after a create or an update. A refill needs a balance to go to, a monthly one its day; a
    daily one has none, which an update refuses and a create passes over."""
    if given is None:
        return None
    refill = given.get("refill")
    if refill is not None:
        monthly = refill["interval"] == "monthly"
        if not update and given["remaining"] is None:
            raise invalid("credits.remaining", "A refill needs `remaining`.", "invalid_input")
        if monthly and "refillDay" not in refill:
            raise invalid("credits.refill.refillDay", "A monthly refill needs `refillDay`.", "invalid_input")
        if not monthly and "refillDay" in refill:
            if update:
                raise invalid(
                    "credits.refill.refillDay", "A daily refill has no `refillDay`.", "invalid_input"
                )
            refill = {name: value for name, value in refill.items() if name != "refillDay"}
        given = {**given, "refill": refill}
    merged = {"remaining": None, **(earlier or {}), **given}
    if merged["remaining"] is None or merged.get("refill") is None:
        merged.pop("refill", None)
    return merged


def _identity(external_id: str | None) -> _Json | None:
    if external_id is None:
        return None
    return {"id": f"id_{hashlib.sha256(external_id.encode()).hexdigest()[:24]}", "externalId": external_id}


def _cost(given: _Json) -> int:
    cost: int = given.get("credits", {}).get("cost", 1)
    return cost
