"""RevKeen's rules, where they are declared and where they are broken directly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keyform.reference.dialects.revkeen import CATALOGUE
from keyform.services.profiles import load_profile
from tests.rules.conftest import Rule, Rules, code_of

DOCS, ORIGINS = "RevKeen Docs, Authentication", "RevKeen API reference, storefront origins"
NOWHERE = "no public statement was found"
READ = ["customers:read"]
TABLE = {
    "customers:read",
    "customers:write",
    "products:read",
    "products:write",
    "subscriptions:read",
    "subscriptions:write",
    "invoices:read",
    "invoices:write",
    "webhooks:read",
    "webhooks:write",
    "checkout:write",
    "payments:read",
    "payments:write",
    "finance:read",
    "settings:read",
    "settings:write",
}


def key(fields: str) -> str:
    return "keys: {k: {service: it, secret: k, " + fields + "}}\n"


def origins(*allowed: str) -> str:
    return f"projects: {{storefront: {{service: it, allowed_origins: {list(allowed)}}}}}\n"


RULES = {
    "the scopes of the table": Rule(
        key("scopes: ['customers:delete']"),
        "unknown-scope",
        ("no scope `customers:delete`", "16 rows"),
        DOCS,
        {"scopes": ["customers:delete"]},
        (422, "invalid_request"),
    ),
    "scopes are written out": Rule(
        key("name: x"),
        "missing-scopes",
        ("need `scopes`", "the fewest that it needs"),
        DOCS,
        {"scopes": []},
        (422, "invalid_request"),
    ),
    "live and sandbox": Rule(
        key("environment: test, scopes: ['customers:read']"),
        "unknown-environment",
        ("no environment `test`", "live and sandbox", "rk_live_ or rk_sandbox_"),
        DOCS,
        {"environment": "test", "scopes": READ},
        (422, "invalid_request"),
    ),
    "the environment is the only kind": Rule(
        key("kind: secret, scopes: ['customers:read']"),
        "unsupported-field",
        ("take no `kind`", "The prefix tells the environment"),
        DOCS,
        {"kind": "secret", "scopes": READ},
        (422, "field_not_supported"),
    ),
    "origins stand on the storefront": Rule(
        key("scopes: ['customers:read'], allowed_origins: ['https://a.example']"),
        "misplaced-origins",
        (
            "from their project",
            "a project with `id: storefront`",
            "a key names no project",
            "for the whole account",
        ),
        ORIGINS,
        {"scopes": READ, "allowed_origins": ["https://a.example"]},
        (422, "field_not_supported"),
    ),
    "no expiry is known": Rule(
        key("scopes: ['customers:read'], expires_in: 30d"), "unsupported-field", ("`expires_in`",), NOWHERE
    ),
    **{
        f"no {field}": Rule(
            key(f"scopes: ['customers:read'], {field}: {declared}"),
            "unsupported-field",
            (f"take no `{field}`", "Nothing says"),
            NOWHERE,
            {"scopes": READ, field: sent},
            (422, "invalid_request" if field == "credits" else "field_not_supported"),
        )
        for field, declared, sent in (
            ("project", "web", "web"),
            ("description", "x", "x"),
            ("rate_limit", "{limit: 1, per: 1s}", {"limit": 1, "per_seconds": 1}),
            ("credits", "{remaining: 1}", {"remaining": 1}),
        )
    },
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_breaks_a_rule_is_refused_twice(rules: Callable[..., Rules], rule: Rule) -> None:
    rules("revkeen").check(rule)


def test_the_catalogue_is_the_table_of_the_docs() -> None:
    profile = load_profile("revkeen", None)  # type: ignore[arg-type]
    assert profile is not None
    assert profile.scopes is not None
    assert set(profile.scopes) == TABLE == CATALOGUE.scopes
    assert len(TABLE) == 16


@pytest.mark.parametrize(
    ("origin", "says"),
    [
        ("https://*.a.example", "wildcards are not supported"),
        ("http://a.example", "http is for localhost only"),
        ("https://a.example/shop", "it has a path"),
    ],
)
def test_an_origin_that_is_not_exact_is_refused_twice(
    rules: Callable[..., Rules], origin: str, says: str
) -> None:
    it = rules("revkeen")
    (told,) = it.validate(origins(origin))
    assert told.code == "bad-origin"
    assert says in f"{told.summary} {told.detail}"
    assert ORIGINS in told.detail
    refused = it.vendor.call("POST", "/v2/storefront/origins", {"origin": origin})
    assert (refused.status_code, code_of(refused)) == (422, "invalid_origin")


@pytest.mark.parametrize("named", ["web: {", "web: {id: shop, "])
def test_a_project_other_than_the_storefront_is_refused_where_it_is_written(
    rules: Callable[..., Rules], named: str
) -> None:
    (told,) = rules("revkeen").validate(
        f"projects:\n  {named}service: it, allowed_origins: ['https://a.example']}}\n"
    )
    assert (told.severity, told.code) == ("error", "only-project")
    assert told.location is not None
    assert told.location.line == 5
    assert "Give the project `id: storefront`." in told.detail
    assert ORIGINS in told.detail


def test_storefront_origins_go_by_the_documented_calls(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen")
    it.apply(origins("https://a.example", "http://localhost:3000"))
    again = it.vendor.call("POST", "/v2/storefront/origins", {"origin": "https://a.example"})
    assert again.status_code == 409
    plan = it.plan(origins("https://b.example", "http://localhost:3000"))
    assert plan.changes[0].backing == "documented"
    (told,) = plan.diagnostics
    assert (told.severity, told.code) == ("warning", "origins-removed")
    assert ORIGINS in told.detail
    it.apply(origins("https://b.example", "http://localhost:3000"))
    shown = it.vendor.call("GET", "/v2/storefront/origins").json()["data"]
    assert {entry["origin"] for entry in shown} == {"https://b.example", "http://localhost:3000"}
    assert it.plan(origins("https://b.example", "http://localhost:3000")).empty


@pytest.mark.parametrize(
    ("before", "after", "noun"),
    [
        ("environment: live, scopes: ['customers:read']", "environment: sandbox, scopes: ['customers:read']",
         "environment"),
        ("scopes: ['customers:read']", "scopes: ['customers:write']", "scopes"),
        ("name: a, scopes: ['customers:read']", "name: b, scopes: ['customers:read']", "name"),
    ],
)  # fmt: skip
def test_every_change_needs_a_new_key(
    rules: Callable[..., Rules], before: str, after: str, noun: str
) -> None:
    it = rules("revkeen")
    it.apply(key(before))
    (change,) = it.plan(key(after)).changes
    assert change.action == "replace"
    assert (
        f"nothing says that revkeen keys can change {noun}, so a new key replaces it (keyform; {NOWHERE})"
        in change.reason
    )


@pytest.mark.parametrize("environment", ["live", "sandbox"])
@pytest.mark.parametrize("errors", ["nested", "flat"])
def test_a_stored_key_its_headers_and_its_end(
    rules: Callable[..., Rules], environment: str, errors: str
) -> None:
    it = rules("revkeen", revkeen_errors=errors, revkeen_plan="growth")
    it.apply(key(f"environment: {environment}, scopes: ['customers:read']"))
    stored = it.world.stored("keys.k")
    assert stored is not None
    secret = stored.reveal()
    assert secret.startswith(f"rk_{environment}_")
    for header in ({"x-revkeen-key": secret}, {"Authorization": f"Bearer {secret}"}):
        answer = it.vendor.call("GET", "/v2/customers", key=None, headers=header)
        assert answer.status_code == 200
        assert answer.headers["X-RateLimit-Limit"] == "600"
        assert {"x-ratelimit-remaining", "x-ratelimit-reset"} <= set(answer.headers)
    it.apply("keys: {}\n")
    refused = it.vendor.call("GET", "/v2/customers", key=secret)
    assert refused.status_code == 401
    assert "authentication_error" in refused.text.lower()


@pytest.mark.parametrize(("plan", "burst"), [("starter", 10), ("growth", 50), ("enterprise", 200)])
def test_each_plan_has_its_limit_and_429_says_so(rules: Callable[..., Rules], plan: str, burst: int) -> None:
    it = rules("revkeen", revkeen_plan=plan)
    _, secret = it.vendor.minted(scopes=READ, environment="live")
    answers = [it.vendor.call("GET", "/v2/customers", key=secret) for _ in range(burst + 1)]
    assert [answer.status_code for answer in answers] == [200] * burst + [429]
    assert answers[-1].json()["error"]["type"] == "rate_limit_error"


def test_cart_keys_are_ensured_and_rotated_with_grace_at_the_service(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen")
    made = it.vendor.call("POST", "/v2/cart-api-keys/ensure", {})
    assert made.status_code in (200, 201)
    rotated = it.vendor.call("POST", "/v2/cart-api-keys/secret/rotate", {"grace_hours": 24})
    assert rotated.status_code == 200
    assert rotated.json()["data" if "data" in rotated.json() else "grace_hours"]
