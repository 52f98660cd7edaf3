"""RevKeen's rules, each with its refusal: general keys, cart keys, storefront origins."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from .conftest import ROOT, Clock
from .vendors import Vendor

CART, ORIGINS, READ = "/v2/cart-api-keys", "/v2/storefront/origins", "/v2/customers"
HOUR = 3600
SCOPES = [
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
]


@pytest.fixture
def revkeen(vendor: Callable[..., Vendor]) -> Vendor:
    return vendor("revkeen")


def told(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, type and code of the nested envelope, which is checked on the way."""
    error = answer.json()["error"]
    assert set(error) == {"type", "code", "message", "details"}
    assert error["details"]["reason"] == error["code"]
    return answer.status_code, error["type"], error["code"]


INVALID = (422, "invalid_request_error")
UNAUTHENTICATED = (401, "authentication_error")


@pytest.mark.parametrize("environment", ["live", "sandbox"])
def test_the_prefix_names_the_environment(revkeen: Vendor, environment: str) -> None:
    key, secret = revkeen.minted(environment=environment, scopes=["customers:read"])
    assert re.fullmatch(rf"rk_{environment}_[0-9a-f]{{48}}", secret)
    assert (key["environment"], key["kind"], key["start"]) == (environment, None, secret[: len(secret) - 44])
    assert revkeen.call("GET", READ, key=secret).status_code == 200


def test_the_sixteen_scopes_of_the_table_and_no_other(revkeen: Vendor) -> None:
    key, _secret = revkeen.minted(environment="live", scopes=SCOPES)
    assert key["scopes"] == sorted(SCOPES)
    assert len(SCOPES) == 16
    for scope in ("checkout:read", "finance:write", "cart_keys:write", "customers", "*"):
        answer = revkeen.create(environment="live", scopes=[scope])
        assert told(answer) == (*INVALID, "unknown_scope")
    assert told(revkeen.create(environment="live", scopes=[])) == (*INVALID, "invalid_request")


def test_a_scope_that_is_missing_is_refused(revkeen: Vendor) -> None:
    _, secret = revkeen.minted(environment="live", scopes=["products:read"])
    answer = revkeen.call("GET", READ, key=secret)
    assert told(answer) == (403, "permission_error", "insufficient_scope")
    assert revkeen.verify(secret, scope="products:read").status_code == 200
    assert revkeen.verify(secret, environment="sandbox").status_code == 403


@pytest.mark.parametrize("path", ["/v1/keys", CART + "/status", ORIGINS])
@pytest.mark.parametrize(
    ("header", "general"), [("x-revkeen-key", True), ("Authorization", True), ("x-api-key", False)]
)
def test_the_headers_that_carry_a_credential(revkeen: Vendor, path: str, header: str, general: bool) -> None:
    value = f"Bearer {ROOT}" if header == "Authorization" else ROOT
    answer = revkeen.call("GET", path, key=None, headers={header: value})
    if general or path != "/v1/keys":
        assert answer.status_code == 200
    else:
        assert told(answer)[:2] == UNAUTHENTICATED
    assert told(revkeen.call("GET", path, key=None))[:2] == UNAUTHENTICATED
    assert told(revkeen.call("GET", path, key="rk_live_" + "0" * 48))[:2] == UNAUTHENTICATED


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"environment": "test"}, "invalid_request"),
        ({"kind": "robot"}, "field_not_supported"),
        ({"kind": "cart-secret"}, "field_not_supported"),
        ({"project": "web"}, "field_not_supported"),
        ({"description": "x"}, "field_not_supported"),
        ({"allowed_origins": ["https://a.example"]}, "field_not_supported"),
        ({"rate_limit": {"limit": 1, "per_seconds": 1}}, "field_not_supported"),
    ],
)
def test_a_create_that_breaks_a_rule_is_refused(revkeen: Vendor, change: dict[str, Any], code: str) -> None:
    asked = {"environment": "live", "scopes": ["customers:read"], **change}
    assert told(revkeen.create(**asked)) == (*INVALID, code)
    assert revkeen.listed() == []


def test_a_name_changes_in_place_and_scopes_and_environment_do_not(revkeen: Vendor) -> None:
    key, _ = revkeen.minted(environment="live", scopes=["customers:read"])
    path = f"/v1/keys/{key['id']}"
    assert revkeen.call("PATCH", path, {"name": "New"}).json() == key | {"name": "New"}
    for change in ({"scopes": ["products:read"]}, {"environment": "sandbox"}):
        assert told(revkeen.call("PATCH", path, change)) == (*INVALID, "immutable_field")


