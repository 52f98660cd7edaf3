"""``keyform apply``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keyform.cli import complete
from keyform.cli.execution import carry_out, execution_options, overwrite_option
from keyform.cli.options import plan_options, planning, variable_options
from keyform.cli.session import read_bytes
from keyform.engine.plan_file import load_plan

if TYPE_CHECKING:
    from keyform.cli.session import Session


@click.command("apply")
@click.argument("planfile", required=False, shell_complete=complete.files)
@execution_options
@overwrite_option
@plan_options
@variable_options
@click.pass_obj
def command(
    session: Session,
    planfile: str | None,
    auto_approve: bool,
    parallelism: int,
    overwrite_secrets: bool,
    secrets_from: str | None,
    output: str,
    targets: tuple[str, ...],
    refresh_only: bool,
    allow_mass_change: bool,
    allow_endpoint_change: bool,
    variables: tuple[str, ...],
    var_files: tuple[str, ...],
) -> int:
    """Carry out what the configuration says, or exactly what a saved plan says.

    Without PLANFILE it plans, shows the plan and asks. What an interrupted apply left is finished first.
    Ctrl-C finishes the keys in flight; a second one stops at once, and the next apply recovers.
    """
    saved = None
    if planfile is not None:
        if targets or refresh_only or allow_mass_change or allow_endpoint_change:
            raise click.UsageError(
                "a saved plan is applied as it is; --target, --refresh-only, --allow-mass-change and "
                "--allow-endpoint-change belong to `keyform plan`."
            )
        path = session.path(planfile)
        saved = load_plan(read_bytes(path, "the plan file"), str(path))
    options = planning(targets, refresh_only, allow_mass_change, allow_endpoint_change)
    return carry_out(
        session,
        "apply",
        options,
        saved=saved,
        auto_approve=auto_approve,
        parallelism=parallelism,
        overwrite=overwrite_secrets,
        secrets_from=secrets_from,
        output=output,
        variables=variables,
        var_files=var_files,
    )
