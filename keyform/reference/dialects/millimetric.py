"""Millimetric: pk, sk, rk and ak keys, minted and revoked and never edited; origins on the project.

Contract: every management call. Millimetric has a private admin API behind a user session and documents
none, so /v1/keys, /v1/projects, /v1/verify and /v1/whoami here are keyform's contract with a Bearer
credential. Documented: the key format, the four kinds and their scopes, the origin allowlist of the project
that only pk keys are held to, last_used_at, the five minutes for which a verified key is believed, the
plans (Pro for MCP, Business for ak), the error envelope and its codes, and who may call /v1/track,
/v1/forget, /mcp and /mcp/account.

Its page calls sk both "ingest + read" and "ingest"; here an sk key only ingests, as the table of scopes and
the rule on 403 insufficient_scope say. Unknown, and chosen here: that there is no environment but `live`;
the status of invalid requests (422); the code of a plan that is too small (403 plan_required); the code for
an ak key outside /mcp/account (403 key_kind_not_allowed); where messages and retry_after_s stand (in
details); that revoked keys stay listed; that a pk is refused at creation (422 origins_required) in a
project without origins. Metadata and Idempotency-Key are the contract's.
"""

from __future__ import annotations

from collections.abc import Mapping

import falcon

from ..account import Account
from ..catalogue import Catalogue, Kind
from ..contract import MANAGED, Manners
from ..contract import build as build_contract
from ..records import Key, KeyRequest
from ..refusal import Refusal
from ..verification import Asked
from ..web import App, bearer
from .samples import Ask, Read, Write

_INGEST, _READ = frozenset({"ingest"}), frozenset({"read"})

CATALOGUE = Catalogue(
    kinds={
        "pk": Kind("pk", _INGEST, needs_project=True, needs_origin=True),
        "sk": Kind("sk", _INGEST, needs_project=True),
        "rk": Kind("rk", _READ, needs_project=True),
        "ak": Kind("ak", _READ, in_project=False),
    },
    environments=frozenset({"live"}),
    scopes=_INGEST | _READ,
    fields=frozenset({"kind", "environment", "project", "name", "scopes", "metadata"}),
    mutable=frozenset(),
    scopes_fixed=True,
    cache_seconds=300,
)
_CODES = {"missing_credential": "missing_bearer_token"}


def build(account: Account) -> App:
    """Millimetric over one account."""
    service, verifier = account.core(CATALOGUE)
    plan = account.options.millimetric_plan

    def admit(request: KeyRequest) -> None:
        if request.kind == "ak" and plan != "business":
            raise _plan_required("business")

    manners = Manners(errors, bearer, MANAGED, admit=admit)
    app = build_contract(service, verifier, CATALOGUE, manners)
    ingest, read = (
        _ask("ingest", plan, "free", {"pk", "sk", "rk"}),
        _ask("read", plan, "free", {"pk", "sk", "rk"}),
    )
    app.add_route("/v1/track", Write(verifier, ingest, {"accepted": 1}, 202))
    app.add_route("/v1/stats", Read(verifier, read, {"data": []}))
    app.add_route("/v1/forget", Write(verifier, _ask("ingest", plan, "free", {"sk", "rk"}), {"forgotten": 0}))
    mcp: dict[str, object] = {"jsonrpc": "2.0", "id": None, "result": {}}
    app.add_route("/mcp", Write(verifier, _ask(None, plan, "pro", {"sk", "rk"}), mcp))
    whole = _ask(None, plan, "business", {"ak"}, "account_key_required")
    app.add_route("/mcp/account", Write(verifier, whole, mcp))
    return app


def errors(refusal: Refusal) -> tuple[int, object]:
    """`{"error": code, "details": {}}`."""
    details = {"message": refusal.message, **refusal.details}
    if refusal.status == 429:
        details["retry_after_s"] = int(refusal.headers["Retry-After"])
    return refusal.status, {"error": _CODES.get(refusal.code, refusal.code), "details": details}


def _ask(
    scope: str | None, plan: str, needed: str, kinds: set[str], code: str = "key_kind_not_allowed"
) -> Ask:
    plans = ("free", "pro", "business")

    def permit(key: Key) -> None:
        if key.kind not in kinds:
            raise Refusal(403, code, f"Keys of kind {key.kind} are not accepted here.")
        if plans.index(plan) < plans.index(needed):
            raise _plan_required(needed)

    def ask(req: falcon.Request, fields: Mapping[str, str]) -> Asked:
        return Asked(bearer(req), scope=scope, origin=req.get_header("Origin"), permit=permit)

    return ask


def _plan_required(plan: str) -> Refusal:
    return Refusal(403, "plan_required", f"This needs the {plan.capitalize()} plan.", details={"plan": plan})
