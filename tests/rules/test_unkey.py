"""Unkey's rules, where they are declared and where they are broken directly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.engine.options import Options
from keyform.errors import ConfigError, KeyformError
from keyform.model import Credits, Refill
from keyform.report.generate import generated_yaml
from keyform.report.style import Style
from keyform.report.text import plan_text
from tests.reference.conftest import ROOT
from tests.rules.conftest import Rule, Rules, StaysOpen, code_of

DOCS = "Unkey API v2, OpenAPI document"


def key(fields: str) -> str:
    return "keys: {k: {service: it, secret: k, " + fields + "}}\n"


def written(scopes: list[str]) -> str:
    return "scopes: [" + ", ".join(f"'{scope}'" for scope in scopes) + "]"


BAD_INPUT = (400, "invalid_input")
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
    "a prefix has at most 16 characters": Rule(
        key("name: a"),
        "bad-value",
        ("`prefix` of service `it` has 17 characters", "at most 16"),
        DOCS,
        {"prefix": "x" * 17},
        BAD_INPUT,
        service=f"prefix: {'x' * 17}",
    ),
    "a prefix has one character at least": Rule(
        key("name: a"),
        "bad-value",
        ("at least 1",),
        DOCS,
        {"prefix": ""},
        BAD_INPUT,
        service="prefix: ''",
    ),
    "a prefix holds letters, digits and _": Rule(
        key("name: a"),
        "bad-value",
        ("`prefix`", "something else than letters, digits and _"),
        DOCS,
        {"prefix": "acme-live"},
        BAD_INPUT,
        service="prefix: acme-live",
    ),
    "a key has at most 1,000 permissions": Rule(
        key(written([f"p{n}" for n in range(1001)])),
        "too-long",
        ("1,001 entries", "at most 1,000"),
        DOCS,
        {"permissions": [f"p{n}" for n in range(1001)]},
        BAD_INPUT,
    ),
    "a key has at most 100 roles": Rule(
        key(written([f"role:r{n}" for n in range(101)])),
        "too-long",
        ("101 entries `role:…`", "at most 100"),
        DOCS,
        {"roles": [f"r{n}" for n in range(101)]},
        BAD_INPUT,
    ),
    "a permission has at most 128 characters": Rule(
        key(written(["x" * 129])),
        "bad-scope",
        ("129 characters", "at most 128"),
        DOCS,
        {"permissions": ["x" * 129]},
        BAD_INPUT,
    ),
    "a permission is a slug": Rule(
        key(written(["documents/read"])),
        "bad-scope",
        ("`documents/read`", "letters, digits and _ : - . *"),
        DOCS,
        {"permissions": ["documents/read"]},
        BAD_INPUT,
    ),
    "a role has at most 128 characters": Rule(
        key(written([f"role:{'x' * 129}"])),
        "bad-scope",
        ("129 characters", "at most 128"),
        DOCS,
        {"roles": ["x" * 129]},
        BAD_INPUT,
    ),
    "a role has a name": Rule(
        key(written(["role:"])), "bad-scope", ("at least 1",), DOCS, {"roles": [""]}, BAD_INPUT
    ),
    "no key expires after the beginning of 2100": Rule(
        key("expires_at: 2100-01-01T00:00:01Z"),
        "unsupported-expiry",
        ("after 2100-01-01T00:00:00Z", "on 2100-01-01T00:00:01Z"),
        DOCS,
        {"expires": 4_102_444_801_000},
        BAD_INPUT,
    ),
    "nor does one whose span goes so far": Rule(
        key("expires_in: 99y"), "unsupported-expiry", ("after 2100-01-01T00:00:00Z",), DOCS
    ),
    "nor one whose span is a default": Rule(
        "defaults: {expires_in: 99y}\n" + key("name: a"), "unsupported-expiry", ("2100-01-01",), DOCS
    ),
    "a rate limit allows one request": Rule(
        key("rate_limit: {limit: 0, per: 1m}"),
        "bad-value",
        ("at least 1",),
        "",
        {"ratelimits": [{"name": "requests", "limit": 0, "duration": 60_000, "autoApply": True}]},
        BAD_INPUT,
    ),
    "a rate limit counts for a second": Rule(
        key("rate_limit: {limit: 1, per: 0s}"),
        "bad-duration",
        ("no time at all",),
        "",
        {"ratelimits": [{"name": "requests", "limit": 1, "duration": 999, "autoApply": True}]},
        BAD_INPUT,
    ),
    "credits are not below zero": Rule(
        key("credits: {remaining: -1}"),
        "bad-value",
        ("at least 0",),
        "",
        {"credits": {"remaining": -1}},
        BAD_INPUT,
    ),
    "credits are a number": Rule(
        key("credits: {remaining: many}"),
        "wrong-type",
        ("a whole number",),
        "",
        {"credits": {"remaining": "many"}},
        BAD_INPUT,
    ),
    "credits have a balance": Rule(
        key("credits: {refill: {amount: 1, interval: daily}}"),
        "missing-field",
        ("`remaining`",),
        "",
        {"credits": {"remaining": None, "refill": {"amount": 1, "interval": "daily"}}},
        BAD_INPUT,
    ),
    "a refill brings something back": Rule(
        key("credits: {remaining: 1, refill: {amount: 0, interval: daily}}"),
        "bad-value",
        ("at least 1",),
        "",
        {"credits": {"remaining": 1, "refill": {"amount": 0, "interval": "daily"}}},
        BAD_INPUT,
    ),
    "a refill is daily or monthly": Rule(
        key("credits: {remaining: 1, refill: {amount: 1, interval: weekly}}"),
        "bad-value",
        ("cannot be `weekly`", "daily", "monthly"),
        "",
        {"credits": {"remaining": 1, "refill": {"amount": 1, "interval": "weekly"}}},
        BAD_INPUT,
    ),
    "a month has 31 days": Rule(
        key("credits: {remaining: 1, refill: {amount: 1, interval: monthly, refill_day: 32}}"),
        "bad-value",
        ("at most 31",),
        "",
        {"credits": {"remaining": 1, "refill": {"amount": 1, "interval": "monthly", "refillDay": 32}}},
        BAD_INPUT,
    ),
    "a monthly refill has a day": Rule(
        key("credits: {remaining: 1, refill: {amount: 1, interval: monthly}}"),
        "bad-value",
        ("a monthly refill needs a `refill_day`", "which a monthly one needs"),
        DOCS,
        {"credits": {"remaining": 1, "refill": {"amount": 1, "interval": "monthly"}}},
        BAD_INPUT,
    ),
    "a daily refill has none": Rule(  # Unkey refuses this in an update alone: see below
        key("credits: {remaining: 1, refill: {amount: 1, interval: daily, refill_day: 1}}"),
        "bad-value",
        ("a daily refill takes no `refill_day`", "a daily one does not take"),
        DOCS,
    ),
    "the contract knows no credits": Rule(
        key("credits: {remaining: 1}"),
        "unsupported-field",
        ("take no `credits`", "leave out `mode: contract`"),
        "keyform's key-service contract",
        service="mode: contract",
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
    (one,) = listed(it)
    return one


def listed(it: Rules) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = it.vendor.call(
        "POST", "/v2/apis.listKeys", {"apiId": "api_keyform"}
    ).json()["data"]
    return found


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
        ("name: a, credits: {remaining: 5}", "credits", {"remaining": 5}),
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


def test_a_404_to_a_deletion_of_a_listed_key_names_the_right_of_the_root_key(
    rules: Callable[..., Rules],
) -> None:
    it = rules("unkey")
    it.apply(key("name: a"))

    class Masking(StaysOpen):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/v2/keys.deleteKey":
                return httpx.Response(404, json={"error": {"title": "Not Found", "detail": "no such key"}})
            return super().handle_request(request)

    it.world.wrap = Wrapping(transport=lambda _: Masking(it.vendor.application))
    (failed,) = it.declare("keys: {}\n").apply().failed
    assert "404" in failed.summary
    assert "root key may lack delete_key" in failed.detail
    assert "endpoint" not in failed.detail


@pytest.mark.parametrize("named", ["api_keyform", "api_nowhere"])
def test_a_404_to_a_listing_may_be_a_missing_permission_or_a_wrong_id(
    rules: Callable[..., Rules], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = rules("unkey", unkey_root_keys={"unkey_narrow_root": frozenset({"api.*.create_key"})})
    if named == "api_keyform":
        monkeypatch.setenv("ROOT", "unkey_narrow_root")
    file = it.declare(key("name: a")).folder / "keyform.yaml"
    file.write_text(file.read_text().replace("api_keyform", named))
    with pytest.raises(KeyformError) as refused:
        it.world.apply()
    (told,) = refused.value.diagnostics
    assert "404" in told.summary
    assert "`api_id`" in told.detail
    assert "read_api and read_key" in told.detail


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


def rerolled_by_hand(it: Rules) -> str:
    """Somebody rerolls the stored key at Unkey, with an overlap of a day; the id of the new one."""
    sent = {"keyId": shown(it)["keyId"], "expiration": 86_400_000}
    made: str = it.vendor.call("POST", "/v2/keys.rerollKey", sent).json()["data"]["keyId"]
    return made


def test_a_key_that_somebody_rerolled_keeps_its_life_and_the_new_one_is_told(
    rules: Callable[..., Rules],
) -> None:
    it = rules("unkey")
    declared = key("name: a, expires_in: 60d, rotation: {every: 30d, overlap: 1d}")
    it.apply(declared)
    stranger = rerolled_by_hand(it)
    plan = it.plan(declared)
    (change,) = plan.changes
    assert (change.action, change.drift, [d.path for d in change.diff]) == ("update", True, ["expires_at"])
    (stray,) = (d for d in plan.diagnostics if d.code == "stray")
    assert stranger in f"{stray.summary} {stray.detail}"
    it.apply(declared)
    assert it.plan(declared).changes == ()
    it.clock.move(days=2)
    assert it.plan(declared).changes == ()
    assert it.world.state().keys["keys.k"].current.id in it.live()


def test_a_key_that_ended_because_somebody_rerolled_it_is_minted_anew_and_never_rerolled(
    rules: Callable[..., Rules],
) -> None:
    it = rules("unkey")
    declared = key("name: a, rotation: {every: 30d, overlap: 1d}")
    it.apply(declared)
    rerolled_by_hand(it)
    it.clock.move(days=2)
    asked = it.vendor.application
    calls: list[str] = []

    def counting(environ: Any, start: Any) -> Any:
        calls.append(environ["PATH_INFO"])
        return asked(environ, start)

    it.world.wrap = Wrapping(transport=lambda _: StaysOpen(counting))
    (change,) = it.apply(declared).plan.changes
    assert (change.action, "expired on" in change.reason) == ("rotate", True)
    assert "/v2/keys.createKey" in calls
    assert "/v2/keys.rerollKey" not in calls
    assert it.plan(declared).changes == ()


def test_a_key_that_expired_is_minted_anew_although_no_listing_says_so(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    declared = key("name: a, expires_in: 30d")
    it.apply(declared)
    it.clock.move(days=29)
    assert it.plan(declared).changes == ()
    it.clock.move(days=1)
    (change,) = it.apply(declared).plan.changes
    assert (change.action, change.reason[-31:]) == ("rotate", "expired on 2026-12-20T12:00:00Z")
    assert it.plan(declared).changes == ()
    assert list(it.live()) == [it.world.state().keys["keys.k"].current.id]


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


@pytest.mark.parametrize(("api_id", "says"), [("ab", "at least 3"), ("x" * 256, "at most 255"), ("a-b", "_")])
def test_the_id_of_an_api_is_checked_before_anything_is_called(
    rules: Callable[..., Rules], api_id: str, says: str
) -> None:
    it = rules("unkey")
    world = it.declare(key("name: a"))
    file = world.folder / "keyform.yaml"
    file.write_text(file.read_text().replace("api_id: api_keyform", f"api_id: {api_id}"))
    with pytest.raises(ConfigError) as refused:
        world.plan()
    (told,) = refused.value.diagnostics
    assert says in told.summary
    assert DOCS in told.detail
    assert it.create({"apiId": api_id}).status_code == 400


@pytest.mark.parametrize(
    "fields",
    [
        "expires_at: 2100-01-01T00:00:00Z",
        written([f"p{n}" for n in range(1000)] + [f"role:r{n}" for n in range(100)]),
        "credits: {remaining: 0, refill: {amount: 1, interval: monthly, refill_day: 31}}",
        "credits: {remaining: 9007199254740991, refill: {amount: 9007199254740991, interval: daily}}",
    ],
    ids=["expiry", "scopes", "least credits", "most credits"],
)
def test_what_lies_on_the_border_is_taken(rules: Callable[..., Rules], fields: str) -> None:
    it = rules("unkey")
    for n in range(100):
        it.vendor.call("POST", "/v2/permissions.createRole", {"name": f"r{n}"})
    it.apply(key(fields), "prefix: a234567890_23456")
    assert it.plan(key(fields), "prefix: a234567890_23456").empty


# Credits


def spend(it: Rules, credits: int = 1) -> str:
    """What Unkey says of the stored key, which is used so much."""
    secret = it.world.stored("keys.k")
    assert secret is not None
    sent = {"key": secret.reveal(), "credits": {"cost": credits}}
    return str(it.vendor.call("POST", "/v2/keys.verifyKey", sent).json()["data"]["code"])


FEW = "credits: {remaining: 10}"
DAILY = "credits: {remaining: 10, refill: {amount: 5, interval: daily}}"
MONTHLY = "credits: {remaining: 10, refill: {amount: 5, interval: monthly, refill_day: 3}}"


def test_use_is_no_change(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    it.apply(key(DAILY))
    assert shown(it)["credits"] == {"remaining": 10, "refill": {"amount": 5, "interval": "daily"}}
    assert spend(it, 7) == "VALID"
    assert shown(it)["credits"]["remaining"] == 3
    assert it.plan(key(DAILY)).empty
    assert it.world.plan(Options(mode="refresh-only")).empty
    assert it.world.state().keys["keys.k"].current.spec.credits == Credits(10, Refill(5, "daily"))
    it.apply(key(f"name: renamed, {DAILY}"))
    assert (shown(it)["name"], shown(it)["credits"]["remaining"]) == ("renamed", 3)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (FEW, DAILY, {"remaining": 3, "refill": {"amount": 5, "interval": "daily"}}),
        (DAILY, MONTHLY, {"remaining": 3, "refill": {"amount": 5, "interval": "monthly", "refillDay": 3}}),
        (MONTHLY, DAILY, {"remaining": 3, "refill": {"amount": 5, "interval": "daily"}}),
        (MONTHLY, FEW, {"remaining": 3}),
        (FEW, "credits: {remaining: 20}", {"remaining": 20}),
        (FEW, "credits: {remaining: 3}", {"remaining": 3}),
        (DAILY, FEW.replace("10", "9"), {"remaining": 9}),
    ],
)
def test_a_change_of_credits_sets_the_balance_only_where_that_changes(
    rules: Callable[..., Rules], before: str, after: str, expected: dict[str, Any]
) -> None:
    it = rules("unkey")
    it.apply(key(before))
    key_id = shown(it)["keyId"]
    assert spend(it, 7) == "VALID"
    plan = it.plan(key(after))
    assert [change.action for change in plan.changes] == ["update"]
    assert spend(it, 0) == "VALID"
    it.apply(key(after))
    assert (shown(it)["keyId"], shown(it)["credits"]) == (key_id, expected)
    assert it.plan(key(after)).empty


def test_a_plan_is_not_stale_because_the_key_was_used(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    it.apply(key(DAILY))
    plan = it.plan(key(MONTHLY))
    assert spend(it, 4) == "VALID"
    assert not it.world.apply(plan=plan).failed
    assert shown(it)["credits"]["remaining"] == 6


def test_a_key_without_credits_is_used_without_end_and_the_plan_says_so(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    it.apply(key(DAILY))
    assert [spend(it, 10), spend(it)] == ["VALID", "USAGE_EXCEEDED"]
    plan = it.plan(key("name: k"))
    (told,) = plan.diagnostics
    assert (told.code, told.severity) == ("credits-removed", "warning")
    assert "used without end" in told.summary
    assert DOCS in told.detail
    assert "WIDENS: powerful: can now be used without end" in " ".join(plan_text(plan, Style()).split())
    it.apply(key("name: k"))
    assert spend(it) == "VALID"
    assert it.plan(key("name: k")).empty


@pytest.mark.parametrize(
    ("declared", "by_hand", "healed"),
    [
        (FEW, None, {"remaining": 10}),
        (FEW, {"remaining": None}, {"remaining": 10}),
        (DAILY, {"refill": None}, {"remaining": 8, "refill": {"amount": 5, "interval": "daily"}}),
        (
            DAILY,
            {"refill": {"amount": 500, "interval": "daily"}},
            {"remaining": 8, "refill": {"amount": 5, "interval": "daily"}},
        ),
        ("name: k", {"remaining": 1}, None),
    ],
)
def test_credits_changed_by_hand_are_drift(
    rules: Callable[..., Rules], declared: str, by_hand: Any, healed: Any
) -> None:
    it = rules("unkey")
    it.apply(key(declared))
    spend(it, 2)
    it.vendor.call("POST", "/v2/keys.updateKey", {"keyId": shown(it)["keyId"], "credits": by_hand})
    (change,) = it.plan(key(declared)).changes
    assert (change.action, change.drift) == ("update", True)
    assert "credits changed at it outside keyform" in change.reason
    it.apply(key(declared))
    found = shown(it).get("credits")
    assert (found if found != {"remaining": None} else None) == healed
    assert it.plan(key(declared)).empty


def test_a_balance_set_by_hand_is_left_alone(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    it.apply(key(FEW))
    sent = {"keyId": shown(it)["keyId"], "credits": {"remaining": 500}}
    it.vendor.call("POST", "/v2/keys.updateKey", sent)
    assert it.plan(key(FEW)).empty
    assert shown(it)["credits"] == {"remaining": 500}


def test_a_new_generation_starts_with_the_declared_credits(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    body = key(f"{FEW}, rotation: {{every: 30d}}")
    it.apply(body)
    spend(it, 7)
    it.clock.move(days=31)
    assert [change.action for change in it.plan(body).changes] == ["rotate"]
    it.apply(body)
    assert shown(it)["credits"] == {"remaining": 10}
    assert it.plan(body).empty


def test_an_imported_key_keeps_what_is_left_of_its_credits(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    credits = {"remaining": 4, "refill": {"amount": 5, "interval": "monthly", "refillDay": 3}}
    made = it.create({"name": "old", "credits": credits}).json()["data"]
    with it.declare("keys: {}\n").open() as ws:
        service = ws.service("it")
        written = generated_yaml(
            "it",
            service.profile,
            service.list().keys,
            (),
            projects={},
            taken=(),
            lineage="x",
            now=ws.clock.now(),
        )
    assert "credits: {remaining: 4, refill: {amount: 5, interval: monthly, refill_day: 3}}" in written
    body = key(f"name: old, {MONTHLY}") + f"imports: [{{key: k, id: {made['keyId']}}}]\n"
    (change,) = it.plan(body).changes
    assert (change.action, change.diff) == ("import", ())
    it.apply(body)
    assert shown(it)["credits"] == credits
    assert it.plan(body).empty


def test_a_refill_is_refused_by_the_service_as_unkey_refuses_it(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    daily = {"amount": 1, "interval": "daily", "refillDay": 1}
    made = it.create({"credits": {"remaining": 1, "refill": daily}})
    assert made.status_code == 200
    assert shown(it)["credits"]["refill"] == {"amount": 1, "interval": "daily"}
    for refill in (daily, {"amount": 1, "interval": "monthly"}):
        sent = {"keyId": shown(it)["keyId"], "credits": {"refill": refill}}
        answer = it.vendor.call("POST", "/v2/keys.updateKey", sent)
        assert (answer.status_code, code_of(answer)) == BAD_INPUT


# Rate limits


def test_a_rate_limit_that_no_longer_applies_by_itself_is_drift(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    body = key("rate_limit: {limit: 5, per: 1m}")
    it.apply(body)
    limits = [{"name": "requests", "limit": 5, "duration": 60_000, "autoApply": False}]
    it.vendor.call("POST", "/v2/keys.updateKey", {"keyId": shown(it)["keyId"], "ratelimits": limits})
    (change,) = it.plan(body).changes
    assert (change.action, change.drift) == ("update", True)
    it.apply(body)
    assert [limit["autoApply"] for limit in shown(it)["ratelimits"]] == [True]
    assert it.plan(body).empty


def test_a_new_key_with_an_unknown_role_is_told_which(rules: Callable[..., Rules]) -> None:
    (failed,) = rules("unkey").declare(key("scopes: ['role:nobody']")).apply().failed
    assert "There is no role 'nobody'" in failed.summary
    assert failed.detail.startswith("If a role is named, it does not exist: create it at Unkey")
