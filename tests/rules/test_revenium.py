"""Revenium's rules, where they are declared and where they are broken directly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.rules.conftest import Rule, Rules, code_of

DOCS = "Revenium Docs, API Key Permissions"
DIALOG = "The Create Key dialog asks for a scope and a name"


def key(fields: str) -> str:
    return "keys: {k: {service: it, secret: k, " + fields + "}}\n"


RULES = {
    "three kinds": Rule(
        key("kind: admin"),
        "unknown-kind",
        ("no kind `admin`", "metering-only, read-only and write", "Three kinds, told by prefix"),
        DOCS,
        {"kind": "admin"},
        (422, "invalid_request"),
    ),
    "a kind has to be chosen": Rule(
        key("name: x"), "missing-kind", ("need a `kind`", "Three kinds"), DOCS, {}, (422, "invalid_request")
    ),
    "the kind is the scope": Rule(
        key("kind: write, scopes: [read-only]"),
        "unsupported-field",
        ("take no `scopes`", "the kind is the scope"),
        DOCS,
        {"kind": "write", "scopes": ["read-only"]},
        (422, "field_not_supported"),
    ),
    # The stand-in takes an expiry at creation, since nobody knows; keyform offers none for the same reason.
    "no expiry to choose": Rule(
        key("kind: write, expires_in: 30d"), "unsupported-field", ("take no `expires_in`", DIALOG), DOCS
    ),
    **{
        f"no {field}": Rule(
            key(f"kind: write, {field}: {declared}"),
            "unsupported-field",
            (f"take no `{field}`", DIALOG),
            DOCS,
            {"kind": "write", field: sent},
            (422, "invalid_request" if field == "credits" else "field_not_supported"),
        )
        for field, declared, sent in (
            ("environment", "test", "test"),
            ("project", "web", "web"),
            ("description", "x", "x"),
            ("allowed_origins", "['https://a.example']", ["https://a.example"]),
            ("rate_limit", "{limit: 1, per: 1s}", {"limit": 1, "per_seconds": 1}),
            ("credits", "{remaining: 1}", {"remaining": 1}),
        )
    },
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_breaks_a_rule_is_refused_twice(rules: Callable[..., Rules], rule: Rule) -> None:
    rules("revenium").check(rule)


@pytest.mark.parametrize(
    ("fields", "hinted"),
    [
        ("kind: write, name: Production ingestion - us-east", "ingest"),
        ("kind: write, name: OTLP, tags: [telemetry]", "telemetry"),
        ("kind: write, name: Finance dashboard", "dashboard"),
        ("kind: write, name: MCP server", None),
        ("kind: metering-only, name: Production ingestion", None),
        ("kind: read-only, name: Finance dashboard", None),
    ],
)
def test_a_key_with_full_access_that_needs_less_is_hinted_at(
    rules: Callable[..., Rules], fields: str, hinted: str | None
) -> None:
    found = rules("revenium").validate(key(fields))
    if hinted is None:
        assert found == ()
        return
    (told,) = found
    assert (told.severity, told.code) == ("warning", "least-privilege")
    assert f'a `write` key with "{hinted}" in its words' in told.summary
    assert "`metering-only` (rev_mk_)" in told.detail
    assert DOCS in told.detail


def test_a_name_changes_in_place_and_a_kind_needs_a_new_key(rules: Callable[..., Rules]) -> None:
    it = rules("revenium")
    it.apply(key("kind: write, name: Server"))
    (before,) = it.live().values()
    (renamed,) = it.plan(key("kind: write, name: Tools")).changes
    assert (renamed.action, renamed.key_id) == ("update", before.id)
    assert "take a new name in place" in renamed.reason
    it.apply(key("kind: write, name: Tools"))
    (after,) = it.live().values()
    assert (after.id, after.spec.name) == (before.id, "Tools")
    (other,) = it.plan(key("kind: read-only, name: Tools")).changes
    assert other.action == "replace"
    assert f"cannot change kind, so a new key replaces it ({DOCS})" in other.reason
    it.apply(key("kind: read-only, name: Tools"))
    (new,) = it.live().values()
    assert new.id != before.id
    secret = it.world.stored("keys.k")
    assert secret is not None
    assert secret.reveal().startswith("rev_rk_")
    refused = it.vendor.call("PATCH", f"/v1/keys/{new.id}", {"kind": "write"})
    assert (refused.status_code, code_of(refused)) == (422, "immutable_field")


def test_a_listing_shows_the_last_four_the_expiry_the_creator_and_the_date(
    rules: Callable[..., Rules],
) -> None:
    it = rules("revenium")
    it.apply(key("kind: read-only"))
    (shown,) = it.vendor.listed()
    secret = it.world.stored("keys.k")
    assert secret is not None
    assert secret.reveal().endswith(shown["last_four"])
    assert len(shown["last_four"]) == 4
    assert {"expires_at", "creator", "created_at"} <= shown.keys()
    assert shown["start"] is None


@pytest.mark.parametrize(
    ("kind", "method", "path", "status"),
    [
        ("metering-only", "POST", "/meter/v2/events", 201),
        ("metering-only", "GET", "/profitstream/v2/api/users/me", 403),
        ("read-only", "GET", "/profitstream/v2/api/users/me", 200),
        ("read-only", "POST", "/meter/v2/events", 403),
        ("write", "POST", "/meter/v2/events", 201),
        ("write", "GET", "/profitstream/v2/api/users/me", 200),
    ],
)
def test_what_a_stored_key_may_do_and_403_after_its_end(
    rules: Callable[..., Rules], kind: str, method: str, path: str, status: int
) -> None:
    it = rules("revenium")
    it.apply(key(f"kind: {kind}"))
    secret = it.world.stored("keys.k")
    assert secret is not None
    body: Any = {} if method == "POST" else None
    assert it.vendor.call(method, path, body, key=secret.reveal()).status_code == status
    it.apply("keys: {}\n")
    refused = it.vendor.call(method, path, body, key=secret.reveal())
    assert (refused.status_code, code_of(refused)) == (403, "forbidden")
