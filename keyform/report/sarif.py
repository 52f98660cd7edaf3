"""An audit as SARIF 2.1.0, which code hosts show beside the line.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html; the numbers below are its sections.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from keyform.diagnostics import Diagnostic
from keyform.engine.audit import RULES, Audit, Finding, Rule
from keyform.model import Location, SourceRef, instant
from keyform.report.safe import visible

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "keyformFinding/v1"
LINE_HASH = "primaryLocationLineHash"
"""The one fingerprint that GitHub's code scanning goes by (its documentation, SARIF support). Left to its own
hash of the line, it would take all unmanaged keys of a service for one."""

_INDEX = {rule.code: index for index, rule in enumerate(RULES)}
_PLACEHOLDER = re.compile(r"\{(\d+)\}")

Locate = Callable[[SourceRef], Location]
Uri = Callable[[str], str]
"""What a file of a location is called in SARIF: a relative reference inside of the folder where the command
was given, which is what code hosts take for the root of the repository, else a URI."""


def audit_sarif(
    audit: Audit, told: Iterable[Diagnostic], version: str, locate: Locate, uri_of: Uri
) -> dict[str, Any]:
    """The log. ``told`` become notifications; ``version`` is keyform's."""
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver(version)},
                "invocations": [
                    {
                        "executionSuccessful": audit.complete,
                        "endTimeUtc": instant(audit.at),
                        "toolExecutionNotifications": [_notification(one) for one in told],
                    }
                ],
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, locate, uri_of) for finding in audit.findings],
            }
        ],
    }


def _driver(version: str) -> dict[str, Any]:
    return {"name": "keyform", "version": version, "rules": [_rule(rule) for rule in RULES]}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": _plain(rule.name.replace("-", " ").capitalize())},
        "fullDescription": {"text": _plain(f"Finds {rule.finds}. {rule.why}")},
        "help": {"text": _plain(rule.do)},
        "defaultConfiguration": {"level": rule.severity},
        "properties": {"tags": ["security", "api-keys"]},
    }


def _result(finding: Finding, locate: Locate, uri_of: Uri) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule.code,
        "ruleIndex": _INDEX[finding.rule.code],
        "level": finding.severity,
        "message": {"text": _plain(f"{finding.subject}: {finding.message}")},
        "partialFingerprints": {
            FINGERPRINT: finding.fingerprint,
            LINE_HASH: f"{finding.fingerprint.removeprefix('sha256:')}:1",
        },
        # Empty says that it is not suppressed; left out would say that nobody knows (3.27.23).
        "suppressions": [],
    }
    logical = {"logicalLocations": [{"fullyQualifiedName": visible(finding.subject)}]}
    physical = _physical(finding.source, locate, uri_of)
    result["locations"] = [{**physical, **logical}]
    if (entry := finding.accepted) is not None:
        result["suppressions"] = [
            {
                "kind": "inSource",
                "status": "accepted",
                "justification": _plain(f"{entry.reason} (until {instant(entry.until)})"),
                **({"location": place} if (place := _physical(entry.source, locate, uri_of)) else {}),
            }
        ]
    return result


def _physical(source: SourceRef | None, locate: Locate, uri_of: Uri) -> dict[str, Any]:
    if source is None:
        return {}
    place = locate(source)
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": uri_of(place.file)},
            "region": {"startLine": place.line, "startColumn": place.column},
        }
    }


def _notification(diagnostic: Diagnostic) -> dict[str, Any]:
    text = f"{diagnostic.summary}. {diagnostic.explanation}".strip()
    return {
        "level": diagnostic.severity,
        "message": {"text": _plain(text)},
        "descriptor": {"id": diagnostic.code},
    }


def _plain(text: str) -> str:
    """A text as a SARIF message that says just that: a plain text message may hold links, `[text](target)`
    (3.11.6), and placeholders, `{0}` (3.11.5), which names from elsewhere must not become."""
    return _PLACEHOLDER.sub(r"{{\1}}", visible(text).replace("](", "\\]("))
