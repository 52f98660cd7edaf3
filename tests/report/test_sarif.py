"""SARIF: valid by the published schema, with the parts that code hosts go by, and no markup of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from keyform.cli.showing import pretty
from keyform.diagnostics import error, note, warning
from keyform.engine.audit import RULES, Audit, Finding
from keyform.engine.audit.rules import SEVERITIES
from keyform.report.sarif import FINGERPRINT, LINE_HASH, audit_sarif
from tests.engine.scene import NOW
from tests.engine.test_audit import TRIPS, audited

from .hostile import HOSTILE
from .test_audit import ACCEPTED, finding, locate, unmanaged

SCHEMA = json.loads((Path(__file__).parents[1] / "data/sarif/sarif-2.1.0-rtm.5.json").read_bytes())
VALIDATOR = jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


def log_of(audit: Audit) -> dict[str, Any]:
    log = audit_sarif(audit, audit.diagnostics, "1.2.3", locate, lambda file: file.replace(" ", "%20"))
    written: dict[str, Any] = json.loads(pretty(log))
    VALIDATOR.validate(written)
    return written


def run_of(*findings: Finding, **parts: Any) -> dict[str, Any]:
    (run,) = log_of(Audit(NOW, findings, **parts))["runs"]
    return dict(run)


@pytest.mark.parametrize("case", TRIPS, ids=lambda case: f"{case[0]} {case[1]}")
def test_what_each_rule_finds_is_valid(case: tuple[str, str, dict[str, Any], str]) -> None:
    (run,) = log_of(audited(case[2]))["runs"]
    assert case[0] in [result["ruleId"] for result in run["results"]]


def test_the_schema_would_refuse_a_mistake() -> None:
    log = audit_sarif(Audit(NOW, (finding(),)), (), "1", locate, str)
    log["runs"][0]["results"][0]["level"] = "fatal"
    assert not VALIDATOR.is_valid(log)


def test_every_rule_is_described() -> None:
    driver = run_of()["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("keyform", "1.2.3")
    assert [rule["id"] for rule in driver["rules"]] == [rule.code for rule in RULES]
    for rule in driver["rules"]:
        assert rule["defaultConfiguration"]["level"] in SEVERITIES
        assert rule["shortDescription"]["text"] and rule["fullDescription"]["text"] and rule["help"]["text"]


def test_a_result_points_at_the_line_and_stays_the_same_when_that_moves() -> None:
    run = run_of(finding(), unmanaged("Old CI"))
    one, other = run["results"]
    assert run["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] == one["ruleId"] == "KF005"
    assert (one["level"], one["message"]["text"]) == ("warning", "keys.a: nothing rotates it")
    (place,) = one["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "keyform.yaml"},
        "region": {"startLine": 7, "startColumn": 3},
    }
    assert place["logicalLocations"] == [{"fullyQualifiedName": "keys.a"}]
    digest = finding().fingerprint
    prints = {FINGERPRINT: digest, LINE_HASH: digest.removeprefix("sha256:") + ":1"}
    assert one["partialFingerprints"] == prints
    assert all(other["partialFingerprints"][name] != value for name, value in prints.items())


def test_what_is_accepted_is_suppressed_with_the_reason_and_its_place() -> None:
    accepted, counted = run_of(finding(accepted=ACCEPTED), finding(address="keys.b"))["results"]
    (entry,) = accepted["suppressions"]
    assert (entry["kind"], entry["status"]) == ("inSource", "accepted")
    assert entry["justification"] == "the vendor's app (until 2026-11-21T12:00:00Z)"
    assert entry["location"]["physicalLocation"]["region"]["startLine"] == 7
    assert counted["suppressions"] == []


def test_what_could_not_be_looked_at_is_a_notification() -> None:
    (run,) = run_of()["invocations"]
    assert (run["executionSuccessful"], run["toolExecutionNotifications"]) == (True, [])
    told = (error("e", "s"), warning("incomplete-listing", "toy could not be read"), note("n", "s", "d"))
    (run,) = run_of(diagnostics=told)["invocations"]
    assert run["executionSuccessful"] is False
    assert [(one["level"], one["descriptor"]["id"]) for one in run["toolExecutionNotifications"]] == [
        ("error", "e"),
        ("warning", "incomplete-listing"),
        ("note", "n"),
    ]


def test_a_finding_without_a_place_is_valid_too() -> None:
    (result,) = run_of(finding(source=None))["results"]
    assert result["locations"] == [{"logicalLocations": [{"fullyQualifiedName": "keys.a"}]}]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_a_control_a_link_or_a_placeholder(name: str) -> None:
    run = run_of(unmanaged(name + " {0}"), finding(message=name))
    for result in run["results"]:
        said = result["message"]["text"]
        assert said.isprintable() or "\u3000" in said
        assert "](" not in said.replace("\\](", "") and "{0}" not in said.replace("{{0}}", "")
