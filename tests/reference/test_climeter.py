"""CLIMeter's rules, each with its refusal."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from .conftest import ROOT, Clock
from .vendors import Vendor

LOGIN = {"email": "keyform@example.com", "password": ROOT}
SCOPES = [
    "events:write",
    "events:read",
    "tools:read",
    "tools:write",
    "billing:read",
    "billing:write",
    "keys:manage",
]


@pytest.fixture
def climeter(vendor: Callable[..., Vendor]) -> Vendor:
    return vendor("climeter")


def token(climeter: Vendor) -> str:
    answer = climeter.call("POST", "/v1/auth/login", LOGIN, key=None)
    assert set(answer.json()) == {"access_token", "token_type", "expires_in"}
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 900)
    text: str = answer.json()["access_token"]
    return text


def create(climeter: Vendor, key: str, *scopes: str) -> httpx.Response:
    return climeter.call("POST", "/v1/keys", {"name": "Production key", "scopes": list(scopes)}, key=key)


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_key_is_created_and_revoked_as_documented(climeter: Vendor) -> None:
    jwt = token(climeter)
    created = create(climeter, jwt, "tools:read")
    assert created.status_code == 201
    assert set(created.json()) == {"key", "key_id", "name", "created_at"}
    assert created.json()["created_at"] == "2030-03-17T17:46:40.000Z"
    secret, key_id = created.json()["key"], created.json()["key_id"]
    assert re.fullmatch(r"clmtr_live_[0-9a-f]{48}", secret)
    assert climeter.call("GET", "/v1/tools", key=secret).status_code == 200
    for _ in range(2):
        revoked = climeter.call("DELETE", f"/v1/keys/{key_id}", key=jwt)
        assert (revoked.status_code, revoked.json()) == (200, {"revoked": True, "key_id": key_id})
    assert told(climeter.call("GET", "/v1/tools", key=secret)) == (401, "invalid_api_key")
    assert told(climeter.call("DELETE", "/v1/keys/key_unknown", key=jwt)) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/keys", 405),
        ("PATCH", "/v1/keys/key_1", 405),
        ("GET", "/v1/keys/key_1", 405),
        ("GET", "/v1/projects", 404),
        ("GET", "/v1/whoami", 404),
        ("POST", "/v1/verify", 404),
    ],
)
def test_nothing_else_manages_keys(climeter: Vendor, method: str, path: str, status: int) -> None:
    assert climeter.call(method, path, key=token(climeter)).status_code == status


def test_the_same_create_twice_makes_two_keys(climeter: Vendor) -> None:
    jwt, marker = token(climeter), {"Idempotency-Key": "marker-1"}
    body = {"name": "Production key", "scopes": ["events:write"]}
    made = [climeter.call("POST", "/v1/keys", body, key=jwt, headers=marker).json() for _ in range(2)]
    assert made[0]["key_id"] != made[1]["key_id"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"scopes": []}, "invalid_request"),
        ({"scopes": ["keys:fly"]}, "unknown_scope"),
        ({"scopes": "events:write"}, "invalid_request"),
        ({"name": ""}, "invalid_request"),
        ({"metadata": {}}, "invalid_request"),
        ({"expires_at": None}, "invalid_request"),
    ],
)
def test_a_create_that_breaks_a_rule_is_refused(climeter: Vendor, change: dict[str, Any], code: str) -> None:
    body = {"name": "Production key", "scopes": ["events:write"], **change}
    assert told(climeter.call("POST", "/v1/keys", body, key=token(climeter))) == (422, code)


def test_every_scope_can_be_held_and_opens_its_own_door_only(climeter: Vendor) -> None:
    jwt = token(climeter)
    for scope in SCOPES:
        secret = create(climeter, jwt, scope).json()["key"]
        tools = climeter.call("GET", "/v1/tools", key=secret).status_code
        events = climeter.call("POST", "/v1/events", {}, key=secret).status_code
        expected = (200 if scope == "tools:read" else 403, 202 if scope == "events:write" else 403)
        assert (tools, events) == expected
        managed = create(climeter, secret, "events:write").status_code
        assert managed == (201 if scope == "keys:manage" else 403)


def test_a_token_is_a_signed_jwt_that_lasts_fifteen_minutes(climeter: Vendor, clock: Clock) -> None:
    jwt = token(climeter)
    header, claims = (
        json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in jwt.split(".")[:2]
    )
    assert header == {"alg": "HS256", "typ": "JWT"}
    assert claims == {"sub": "keyform@example.com", "iat": 1_900_000_000, "exp": 1_900_000_900}
    clock.move(899)
    assert create(climeter, jwt, "events:write").status_code == 201
    clock.move(1)
    assert told(create(climeter, jwt, "events:write")) == (401, "token_expired")
    assert create(climeter, token(climeter), "events:write").status_code == 201


def test_what_is_no_token_of_this_account_is_refused(climeter: Vendor) -> None:
    header, claims, signature = token(climeter).split(".")
    later = base64.urlsafe_b64encode(b'{"sub":"keyform@example.com","iat":0,"exp":9999999999}').decode()
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    for forged in (
        ROOT,
        f"{header}.{claims}",
        f"{header}.{claims}.",
        f"{header}.{later.rstrip('=')}.{signature}",
        f"{unsigned}.{later.rstrip('=')}.",
        f"{header}.{claims}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}",
        "a.b.c",
    ):
        assert told(create(climeter, forged, "events:write")) == (401, "invalid_token")
    assert climeter.call("POST", "/v1/keys", {}, key=None).status_code == 401
    assert told(climeter.call("GET", "/v1/tools", key=token(climeter))) == (401, "invalid_api_key")


@pytest.mark.parametrize("change", [{"email": "other@example.com"}, {"password": "wrong"}])
def test_a_login_needs_both_parts(climeter: Vendor, change: dict[str, str]) -> None:
    answer = climeter.call("POST", "/v1/auth/login", LOGIN | change, key=None)
    assert told(answer) == (401, "invalid_credentials")
    assert ROOT not in answer.text
