"""``keyform rollback``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keyform.cli import complete
from keyform.cli.execution import carry_out, execution_options, overwrite_option
from keyform.cli.options import asking, endpoint_option, reason_option, variable_options
from keyform.engine.options import Options

if TYPE_CHECKING:
    from keyform.cli.session import Session


@click.command("rollback")
@click.argument("address", metavar="ADDR", shell_complete=complete.addresses)
@reason_option
@execution_options
@overwrite_option
@endpoint_option
@variable_options
@click.pass_obj
def command(
    session: Session,
    address: str,
    reason: str | None,
    auto_approve: bool,
    parallelism: int,
    overwrite_secrets: bool,
    secrets_from: str | None,
    output: str,
    allow_endpoint_change: bool,
    variables: tuple[str, ...],
    var_files: tuple[str, ...],
) -> int:
    """Make the newest older generation of a key current again, in the store and in the state.

    For a rotation that broke something, as long as the old generation is in its overlap and its secret can be
    had: from a store that keeps versions, or from another place that still holds it. It is proven before it
    is stored. The newer generation lives on for the declared overlap, and no schedule rotates the key again
    before that is over, or within a day. `keyform plan --rollback ADDR` shows the plan, and saves it.
    """
    return carry_out(
        session,
        "rollback",
        asking(Options(allow_endpoint_change=allow_endpoint_change), reason, rollback=(address,)),
        auto_approve=auto_approve,
        parallelism=parallelism,
        overwrite=overwrite_secrets,
        secrets_from=secrets_from,
        output=output,
        variables=variables,
        var_files=var_files,
    )
