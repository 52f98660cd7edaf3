"""``keyform validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keyform.cli.options import JSON, TEXT, format_option, variable_options
from keyform.cli.showing import as_json, errors_as_json, pretty

if TYPE_CHECKING:
    from keyform.cli.session import Session


@click.command("validate")
@format_option(TEXT, JSON)
@variable_options
@click.pass_obj
def command(session: Session, output: str, variables: tuple[str, ...], var_files: tuple[str, ...]) -> None:
    """Check the configuration without touching any service, store or state.

    Every error of every file is shown with its place. Environment variables need not be set.
    """
    with errors_as_json(session, output):
        config = session.load(variables, var_files, offline=True)
    if output == JSON:
        session.console.data(pretty({"diagnostics": as_json(config.diagnostics)}))
        return
    counts = [
        f"{len(found)} {name}{'' if len(found) == 1 else 's'}"
        for found, name in (
            (config.desired.keys, "key"),
            (config.desired.projects, "project"),
            (config.services, "service"),
            (config.stores, "store"),
        )
    ]
    session.console.data(f"The configuration is valid: {', '.join(counts)}.\n")
