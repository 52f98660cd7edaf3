"""DevTune's rules, each with its refusal."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from .conftest import Clock
from .vendors import Vendor

READ = "/api/v2/projects/site/visibility"
DAY = 24 * 3600


@pytest.fixture
def devtune(vendor: Callable[..., Vendor]) -> Vendor:
    return stocked(vendor("devtune"))


def stocked(service: Vendor) -> Vendor:
    service.project("site")
    service.project("other")
    return service


def told(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert set(body) == {"error", "message", "status"}
    assert body["status"] == answer.status_code
    return answer.status_code, body["error"]


def in_days(days: float) -> str:
    """That many days after the test's clock, as RFC 3339."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(Clock().now + days * DAY, UTC).isoformat()


def test_a_key_is_64_hexadecimal_digits_of_one_project(devtune: Vendor) -> None:
    key, secret = devtune.minted(project="site", scopes=["visibility.read"])
    assert re.fullmatch(r"dtk_live_[0-9a-f]{64}", secret)
    assert (key["start"], key["project"]) == (secret[:17], "site")
    assert (key["kind"], key["environment"], key["status"]) == (None, None, "active")
    assert devtune.call("GET", READ, key=secret).status_code == 200
    assert told(devtune.call("GET", READ.replace("site", "other"), key=secret)) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    ("days", "accepted"),
    [
        (None, True),
        (30, True),
        (60, True),
        (90, True),
        (180, True),
        (365, True),
        (30 + 1 / 25, True),
        (29, False),
        (31, False),
        (45, False),
        (366, False),
        (1, False),
        (730, False),
    ],
)
def test_a_key_lives_for_one_of_six_spans(devtune: Vendor, days: float | None, accepted: bool) -> None:
    expires_at = None if days is None else in_days(days)
    answer = devtune.create(project="site", expires_at=expires_at)
    if accepted:
        assert answer.status_code == 201
    else:
        assert told(answer) == (422, "expiry_not_offered")
        assert "30, 60, 90, 180, 365" in answer.json()["message"]


def test_an_expired_a_revoked_and_an_unknown_key_get_the_same_answer(devtune: Vendor, clock: Clock) -> None:
    key, revoked = devtune.minted(project="site")
    devtune.revoke(key["id"])
    other, expired = devtune.minted(project="site", expires_at=in_days(30))
    clock.move(30 * DAY)
    answers = [
        devtune.call("GET", READ, key=text) for text in (revoked, expired, "dtk_live_" + "0" * 64, "x")
    ]
    answers += [devtune.call("GET", READ, key=None), devtune.call("GET", "/v1/keys", key=revoked)]
    assert {told(answer) for answer in answers} == {(401, "unauthorized")}
    assert len({answer.text for answer in answers}) == 1
    # Both stay listed.
    assert [(entry["id"], entry["status"]) for entry in devtune.listed()] == [
        (key["id"], "revoked"),
        (other["id"], "expired"),
    ]


def test_the_only_kind_may_be_named_and_is_not_shown(devtune: Vendor) -> None:
    key, _ = devtune.minted(project="site", kind="key", environment=None)
    assert key["kind"] is None


def test_scopes_change_in_place_and_nothing_else_does(devtune: Vendor) -> None:
    key, secret = devtune.minted(project="site", scopes=["actions.write"])
    assert told(devtune.call("GET", READ, key=secret)) == (403, "insufficient_scope")
    changed = devtune.call("PATCH", f"/v1/keys/{key['id']}", {"scopes": ["actions.write", "visibility.read"]})
    assert changed.json() == key | {"scopes": ["actions.write", "visibility.read"]}
    assert devtune.call("GET", READ, key=secret).status_code == 200
    for field, value in {"name": "New", "project": "other", "expires_at": None}.items():
        assert told(devtune.call("PATCH", f"/v1/keys/{key['id']}", {field: value})) == (
            422,
            "immutable_field",
        )


def test_a_key_without_scopes_holds_all(devtune: Vendor) -> None:
    key, secret = devtune.minted(project="site")
    assert devtune.call("GET", READ, key=secret).status_code == 200
    assert devtune.verify(secret, scope="webhooks.write").status_code == 200
    devtune.call("PATCH", f"/v1/keys/{key['id']}", {"scopes": ["webhooks.write"]})
    assert told(devtune.call("GET", READ, key=secret)) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "project_required"),
        ({"project": "nowhere"}, "unknown_project"),
        ({"project": "site", "kind": "secret"}, "field_not_supported"),
        ({"project": "site", "environment": "live"}, "field_not_supported"),
        ({"project": "site", "allowed_origins": ["https://a.example"]}, "field_not_supported"),
        ({"project": "site", "description": "x"}, "field_not_supported"),
        ({"project": "site", "scopes": ["visibility:read"]}, "unknown_scope"),
        ({"project": "site", "expires_at": "2001-01-01T00:00:00Z"}, "expiry_in_past"),
    ],
)
def test_a_create_that_breaks_a_rule_is_refused(devtune: Vendor, fields: dict[str, Any], code: str) -> None:
    assert told(devtune.create(**fields)) == (422, code)
    assert devtune.listed() == []


def test_projects_have_no_origins(devtune: Vendor) -> None:
    assert told(devtune.project("site", "https://a.example")) == (422, "field_not_supported")


def test_the_plus_plan_is_needed(vendor: Callable[..., Vendor]) -> None:
    _, secret = stocked(vendor("devtune")).minted(project="site")
    below = vendor("devtune", devtune_plan="basic")
    assert told(below.create(project="site")) == (403, "plan_required")
    assert told(below.call("GET", READ, key=secret)) == (403, "plan_required")
    assert below.call("GET", "/v1/keys").status_code == 200


def test_each_key_has_the_limit_of_the_plan(vendor: Callable[..., Vendor]) -> None:
    devtune = stocked(vendor("devtune", devtune_per_minute=100))
    _, secret = devtune.minted(project="site")
    for remaining in (99, 98):
        answer = devtune.call("GET", READ, key=secret)
        names = ("X-RateLimit-Limit", "X-RateLimit-Remaining")
        assert [answer.headers[name] for name in names] == ["100", str(remaining)]
        assert int(answer.headers["X-RateLimit-Reset"]) > 1_900_000_000
    for _ in range(98):
        devtune.call("GET", READ, key=secret)
    assert told(devtune.call("GET", READ, key=secret)) == (429, "rate_limited")
