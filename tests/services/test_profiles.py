"""Profiles from files, and the built-in ones against the schema and against the service itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml

from keyform.engine.reach import compare
from keyform.engine.turns import Reach, in_words
from keyform.errors import ConfigError
from keyform.model import SPEC_FIELDS, KeySpec
from keyform.profile import ExpiryRule, Fact, Kind, PowerRule
from keyform.reference.catalogue import CONTRACT
from keyform.schemas_location import schema_text
from keyform.services import profiles
from keyform.services.profiles import known_types, load_profile

SCHEMA = yaml.safe_load(schema_text("profile.schema.json"))


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", known_types())
def test_a_built_in_profile_keeps_to_the_schema_and_agrees_with_itself(name: str) -> None:
    file = Path(profiles.__file__).parent / "profiles" / f"{name}.yaml"
    jsonschema.validate(yaml.safe_load(file.read_text(encoding="utf-8")), SCHEMA)
    profile = load_profile(name, Path())
    assert profile is not None
    assert profile.type == name
    assert profile.mutable <= profile.fields
    assert profile.default_kind is None or profile.default_kind in profile.kinds
    assert profile.default_environment is None or profile.default_environment in profile.environments
    for kind in profile.kinds.values():
        if kind.scopes is not None:
            assert set(kind.default_scopes) <= set(kind.scopes) <= set(profile.scopes or ())
    assert all(fact.source for fact in profile.facts)


def test_the_embedded_profile_knows_what_the_service_enforces() -> None:
    profile = load_profile("embedded", Path())
    assert profile is not None
    assert set(profile.kinds) == set(CONTRACT.kinds)
    for name, rules in CONTRACT.kinds.items():
        kind = profile.kinds[name]
        assert kind.prefix == rules.prefix
        assert set(kind.scopes or ()) == rules.scopes
        assert (kind.project == "forbidden") == (not rules.in_project)
        assert (kind.origins == "required") == rules.needs_origin
    assert set(profile.environments) == CONTRACT.environments
    assert set(profile.scopes or ()) == CONTRACT.scopes
    assert profile.shown == set(SPEC_FIELDS) - {"credits"}
    assert profile.shown - profile.mutable == {"kind", "environment", "project"}
    assert {kind.name: kind.default_scopes for kind in profile.kinds.values()} == {
        "public": ("events:write",),
        "secret": ("events:write",),
        "read": ("events:read", "reports:read"),
        "account": ("projects:read",),
    }
    assert set(profile.operations.values()) == {"contract"}
    assert profile.lists
    assert profile.marks
    assert profile.proves


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text(
        """
version: 1
title: Acme
kinds: {basic: {prefix: acme_}}
fields: [name, expires_in]
mutable: [name]
expiry: {windows: [30d, 1y]}
last_used: {shown: true, lag: 5m}
operations: {create: {backing: contract}, update: {backing: contract}, revoke: {backing: contract}}
facts: [{rule: Names are free., source: acme.example/docs}]
"""
    )
    profile = load_profile("./acme.yaml", tmp_path)
    assert profile is not None
    assert profile.type == "./acme.yaml"
    assert profile.kinds == {"basic": Kind("basic", prefix="acme_")}
    assert profile.expiry == ExpiryRule(windows=(timedelta(days=30), timedelta(days=365)))
    assert profile.last_used_lag == timedelta(minutes=5)
    assert profile.facts == (Fact("Names are free.", "acme.example/docs"),)
    assert profile.scopes is None
    assert not profile.lists
    assert not profile.marks
    assert not profile.proves


def test_a_profile_of_ones_own_says_what_lets_a_key_do_more(tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text(
        """
version: 1
title: Acme
kinds: {reader: {prefix: r_, can: [read]}, owner: {prefix: o_, can: [read, write], no_project: all}, odd: {}}
default_kind: reader
environments: [trial, real]
privilege: {production: [real], scope_form: "{verb} on {resource}", wildcards: true, dangerous: "write.*"}
fields: [kind, environment, scopes]
operations: {create: {backing: contract}, revoke: {backing: contract}}
"""
    )
    profile = load_profile("./acme.yaml", tmp_path)
    assert profile is not None
    assert profile.power == PowerRule(("real",), "{verb} on {resource}", True, "write.*")
    assert {name: (kind.can, kind.unbound_is_all) for name, kind in profile.kinds.items()} == {
        "reader": (("read",), False),
        "owner": (("read", "write"), True),
        "odd": (None, False),
    }
    assert [profile.power.is_dangerous(scope) for scope in ("write on x", "rewrite")] == [True, False]
    have = Reach(KeySpec("reader", "trial", scopes=("read on a",)))
    want = Reach(KeySpec("reader", "real", scopes=("read on a", "write on *", "write on b")))
    assert in_words(compare(have, want, profile, datetime(2027, 1, 1, tzinfo=UTC))) == (
        "powerful: can now do everything that write on * stands for",
        "powerful: can now write b (write on b)",
        "powerful: was trial, is real now",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("version: 2\ntitle: x\nfields: []\noperations: {}", "version"),
        ("title: [unclosed", "is not a profile"),
        ("version: 1\ntitle: x\nfields: [colour]\noperations: {}", "fields.0"),
        ("version: 1\ntitle: x\nfields: []\noperations: {}\non: 1", "`on` is ambiguous"),
        ("version: 1\ntitle: x\nfields: []\noperations: {}\nexpiry: {windows: [90]}", "expiry.windows.0"),
    ],
)
def test_a_file_that_is_no_profile_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "acme.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_profile("./acme.yaml", tmp_path)


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text("version: 2\ntitle: ''\nfields: [colour]\ncolour: red\n")
    with pytest.raises(ConfigError) as caught:
        load_profile("./acme.yaml", tmp_path)
    assert len(caught.value.diagnostics) == 5


def test_a_file_that_is_not_there_lists_the_types_that_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read") as caught:
        load_profile("./acme.yaml", tmp_path)
    assert "embedded" in caught.value.diagnostics[0].detail


def test_credits_are_no_part_of_the_contract() -> None:
    profile = load_profile("unkey", Path())
    assert profile is not None
    under = profile.under("contract")
    for fields in (under.fields, under.mutable, under.shown):
        assert "credits" not in fields
        assert "rate_limit" in fields


def test_an_unknown_type_is_none(tmp_path: Path) -> None:
    assert load_profile("embeded", tmp_path) is None
    assert load_profile("", tmp_path) is None
    assert "embedded" in known_types()
