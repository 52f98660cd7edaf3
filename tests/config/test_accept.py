"""The section ``accept``: which findings of the audit are lived with, why, and until when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from keyform.acceptance import Acceptance
from keyform.config import Config
from keyform.diagnostics import Diagnostic

Loader = Callable[..., Config]
Refuser = Callable[..., tuple[Diagnostic, ...]]

HEAD = """version: 1
services: {app: {type: embedded}}
projects: {web: {service: app}}
keys:
  k: {service: app, kind: read, environment: live, secret: k}
  r: {service: app, kind: read, environment: live, secret: "${each.key}", for_each: [x, y]}
"""
"""Six lines; the texts below start at line 7."""


def parts(entry: Acceptance) -> tuple[Any, ...]:
    return entry.rule, entry.address, entry.service, entry.key_id


def test_every_form_of_an_entry(config: Loader) -> None:
    loaded = config(
        HEAD
        + """accept:
  - {rule: KF004, key: k, reason: "the vendor's app needs it", until: 2027-03-01}
  - {rule: KF005, key: keys.r, reason: all of them, until: "2027-03-01T12:00:00+01:00"}
  - {rule: KF005, key: 'r["x"]', reason: one of them, until: 2027-03-01}
  - {rule: KF014, project: web, reason: developers, until: 2027-03-01}
  - {rule: KF001, service: app, id: key_1, reason: theirs, until: 2027-03-01}
"""
    )
    assert [parts(entry) for entry in loaded.accepted] == [
        ("KF004", "keys.k", None, None),
        ("KF005", "keys.r", None, None),
        ("KF005", 'keys.r["x"]', None, None),
        ("KF014", "projects.web", None, None),
        ("KF001", None, "app", "key_1"),
    ]
    first, second, *_ = loaded.accepted
    assert first.until == datetime(2027, 3, 2, tzinfo=UTC), "a day counts to its end"
    assert second.until == datetime(2027, 3, 1, 11, tzinfo=UTC)
    assert first.source is not None and loaded.locate(first.source)[0].line == 8


def test_entries_of_several_files_are_one_list(config: Loader) -> None:
    entry = "accept: [{rule: KF004, key: k, reason: r, until: 2027-03-01}]\n"
    more = "accept: [{rule: KF005, key: k, reason: r, until: 2027-03-01}]\n"
    loaded = config({"a.yaml": HEAD + entry, "b.yaml": more})
    assert [e.rule for e in loaded.accepted] == ["KF004", "KF005"]
    assert loaded.accepted[1].source is not None and loaded.accepted[1].source.file == "b.yaml"


def test_an_acceptance_changes_no_plan(config: Loader) -> None:
    entry = "accept: [{rule: KF004, key: k, reason: r, until: 2027-03-01}]\n"
    assert config(HEAD).digest == config(HEAD + entry).digest


def test_one_that_has_run_out_is_no_error(config: Loader) -> None:
    entry = "accept: [{rule: KF004, key: k, reason: r, until: 2020-03-01}]\n"
    assert config(HEAD + entry).accepted[0].until == datetime(2020, 3, 2, tzinfo=UTC)


CASES = {
    "an unknown rule": (
        "rule: kf004, key: k",
        "bad-value",
        "7:17",
        "cannot be `kf004`",
        "Did you mean `KF004`?",
    ),
    "a key that is not declared": ("rule: KF004, key: kk", "undeclared-key", "7:29", "keys.kk", "`k`"),
    "a bad address": ("rule: KF004, key: 'a b'", "bad-address", "7:29", "`a b`", "Write NAME"),
    "a project that is not declared": (
        "rule: KF014, project: wbe",
        "unknown-project",
        "7:33",
        "no project `wbe`",
        "Did you mean `web`?",
    ),
    "a service that is not declared": (
        "rule: KF001, service: ap, id: i",
        "unknown-service",
        "7:33",
        "no service `ap`",
        "Did you mean `app`?",
    ),
    "an id without a service": (
        "rule: KF001, id: i",
        "missing-field",
        "7:10",
        "no `service`",
        "Add the service",
    ),
    "a key with a service": (
        "rule: KF004, key: k, service: app",
        "conflicting-fields",
        "7:32",
        "`key` and `service`",
        "Remove `service`",
    ),
    "nothing that it is about": (
        "rule: KF004",
        "missing-field",
        "7:10",
        "neither `key` nor",
        "Add one of them",
    ),
    "two things that it is about": (
        "rule: KF004, key: k, project: web",
        "conflicting-fields",
        "7:10",
        "`key` and `project`",
        "Keep one",
    ),
    "a rule about acceptances": ("rule: KF022, key: k", "bad-value", "7:17", "cannot be `KF022`", ""),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_wrong_is_told_where_it_stands(refused: Refuser, case: tuple[str, ...]) -> None:
    fields, code, where, summary, detail = case
    (found,) = refused(HEAD + f"accept: [{{{fields}, reason: r, until: 2027-03-01}}]\n")
    assert (found.code, f"{found.location.line}:{found.location.column}" if found.location else "") == (
        code,
        where,
    )
    assert summary in found.summary and detail in found.detail


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ("reason: r", "missing-field", "no `until`"),
        ("until: 2027-03-01", "missing-field", "no `reason`"),
        ("reason: ' ', until: 2027-03-01", "bad-value", "the reason is empty"),
        ("reason: r, until: soon", "bad-time", "`soon` is not a time"),
        ("reason: r, until: 2027-02-30", "bad-time", "no day `2027-02-30`"),
        ('reason: r, until: "2027-03-01T12:00:00"', "bad-time", "no time zone"),
        ("reason: r, until: 9999-01-01", "bad-time", "too far away"),
        ("reason: r, until: 90d", "bad-time", "`90d` is not a time"),
        ("reason: r, until: 2027-03-01, note: n", "unknown-field", "unknown field `note`"),
    ],
)
def test_a_reason_and_an_end_are_needed(refused: Refuser, fields: str, code: str, words: str) -> None:
    (found,) = refused(HEAD + f"accept: [{{rule: KF004, key: k, {fields}}}]\n")
    assert found.code == code and words in found.summary


def test_the_same_is_not_accepted_twice(refused: Refuser) -> None:
    entry = "  - {rule: KF004, key: k, reason: r, until: 2027-03-01}\n"
    (found,) = refused(HEAD + "accept:\n" + entry + entry)
    assert found.code == "duplicate-change" and "KF004" in found.summary and found.also


def test_errors_of_acceptances_come_with_all_others(refused: Refuser) -> None:
    text = HEAD.replace("kind: read", "kind: raed", 1)
    found = refused(text + "accept: [{rule: KF999, key: k, reason: r, until: 2027-03-01}]\n")
    assert sorted(d.code for d in found) == ["bad-value", "unknown-kind"]
