"""``keyform serve``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from keyform.errors import KeyformError
from keyform.files import advice, reason
from keyform.reference import DIALECTS

if TYPE_CHECKING:
    from keyform.cli.session import Session
    from keyform.reference.limiter import RateLimit


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8321, show_default=True, help="0 lets the system choose."
)
@click.option(
    "--data", default=".keyform/service", show_default=True, metavar="DIR", help="Where it keeps its data."
)
@click.option(
    "--service",
    type=click.Choice(DIALECTS),
    metavar="NAME",
    help=f"Speak as this service does: {', '.join(DIALECTS)}.",
)
@click.option(
    "--all-services",
    is_flag=True,
    help="Speak as each of them does, under a path of its own beside the contract.",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="What the account has bought, like millimetric_plan=free. Repeatable.",
)
@click.option("--rate-limit", metavar="N[/BURST]", help="Allow N requests a minute, BURST of them at once.")
@click.option(
    "--allow-faults",
    is_flag=True,
    help="Let clients script faults with PUT /_faults (for tests; see docs/faults.md).",
)
@click.option(
    "--allow-remote", is_flag=True, help="Let --host be reached from other machines, in clear HTTP."
)
@click.pass_obj
def command(
    session: Session,
    host: str,
    port: int,
    data: str,
    service: str | None,
    all_services: bool,
    options: tuple[str, ...],
    rate_limit: str | None,
    allow_faults: bool,
    allow_remote: bool,
) -> None:
    """Serve the reference key service over HTTP until Ctrl-C.

    It speaks keyform's key-service contract, or as the named services do. Its address is printed on stdout;
    with --all-services the address of each service follows, one to a line. The root token, its first
    credential, lies in a private file in the data folder and is never printed. Which of its paths are a
    vendor's, and which are its own, is in docs/reference-service.md.
    """
    from keyform.reference.account import options_of
    from keyform.reference.app import root_token
    from keyform.reference.server import serve

    folder = session.path(data)
    try:
        account = options_of(options)
    except ValueError as problem:
        raise click.UsageError(f"--option: {problem}.") from None
    mounted = DIALECTS if all_services else ()

    def ready(address: str) -> None:
        session.console.data("\n".join([address, *(f"{address}/{name}" for name in mounted)]) + "\n")
        session.console.tell(f"The root token is in {folder / 'root-token'}. Ctrl-C stops the service.")

    try:
        root_token(folder)
        serve(
            folder,
            host,
            port,
            limit=_limit(rate_limit) if rate_limit else None,
            faults=allow_faults,
            on_ready=ready,
            allow_remote=allow_remote,
            service=service,
            services=mounted,
            options=account,
        )
    except ValueError as problem:
        raise KeyformError(str(problem), "Use --allow-remote only behind a proxy that adds TLS.") from None
    except OSError as problem:
        raise KeyformError(
            f"the service cannot be started on {host}:{port} with the data in {folder}: {reason(problem)}",
            "Choose another --port; 0 lets the system choose."
            if problem.errno in (13, 98, 48)
            else advice(problem),
        ) from None


def _limit(text: str) -> RateLimit:
    from keyform.reference.limiter import RateLimit

    found = re.fullmatch(r"([1-9][0-9]{0,8})(?:/([1-9][0-9]{0,8}))?", text)
    if found is None:
        raise click.UsageError(f"--rate-limit {text!r} is not N or N/BURST, like 60/10.")
    return RateLimit(int(found[1]), int(found[2] or found[1]))
