"""Findings and acceptances side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from keyform.acceptance import Acceptance
from keyform.engine.audit.finding import Finding
from keyform.engine.audit.rules import RUN_OUT, UNUSED, Rule
from keyform.model import instant


def settle(
    findings: Sequence[Finding],
    acceptances: Sequence[Acceptance],
    now: datetime,
    could_be_seen: Callable[[Acceptance], bool],
) -> Iterator[Finding]:
    """The findings, those that are accepted marked, and what is wrong with the acceptances themselves.
    ``could_be_seen``: whether the audit would have found what an acceptance is about."""
    used: set[Acceptance] = set()
    for finding in findings:
        found = [entry for entry in acceptances if _covers(entry, finding)]
        used.update(found)
        good = next((entry for entry in found if entry.until > now), None)
        yield replace(finding, accepted=good) if good is not None else finding
    for entry in acceptances:
        if entry.until <= now:
            then = "and the finding counts again" if entry in used else "and nothing of it was found any more"
            message = f"{entry.rule} of {entry.subject} was accepted until {instant(entry.until)}, {then}"
            yield _about(entry, RUN_OUT, message)
        elif entry not in used and could_be_seen(entry):
            yield _about(entry, UNUSED, f"{entry.rule} of {entry.subject} is accepted, and was not found")


def _covers(entry: Acceptance, finding: Finding) -> bool:
    return entry.covers(finding.rule.code, finding.address, finding.service, finding.key_id)


def _about(entry: Acceptance, rule: Rule, message: str) -> Finding:
    return Finding(
        rule,
        message,
        rule.severity,
        entry.address,
        entry.service,
        entry.key_id,
        about=entry.rule,
        source=entry.source,
    )
