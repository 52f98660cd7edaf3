"""Millimetric's rules, each with its refusal."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from keyform.reference.limiter import RateLimit

from .conftest import Clock
from .vendors import Vendor

SITE, WWW = "https://yoursite.com", "https://www.yoursite.com"
KINDS = ("pk", "sk", "rk", "ak")
OK = (200, None)


@pytest.fixture
def millimetric(vendor: Callable[..., Vendor]) -> Vendor:
    return stocked(vendor("millimetric"))


def stocked(service: Vendor) -> Vendor:
    """With one project that has origins, and one that has none."""
    assert service.project("web", SITE, WWW).status_code == 200
    assert service.project("bare").status_code == 200
    return service


def fields(kind: str, **more: Any) -> dict[str, Any]:
    own = {} if kind == "ak" else {"project": "web"}
    return {"kind": kind, "environment": "live", **own, **more}


def told(answer: httpx.Response) -> tuple[int, str | None]:
    """Status and code; the envelope is checked on the way."""
    if answer.status_code < 300:
        return 200, None
    body = answer.json()
    assert set(body) == {"error", "details"}
    assert body["details"]["message"]
    return answer.status_code, body["error"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_of_a_key_names_kind_environment_and_lookup(millimetric: Vendor, kind: str) -> None:
    key, secret = millimetric.minted(**fields(kind))
    assert re.fullmatch(rf"{kind}_live_[0-9a-z]{{8}}_[A-Za-z0-9_-]{{43}}", secret)
    assert key["start"] == secret[: len("pk_live_12345678")]
    assert key["scopes"] == (["read"] if kind in ("rk", "ak") else ["ingest"])


READS, KIND, ACCOUNT = (
    (403, "insufficient_scope"),
    (403, "key_kind_not_allowed"),
    (403, "account_key_required"),
)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/track", {"pk": OK, "sk": OK, "rk": READS, "ak": KIND}),
        ("GET", "/v1/stats", {"pk": READS, "sk": READS, "rk": OK, "ak": KIND}),
        ("POST", "/v1/forget", {"pk": KIND, "sk": OK, "rk": READS, "ak": KIND}),
        ("POST", "/mcp", {"pk": KIND, "sk": OK, "rk": OK, "ak": KIND}),
        ("POST", "/mcp/account", {"pk": ACCOUNT, "sk": ACCOUNT, "rk": ACCOUNT, "ak": OK}),
    ],
)
def test_what_each_kind_may_do(
    millimetric: Vendor, method: str, path: str, expected: dict[str, tuple[int, str | None]]
) -> None:
    got = {}
    for kind in KINDS:
        _, secret = millimetric.minted(**fields(kind))
        body = {} if method == "POST" else None
        got[kind] = told(millimetric.call(method, path, body, key=secret, headers={"Origin": SITE}))
    assert got == expected


@pytest.mark.parametrize("origin", [None, "https://evil.example", SITE + ":8443", "http://yoursite.com"])
def test_only_pk_keys_are_held_to_the_origins_of_the_project(millimetric: Vendor, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    for kind, expected in {"pk": (403, "origin_not_allowed"), "sk": OK}.items():
        _, secret = millimetric.minted(**fields(kind))
        assert told(millimetric.call("POST", "/v1/track", {}, key=secret, headers=headers)) == expected
        verified = millimetric.call("POST", "/v1/verify", {"key": secret}, key=None, headers=headers)
        assert told(verified) == expected
    _, secret = millimetric.minted(**fields("rk"))
    assert told(millimetric.call("GET", "/v1/stats", key=secret, headers=headers)) == OK


def test_the_origins_of_the_project_are_an_exact_set(millimetric: Vendor) -> None:
    _, secret = millimetric.minted(**fields("pk"))

    def track(origin: str) -> tuple[int, str | None]:
        return told(millimetric.call("POST", "/v1/track", {}, key=secret, headers={"Origin": origin}))

    assert (track(SITE), track(WWW)) == (OK, OK)
    millimetric.project("web", WWW)
    assert (track(SITE), track(WWW)) == ((403, "origin_not_allowed"), OK)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (fields("pk", project="bare"), "origins_required"),
        (fields("pk", allowed_origins=[SITE]), "field_not_supported"),
        (fields("pk", project=None), "project_required"),
        (fields("sk", project=None), "project_required"),
        (fields("rk", project="nowhere"), "unknown_project"),
        (fields("ak", project="web"), "invalid_request"),
        (fields("sk", scopes=["read"]), "scope_not_allowed_for_kind"),
        (fields("sk", scopes=["ingest", "read"]), "scope_not_allowed_for_kind"),
        (fields("sk", scopes=["everything"]), "unknown_scope"),
        (fields("sk", expires_at="2031-01-01T00:00:00Z"), "field_not_supported"),
        (fields("sk", description="x"), "field_not_supported"),
        (fields("sk", rate_limit={"limit": 1, "per_seconds": 1}), "field_not_supported"),
        (fields("sk", environment="staging"), "invalid_request"),
        (fields("xk"), "invalid_request"),
    ],
)
def test_a_create_that_breaks_a_rule_is_refused(
    millimetric: Vendor, asked: dict[str, Any], code: str
) -> None:
    assert told(millimetric.create(**asked)) == (422, code)
    assert millimetric.listed() == []


def test_keys_are_never_edited(millimetric: Vendor) -> None:
    key, _ = millimetric.minted(**fields("sk", scopes=["ingest"]))
    for change in ({"name": "New"}, {"metadata": {}}, {"scopes": ["read"]}):
        answer = millimetric.call("PATCH", f"/v1/keys/{key['id']}", change)
        assert told(answer) == (405, "method_not_allowed")
        assert answer.headers["Allow"] == "GET, DELETE"
    assert millimetric.shown(key["id"]) == key


def test_an_ak_key_and_mcp_need_their_plans(vendor: Callable[..., Vendor]) -> None:
    _, ak = stocked(vendor("millimetric")).minted(**fields("ak"))
    for plan, mint, mcp in (("free", 403, 403), ("pro", 403, 200), ("business", 201, 200)):
        service = vendor("millimetric", millimetric_plan=plan)
        answer = service.create(**fields("ak"))
        assert answer.status_code == mint
        if mint == 403:
            assert told(answer) == (403, "plan_required")
        _, rk = service.minted(**fields("rk"))
        assert service.call("POST", "/mcp", {}, key=rk).status_code == mcp
        expected = OK if plan == "business" else (403, "plan_required")
        assert told(service.call("POST", "/mcp/account", {}, key=ak)) == expected


def test_a_key_verified_lately_is_believed_for_five_minutes(millimetric: Vendor, clock: Clock) -> None:
    used, secret = millimetric.minted(**fields("sk"))
    unused, other = millimetric.minted(**fields("sk"))

    def track(text: str) -> tuple[int, str | None]:
        return told(millimetric.call("POST", "/v1/track", {}, key=text))

    assert track(secret) == OK
    clock.move(60)
    millimetric.revoke(used["id"])
    millimetric.revoke(unused["id"])
    assert track(other) == (401, "invalid_api_key")
    clock.move(239)
    assert track(secret) == OK
    assert millimetric.shown(used["id"])["status"] == "revoked"
    clock.move(1)
    assert track(secret) == (401, "invalid_api_key")
    assert told(millimetric.verify(secret)) == (401, "invalid_api_key")


def test_last_used_is_written_when_the_key_is_looked_up(millimetric: Vendor, clock: Clock) -> None:
    key, secret = millimetric.minted(**fields("rk"))
    assert key["last_used_at"] is None
    for moved, moment in ((0, "17:46:40"), (299, "17:46:40"), (1, "17:51:40")):
        clock.move(moved)
        millimetric.call("GET", "/v1/stats", key=secret)
        assert millimetric.shown(key["id"])["last_used_at"] == f"2030-03-17T{moment}.000Z"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_bearer_token"),
        ("Basic cm9vdA==", "missing_bearer_token"),
        ("Bearer sk_live_short", "malformed_api_key"),
        ("Bearer sk_live_aaaaaaaa_" + "b" * 43, "invalid_api_key"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/stats", "/v1/keys"])
def test_a_credential_that_is_none_is_told_apart(
    millimetric: Vendor, path: str, header: str | None, code: str
) -> None:
    headers = {} if header is None else {"Authorization": header}
    assert told(millimetric.call("GET", path, key=None, headers=headers)) == (401, code)


def test_too_many_requests(vendor: Callable[..., Vendor]) -> None:
    service = vendor("millimetric", limit=RateLimit(per_minute=6, burst=1))
    service.call("GET", "/v1/keys")
    answer = service.call("GET", "/v1/keys")
    assert told(answer) == (429, "rate_limited")
    assert (answer.headers["Retry-After"], answer.json()["details"]["retry_after_s"]) == ("10", 10)


def test_a_replayed_create_mints_nothing(millimetric: Vendor) -> None:
    marker = {"Idempotency-Key": "marker-1"}
    first = millimetric.create(marker, **fields("sk"))
    again = millimetric.create(marker, **fields("sk"))
    assert (first.status_code, again.status_code, again.json()["secret"]) == (201, 200, None)
    assert told(millimetric.create(marker, **fields("rk"))) == (409, "idempotency_conflict")
    assert len(millimetric.listed()) == 1
