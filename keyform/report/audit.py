"""An audit as text and as JSON, and the table of its rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from keyform.engine.audit import RULES, Audit, Finding, Rule
from keyform.model import Location, SourceRef, instant
from keyform.report.safe import visible
from keyform.report.style import Style

FORMAT, VERSION = "keyform-audit", 1

Locate = Callable[[SourceRef], Location]
"""Where a part of the configuration stands, as seen from where the command was given."""

_TITLES = {"error": ("Errors", "red"), "warning": ("Warnings", "yellow"), "note": ("Notes", "cyan")}


def audit_text(audit: Audit, locate: Locate, style: Style) -> str:
    """The open findings by severity and rule, then the accepted ones in a line each, then the counts."""
    out: list[str] = []
    for severity, findings in groupby(audit.outstanding, key=lambda finding: finding.severity):
        title, colour = _TITLES[severity]
        out += [style.paint(f"{title}:", "bold", colour), ""]
        for rule, found in groupby(findings, key=lambda finding: finding.rule):
            out += [*_rule(rule, found, locate, style), ""]
    accepted = [finding for finding in audit.findings if finding.accepted is not None]
    if accepted:
        out += [style.paint("Accepted:", "bold"), ""]
        for finding in accepted:
            out += style.wrapped(_accepted(finding), "  ", "    ")
        out.append("")
    out.append(style.paint(_counts(audit), "bold"))
    return "\n".join(out) + "\n"


def _rule(rule: Rule, findings: Iterable[Finding], locate: Locate, style: Style) -> Iterator[str]:
    yield f"  {style.paint(f'{rule.code} {rule.name}', 'bold')}"
    for line in style.wrapped(rule.why, "  "):
        yield style.paint(line, "dim")
    for finding in findings:
        where = f" ({locate(finding.source)})" if finding.source is not None else ""
        yield f"    {style.paint(visible(finding.subject), 'bold')}{visible(where)}"
        yield from style.wrapped(visible(finding.message), "      ")
    yield from style.wrapped(rule.do, "  ")


def _accepted(finding: Finding) -> str:
    entry = finding.accepted
    until = f" until {instant(entry.until)}: {entry.reason}" if entry is not None else ""
    return visible(f"{finding.rule.code} {finding.rule.name} of {finding.subject}{until}")


def _counts(audit: Audit) -> str:
    summary = audit.summary
    counts = [
        f"{summary[name]} {name}{'' if summary[name] == 1 else 's'}" for name in _TITLES if summary[name]
    ]
    found = ", ".join(counts) if counts else "Nothing was found"
    accepted = f", {summary['accepted']} accepted" if summary["accepted"] else ""
    missing = "" if audit.complete else "; not everything could be looked at"
    return f"{found}{accepted}{missing}."


def audit_json(audit: Audit, told: Iterable[dict[str, Any]], locate: Locate) -> dict[str, Any]:
    """The audit as ``schemas/audit.schema.json`` describes it. ``told``: diagnostics as JSON values."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "audited_at": instant(audit.at),
        "complete": audit.complete,
        "summary": audit.summary,
        "findings": [_finding_json(finding, locate) for finding in audit.findings],
        "diagnostics": list(told),
    }


def _finding_json(finding: Finding, locate: Locate) -> dict[str, Any]:
    out: dict[str, Any] = {
        "rule": finding.rule.code,
        "name": finding.rule.name,
        "severity": finding.severity,
        "message": finding.message,
        "fingerprint": finding.fingerprint,
    }
    parts = (("address", finding.address), ("service", finding.service), ("key_id", finding.key_id))
    out.update((name, value) for name, value in parts if value is not None)
    if finding.source is not None:
        out["location"] = _location(locate(finding.source))
    if (entry := finding.accepted) is not None:
        out["accepted"] = {"reason": entry.reason, "until": instant(entry.until)}
        if entry.source is not None:
            out["accepted"]["location"] = _location(locate(entry.source))
    return out


def _location(place: Location) -> dict[str, Any]:
    return {"file": place.file, "line": place.line, "column": place.column}


def rules_json() -> list[dict[str, Any]]:
    """Every rule in full."""
    return [
        {
            "code": rule.code,
            "name": rule.name,
            "severity": rule.severity,
            "finds": rule.finds,
            "why": rule.why,
            "do": rule.do,
            "acceptable": rule.acceptable,
        }
        for rule in RULES
    ]


def rules_text(style: Style) -> str:
    """Every rule with what trips it, why it matters and what to do."""
    out: list[str] = []
    for rule in RULES:
        colour = _TITLES[rule.severity][1]
        out.append(f"{style.paint(f'{rule.code} {rule.name}', 'bold')}  {style.paint(rule.severity, colour)}")
        milder = f" (a note {rule.milder})" if rule.milder else ""
        for text in (f"Finds {rule.finds}{milder}.", rule.why, rule.do):
            out += style.wrapped(text, "  ")
        out.append("")
    return "\n".join(out[:-1]) + "\n"


def rules_markdown() -> str:
    """The table of `docs/audit.md`."""
    out = ["| rule | severity | finds | why it matters | what to do |", "|---|---|---|---|---|"]
    for rule in RULES:
        severity = rule.severity + (f"; note {rule.milder}" if rule.milder else "")
        cells = (f"`{rule.code}` {rule.name}", severity, rule.finds, rule.why, rule.do)
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"
