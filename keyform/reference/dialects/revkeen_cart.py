"""RevKeen's cart keys and storefront origins: management calls that RevKeen documents.

Documented: `GET /v2/cart-api-keys/status`, `POST …/ensure`, `POST …/{publishable|secret}/rotate
{grace_hours?}` and the fields of a rotation's answer; exactly one key per kind, no delete, no rename; the
raw value only when newly created; `GET/POST /v2/storefront/origins`, `DELETE …/{id}`; exact origins without
wildcards, http for localhost only, 409 for one that exists; `Idempotency-Key` for 24 hours.

Unknown, and chosen here: the shapes of status, ensure and the origins' answers; the text format of cart
keys; a rotation's grace when none is named (24 hours) and its bounds (0 to 720); 404 for rotating a kind
that has no key yet; a replay answers as the first call did, but for the raw values.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from typing import Any

import falcon

from .. import bodies, moments, rules
from ..account import Account
from ..catalogue import Catalogue
from ..contract import idempotency_key
from ..credentials import new_id
from ..records import Key, KeyRequest
from ..refusal import Refusal, invalid
from ..service import KeyService
from ..web import App, answer, body

PATHS = ("/v2/cart-api-keys", "/v2/storefront")

_KINDS = ("publishable", "secret")
_HOUR = 3600 * 1000
_KEPT = 24 * _HOUR
_MOST_HOURS = 720
_TABLES = """
CREATE TABLE IF NOT EXISTS origins (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    origin TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS replays (
    idempotency_key TEXT PRIMARY KEY,
    request BLOB NOT NULL,
    status INTEGER NOT NULL,
    answer TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
"""
_CURRENT = "SELECT * FROM keys WHERE kind = ? AND revoked_at IS NULL AND expires_at IS NULL"

_Json = dict[str, Any]
_Made = tuple[int, _Json]


def add_routes(app: App, account: Account, service: KeyService, catalogue: Catalogue) -> None:
    """Add the calls to an application that authenticates everything under PATHS."""
    account.storage.add_tables(_TABLES)
    once = _Once(account)
    keys = CartKeys(account, service, catalogue)
    app.add_route("/v2/cart-api-keys/status", _Status(keys))
    app.add_route("/v2/cart-api-keys/ensure", _Ensure(keys, once))
    app.add_route("/v2/cart-api-keys/{kind}/rotate", _Rotate(keys, once))
    app.add_route("/v2/storefront/origins", _Origins(account, once))
    app.add_route("/v2/storefront/origins/{origin_id}", _Origin(account))


class _Once:
    """Carries a POST out once per Idempotency-Key and 24 hours."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def answer(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        given: _Json,
        make: Callable[[sqlite3.Connection], _Made],
    ) -> None:
        marker = idempotency_key(req)
        request = hashlib.sha256(f"{req.path}\n{json.dumps(given, sort_keys=True)}".encode()).digest()
        now = self._account.now()
        with self._account.storage.write() as connection:
            connection.execute("DELETE FROM replays WHERE created_at <= ?", (now - _KEPT,))
            earlier = connection.execute(
                "SELECT * FROM replays WHERE idempotency_key = ?", (marker,)
            ).fetchone()
            if earlier is None:
                status, document = make(connection)
                if marker is not None:
                    kept = json.dumps(_without_raw(document))
                    connection.execute(
                        "INSERT INTO replays VALUES (?, ?, ?, ?, ?)", (marker, request, status, kept, now)
                    )
            elif earlier["request"] != request:
                message = "This Idempotency-Key was used for another request; use a new one."
                raise Refusal(409, "idempotency_conflict", message)
            else:
                status, document = earlier["status"], json.loads(earlier["answer"])
                resp.set_header("Idempotency-Replayed", "true")
        resp.status = status
        answer(resp, document)


class CartKeys:
    """Exactly one current key per kind; older ones live on for their grace."""

    def __init__(self, account: Account, service: KeyService, catalogue: Catalogue) -> None:
        self._account = account
        self._service = service
        self._catalogue = catalogue

    def status(self) -> _Json:
        """Both kinds without their raw values; null for one that has no key yet."""
        shown: _Json = {}
        for kind in _KINDS:
            rows = self._account.storage.fetch(_CURRENT, f"cart-{kind}")
            key = Key.of(rows[0]) if rows else None
            used = None if key is None or key.last_used_at is None else moments.to_text(key.last_used_at)
            shown[kind] = key and {
                **_named(key),
                "created_at": moments.to_text(key.created_at),
                "last_used_at": used,
            }
        return shown

    def ensure(self, connection: sqlite3.Connection) -> _Made:
        """Make what is missing; `api_key` is null for a key that was there already."""
        made: _Json = {}
        for kind in _KINDS:
            row = connection.execute(_CURRENT, (f"cart-{kind}",)).fetchone()
            raw = None
            if row is None:
                row, raw = self._mint(connection, kind, None)
            made[kind] = {"api_key": raw, **_named(Key.of(row))}
        return 200, made

    def rotate(self, connection: sqlite3.Connection, kind: str, grace_hours: int) -> _Made:
        """A new key of the kind; the old one ends after the grace."""
        row = connection.execute(_CURRENT, (f"cart-{kind}",)).fetchone()
        if row is None:
            raise Refusal(404, "not_found", f"There is no {kind} key yet; call ensure first.")
        now = self._account.now()
        ends = now + grace_hours * _HOUR
        connection.execute(
            "UPDATE keys SET expires_at = ?, revoked_at = ? WHERE id = ?",
            (ends, None if grace_hours else now, row["id"]),
        )
        fresh, raw = self._mint(connection, kind, row["id"])
        return 200, {
            "api_key": raw,
            **_named(Key.of(fresh)),
            "rolled_from": row["id"],
            "old_key_expires_at": moments.to_text(ends),
            "grace_hours": grace_hours,
        }

    def _mint(
        self, connection: sqlite3.Connection, kind: str, rolled_from: str | None
    ) -> tuple[sqlite3.Row, str]:
        name = f"cart-{kind}"
        metadata = {"unkey_key_id": new_id(), "rolled_from": rolled_from or ""}
        request = KeyRequest(name, "live", f"Cart {kind} key", (), metadata=metadata)
        prefix = self._catalogue.kinds[name].prefix
        key_id, raw = self._service.insert(connection, prefix, request, self._account.now())
        return connection.execute("SELECT * FROM keys WHERE id = ?", (key_id,)).fetchone(), raw


class _Status:
    def __init__(self, keys: CartKeys) -> None:
        self._keys = keys

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        answer(resp, self._keys.status())


class _Ensure:
    def __init__(self, keys: CartKeys, once: _Once) -> None:
        self._keys = keys
        self._once = once

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._once.answer(req, resp, {}, self._keys.ensure)


class _Rotate:
    def __init__(self, keys: CartKeys, once: _Once) -> None:
        self._keys = keys
        self._once = once

    def on_post(self, req: falcon.Request, resp: falcon.Response, kind: str) -> None:
        if kind not in _KINDS:
            raise Refusal(
                404, "not_found", f"There is no cart key {kind[:40]!r}; kinds: {', '.join(_KINDS)}."
            )
        given = bodies.read_fields(_optional_body(req), {"grace_hours": _hours})
        hours = given.get("grace_hours", 24)
        self._once.answer(req, resp, given, lambda connection: self._keys.rotate(connection, kind, hours))


class _Origins:
    def __init__(self, account: Account, once: _Once) -> None:
        self._account = account
        self._once = once

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        rows = self._account.storage.fetch("SELECT * FROM origins ORDER BY seq")
        answer(resp, {"data": [_origin(row) for row in rows]})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        fields = {"origin": bodies.text(1, 300)}
        given = bodies.read_fields(body(req), fields, required=fields)
        rules.check_origins([given["origin"]])

        def add(connection: sqlite3.Connection) -> _Made:
            try:
                connection.execute(
                    "INSERT INTO origins (id, origin, created_at) VALUES (?, ?, ?)",
                    (new_id("origin"), given["origin"], self._account.now()),
                )
            except sqlite3.IntegrityError:
                raise Refusal(409, "origin_exists", "This origin is on the list already.") from None
            row = connection.execute("SELECT * FROM origins WHERE origin = ?", (given["origin"],)).fetchone()
            return 201, _origin(row)

        self._once.answer(req, resp, given, add)


class _Origin:
    def __init__(self, account: Account) -> None:
        self._account = account

    def on_delete(self, req: falcon.Request, resp: falcon.Response, origin_id: str) -> None:
        with self._account.storage.write() as connection:
            if not connection.execute("DELETE FROM origins WHERE id = ?", (origin_id,)).rowcount:
                raise Refusal(404, "not_found", "There is no such origin.")
        answer(resp, {"id": origin_id, "deleted": True})


def _named(key: Key) -> _Json:
    kind = key.kind.removeprefix("cart-")
    return {"id": key.id, "unkey_key_id": key.metadata["unkey_key_id"], "key_kind": kind}


def _without_raw(document: _Json) -> _Json:
    hidden = {name: None if name == "api_key" else value for name, value in document.items()}
    return {name: _without_raw(value) if isinstance(value, dict) else value for name, value in hidden.items()}


def _origin(row: sqlite3.Row) -> _Json:
    return {"id": row["id"], "origin": row["origin"], "created_at": moments.to_text(row["created_at"])}


def _optional_body(req: falcon.Request) -> _Json:
    return body(req) if req.content_length else {}


def _hours(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_HOURS:
        raise invalid(name, f"{name} must be a whole number from 0 to {_MOST_HOURS}.")
    return value
