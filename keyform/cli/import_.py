"""``keyform import``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keyform.cli import complete
from keyform.cli.execution import finish
from keyform.cli.options import TEXT, variable_options
from keyform.cli.progress import LineEvents
from keyform.cli.showing import print_plan
from keyform.model import normal_address

if TYPE_CHECKING:
    from keyform.cli.session import Session


@click.command("import")
@click.argument("address", metavar="ADDR", shell_complete=complete.undone)
@click.argument("key_id", metavar="ID")
@variable_options
@click.pass_obj
def command(
    session: Session, address: str, key_id: str, variables: tuple[str, ...], var_files: tuple[str, ...]
) -> int:
    """Adopt the live key ID as the declared key ADDR.

    It is recorded and stays as it is; the next plan shows where it differs from its declaration. Its secret
    stays unknown to keyform until the first rotation. An `imports` entry in the configuration does the same
    in a plan to review, and with its first update.
    """
    from keyform.apply import adopt

    config = session.load(variables, var_files)
    events = LineEvents(session.console, session.tell_all)
    events.expect(1)
    with session.workspace(config, "import") as ws:
        outcome = adopt(ws, normal_address(address), key_id, events.take)
    print_plan(session, outcome.plan, TEXT)
    session.tell_all(outcome.plan.diagnostics)
    return finish(session, "import", outcome, events, TEXT)
