"""``keyform generate``."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

from keyform.cli import complete
from keyform.cli.options import variable_options
from keyform.diagnostics import warning
from keyform.errors import PlanError, ServiceError
from keyform.report.generate import generated_yaml

if TYPE_CHECKING:
    from keyform.cli.session import Session


_MISSING = warning(
    "incomplete-listing",
    "some keys could not be listed and are missing from what follows",
    "Run it again when the service can be read whole.",
)


@click.command("generate")
@click.argument("service", shell_complete=complete.services)
@variable_options
@click.pass_obj
def command(session: Session, service: str, variables: tuple[str, ...], var_files: tuple[str, ...]) -> None:
    """Write YAML for the keys that SERVICE has and keyform does not own.

    It goes to stdout: declarations, and `imports` that adopt the keys. Nothing is changed anywhere.
    """
    from keyform.apply import elsewhere_now

    config = session.load(variables, var_files)
    if service not in config.services:
        close = difflib.get_close_matches(service, config.services, 1)
        hint = f"Did you mean `{close[0]}`?" if close else f"Declared: {', '.join(config.services)}."
        raise ServiceError(f"there is no service {service}", hint)
    with session.workspace(config, "generate") as ws:
        if moved := elsewhere_now(ws).get(f"services.{service}"):
            raise PlanError(moved)
        state, _ = ws.read_state()
        opened = ws.service(service)
        if not opened.profile.lists:
            raise ServiceError(
                f"{service} shows keyform no listing of its keys, so there is nothing to write YAML from",
                "Declare the keys by hand; an `imports` entry with an id of your own adopts one that exists.",
            )
        listing, own = opened.list(), opened.own_key()
    if not listing.complete:
        problems = (listing.problem,) if listing.problem else ()
        session.tell_all((*problems, _MISSING))
    owned = {
        generation.id
        for record in state.keys.values()
        for generation in record.generations()
        if generation.service == service
    }
    owned |= {entry.id for entry in config.desired.imports}
    declared = config.desired.projects
    taken = {key.address.removeprefix("keys.").partition("[")[0] for key in config.desired.keys}
    taken |= {project.address.removeprefix("projects.") for project in declared}
    session.console.data(
        generated_yaml(
            service,
            opened.profile,
            [key for key in listing.keys if key.id not in owned and key.id != own],
            listing.projects,
            projects={p.id: p.address.removeprefix("projects.") for p in declared if p.service == service},
            taken=taken,
            lineage=state.lineage,
            now=session.clock.now(),
        )
    )
