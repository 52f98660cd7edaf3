"""``keyform destroy``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keyform.cli.execution import carry_out, execution_options
from keyform.cli.options import endpoint_option, mass_option, target_option, variable_options
from keyform.engine.options import DESTROY, Options
from keyform.model import normal_address

if TYPE_CHECKING:
    from keyform.cli.session import Session


@click.command("destroy")
@execution_options
@endpoint_option
@mass_option
@target_option
@variable_options
@click.pass_obj
def command(
    session: Session,
    auto_approve: bool,
    parallelism: int,
    secrets_from: str | None,
    output: str,
    targets: tuple[str, ...],
    allow_mass_change: bool,
    allow_endpoint_change: bool,
    variables: tuple[str, ...],
    var_files: tuple[str, ...],
) -> int:
    """Revoke every key that the state owns, and delete the stored secrets.

    Shows the plan and asks. Keys that keyform does not own are left alone, and protected ones are refused.
    """
    return carry_out(
        session,
        "destroy",
        Options(
            DESTROY,
            tuple(dict.fromkeys(map(normal_address, targets))),
            allow_mass_change,
            allow_endpoint_change,
        ),
        auto_approve=auto_approve,
        parallelism=parallelism,
        secrets_from=secrets_from,
        output=output,
        variables=variables,
        var_files=var_files,
    )
