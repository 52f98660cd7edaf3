"""DevTune's rules, where they are declared and where they are broken directly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from keyform.report.style import Style
from keyform.report.text import plan_text
from tests.rules.conftest import Rule, Rules, code_of
from tests.world import START

DOCS, API = "DevTune Docs, API Keys", "DevTune API reference"
PLUS = "plan: plus"


def key(fields: str) -> str:
    return "projects: {acme: {service: it}}\nkeys: {k: {service: it, secret: k, " + fields + "}}\n"


def moment(**span: float) -> str:
    return (START + timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


RULES = {
    "a key belongs to one project": Rule(
        key("scopes: [visibility.read]"),
        "missing-project",
        ("devtune keys need a `project`", "exactly one project"),
        DOCS,
        {"scopes": ["visibility.read"]},
        (422, "project_required"),
    ),
    "no moment of choice": Rule(
        key("project: acme, expires_at: 2027-01-31T00:00:00Z"),
        "unsupported-field",
        ("take no `expires_at`", "Use `expires_in`", "none, 30, 60, 90, 180 days and 1 year"),
        DOCS,
        {"project": "acme", "expires_at": "2027-01-31T00:00:00Z"},
        (422, "expiry_not_offered"),
    ),
    "one kind": Rule(
        key("project: acme, kind: admin"),
        "unsupported-field",
        ("take no `kind`",),
        DOCS,
        {"project": "acme", "kind": "admin"},
        (422, "field_not_supported"),
    ),
    "no origins of a project": Rule(
        "projects: {acme: {service: it, allowed_origins: ['https://a.example']}}\n",
        "misplaced-origins",
        ("projects have no allowed origins",),
        DOCS,
    ),
    **{
        f"no expiry in {span}": Rule(
            key(f"project: acme, expires_in: {span}"),
            "unsupported-expiry",
            (f"cannot expire in `{span}`", "30d, 60d, 90d, 180d, 1y and never"),
            DOCS,
            {"project": "acme", "expires_at": moment(days=days)},
            (422, "expiry_not_offered"),
        )
        for span, days in (("1d", 1), ("29d", 29), ("45d", 45), ("181d", 181), ("2y", 730))
    },
    **{
        f"no {field}": Rule(
            key(f"project: acme, {field}: {declared}"),
            "unsupported-field",
            (f"take no `{field}`", "a name, a project, an expiry and scopes, nothing else"),
            DOCS,
            {"project": "acme", field: sent},
            (422, "invalid_request" if field == "credits" else "field_not_supported"),
        )
        for field, declared, sent in (
            ("environment", "test", "test"),
            ("description", "x", "x"),
            ("allowed_origins", "['https://a.example']", ["https://a.example"]),
            ("rate_limit", "{limit: 1, per: 1s}", {"limit": 1, "per_seconds": 1}),
            ("credits", "{remaining: 1}", {"remaining": 1}),
        )
    },
}


@pytest.fixture
def it(rules: Callable[..., Rules]) -> Rules:
    made = rules("devtune")
    made.vendor.project("acme")
    made.vendor.project("other")
    return made


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_breaks_a_rule_is_refused_twice(it: Rules, rule: Rule) -> None:
    it.check(rule)


@pytest.mark.parametrize(
    ("span", "days"),
    [("never", None), ("30d", 30), ("60d", 60), ("90d", 90), ("180d", 180), ("1y", 365), ("365d", 365)],
)
def test_the_six_windows_are_taken_by_both(it: Rules, span: str, days: int | None) -> None:
    it.apply(key(f"project: acme, expires_in: {span}"), PLUS)
    (shown,) = it.live().values()
    assert shown.spec.expires_at == (None if days is None else START + timedelta(days=days))
    assert it.plan(key(f"project: acme, expires_in: {span}"), PLUS).empty


@pytest.mark.parametrize(
    ("plan", "severity"), [("below-plus", "error"), ("plus", None), ("above-plus", None), (None, "note")]
)
def test_the_api_needs_plus(rules: Callable[..., Rules], plan: str | None, severity: str | None) -> None:
    it = rules("devtune", devtune_plan="basic" if severity else "plus")
    it.vendor.project("acme")
    told = it.validate(key("project: acme"), f"plan: {plan}" if plan else "")
    assert [d.severity for d in told] == ([severity] if severity else [])
    for diagnostic in told:
        assert diagnostic.code == "plan-needed"
        assert "devtune keys need the Plus plan of DevTune" in diagnostic.summary
        assert API in diagnostic.detail
        assert "another kind" not in diagnostic.detail, "there is one kind"
    answer = it.vendor.create(project="acme")
    assert answer.status_code == (403 if severity else 201)
    if severity:
        assert answer.json()["error"] == "plan_required"


def test_scopes_change_in_place(it: Rules) -> None:
    it.apply(key("project: acme, scopes: [visibility.read]"), PLUS)
    (before,) = it.live().values()
    wider = key("project: acme, scopes: [visibility.read, actions.write]")
    (change,) = it.plan(wider, PLUS).changes
    assert (change.action, change.key_id) == ("update", before.id)
    it.apply(wider, PLUS)
    (after,) = it.live().values()
    assert (after.id, after.spec.scopes) == (before.id, ("actions.write", "visibility.read"))


def test_a_project_is_told_of_without_the_origins_that_it_cannot_have(it: Rules) -> None:
    project = "projects: {acme: {service: it}}\n"
    (change,) = it.plan(project, PLUS).changes
    assert change.diff == ()
    assert "origins" not in change.reason


def test_no_scopes_are_shown_as_the_full_access_that_they_are(it: Rules) -> None:
    narrow, full = key("project: acme, scopes: [visibility.read]"), key("project: acme")
    first = it.plan(full, PLUS)
    (created,) = (change for change in first.changes if change.address == "keys.k")
    assert ("scopes", "everything") in [(d.path, d.after) for d in created.diff]
    assert "full-access" in {d.code for d in first.diagnostics}
    it.apply(narrow, PLUS)
    widened = it.plan(full, PLUS)
    assert [(d.before, d.after) for d in widened.changes[0].diff] == [(["visibility.read"], "everything")]
    assert "WIDENS: powerful: can now do everything" in plan_text(widened, Style())
    assert "keys.k: without scopes the key may do everything" in [d.summary for d in widened.diagnostics]
    it.apply(full, PLUS)
    narrowed = it.plan(narrow, PLUS)
    assert "narrows: can no longer do everything: only visibility.read" in plan_text(narrowed, Style())
    assert "full-access" not in {d.code for d in narrowed.diagnostics}


@pytest.mark.parametrize(
    ("after", "noun", "sent"),
    [
        ("project: acme, name: b", "name", {"name": "b"}),
        ("project: other, name: a", "project", {"project": "other"}),
        ("project: acme, name: a, expires_in: 30d", "expires_in", {"expires_at": moment(days=30)}),
    ],
)
def test_all_else_needs_a_new_key(it: Rules, after: str, noun: str, sent: dict[str, str]) -> None:
    projects = "projects: {acme: {service: it}, other: {service: it}}\n"
    it.apply(key("project: acme, name: a"), PLUS)
    (first,) = it.live().values()
    body = projects + key(after).partition("\n")[2]
    (change,) = (change for change in it.plan(body, PLUS).changes if change.address == "keys.k")
    assert change.action == "replace"
    assert f"cannot change {noun}, so a new key replaces it ({DOCS})" in change.reason
    assert "expires_at" not in change.reason
    refused = it.vendor.call("PATCH", f"/v1/keys/{first.id}", sent)
    assert (refused.status_code, code_of(refused)) == (422, "immutable_field")


def test_a_revoked_key_stays_listed_and_is_no_drift(it: Rules) -> None:
    it.apply(key("project: acme, scopes: [visibility.read]"), PLUS)
    secret = it.world.stored("keys.k")
    assert secret is not None
    path = "/api/v2/projects/acme/visibility"
    assert it.vendor.call("GET", path, key=secret.reveal()).status_code == 200
    elsewhere = it.vendor.call("GET", "/api/v2/projects/other/visibility", key=secret.reveal())
    assert elsewhere.status_code == 403
    it.apply("keys: {}\n", PLUS)
    (shown,) = it.vendor.listed()
    assert shown["status"] == "revoked"
    refused = it.vendor.call("GET", path, key=secret.reveal())
    assert (refused.status_code, refused.json()["error"]) == (401, "unauthorized")
    assert it.plan("keys: {}\n", PLUS).empty
    body = key("project: acme, scopes: [visibility.read]")
    it.apply(body, PLUS)
    assert it.plan(body, PLUS).empty
    assert [entry["status"] for entry in it.vendor.listed()].count("revoked") == 1


def test_an_expired_key_is_rotated_once_and_no_drift_afterwards(it: Rules) -> None:
    body = key("project: acme, expires_in: 30d")
    it.apply(body, PLUS)
    it.clock.move(days=31)
    assert [change.action for change in it.plan(body, PLUS).changes] == ["rotate"]
    it.apply(body, PLUS)
    assert it.plan(body, PLUS).empty