def test_a_revoked_key_is_refused_at_once(revkeen: Vendor) -> None:
    key, secret = revkeen.minted(environment="live", scopes=["customers:read"])
    revkeen.revoke(key["id"])
    assert told(revkeen.call("GET", READ, key=secret))[:2] == UNAUTHENTICATED


@pytest.mark.parametrize(
    ("plan", "per_minute", "burst"), [("starter", 60, 10), ("growth", 600, 50), ("enterprise", 6000, 200)]
)
def test_the_plan_limits_every_key_and_every_answer_says_so(
    vendor: Callable[..., Vendor], clock: Clock, plan: str, per_minute: int, burst: int
) -> None:
    revkeen = vendor("revkeen", revkeen_plan=plan)
    _, secret = revkeen.minted(environment="live", scopes=["customers:read"])
    _, other = revkeen.minted(environment="live", scopes=["products:read"])
    for used in range(1, burst + 1):
        answer = revkeen.call("GET", READ, key=secret)
        assert answer.status_code == 200
        assert answer.headers["X-RateLimit-Limit"] == str(per_minute)
        assert answer.headers["X-RateLimit-Remaining"] == str(burst - used)
    full_again = 1_900_000_000 + -(-burst * 60 // per_minute)
    assert answer.headers["X-RateLimit-Reset"] == str(full_again)
    over = revkeen.call("GET", READ, key=secret)
    assert told(over) == (429, "rate_limit_error", "rate_limited")
    assert over.headers["X-RateLimit-Remaining"] == "0"
    assert over.headers["Retry-After"] == "1"
    refused = revkeen.call("GET", READ, key=other)
    assert (refused.status_code, refused.headers["X-RateLimit-Remaining"]) == (403, str(burst - 1))
    assert revkeen.call("GET", "/v1/whoami").headers["X-RateLimit-Limit"] == str(per_minute)
    clock.move(1)
    assert revkeen.call("GET", READ, key=secret).status_code == 200


def test_the_other_envelope_is_flat(vendor: Callable[..., Vendor]) -> None:
    revkeen = vendor("revkeen", revkeen_errors="flat", revkeen_plan="starter")
    answers = [revkeen.call("GET", READ, key=None), revkeen.create(environment="live", scopes=["x"])]
    answers += [revkeen.call("GET", "/v1/whoami") for _ in range(11)][-1:]
    got = [(answer.status_code, answer.json()["error"], set(answer.json())) for answer in answers]
    members = {"error", "message"}
    assert got == [
        (401, "AUTHENTICATION_ERROR", members),
        (422, "UNKNOWN_SCOPE", members),
        (429, "RATE_LIMIT_ERROR", members),
    ]


def ensure(revkeen: Vendor, **headers: str) -> dict[str, Any]:
    answer = revkeen.call("POST", CART + "/ensure", {}, headers=headers)
    assert answer.status_code == 200
    made: dict[str, Any] = answer.json()
    return made


def test_ensure_makes_one_cart_key_per_kind_and_shows_each_once(revkeen: Vendor) -> None:
    assert revkeen.call("GET", CART + "/status").json() == {"publishable": None, "secret": None}
    made = ensure(revkeen)
    assert set(made) == {"publishable", "secret"}
    for kind in made:
        assert set(made[kind]) == {"api_key", "id", "unkey_key_id", "key_kind"}
        assert made[kind]["key_kind"] == kind
        assert revkeen.verify(made[kind]["api_key"]).status_code == 200
    again = ensure(revkeen)
    assert again == {kind: made[kind] | {"api_key": None} for kind in made}
    status = revkeen.call("GET", CART + "/status").json()
    assert {kind: status[kind]["id"] for kind in status} == {kind: made[kind]["id"] for kind in made}
    assert status["secret"]["last_used_at"] == "2030-03-17T17:46:40.000Z"
    assert "api_key" not in status["secret"]


def test_cart_keys_are_not_general_keys(revkeen: Vendor) -> None:
    made = ensure(revkeen)["secret"]
    assert revkeen.listed() == []
    path = f"/v1/keys/{made['id']}"
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        assert told(revkeen.call(method, path, body)) == (404, "invalid_request_error", "not_found")
    assert revkeen.verify(made["api_key"]).status_code == 200
    assert revkeen.call("DELETE", CART + "/secret").status_code == 404
    assert told(revkeen.call("GET", READ, key=made["api_key"]))[0] == 403


@pytest.mark.parametrize(
    ("body", "hours"), [({"grace_hours": 2}, 2), ({}, 24), (None, 24), ({"grace_hours": 0}, 0)]
)
def test_a_rotation_leaves_the_old_cart_key_its_grace(
    revkeen: Vendor, clock: Clock, body: dict[str, int] | None, hours: int
) -> None:
    old = ensure(revkeen)["publishable"]
    clock.move(1)
    new = revkeen.call("POST", CART + "/publishable/rotate", body).json()
    assert set(new) == {
        "api_key", "id", "unkey_key_id", "key_kind", "rolled_from", "old_key_expires_at", "grace_hours",
    }  # fmt: skip
    assert (new["rolled_from"], new["grace_hours"], new["key_kind"]) == (old["id"], hours, "publishable")
    day, hour = divmod(17 + hours, 24)
    assert new["old_key_expires_at"] == f"2030-03-{17 + day}T{hour:02}:46:41.000Z"
    assert revkeen.verify(new["api_key"]).status_code == 200
    assert revkeen.call("GET", CART + "/status").json()["publishable"]["id"] == new["id"]
    if hours:
        clock.move(hours * HOUR - 1)
        assert revkeen.verify(old["api_key"]).status_code == 200
        clock.move(1)
    assert told(revkeen.verify(old["api_key"]))[:2] == UNAUTHENTICATED
    assert revkeen.verify(new["api_key"]).status_code == 200


@pytest.mark.parametrize("hours", [-1, 721, 1.5, "2", True])
def test_a_grace_is_a_whole_number_of_hours(revkeen: Vendor, hours: object) -> None:
    ensure(revkeen)
    answer = revkeen.call("POST", CART + "/secret/rotate", {"grace_hours": hours})
    assert told(answer) == (*INVALID, "invalid_request")


def test_a_kind_that_is_not_there_cannot_be_rotated(revkeen: Vendor) -> None:
    for kind in ("secret", "other"):
        assert revkeen.call("POST", f"{CART}/{kind}/rotate", {}).status_code == 404


def test_a_repeated_marker_rotates_once_and_shows_no_secret(revkeen: Vendor, clock: Clock) -> None:
    marker = {"Idempotency-Key": "marker-1"}
    made = ensure(revkeen, **marker)
    replayed = ensure(revkeen, **marker)
    assert replayed == {kind: made[kind] | {"api_key": None} for kind in made}
    rotate, other = CART + "/secret/rotate", {"Idempotency-Key": "marker-2"}
    first = revkeen.call("POST", rotate, {"grace_hours": 48}, headers=other).json()
    again = revkeen.call("POST", rotate, {"grace_hours": 48}, headers=other)
    assert again.json() == first | {"api_key": None}
    assert again.headers["Idempotency-Replayed"] == "true"
    assert told(revkeen.call("POST", rotate, {}, headers=other)) == (
        409,
        "invalid_request_error",
        "idempotency_conflict",
    )
    kept = b"".join(path.read_bytes() for path in revkeen.data.rglob("*") if path.is_file())
    assert first["id"].encode() in kept
    for shown_once in (made["secret"]["api_key"], made["publishable"]["api_key"], first["api_key"]):
        assert shown_once.encode() not in kept
    clock.move(24 * HOUR)
    later = revkeen.call("POST", rotate, {"grace_hours": 48}, headers=other).json()
    assert later["rolled_from"] == first["id"]


def test_storefront_origins_are_added_listed_and_removed(revkeen: Vendor) -> None:
    added = [
        revkeen.call("POST", ORIGINS, {"origin": origin})
        for origin in ("https://shop.example", "http://localhost:3000")
    ]
    assert [answer.status_code for answer in added] == [201, 201]
    assert revkeen.call("GET", ORIGINS).json() == {"data": [answer.json() for answer in added]}
    twice = revkeen.call("POST", ORIGINS, {"origin": "https://shop.example"})
    assert told(twice) == (409, "invalid_request_error", "origin_exists")
    path = f"{ORIGINS}/{added[0].json()['id']}"
    assert revkeen.call("DELETE", path).status_code == 200
    assert revkeen.call("DELETE", path).status_code == 404
    assert revkeen.call("GET", ORIGINS).json() == {"data": [added[1].json()]}


@pytest.mark.parametrize(
    "origin", ["https://*.shop.example", "*", "http://shop.example", "https://shop.example/", "shop.example"]
)
def test_what_is_not_an_exact_origin_is_refused(revkeen: Vendor, origin: str) -> None:
    assert told(revkeen.call("POST", ORIGINS, {"origin": origin})) == (*INVALID, "invalid_origin")


def test_an_origin_added_again_with_its_marker_is_no_conflict(revkeen: Vendor) -> None:
    marker = {"Idempotency-Key": "marker-1"}
    body = {"origin": "https://shop.example"}
    first, again = (revkeen.call("POST", ORIGINS, body, headers=marker) for _ in range(2))
    assert (again.status_code, again.json()) == (201, first.json())
