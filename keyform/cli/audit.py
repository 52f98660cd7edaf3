"""``keyform audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from keyform import __version__
from keyform.cli.main import ERROR, OK
from keyform.cli.options import JSON, TEXT, format_option, variable_options
from keyform.cli.showing import as_json, errors_as_json, pretty

if TYPE_CHECKING:
    from keyform.cli.session import Session

SARIF = "sarif"
NEVER = "never"
LEVELS = ("error", "warning", "note", NEVER)


@click.command("audit")
@format_option(TEXT, JSON, SARIF)
@click.option(
    "--fail-on",
    type=click.Choice(LEVELS),
    default="warning",
    show_default=True,
    help="Exit with 1 when there is a finding this bad, or worse, that is not accepted.",
)
@click.option("--rules", "rules_only", is_flag=True, help="List the rules, and look at nothing.")
@variable_options
@click.pass_obj
def command(
    session: Session,
    output: str,
    fail_on: str,
    rules_only: bool,
    variables: tuple[str, ...],
    var_files: tuple[str, ...],
) -> int:
    """Report what is risky about the keys: declared, recorded and live.

    Reads the services, the state, the stores and the configuration; writes nothing. Every finding has a rule
    and its place in the YAML; the section `accept` there accepts one until a time. What could not be looked
    at is said, and ends it with 1, whatever was found.
    """
    from keyform.report.audit import audit_json, audit_text, rules_json, rules_text

    if rules_only:
        if output == SARIF:
            raise click.UsageError(
                "--rules goes with --format text or json; in SARIF every run has the rules."
            )
        shown = pretty(rules_json()) if output == JSON else rules_text(session.console.style)
        session.console.data(shown)
        return OK
    from keyform.apply import audit_now

    with errors_as_json(session, output):
        config = session.load(variables, var_files)
        with session.workspace(config, "audit") as ws:
            audit, told = audit_now(ws, _names(session, var_files))
    diagnostics = (*told, *audit.diagnostics)
    if output == JSON:
        session.console.data(pretty(audit_json(audit, as_json(diagnostics), session.place)))
    elif output == SARIF:
        from keyform.report.sarif import audit_sarif

        session.console.data(pretty(audit_sarif(audit, diagnostics, __version__, session.place, _uri)))
    else:
        session.console.data(audit_text(audit, session.place, session.console.style))
    session.tell_all(diagnostics)
    return ERROR if not audit.complete or audit.fails_on(fail_on) else OK


def _names(session: Session, var_files: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """What the run was given, by which live keys in a configuration for tests can be told."""
    folder = session.folder.resolve().name
    return (("the folder", folder), *(("the file of variables", Path(file).stem) for file in var_files))


def _uri(file: str) -> str:
    """A file as SARIF names it."""
    path = Path.cwd() / file
    try:
        return quote(path.resolve().relative_to(Path.cwd().resolve()).as_posix())
    except ValueError:
        return path.resolve().as_uri()
