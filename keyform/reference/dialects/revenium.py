"""Revenium: three kinds of keys, of which each is its own scope.

Contract: every management call. Revenium documents none (keys are made in its dashboard), so /v1/keys,
/v1/verify and /v1/whoami here are keyform's contract with `x-api-key`. Documented: the key format
`PREFIX_TENANT_SECRET`, what each kind may do, what the list of keys shows (last four characters, expiry,
creator, creation date; neither start nor last use), rename in place, 403 for an unknown or revoked key, and
`GET /profitstream/v2/api/users/me` as a harmless call.

Unknown, and chosen here: the error envelope (the contract's); 401 when no key is sent at all; that an
expiry can be set at creation; that a deleted key stays listed; how TENANT_ID and SECRET are encoded; that a
metering-only key may not call users/me. Metadata and Idempotency-Key are the contract's, Revenium is not
known to have them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Any

import falcon

from ..account import Account
from ..catalogue import Catalogue, Kind
from ..contract import MANAGED, Manners, contract_error
from ..contract import build as build_contract
from ..credentials import KeyFormat
from ..records import Key
from ..refusal import Refusal
from ..verification import Asked
from ..web import App, header
from .samples import Ask, Read, Write, only

METERING, WRITE, READ = "metering-only", "write", "read-only"

CATALOGUE = Catalogue(
    kinds={
        # The scopes name what a kind may do; a key shows none, since the kind is the scope.
        METERING: Kind("rev_mk", frozenset({METERING}), in_project=False),
        WRITE: Kind("rev_sk", frozenset({METERING, WRITE, READ}), in_project=False),
        READ: Kind("rev_rk", frozenset({READ}), in_project=False),
    },
    environments=frozenset({"live"}),
    scopes=frozenset({METERING, WRITE, READ}),
    fields=frozenset({"kind", "name", "expires_at", "metadata"}),
    mutable=frozenset({"name", "metadata"}),
    scopes_fixed=True,
)
CREATOR = "keyform@example.com"
_UNUSABLE = {"invalid_api_key", "malformed_api_key", "expired"}


def build(account: Account) -> App:
    """Revenium over one account."""
    service, verifier = account.core(CATALOGUE, key_format(account.pepper))
    manners = Manners(errors, _credential, MANAGED, "ApiKey", view)
    app = build_contract(service, verifier, CATALOGUE, manners)
    reads, meters = _asks({READ, WRITE}, "read"), _asks({METERING, WRITE}, "send metering events")
    me = {"id": "user_keyform", "email": CREATOR}
    app.add_route("/profitstream/v2/api/users/me", Read(verifier, reads, me))
    app.add_route("/meter/v2/{event:path}", Write(verifier, meters, {"accepted": True}, 201))
    return app


def key_format(pepper: bytes) -> KeyFormat:
    """`PREFIX_TENANT_SECRET`; what may be shown of a key is its last four characters."""
    digest = hmac.digest(pepper, b"revenium-tenant", hashlib.sha256)
    tenant = base64.b32encode(digest[:5]).decode().lower()

    def draw(prefix: str, environment: str) -> tuple[str, str]:
        secret = secrets.token_hex(24)
        return f"{prefix}_{tenant}_{secret}", secret[-4:]

    return KeyFormat(re.compile(rf"rev_[msr]k_{tenant}_[0-9a-f]{{48}}"), draw)


def view(key: Key, now: int) -> dict[str, Any]:
    """A key as the dashboard's table shows it."""
    hidden: dict[str, Any] = {"environment": None, "scopes": [], "start": None, "last_used_at": None}
    return key.view(now) | hidden | {"last_four": key.start, "creator": CREATOR}


def errors(refusal: Refusal) -> tuple[int, object]:
    """A key that cannot be used is a 403, whatever is wrong with it."""
    _, document = contract_error(refusal)
    if refusal.code in _UNUSABLE:
        message = "The API key is suspended, expired, or lacks the required scope."
        return 403, {"error": {"code": "forbidden", "message": message, "details": {}}}
    if refusal.status == 429:
        message = f"Rate limit exceeded, retry after {refusal.headers['Retry-After']} seconds"
        return 429, {"error": {"code": refusal.code, "message": message, "details": {}}}
    return refusal.status, document


def _credential(req: falcon.Request) -> str:
    return header(req, "x-api-key")


def _asks(kinds: set[str], what: str) -> Ask:
    permit = only(frozenset(kinds), "insufficient_scope", f"A key of this kind may not {what}.")

    def ask(req: falcon.Request, fields: Mapping[str, str]) -> Asked:
        return Asked(_credential(req), permit=permit)

    return ask
