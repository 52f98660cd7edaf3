"""Millimetric's rules, where they are declared and where they are broken directly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from keyform.model import instant
from keyform.report.markdown import plan_markdown
from keyform.report.style import Style
from keyform.report.text import plan_text
from keyform.services.profiles import load_profile
from tests.rules.conftest import Rule, Rules, code_of

DOCS = "Millimetric Docs, API keys"
NOWHERE = "no public statement was found"
SITE, WWW = "https://yoursite.com", "https://www.yoursite.com"


def web(*origins: str) -> str:
    return f"projects: {{web: {{service: it, allowed_origins: {list(origins)}}}, bare: {{service: it}}}}\n"


def key(fields: str, *origins: str) -> str:
    return web(*(origins or (SITE, WWW))) + "keys: {k: {service: it, secret: k, " + fields + "}}\n"


def sent(kind: str, **more: object) -> dict[str, object]:
    return {"kind": kind, "environment": "live", "project": "web", **more}


RULES = {
    "four kinds": Rule(
        key("kind: xk, project: web"),
        "unknown-kind",
        ("no kind `xk`", "ak, pk, rk and sk", "pk and sk ingest, rk and ak read"),
        DOCS,
        sent("xk"),
        (422, "invalid_request"),
    ),
    "a pk in a project without origins": Rule(
        key("kind: pk, project: bare"),
        "missing-origins",
        ("pk keys need allowed origins", "on its project", "403 origin_not_allowed"),
        DOCS,
        sent("pk", project="bare"),
        (422, "origins_required"),
    ),
    "origins stand on the project": Rule(
        key(f"kind: pk, project: web, allowed_origins: ['{SITE}']"),
        "misplaced-origins",
        ("from their project", "projects.web.allowed_origins"),
        DOCS,
        sent("pk", allowed_origins=[SITE]),
        (422, "field_not_supported"),
    ),
    "only pk keys have origins": Rule(
        key(f"kind: sk, project: web, allowed_origins: ['{SITE}']"),
        "misplaced-origins",
        ("sk keys have no allowed origins", "Kinds that have them: pk"),
        DOCS,
        sent("sk", allowed_origins=[SITE]),
        (422, "field_not_supported"),
    ),
    **{
        f"{kind} needs a project": Rule(
            key(f"kind: {kind}"),
            "missing-project",
            (f"{kind} keys need a `project`", "belongs to one project"),
            DOCS,
            sent(kind, project=None),
            (422, "project_required"),
        )
        for kind in ("sk", "rk")
    },
    "ak belongs to no project": Rule(
        key("kind: ak, project: web"),
        "misplaced-project",
        ("ak keys belong to no project", "an ak key to the whole account"),
        DOCS,
        sent("ak"),
        (422, "invalid_request"),
    ),
    "the kind fixes the scopes": Rule(
        key("kind: sk, project: web, scopes: [read]"),
        "unsupported-field",
        ("take no `scopes`", "The kind says what a key may do"),
        DOCS,
        sent("sk", scopes=["read"]),
        (422, "scope_not_allowed_for_kind"),
    ),
    "live keys only": Rule(
        key("kind: sk, project: web, environment: staging"),
        "unknown-environment",
        ("no environment `staging`",),
        DOCS,
        sent("sk", environment="staging"),
        (422, "invalid_request"),
    ),
    "not even test keys": Rule(
        key("kind: sk, project: web, environment: test"),
        "unknown-environment",
        ("no environment `test`",),
        DOCS,
        sent("sk", environment="test"),
        (422, "invalid_request"),
    ),
    "a name that the contract cannot carry": Rule(
        key(f"kind: sk, project: web, name: {'n' * 201}"),
        "too-long",
        ("has 201 characters", "take at most 200"),
        "keyform's key-service contract",
        sent("sk", name="n" * 201),
        (422, "invalid_request"),
    ),
    **{
        f"no {field}": Rule(
            key(f"kind: sk, project: web, {field}: {declared}"),
            "unsupported-field",
            (f"take no `{field}`", "Nothing says"),
            NOWHERE,
            sent("sk", **({name: value} if name else {})) if name else None,
            (422, "invalid_request" if field == "credits" else "field_not_supported"),
        )
        for field, declared, name, value in (
            ("expires_in", "30d", "expires_at", "2031-01-01T00:00:00Z"),
            ("description", "x", "description", "x"),
            ("rate_limit", "{limit: 1, per: 1s}", "rate_limit", {"limit": 1, "per_seconds": 1}),
            ("credits", "{remaining: 1}", "credits", {"remaining": 1}),
            ("metadata", "{a: b}", "", None),
        )
    },
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_breaks_a_rule_is_refused_twice(rules: Callable[..., Rules], rule: Rule) -> None:
    it = rules("millimetric")
    it.vendor.project("web", SITE, WWW)
    it.vendor.project("bare")
    it.check(rule)


@pytest.mark.parametrize(
    ("origin", "says"),
    [
        ("https://*.a.example", "wildcards are not supported"),
        ("http://a.example", "http is for localhost only"),
        ("https://a.example/x", "it has a path"),
    ],
)
def test_an_origin_that_is_not_exact_is_refused_twice(
    rules: Callable[..., Rules], origin: str, says: str
) -> None:
    it = rules("millimetric")
    (told,) = it.validate(web(origin))
    assert told.code == "bad-origin"
    assert says in f"{told.summary} {told.detail}"
    assert DOCS in told.detail
    refused = it.vendor.project("web", origin)
    assert (refused.status_code, code_of(refused)) == (422, "invalid_origin")


AK = "keys: {k: {service: it, secret: k, kind: ak}}\n"


@pytest.mark.parametrize(
    ("plan", "severity", "status"),
    [("free", "error", 403), ("pro", "error", 403), ("business", None, 201), (None, "note", 403)],
)
def test_ak_needs_business(
    rules: Callable[..., Rules], plan: str | None, severity: str | None, status: int
) -> None:
    it = rules("millimetric", millimetric_plan=plan or "free")
    told = [d for d in it.validate(AK, f"plan: {plan}" if plan else "") if d.code == "plan-needed"]
    assert [d.severity for d in told] == ([severity] if severity else [])
    for diagnostic in told:
        assert "ak keys need the Business plan of Millimetric" in diagnostic.summary
        assert DOCS in diagnostic.detail
    answer = it.vendor.create(kind="ak", environment="live")
    assert answer.status_code == status
    if status == 403:
        assert code_of(answer) == "plan_required"


def test_an_ak_key_is_hinted_at_and_the_others_are_not(rules: Callable[..., Rules]) -> None:
    it = rules("millimetric")
    (told,) = it.validate(AK, "plan: business")
    assert (told.severity, told.code) == ("note", "least-privilege")
    assert "an rk key is enough" in told.detail
    for kind in ("pk", "sk", "rk"):
        assert it.validate(key(f"kind: {kind}, project: web")) == ()
    assert it.validate(key("kind: ak"), "plan: business") == (), "that is what it is for: several projects"


def test_a_pk_without_a_project_is_told_of_that_alone(rules: Callable[..., Rules]) -> None:
    (told,) = rules("millimetric").validate(key("kind: pk"))
    assert (told.code, "pk keys need a `project`" in told.summary) == ("missing-project", True)


@pytest.mark.parametrize(
    ("after", "noun"),
    [
        ("kind: sk, project: web, name: b", "name"),
        ("kind: rk, project: web, name: a", "kind"),
        ("kind: sk, project: bare, name: a", "project"),
    ],
)
def test_keys_are_never_edited(rules: Callable[..., Rules], after: str, noun: str) -> None:
    it = rules("millimetric")
    it.apply(key("kind: sk, project: web, name: a"))
    (first,) = it.live().values()
    plan = it.plan(key(after))
    (change,) = plan.changes
    assert change.action == "replace"
    assert f"cannot change {noun}, so a new key replaces it ({DOCS})" in change.reason
    (told,) = plan.diagnostics
    assert (told.severity, told.code) == ("note", "revocation-lag")
    assert "a revoked key at it may go on working for up to 5m" in told.summary
    assert DOCS in told.detail
    it.apply(key(after))
    (second,) = it.live().values()
    assert second.id != first.id
    refused = it.vendor.call("PATCH", f"/v1/keys/{second.id}", {"name": "c"})
    assert (refused.status_code, code_of(refused)) == (405, "method_not_allowed")


def test_the_origins_are_an_exact_set_and_a_removal_is_as_loud_as_a_revocation(
    rules: Callable[..., Rules],
) -> None:
    it = rules("millimetric")
    it.apply(key("kind: pk, project: web"))
    secret = it.world.stored("keys.k")
    assert secret is not None

    def track(origin: str) -> tuple[int, str]:
        answer = it.vendor.call("POST", "/v1/track", {}, key=secret.reveal(), headers={"Origin": origin})
        return answer.status_code, code_of(answer) if answer.status_code >= 400 else ""

    assert (track(SITE)[0], track("https://evil.example")) == (202, (403, "origin_not_allowed"))
    wider = it.plan(key("kind: pk, project: web", SITE, WWW, "https://new.example"))
    assert [d.code for d in wider.diagnostics] == []
    plan = it.plan(key("kind: pk, project: web", WWW))
    (told,) = plan.diagnostics
    assert (told.severity, told.code) == ("warning", "origins-removed")
    assert f"{SITE} will lose access, as if the keys there were revoked" in told.summary
    assert DOCS in told.detail
    text = plan_text(plan, Style(colour=True))
    assert "\x1b[31" in next(line for line in text.splitlines() if "projects.web" in line)
    assert "1 origin loses access" in text
    assert "**1 to update; 1 origin loses access" in plan_markdown(plan, "sha256:x")
    assert plan.as_json()["summary"]["origins_lost"] == 1
    # Somebody adds one by hand: apply takes it away again, and says so.
    it.apply(key("kind: pk, project: web", WWW))
    assert (track(SITE), track(WWW)[0]) == ((403, "origin_not_allowed"), 202)
    it.vendor.project("web", WWW, "https://by-hand.example")
    drift = it.plan(key("kind: pk, project: web", WWW))
    assert drift.changes[0].drift
    assert [d.code for d in drift.diagnostics] == ["origins-removed"]


def test_the_cache_counts_where_unused_matters(rules: Callable[..., Rules]) -> None:
    it = rules("millimetric")
    body = key("kind: rk, project: web, rotation: {every: 30d, overlap: 1d, revoke_when_unused_for: 1h}")
    it.apply(body)
    first = it.world.stored("keys.k")
    assert first is not None
    it.clock.move(days=30)
    it.apply(body)
    it.clock.move(days=1)
    it.vendor.call("GET", "/v1/stats", key=first.reveal())
    it.clock.move(minutes=61)
    held = it.plan(body)
    assert held.changes == ()
    (told,) = held.diagnostics
    assert told.code == "held"
    assert "must be unused for 1h, and 5m more, by which its last use may be told late" in told.summary
    it.clock.move(minutes=5)
    assert [change.action for change in it.plan(body).changes] == ["revoke"]


def test_stale_keys_are_told_by_last_used_at(rules: Callable[..., Rules]) -> None:
    it = rules("millimetric")
    body, more = key("kind: rk, project: web"), "stale_after: 30d"
    outcome = it.declare(body, more).apply()
    assert not outcome.failed
    secret = it.world.stored("keys.k")
    assert secret is not None

    def told() -> list[str]:
        plan = it.plan(body, more)
        assert plan.changes == ()
        return [d.summary for d in plan.diagnostics if d.code == "stale-keys"]

    it.clock.move(days=30)
    assert told() == []
    it.clock.move(minutes=5)
    (never,) = told()
    assert "it: 1 key has not been used for 30d (`stale_after`): keys.k (never, minted" in never
    it.vendor.call("GET", "/v1/stats", key=secret.reveal())
    assert told() == []
    it.clock.move(days=30, minutes=5)
    (unused,) = told()
    assert "keys.k (last 20" in unused
    text = plan_text(it.plan(body, more), Style())
    assert "No changes" in text


def test_an_apply_says_until_when_what_it_revoked_may_work(rules: Callable[..., Rules]) -> None:
    it = rules("millimetric")
    it.apply(key("kind: rk, project: web"))
    world = it.declare(web(SITE, WWW))
    world.told.clear()
    world.apply()
    (told,) = [event["diagnostic"] for event in world.told if event["type"] == "warning"]
    until = instant(it.clock.now() + timedelta(minutes=5))
    assert told["summary"] == f"the revoked key at it may go on working until {until}"
    assert "cached for 5 minutes" in told["detail"]


def test_a_revoked_key_is_believed_for_five_minutes_and_no_longer(rules: Callable[..., Rules]) -> None:
    it = rules("millimetric")
    it.apply(key("kind: rk, project: web"))
    secret = it.world.stored("keys.k")
    assert secret is not None
    ask: Callable[[], int] = lambda: it.vendor.call("GET", "/v1/stats", key=secret.reveal()).status_code  # noqa: E731
    assert ask() == 200
    it.apply(web(SITE, WWW))
    assert ask() == 200
    profile = load_profile("millimetric", it.world.folder)
    assert profile is not None
    assert profile.revocation_lag == profile.last_used_lag == timedelta(minutes=5)
    it.clock.move(seconds=profile.revocation_lag.total_seconds())
    assert ask() == 401


OK, SCOPE, KIND, ACCOUNT = (
    "",
    "insufficient_scope",
    "key_kind_not_allowed",
    "account_key_required",
)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/track", {"pk": OK, "sk": OK, "rk": SCOPE, "ak": KIND}),
        ("GET", "/v1/stats", {"pk": SCOPE, "sk": SCOPE, "rk": OK, "ak": KIND}),
        ("POST", "/v1/forget", {"pk": KIND, "sk": OK, "rk": SCOPE, "ak": KIND}),
        ("POST", "/mcp", {"pk": KIND, "sk": OK, "rk": OK, "ak": KIND}),
        ("POST", "/mcp/account", {"pk": ACCOUNT, "sk": ACCOUNT, "rk": ACCOUNT, "ak": OK}),
    ],
)
def test_what_stored_keys_of_each_kind_may_do(
    rules: Callable[..., Rules], method: str, path: str, expected: dict[str, str]
) -> None:
    it = rules("millimetric")
    names = {"pk": "pk, project: web", "sk": "sk, project: web", "rk": "rk, project: web", "ak": "ak"}
    body = (
        web(SITE)
        + "keys:\n"
        + "".join(
            f"  {kind}: {{service: it, secret: {kind}, kind: {fields}}}\n" for kind, fields in names.items()
        )
    )
    it.apply(body, "plan: business")
    got = {}
    for kind in names:
        secret = it.world.stored(f"keys.{kind}")
        assert secret is not None
        content = {} if method == "POST" else None
        answer = it.vendor.call(method, path, content, key=secret.reveal(), headers={"Origin": SITE})
        got[kind] = "" if answer.status_code < 300 else code_of(answer)
        assert answer.status_code in (200, 202, 403)
    assert got == expected


def test_a_plan_that_is_too_small_is_told_as_that(rules: Callable[..., Rules]) -> None:
    (failed,) = rules("millimetric", millimetric_plan="free").declare(AK).apply().failed
    assert "plan_required" in failed.summary
    assert "The account's plan does not include this: upgrade it" in failed.detail
    assert "the right to manage keys" not in failed.detail
