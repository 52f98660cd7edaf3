"""``keyform show``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from keyform.cli import complete
from keyform.cli.main import ERROR, OK
from keyform.cli.options import (
    JSON,
    MARKDOWN,
    TEXT,
    fail_on_option,
    fails,
    format_option,
    variable_options,
)
from keyform.cli.session import read_bytes
from keyform.cli.showing import pretty, print_plan
from keyform.engine.plan_file import load_plan
from keyform.report.state import state_markdown, state_text
from keyform.state import State, dump_state

if TYPE_CHECKING:
    from keyform.cli.session import Session


@click.command("show")
@click.argument("planfile", required=False, shell_complete=complete.files)
@format_option(TEXT, JSON, MARKDOWN)
@fail_on_option
@variable_options
@click.pass_obj
def command(
    session: Session,
    planfile: str | None,
    output: str,
    fail_on: tuple[str, ...],
    variables: tuple[str, ...],
    var_files: tuple[str, ...],
) -> int:
    """Show the state, or the saved plan PLANFILE. No service is asked."""
    if planfile is not None:
        path = session.path(planfile)
        plan = load_plan(read_bytes(path, "the plan file"), str(path))
        print_plan(session, plan, output)
        session.tell_all(plan.diagnostics)
        return ERROR if fails(session, plan, fail_on) else OK
    if fail_on:
        raise click.UsageError("--fail-on is about a saved plan; name its file.")
    from keyform.apply.states import read_state

    with session.state_workspace("show", variables, var_files) as ws:
        state, where = read_state(ws) or State.fresh(), ws.backend.describe()
    if output == JSON:
        session.console.data(pretty(json.loads(dump_state(state))))
    elif output == MARKDOWN:
        session.console.data(state_markdown(state, where))
    else:
        session.console.data(state_text(state, where, session.console.style))
    return OK
