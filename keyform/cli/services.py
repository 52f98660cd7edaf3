"""``keyform services``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keyform.cli import complete
from keyform.errors import KeyformError
from keyform.report.profile import profile_text, profiles_text

if TYPE_CHECKING:
    from keyform.cli.session import Session


@click.command("services")
@click.argument("type_name", metavar="[TYPE]", required=False, shell_complete=complete.types)
@click.pass_obj
def command(session: Session, type_name: str | None) -> None:
    """List the service types, or tell what keyform knows of TYPE: its rules and their sources.

    TYPE is a type's name, or the path of a profile file of your own.
    """
    from keyform.services.profiles import known_types, load_profile

    if type_name is not None:
        profile = load_profile(type_name, session.folder)
        if profile is None:
            known = ", ".join(known_types())
            raise KeyformError(f"there is no service type {type_name}", f"Known: {known}.")
        session.console.data(profile_text(profile, session.console.style))
        return
    profiles = [p for p in (load_profile(name, session.folder) for name in known_types()) if p is not None]
    session.console.data(profiles_text(profiles, session.console.style))
