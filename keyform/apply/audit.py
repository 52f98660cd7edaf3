"""An audit as of now: it reads what a plan reads, and every declared service. It writes nothing."""

from __future__ import annotations

from dataclasses import replace

from keyform.apply.now import sight_now
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic
from keyform.engine.audit import Audit, Finding, audit
from keyform.engine.options import Options

Names = tuple[tuple[str, str], ...]


def audit_now(ws: Workspace, names: Names) -> tuple[Audit, tuple[Diagnostic, ...]]:
    """The audit, and what there is to tell of an apply that is running or was interrupted. ``names``: what
    else the run was given, its folder for one, with words for what that is. A service that cannot be used
    makes the audit incomplete; one that is no longer where the state knows it raises ``PlanError``."""
    sight, told = sight_now(ws, Options(), whole=True)
    made = audit(sight, ws.config.accepted, names)
    findings = tuple(_placed(ws, finding) for finding in made.findings)
    about = "What that had completed by now was audited as done."
    return replace(made, findings=findings), tuple(replace(one, detail=about) for one in told)


def _placed(ws: Workspace, finding: Finding) -> Finding:
    """A finding that no line of its own declares stands where its service is declared."""
    service = ws.config.services.get(finding.service or "")
    return finding if finding.source or service is None else replace(finding, source=service.source)
