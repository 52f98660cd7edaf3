"""DevTune: keys of one project each, with scopes that change in place and six spans of life.

Contract: every management call. DevTune documents none (keys are made in its account pages, by members with
settings.manage), so /v1/keys, /v1/projects, /v1/verify and /v1/whoami here are keyform's contract with a
Bearer credential, which is an assumption. Documented: `dtk_live_` and 64 hexadecimal digits, one project
per key, what the table of keys shows, scopes that can be narrowed and widened, the six spans (none, 30, 60,
90, 180 days, 1 year), immediate revocation after which a key stays listed, one generic 401, the Plus plan
(403), the limits per minute with `X-RateLimit-*`, the error envelope, and paths of the form
/api/v2/projects/{projectId}/….

Unknown, and chosen here: the whole list of scopes (any `area.action` is taken); that a year is 365 days;
how far an expires_at may be off a span (one hour, since the contract asks for a moment); the words in
`error`; the status of invalid requests (422); 403 for a key at another project; the burst of a limit (as
large as the limit); the names of the plans below Plus. Metadata and Idempotency-Key are the contract's.
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
from ..records import Key, KeyRequest
from ..refusal import Refusal
from ..verification import Asked
from ..web import App, bearer
from .samples import Read

CATALOGUE = Catalogue(
    kinds={"key": Kind("dtk", needs_project=True)},
    environments=frozenset({"live"}),
    scopes=frozenset(),
    fields=frozenset({"project", "name", "scopes", "expires_at", "metadata"}),
    mutable=frozenset({"scopes", "metadata"}),
    scopes_optional=True,
    scope_pattern=re.compile(r"[a-z][a-z0-9_-]*\.[a-z][a-z0-9_-]*", re.ASCII),
    expiry_days=(30, 60, 90, 180, 365),
)


def _draw(prefix: str, environment: str) -> tuple[str, str]:
    secret = secrets.token_hex(32)
    return f"{prefix}_{environment}_{secret}", f"{prefix}_{environment}_{secret[:8]}"


KEY_FORMAT = KeyFormat(re.compile(r"dtk_live_[0-9a-f]{64}"), _draw)


def build(account: Account) -> App:
    """DevTune over one account."""
    per_minute = account.options.devtune_per_minute
    service, verifier = account.core(CATALOGUE, KEY_FORMAT, key_limit=RateLimit(per_minute, per_minute))

    def check_plan() -> None:
        if account.options.devtune_plan != "plus":
            raise Refusal(403, "plan_required", "API access needs the Plus plan or a higher one.")

    def admit(request: KeyRequest) -> None:
        check_plan()

    def permit(key: Key) -> None:
        check_plan()

    def ask(req: falcon.Request, fields: Mapping[str, str]) -> Asked:
        return Asked(bearer(req), scope="visibility.read", project=fields["project_id"], permit=permit)

    manners = Manners(errors, bearer, MANAGED, view=view, admit=admit)
    app = build_contract(service, verifier, CATALOGUE, manners)
    app.add_route("/api/v2/projects/{project_id}/visibility", Read(verifier, ask, {"data": []}))
    return app


def view(key: Key, now: int) -> dict[str, Any]:
    """A key as the table of keys shows it: there is one kind and no choice of environment."""
    return key.view(now) | {"kind": None, "environment": None}


def errors(refusal: Refusal) -> tuple[int, object]:
    """`{"error", "message", "status"}`; a key that cannot be used is told nothing more than that."""
    error, message = refusal.code, refusal.message
    if refusal.status == 401:
        error, message = "unauthorized", "The API key is missing or not valid."
    return refusal.status, {"error": error, "message": message, "status": refusal.status}
