"""Revenium's rules, each with its refusal."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from keyform.reference.limiter import RateLimit

from .conftest import ROOT, Clock
from .vendors import Vendor

ME, METER = "/profitstream/v2/api/users/me", "/meter/v2/ai/completions"
PREFIXES = {"metering-only": "rev_mk_", "write": "rev_sk_", "read-only": "rev_rk_"}
UNUSABLE = "The API key is suspended, expired, or lacks the required scope."


@pytest.fixture
def revenium(vendor: Callable[..., Vendor]) -> Vendor:
    return vendor("revenium")


@pytest.mark.parametrize("kind", sorted(PREFIXES))
def test_the_prefix_names_the_kind_and_all_keys_name_the_tenant(revenium: Vendor, kind: str) -> None:
    tenants = set()
    for _ in range(2):
        key, secret = revenium.minted(kind=kind)
        found = re.fullmatch(PREFIXES[kind] + r"([a-z2-7]+)_([0-9a-f]{48})", secret)
        assert found is not None
        tenants.add(found[1])
        assert key["kind"] == kind
    assert len(tenants) == 1


def test_the_list_shows_the_last_four_characters_and_no_more(revenium: Vendor, clock: Clock) -> None:
    _, secret = revenium.minted(kind="write", expires_at="2030-06-01T00:00:00.000Z", metadata={"by": "us"})
    revenium.call("GET", ME, key=secret)
    assert revenium.listed() == [
        {
            "id": revenium.listed()[0]["id"],
            "kind": "write",
            "name": "Backend",
            "last_four": secret[-4:],
            "creator": "keyform@example.com",
            "expires_at": "2030-06-01T00:00:00.000Z",
            "created_at": "2030-03-17T17:46:40.000Z",
            "status": "active",
            "metadata": {"by": "us"},
            "start": None,
            "last_used_at": None,
            "environment": None,
            "project": None,
            "description": "",
            "scopes": [],
            "allowed_origins": [],
            "rate_limit": None,
            "revoked_at": None,
        }
    ]


@pytest.mark.parametrize(
    ("kind", "method", "path", "status"),
    [
        ("metering-only", "POST", METER, 201),
        ("metering-only", "GET", ME, 403),
        ("write", "POST", METER, 201),
        ("write", "GET", ME, 200),
        ("read-only", "POST", METER, 403),
        ("read-only", "GET", ME, 200),
    ],
)
def test_the_kind_is_the_scope(revenium: Vendor, kind: str, method: str, path: str, status: int) -> None:
    _, secret = revenium.minted(kind=kind)
    assert revenium.call(method, path, {} if method == "POST" else None, key=secret).status_code == status
    for wanted in PREFIXES:
        allowed = kind in ("write", wanted)
        assert revenium.verify(secret, scope=wanted).status_code == (200 if allowed else 403)


def test_a_key_that_cannot_be_used_is_a_403_that_does_not_say_why(revenium: Vendor, clock: Clock) -> None:
    key, revoked = revenium.minted(kind="write")
    revenium.revoke(key["id"])
    _, expired = revenium.minted(kind="write", expires_at="2030-03-17T17:46:41.000Z")
    clock.move(2)
    for secret in (revoked, expired, "rev_sk_unknown_" + "0" * 48, "nonsense", revoked[:-4] + "0000"):
        for answer in (revenium.call("GET", ME, key=secret), revenium.verify(secret)):
            assert (answer.status_code, answer.json()["error"]["message"]) == (403, UNUSABLE)
    assert revenium.call("GET", "/v1/keys", key=revoked).status_code == 403
    assert revenium.call("GET", ME, key=None).status_code == 401


def test_the_credential_goes_into_its_own_header(revenium: Vendor) -> None:
    bearer = {"Authorization": f"Bearer {ROOT}"}
    assert revenium.call("GET", "/v1/keys", key=None, headers=bearer).status_code == 401
    assert revenium.call("GET", "/v1/whoami").json()["key_id"] is None


def test_no_key_manages_keys(revenium: Vendor) -> None:
    _, secret = revenium.minted(kind="write")
    answer = revenium.call("GET", "/v1/keys", key=secret)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")


def test_a_name_changes_in_place_and_nothing_else_does(revenium: Vendor) -> None:
    key, secret = revenium.minted(kind="read-only")
    changed = revenium.call("PATCH", f"/v1/keys/{key['id']}", {"name": "Finance dashboard"})
    assert changed.json() == key | {"name": "Finance dashboard"}
    assert revenium.call("GET", ME, key=secret).status_code == 200
    for field, value in {"kind": "write", "expires_at": None, "scopes": [], "project": None}.items():
        answer = revenium.call("PATCH", f"/v1/keys/{key['id']}", {field: value})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "immutable_field")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"kind": "robot"}, "invalid_request"),
        ({}, "invalid_request"),
        ({"kind": "write", "environment": "live"}, "field_not_supported"),
        ({"kind": "write", "scopes": ["read-only"]}, "field_not_supported"),
        ({"kind": "write", "allowed_origins": ["https://a.example"]}, "field_not_supported"),
        ({"kind": "write", "rate_limit": {"limit": 1, "per_seconds": 1}}, "field_not_supported"),
        ({"kind": "write", "project": "web"}, "field_not_supported"),
        ({"kind": "write", "description": "x"}, "field_not_supported"),
        ({"kind": "write", "expires_at": "2001-01-01T00:00:00Z"}, "expiry_in_past"),
    ],
)
def test_a_create_that_breaks_a_rule_is_refused(revenium: Vendor, fields: dict[str, Any], code: str) -> None:
    answer = revenium.create(**fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert revenium.listed() == []


def test_empty_fields_of_the_contract_are_let_pass(revenium: Vendor) -> None:
    empty = {"environment": None, "project": None, "description": "", "scopes": [], "allowed_origins": []}
    assert revenium.create(kind="write", **empty, rate_limit=None, metadata={}).status_code == 201


def test_there_are_no_projects(revenium: Vendor) -> None:
    assert revenium.call("GET", "/v1/projects").json() == {"data": [], "next_cursor": None}
    assert revenium.project("web").status_code == 422


def test_too_many_requests_say_when_to_come_back(vendor: Callable[..., Vendor]) -> None:
    revenium = vendor("revenium", limit=RateLimit(per_minute=6, burst=1))
    assert revenium.call("GET", "/v1/keys").status_code == 200
    answer = revenium.call("GET", "/v1/keys")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
    assert "retry after 10 seconds" in answer.json()["error"]["message"]
