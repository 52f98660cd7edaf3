"""``keyform rotate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keyform.cli import complete
from keyform.cli.execution import carry_out, execution_options, overwrite_option
from keyform.cli.options import asking, endpoint_option, mass_option, rotation_options, variable_options
from keyform.engine.options import Options

if TYPE_CHECKING:
    from keyform.cli.session import Session


@click.command("rotate")
@click.argument("addresses", metavar="ADDR...", nargs=-1, required=True, shell_complete=complete.addresses)
@rotation_options
@execution_options
@overwrite_option
@endpoint_option
@mass_option
@variable_options
@click.pass_obj
def command(
    session: Session,
    addresses: tuple[str, ...],
    reason: str | None,
    now: bool,
    auto_approve: bool,
    parallelism: int,
    overwrite_secrets: bool,
    secrets_from: str | None,
    output: str,
    allow_mass_change: bool,
    allow_endpoint_change: bool,
    variables: tuple[str, ...],
    var_files: tuple[str, ...],
) -> int:
    """Give keys a new generation, whether they are due or not.

    An apply of these addresses and nothing else: it shows the plan and asks. A bare name stands for all of a
    for_each. The new key is minted, proven and stored; the old one lives on for its declared overlap.

    With --now, for a key that has leaked, nothing lives on: the old generation, and those before it that are
    still in their overlap, are revoked as soon as the new one is stored, used or not. Whoever has not
    fetched the new secret by then is refused. What only its service ends lives on, and the plan says until
    when. A protected key may be rotated, since it stays what it is; to have the plan reviewed first, use
    `keyform plan --rotate ADDR --out FILE`.
    """
    return carry_out(
        session,
        "rotate",
        asking(
            Options(allow_mass_change=allow_mass_change, allow_endpoint_change=allow_endpoint_change),
            reason,
            rotate=addresses,
            now=now,
        ),
        auto_approve=auto_approve,
        parallelism=parallelism,
        overwrite=overwrite_secrets,
        secrets_from=secrets_from,
        output=output,
        variables=variables,
        var_files=var_files,
    )
