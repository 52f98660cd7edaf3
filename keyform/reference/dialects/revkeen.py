"""RevKeen: live and sandbox keys with scopes, rate limits by plan; its cart keys and origins in revkeen_cart.

Contract: list, create, change and revoke of general keys (they are made in RevKeen's dashboard), so
/v1/keys, /v1/verify and /v1/whoami here are keyform's contract with `x-revkeen-key` or a Bearer credential.
Documented: the two prefixes, the scopes of its table, 401 authentication_error and 429 rate_limit_error,
the limits of the three plans per key, the three rate headers, both error envelopes, and all of
revkeen_cart's paths.

The table has 16 scopes. Unknown, and chosen here: that an expiry can be set at creation, and a name changed
in place, and scopes not; the error types other than the two above; the statuses of invalid requests (422)
and of a missing scope (403); what comes after the prefix of a key. The kinds of the contract are not used:
what tells two general keys apart is the environment. Metadata is the contract's.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

import falcon

from ..account import Account
from ..catalogue import Catalogue, Kind
from ..contract import MANAGED, Manners
from ..contract import build as build_contract
from ..credentials import KeyFormat
from ..limiter import RateLimit
from ..records import Key
from ..refusal import Refusal
from ..verification import Asked
from ..web import App, Errors, bearer
from . import revkeen_cart
from .samples import Read

_SCOPES = frozenset(
    f"{area}:{action}"
    for area in ("customers", "products", "subscriptions", "invoices", "webhooks", "payments", "settings")
    for action in ("read", "write")
) | {"checkout:write", "finance:read"}

CATALOGUE = Catalogue(
    kinds={
        "key": Kind("rk", _SCOPES, in_project=False),
        "cart-publishable": Kind("rk_cart_pk", in_project=False, listed=False),
        "cart-secret": Kind("rk_cart_sk", in_project=False, listed=False),
    },
    environments=frozenset({"live", "sandbox"}),
    scopes=_SCOPES,
    fields=frozenset({"environment", "name", "scopes", "expires_at", "metadata"}),
    mutable=frozenset({"name", "metadata"}),
)
PLANS = {
    "starter": RateLimit(per_minute=60, burst=10),
    "growth": RateLimit(per_minute=600, burst=50),
    "enterprise": RateLimit(per_minute=6000, burst=200),
}
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 500: "api_error"}


def _draw(prefix: str, environment: str) -> tuple[str, str]:
    secret = secrets.token_hex(24)
    return f"{prefix}_{environment}_{secret}", f"{prefix}_{environment}_{secret[:4]}"


KEY_FORMAT = KeyFormat(re.compile(r"rk(?:_cart_[ps]k)?_(?:live|sandbox)_[0-9a-f]{48}"), _draw)


def build(account: Account) -> App:
    """RevKeen over one account."""
    limit = PLANS[account.options.revkeen_plan]
    service, verifier = account.core(CATALOGUE, KEY_FORMAT, key_limit=limit, limit=limit)
    errors: Errors = nested if account.options.revkeen_errors == "nested" else flat
    manners = Manners(errors, _credential, (*MANAGED, *revkeen_cart.PATHS), view=view)
    app = build_contract(service, verifier, CATALOGUE, manners)
    revkeen_cart.add_routes(app, account, service, CATALOGUE)

    def ask(req: falcon.Request, fields: Mapping[str, str]) -> Asked:
        return Asked(_credential(req), scope="customers:read")

    app.add_route("/v2/customers", Read(verifier, ask, {"data": []}))
    return app


def view(key: Key, now: int) -> dict[str, Any]:
    """A general key: it has no kind besides its environment."""
    return key.view(now) | {"kind": None}


def nested(refusal: Refusal) -> tuple[int, object]:
    """`{"error": {"type", "code", "message", "details": {"reason"}}}`."""
    error = {
        "type": _TYPES.get(refusal.status, "invalid_request_error"),
        "code": refusal.code,
        "message": refusal.message,
        "details": {"reason": refusal.code, **refusal.details},
    }
    return refusal.status, {"error": error}


def flat(refusal: Refusal) -> tuple[int, object]:
    """`{"error": "CODE", "message"}`: the code of a 401 and of a 429 is the type that nested shows."""
    known = {401: "authentication_error", 429: "rate_limit_error"}
    code = known.get(refusal.status, refusal.code).upper()
    return refusal.status, {"error": code, "message": refusal.message}


def _credential(req: falcon.Request) -> str:
    """x-revkeen-key or Bearer; x-api-key too for the calls whose own page names that header."""
    names = ["x-revkeen-key"] + (["x-api-key"] if req.path.startswith(revkeen_cart.PATHS) else [])
    for name in names:
        credential = (req.get_header(name) or "").strip()
        if credential:
            return credential
    return bearer(req)
