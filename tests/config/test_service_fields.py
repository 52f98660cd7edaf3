"""Options of services, and `stale_after`: everything wrong with them is told offline, each in its place."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from keyform.cli.main import run
from keyform.config import Config
from keyform.config.service_fields import FOREVER
from keyform.diagnostics import Diagnostic
from keyform.errors import ConfigError
from keyform.registry import load_config
from tests.world import START, MovedClock

PROFILE = """\
version: 1
title: Acme
fields: [name]
options:
  team: {required: true, description: the team of the keys}
  region: {choices: [eu, us], default: eu}
  seats: {type: number, default: 3}
  strict: {type: boolean}
operations:
  create: {backing: documented, path: "/{options.team}", body: {name: "{name}"}, id: id, secret: secret}
  revoke: {backing: documented, path: "/{id}"}
"""


def reachable(services: str) -> str:
    """With an endpoint for those that would need one."""
    needs = r"(type: (?:millimetric|revenium|revkeen|\./acme\.yaml)(?!.*(?:assisted|endpiont|endpoint)).*)\}$"
    return re.sub(needs, r'\1, endpoint: "http://localhost:1"}', services, flags=re.MULTILINE)


def load(folder: Path, services: str) -> Config:
    if "acme" in services:
        (folder / "acme.yaml").write_text(PROFILE)
    (folder / "keyform.yaml").write_text(f"version: 1\nservices:\n{reachable(services)}")
    return load_config(folder, MovedClock(START), offline=True)


def faults(folder: Path, services: str) -> list[Diagnostic]:
    with pytest.raises(ConfigError) as refused:
        load(folder, services)
    return [found for found in refused.value.diagnostics if found.severity == "error"]


@pytest.mark.parametrize(
    ("service", "code", "at", "summary", "detail"),
    [
        ("type: millimetric, plan: gold", "bad-value", "gold", "`plan` of service `a` cannot be", "business"),
        ("type: millimetric, plan: bussiness", "bad-value", "buss", "cannot be", "Did you mean `business`?"),
        ("type: millimetric, paln: pro", "unknown-field", "paln", "unknown field", "Did you mean `plan`?"),
        ("type: millimetric, endpiont: x", "unknown-field", "endp", "field `endpiont`", "mean `endpoint`?"),
        ("type: millimetric, colour: red", "unknown-field", "colour", "field `colour`", "insecure, mode"),
        ("type: millimetric, plan: 3", "wrong-type", "3", "must be text, not a number", 'in quotes: "3"'),
        ("type: millimetric, plan: [pro]", "wrong-type", "plan", "must be text, not a list", "single value"),
        (
            "type: millimetric, plan: null",
            "wrong-type",
            "null",
            "must be text, not empty",
            "leave the field out",
        ),
        (
            "type: embedded, path: {at: x}",
            "wrong-type",
            "path",
            "must be text, not a mapping",
            "single value",
        ),
        ('type: embedded, insecure: "yes"', "wrong-type", '"yes', "must be `true` or `false`", "quotes"),
        ("type: unkey", "missing-field", "a:", "service `a` has no `api_id`", "the id of the Unkey API"),
        ('type: unkey, api_id: ""', "missing-field", '""', "service `a` has no `api_id`", "Add `api_id`"),
        ("type: unkey, mode: assisted", "missing-field", "a:", "has no `api_id`", "Add `api_id`"),
        ("type: revkeen, auth: basic", "bad-value", "basic", "`auth` of service `a` cannot be", "bearer"),
        ("type: ./acme.yaml, team: x, region: uk", "bad-value", "uk", "cannot be `uk`", "us"),
        ('type: ./acme.yaml, team: x, seats: "3"', "wrong-type", '"3', "a whole number", "without quotes"),
        ("type: ./acme.yaml, team: x, strict: 1", "wrong-type", "1", "must be `true` or `false`", "true"),
        ("type: revenium, stale_after: 90d", "unsupported-field", "stale", "`stale_after` needs", "Remove"),
        (
            "type: millimetric, mode: assisted, stale_after: 9d",
            "unsupported-field",
            "stale",
            "needs",
            "Remove",
        ),
        ("type: millimetric, stale_after: 90", "wrong-type", "90", "must be text", "`90d`"),
        ("type: millimetric, stale_after: x", "bad-duration", "x", "`x` is not a duration", "90d"),
        ("type: millimetric, stale_aftre: 1d", "unknown-field", "stale", "`stale_aftre`", "`stale_after`"),
    ],
)
def test_a_wrong_field_of_a_service_is_told_in_its_place(
    tmp_path: Path, service: str, code: str, at: str, summary: str, detail: str
) -> None:
    line = reachable(f"  a: {{{service}}}")
    (found,) = faults(tmp_path, line + "\n")
    assert found.location is not None
    assert (found.code, found.location.line) == (code, 3)
    assert line[found.location.column - 1 :].startswith(at)
    assert summary in found.summary
    assert detail in found.detail
    assert found.snippet == line


def test_all_of_them_are_told_at_once_with_everything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    services = "  a: {type: millimetric, plan: gold, paln: pro}\n  b: {type: unkey}\n  c: {type: nothing}\n"
    assert [found.code for found in faults(tmp_path, services)] == [
        "bad-value", "unknown-field", "missing-field", "unknown-type",
    ]  # fmt: skip
    for verb in ("validate", "plan"):
        assert run(["-C", str(tmp_path), verb], clock=MovedClock(START)) == 1
        said = capsys.readouterr().err
        assert f"{tmp_path}/keyform.yaml:3:32" in said
        assert "Known: business, free and pro." in said
        assert "4 errors." in said


def test_sound_options_arrive_and_an_unset_variable_is_no_wrong_value(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        '  a: {type: millimetric, plan: "${env:NO_SUCH_VARIABLE_HERE}", stale_after: 90d}\n'
        '  b: {type: unkey, api_id: "${env:NO_SUCH_VARIABLE_HERE}", stale_after: never}\n'
        "  c: {type: ./acme.yaml, team: x, seats: 5, strict: true}\n",
    )
    assert {diagnostic.code for diagnostic in config.diagnostics} == {"unset-environment"}
    assert dict(config.services["c"].options) == {"team": "x", "seats": 5, "strict": True}
    assert [service.stale_after for service in config.services.values()] == [
        timedelta(days=90),
        FOREVER,
        None,
    ]


KEY = "keys: {k: {service: a, kind: %s, secret: k, rotation: {every: 30d, revoke_when_unused_for: 7d}}}\n"


def test_waiting_for_disuse_needs_a_service_that_shows_last_use(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, "  a: {type: revenium}\n" + KEY % "read-only")
    assert (found.code, found.address) == ("unsupported-field", "keys.k")
    assert "`revoke_when_unused_for` needs to know when a key was last used" in found.summary
    assert load(tmp_path, "  a: {type: embedded}\n" + KEY % "secret").desired.keys[0].rotation is not None


def test_a_default_that_waits_for_disuse_is_for_services_that_show_it(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "  a: {type: revenium}\n  b: {type: embedded}\n"
        "defaults: {rotation: {every: 30d, revoke_when_unused_for: 7d}}\n"
        "keys:\n  one: {service: a, kind: read-only, secret: one}\n"
        "  two: {service: b, kind: secret, secret: two}\n",
    )
    waits = [key.rotation and key.rotation.revoke_when_unused_for for key in config.desired.keys]
    assert waits == [None, timedelta(days=7)]


def test_an_end_of_the_waiting_is_for_keys_that_wait(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "  a: {type: revenium}\n  b: {type: embedded}\n"
        "defaults: {rotation: {every: 30d, revoke_when_unused_for: 7d, revoke_within: 14d}}\n"
        "keys:\n  one: {service: a, kind: read-only, secret: one}\n"
        "  two: {service: b, kind: secret, secret: two}\n"
        "  three: {service: b, kind: secret, secret: three, rotation: {revoke_when_unused_for: never}}\n",
    )
    ends = [key.rotation and key.rotation.revoke_within for key in config.desired.keys]
    assert ends == [None, timedelta(days=14), None]
    own = KEY.replace("7d", "7d, revoke_within: 9d") % "read-only"
    both = {found.summary.split()[0] for found in faults(tmp_path, "  a: {type: revenium}\n" + own)}
    assert both == {"`revoke_when_unused_for`", "`revoke_within`"}


@pytest.mark.parametrize(
    ("service", "why"),
    [
        ("type: millimetric", "Millimetric documents no call for create, get_origins, list"),
        ("type: devtune, plan: plus", "DevTune documents no call for create"),
        ("type: unkey, api_id: api_x, mode: contract", "Unkey documents no call for create"),
        ("type: ./acme.yaml, team: x", "has no endpoint"),
    ],
)
def test_a_service_that_needs_an_endpoint_says_so_offline(tmp_path: Path, service: str, why: str) -> None:
    if "acme" in service:
        (tmp_path / "acme.yaml").write_text(PROFILE)
    text = f"version: 1\nservices:\n  a: {{{service}}}\n  b: {{{service}}}\n"
    (tmp_path / "keyform.yaml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(tmp_path, MovedClock(START), offline=True)
    found = [d for d in refused.value.diagnostics if d.severity == "error"]
    assert [(d.code, d.location and d.location.line) for d in found] == [
        ("missing-field", 3),
        ("missing-field", 4),
    ]
    assert why in found[0].summary
    assert "`endpoint: https://…`" in found[0].detail


@pytest.mark.parametrize(
    "service",
    [
        "type: embedded",
        "type: millimetric, mode: assisted",
        "type: climeter",
        "type: unkey, api_id: api_x",
        'type: millimetric, endpoint: "${env:NO_SUCH_VARIABLE_HERE}"',
        'type: millimetric, mode: "${env:NO_SUCH_VARIABLE_HERE}"',
    ],
)
def test_a_service_that_needs_none_or_whose_endpoint_is_not_known_yet_is_sound(
    tmp_path: Path, service: str
) -> None:
    (tmp_path / "keyform.yaml").write_text(f"version: 1\nservices:\n  a: {{{service}}}\n")
    assert "a" in load_config(tmp_path, MovedClock(START), offline=True).services
