"""Unkey's rules, where they are declared and where they are broken directly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keyform.errors import KeyformError
from tests.reference.conftest import ROOT
from tests.rules.conftest import Rule, Rules, code_of

DOCS = "Unkey API v2, OpenAPI document"


def key(fields: str) -> str:
    return "keys: {k: {service: it, secret: k, " + fields + "}}\n"


MANY = {f"k{n}": "v" for n in range(101)}
RULES = {
    "a name has at most 255 characters": Rule(
        key(f"name: {'x' * 256}"),
        "too-long",
        ("256 characters", "at most 255"),
        DOCS,
        {"name": "x" * 256},
        (400, "invalid_input"),
    ),
    "meta has at most 100 entries": Rule(
        key("metadata: {" + ", ".join(f"k{n}: v" for n in range(100)) + "}"),
        "too-long",
        ("100 entries", "at most 99", "ownership label"),
        DOCS,
        {"meta": MANY},
        (400, "invalid_input"),
    ),
    **{
        f"no {field}": Rule(
            key(f"{field}: {declared}"),
            "unsupported-field",
            (f"take no `{field}`", "no kind, environment, project, description or origins"),
            DOCS,
            {field: sent},
            (400, "invalid_input"),
        )
        for field, declared, sent in (
            ("kind", "admin", "admin"),
            ("environment", "live", "live"),
            ("project", "web", "web"),
            ("description", "x", "x"),
            ("allowed_origins", "['https://a.example']", ["https://a.example"]),
        )
    },
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_breaks_a_rule_is_refused_twice(rules: Callable[..., Rules], rule: Rule) -> None:
    rules("unkey").check(rule)


def shown(it: Rules) -> dict[str, Any]:
    """The only key, as Unkey itself shows it."""
    (one,) = it.vendor.call("POST", "/v2/apis.listKeys", {"apiId": "api_keyform"}).json()["data"]
    return dict(one)


@pytest.mark.parametrize(
    ("after", "field", "expected"),
    [
        ("name: b", "name", "b"),
        (
            "name: a, scopes: [documents.read, documents.write]",
            "permissions",
            ["documents.read", "documents.write"],
        ),
        ("name: a, metadata: {team: x}", "meta", {"team": "x"}),
        ("name: a, expires_in: 90d", "expires", None),
        ("name: a, rate_limit: {limit: 5, per: 1m}", "ratelimits", None),
    ],
)
def test_everything_changes_in_place(
    rules: Callable[..., Rules], after: str, field: str, expected: Any
) -> None:
    it = rules("unkey")
    it.apply(key("name: a"))
    before = shown(it)
    assert list(before["meta"]) == ["keyform"]
    (change,) = it.plan(key(after)).changes
    assert (change.action, change.backing) == ("update", "documented")
    it.apply(key(after))
    now = shown(it)
    assert now["keyId"] == before["keyId"]
    assert field in now
    if expected is not None:
        got = {k: v for k, v in now["meta"].items() if k != "keyform"} if field == "meta" else now[field]
        assert (sorted(got) if isinstance(got, list) else got) == expected
    assert now["meta"]["keyform"] == before["meta"]["keyform"], "the ownership label stays"
    assert it.plan(key(after)).empty


def test_an_unknown_permission_is_made_and_an_unknown_role_is_a_404(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    it.apply(key("scopes: [made.up]"))
    assert shown(it)["permissions"] == ["made.up"]
    outcome = it.declare(key("scopes: [made.up, 'role:nobody']")).apply()
    (failed,) = outcome.failed
    assert "404" in failed.summary
    assert "a role does not exist" in failed.detail
    refused = it.vendor.call("POST", "/v2/keys.updateKey", {"keyId": shown(it)["keyId"], "roles": ["nobody"]})
    assert refused.status_code == 404


def test_permissions_are_replaced_and_none_is_left_behind(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    it.apply(key("scopes: [a.read, b.read]"))
    it.apply(key("scopes: [c.read]"))
    assert shown(it)["permissions"] == ["c.read"]


def test_a_revoked_key_may_work_for_30_seconds_says_the_plan(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    it.apply(key("name: a"))
    secret = it.world.stored("keys.k")
    assert secret is not None
    (told,) = it.plan("keys: {}\n").diagnostics
    assert (told.code, told.severity) == ("revocation-lag", "note")
    assert "up to 30s" in told.summary
    assert DOCS in told.detail
    it.apply("keys: {}\n")
    verdict = it.vendor.call("POST", "/v2/keys.verifyKey", {"key": secret.reveal()}).json()["data"]
    assert verdict["valid"] is False


@pytest.mark.parametrize(
    ("permissions", "status"),
    [
        ({"api.*.read_key", "api.*.read_api"}, "403"),
        ({"api.*.read_api"}, "403"),
        ({"api.*.delete_key"}, "404"),
    ],
)
def test_a_missing_permission_is_not_taken_for_a_key_that_is_gone(
    rules: Callable[..., Rules], permissions: set[str], status: str
) -> None:
    it = rules("unkey", unkey_root_keys={"unkey_narrow_root": frozenset(permissions)})
    it.apply(key("name: a"))
    secret = it.world.stored("keys.k")
    assert secret is not None
    key_id = shown(it)["keyId"]
    it.declare("keys: {}\n")
    file = it.world.folder / "keyform.yaml"
    file.write_text(file.read_text().replace("${env:ROOT}", "${env:NARROW}"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NARROW", "unkey_narrow_root")
        try:
            (failed,) = it.world.apply().failed
        except KeyformError as refused:
            (failed,) = refused.diagnostics
    assert status in failed.summary
    file.write_text(file.read_text().replace("${env:NARROW}", "${env:ROOT}"))
    assert it.world.stored("keys.k") == secret
    assert shown(it)["keyId"] == key_id


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"apiId": "api_nowhere"}, 404, "api_not_found"),
        ({"prefix": "x" * 17}, 400, "invalid_input"),
        ({"byteLength": 8}, 400, "invalid_input"),
        ({"ratelimits": [{"name": "requests", "limit": 0, "duration": 1000}]}, 400, "invalid_input"),
    ],
)
def test_the_service_refuses_what_its_document_forbids(
    rules: Callable[..., Rules], sent: dict[str, Any], status: int, code: str
) -> None:
    answer = rules("unkey").create(sent)
    assert (answer.status_code, code_of(answer)) == (status, code), answer.text


def test_reroll_keeps_the_old_key_for_its_overlap_and_keyform_knows_the_call(
    rules: Callable[..., Rules],
) -> None:
    it = rules("unkey")
    it.apply(key("name: a"))
    old = it.world.stored("keys.k")
    assert old is not None
    with it.world.open() as ws:
        assert ws.service("it").profile.operations["reroll"] == "documented"
    sent = {"keyId": shown(it)["keyId"], "expiration": 90_000}
    made = it.vendor.call("POST", "/v2/keys.rerollKey", sent)
    assert made.status_code == 200

    def valid(text: str) -> bool:
        told = it.vendor.call("POST", "/v2/keys.verifyKey", {"key": text}).json()["data"]
        return bool(told["valid"])

    assert valid(made.json()["data"]["key"])
    assert valid(old.reveal())
    it.clock.move(minutes=3)
    assert not valid(old.reveal())
    assert ROOT not in made.text


def test_a_disabled_key_is_told_kept_and_deleted_in_the_end(rules: Callable[..., Rules]) -> None:
    unkey = rules("unkey")
    declared = key("name: Backend")
    unkey.apply(declared)
    (made,) = unkey.live()
    answer = unkey.vendor.call("POST", "/v2/keys.updateKey", {"keyId": made, "enabled": False})
    assert answer.status_code == 200, answer.text
    plan = unkey.plan(declared)
    assert plan.changes == ()
    assert [d.code for d in plan.diagnostics if d.severity == "warning"] == ["disabled-key"]
    unkey.apply(declared)
    with unkey.world.open() as ws:
        assert [found.id for found in ws.service("it").list().keys] == [made]
    unkey.apply("keys: {}\n")
    with unkey.world.open() as ws:
        assert ws.service("it").list().keys == ()
