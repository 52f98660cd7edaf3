"""Audits as text and JSON: complete, placed, and inert whatever names they hold."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import jsonschema
import pytest

from keyform.acceptance import Acceptance
from keyform.cli.showing import as_json, pretty
from keyform.diagnostics import note, warning
from keyform.engine.audit import RULES, Audit, Finding
from keyform.engine.audit.rules import NO_ROTATION, UNMANAGED, WILDCARD_ORIGIN, Rule
from keyform.model import Location, SourceRef
from keyform.report.audit import audit_json, audit_text, rules_json, rules_markdown, rules_text
from keyform.report.style import Style
from keyform.schemas_location import schema_text
from tests.engine.scene import NOW

from .hostile import HOSTILE

SCHEMA: dict[str, Any] = json.loads(schema_text("audit.schema.json"))
SOURCE = SourceRef("keyform.yaml", ("keys", "a"))
ACCEPTED = Acceptance("KF005", "the vendor's app", NOW + timedelta(days=1), "keys.a", source=SOURCE)


def finding(rule: Rule = NO_ROTATION, message: str = "nothing rotates it", **parts: Any) -> Finding:
    known: dict[str, Any] = {"address": "keys.a", "service": "toy", "source": SOURCE}
    return Finding(rule, message, rule.severity, **{**known, **parts})


def unmanaged(name: str) -> Finding:
    return finding(UNMANAGED, f'id-x ("{name}") is active', address=None, key_id=name)


def locate(source: SourceRef) -> Location:
    return Location(source.file, 7, 3)


def text(*findings: Finding, width: int = 92) -> str:
    return audit_text(Audit(NOW, findings), locate, Style(width=width))


def as_value(*findings: Finding, **parts: Any) -> dict[str, Any]:
    audit = Audit(NOW, findings, **parts)
    value: dict[str, Any] = audit_json(audit, as_json(audit.diagnostics), locate)
    jsonschema.validate(value, SCHEMA)
    return value


def test_findings_stand_by_severity_and_rule_with_their_places() -> None:
    shown = text(finding(WILDCARD_ORIGIN, "its origin"), finding(), finding(address="keys.b"))
    assert shown == (
        "Errors:\n\n"
        "  KF012 wildcard-origin\n"
        "  Whoever gets a page onto any host that it covers, a forgotten subdomain for one, can use\n"
        "  the key.\n"
        "    keys.a (keyform.yaml:7:3)\n"
        "      its origin\n"
        "  Write out the hosts that need it.\n\n"
        "Warnings:\n\n"
        "  KF005 no-rotation\n"
        "  Whoever once saw its secret keeps it, and nobody has tried a rotation on the day it must\n"
        "  be replaced.\n"
        "    keys.a (keyform.yaml:7:3)\n"
        "      nothing rotates it\n"
        "    keys.b (keyform.yaml:7:3)\n"
        "      nothing rotates it\n"
        "  Declare `rotation` with `every` or `before_expiry`, and an `overlap`; `defaults.rotation`\n"
        "  does it for all keys.\n\n"
        "1 error, 2 warnings.\n"
    )


def test_accepted_findings_are_told_apart_with_reason_and_end() -> None:
    shown = text(finding(accepted=ACCEPTED))
    assert "Warnings" not in shown
    assert "KF005 no-rotation of keys.a until 2026-11-21T12:00:00Z: the vendor's app\n" in shown
    assert shown.endswith("Nothing was found, 1 accepted.\n")


def test_nothing_found_is_said_and_what_was_not_seen_is_not_hidden() -> None:
    assert text() == "Nothing was found.\n"
    blind = Audit(NOW, (), (warning("incomplete-listing", "toy could not be read whole"),))
    shown = audit_text(blind, locate, Style())
    assert shown == "Nothing was found; not everything could be looked at.\n"


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_drives_a_terminal(name: str) -> None:
    found = unmanaged(name), finding(accepted=Acceptance("KF005", name, NOW, "keys.a"))
    shown = text(*found)
    lines = [line for line in shown.splitlines() if "id-x" in line or "KF005" in line]
    assert len(lines) >= 2
    assert all(line.isprintable() or "\u3000" in line for line in shown.split("\n"))


@pytest.mark.parametrize("name", HOSTILE)
def test_json_keeps_a_name_and_writes_nothing_that_a_terminal_obeys(name: str) -> None:
    value = as_value(unmanaged(name))
    written = pretty(value)
    assert json.loads(written) == value and value["findings"][0]["key_id"] == name
    assert all(line.isprintable() or "\u3000" in line for line in written.split("\n"))


def test_the_json_form() -> None:
    told = (note("no-listing", "nothing shows keyform the keys there"),)
    value = as_value(finding(about="x"), finding(accepted=ACCEPTED), diagnostics=told)
    assert (value["format"], value["version"], value["complete"]) == ("keyform-audit", 1, True)
    assert value["summary"] == {"error": 0, "warning": 1, "note": 0, "accepted": 1}
    assert value["diagnostics"][0]["code"] == "no-listing"
    assert value["findings"][0]["location"] == {"file": "keyform.yaml", "line": 7, "column": 3}
    assert "accepted" not in value["findings"][0]
    assert value["findings"][1]["accepted"] == {
        "reason": "the vendor's app",
        "until": "2026-11-21T12:00:00Z",
        "location": {"file": "keyform.yaml", "line": 7, "column": 3},
    }


def test_the_schema_is_valid_and_closed() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for part in (SCHEMA, SCHEMA["$defs"]["finding"], SCHEMA["$defs"]["location"]):
        assert part["additionalProperties"] is False
    assert SCHEMA["$defs"]["finding"]["properties"]["rule"]["enum"] == [rule.code for rule in RULES]


def test_what_can_be_accepted_is_what_the_configuration_takes() -> None:
    config = json.loads(schema_text("config.schema.json"))
    taken = config["properties"]["accept"]["items"]["properties"]["rule"]["enum"]
    assert taken == [rule.code for rule in RULES if rule.acceptable]


def test_every_rule_is_listed_in_every_form() -> None:
    shown, table = rules_text(Style()), rules_markdown()
    for rule in RULES:
        assert f"{rule.code} {rule.name}" in shown and f"| `{rule.code}` {rule.name} |" in table
    assert [entry["code"] for entry in rules_json()] == [rule.code for rule in RULES]
