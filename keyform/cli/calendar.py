"""``keyform calendar``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from keyform.cli.main import ERROR, OK
from keyform.cli.options import JSON, TEXT, format_option, moment, variable_options
from keyform.cli.showing import errors_as_json, pretty
from keyform.config.values import Bad, duration
from keyform.model import LATEST, instant

if TYPE_CHECKING:
    from keyform.cli.session import Session

ICS = "ics"


@click.command("calendar")
@click.option(
    "--until",
    default="90d",
    show_default=True,
    metavar="SPAN|TIME",
    help="How far ahead to look: a span like 1y, or a time like 2027-01-31T00:00:00Z.",
)
@format_option(TEXT, ICS, JSON)
@variable_options
@click.pass_obj
def command(
    session: Session, until: str, output: str, variables: tuple[str, ...], var_files: tuple[str, ...]
) -> int:
    """Show every expiry, rotation and revocation to come.

    Reads the services, the state and the configuration; writes nothing. What follows the next rotation of a
    key supposes that rotations are carried out when they are due. A listing that cannot be read as a whole
    ends it with 1.
    """
    from keyform.apply.ahead import calendar_now
    from keyform.engine.calendar import MOST
    from keyform.report.calendar import calendar_ics, calendar_text

    end = _end(until, session.clock.now())
    with errors_as_json(session, output):
        config = session.load(variables, var_files)
        with session.workspace(config, "calendar") as ws:
            found, told, whole = calendar_now(ws, end)
    if output == JSON:
        session.console.data(pretty(found.as_json()))
    elif output == ICS:
        session.console.data(calendar_ics(found))
        for address, at in found.cut:
            session.console.tell(
                f"Not written out, beyond {MOST} rotations of a key: {address} after {instant(at)}."
            )
    else:
        session.console.data(calendar_text(found, session.console.style))
    session.tell_all(told)
    return OK if whole else ERROR


def _end(text: str, now: datetime) -> datetime:
    """The end of the calendar. Raises ``UsageError``."""
    if text[:1].isdigit() and "-" not in text:
        try:
            span = duration(text)
        except Bad as bad:
            raise click.UsageError(f"--until: {bad.summary}. {bad.detail}") from None
        return min(now + (span or timedelta(0)), LATEST)
    end = moment("--until", text)
    if end <= now:
        raise click.UsageError(f"--until {text!r} is in the past.")
    return end
