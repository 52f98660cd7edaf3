"""``keyform services``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from keyform.cli import complete
from keyform.cli.main import ERROR, OK
from keyform.errors import KeyformError
from keyform.report.profile import missing_text, profile_text, profiles_text
from keyform.report.table import table

if TYPE_CHECKING:
    from keyform.cli.session import Session
    from keyform.model import KeySpec, Secret
    from keyform.ports import Service
    from keyform.profile import Profile


class Types(click.Group):
    """``check`` is a command; every other word is a service type to tell of."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        def tell() -> None:
            _tell(ctx.find_root().obj, cmd_name)

        known = super().get_command(ctx, cmd_name)
        return known or click.Command(cmd_name, callback=tell, add_help_option=False)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return [*super().shell_complete(ctx, incomplete), *complete.types(incomplete)]


@click.group("services", cls=Types, invoke_without_command=True, subcommand_metavar="[TYPE | check FILE]")
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the service types, or tell what keyform knows of TYPE: its rules and their sources.

    TYPE is a type's name, or the path of a profile file of your own.
    """
    if ctx.invoked_subcommand is None:
        from keyform.services.profiles import known_types, load_profile

        session: Session = ctx.obj
        found = (load_profile(name, session.folder) for name in known_types())
        session.console.data(profiles_text([p for p in found if p is not None], session.console.style))


def _tell(session: Session, type_name: str) -> None:
    from keyform.services.profiles import known_types, load_profile

    profile = load_profile(type_name, session.folder)
    if profile is None:
        raise KeyformError(f"there is no service type {type_name}", f"Known: {', '.join(known_types())}.")
    session.console.data(profile_text(profile, session.console.style))


@command.command("check")
@click.argument("file")
@click.option("--endpoint", metavar="URL", help="Try the profile at this service.")
@click.option("--credential-env", metavar="NAME", help="The environment variable that holds the credential.")
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of the service. Repeatable."
)
@click.option("--kind", metavar="KIND", help="Kind of the canary key.")
@click.option("--project", metavar="ID", help="Project of the canary key.")
@click.option(
    "--scope", "scopes", multiple=True, metavar="SCOPE", help="A scope of the canary key. Repeatable."
)
@click.option("--yes", is_flag=True, help="Mint and revoke the canary key without asking.")
@click.pass_obj
def check(
    session: Session,
    file: str,
    endpoint: str | None,
    credential_env: str | None,
    options: tuple[str, ...],
    kind: str | None,
    project: str | None,
    scopes: tuple[str, ...],
    yes: bool,
) -> int:
    """Say what is wrong with the profile FILE or missing in it.

    With --endpoint it is also tried there: a canary key is minted, listed, proven, renamed where that can be
    done, and revoked. Its secret is never shown or stored.
    """
    from keyform.documents.sensitive import is_sensitive
    from keyform.services.profiles import profile_in
    from keyform.services.trial import FAILED, try_profile

    path = file if "/" in file else f"./{file}"
    profile = profile_in(file, session.folder)
    operations = ", ".join(f"{name} ({how})" for name, how in profile.operations.items())
    session.console.data(f"The profile {file} is sound: {operations}.\n")
    if missing := missing_text(profile):
        session.console.data("\n".join(session.console.style.wrapped(missing)) + "\n")
    if endpoint is None:
        if credential_env or yes:
            raise click.UsageError("--credential-env and --yes go with --endpoint.")
        return OK
    spec = _canary(profile, kind, project, scopes, session)
    _consent(session, endpoint, yes)
    secret = _credential(credential_env)
    for option in options:
        if is_sensitive(option.partition("=")[0]):
            raise click.UsageError("--option takes no credentials: other users can see a command line.")
    given = _given(options, profile)
    service = _open(session, path, profile, endpoint, secret, given)
    found = []
    try:
        for trial in try_profile(service, spec):
            found.append(trial)
            session.console.tell(f"{trial.step}: {trial.outcome}")
    finally:
        service.close()
    rows = [(trial.step, trial.outcome, trial.seen) for trial in found]
    session.console.data(table(("step", "result", "seen"), rows, session.console.style))
    session.tell_all([diagnostic for trial in found for diagnostic in trial.diagnostics])
    return ERROR if any(trial.outcome == FAILED for trial in found) else OK


def _given(options: tuple[str, ...], profile: Profile) -> dict[str, Any]:
    from keyform.options import option_value

    rules = profile.service_options
    pairs = (option.partition("=")[::2] for option in options)
    return {name: option_value(rules[name], text) if name in rules else text for name, text in pairs}


def _canary(
    profile: Profile, kind: str | None, project: str | None, scopes: tuple[str, ...], session: Session
) -> KeySpec:
    from keyform.services.canary import canary_spec, choosable

    if kind is not None and kind not in profile.kinds:
        raise click.UsageError(f"--kind {kind!r} is none of {', '.join(profile.kinds) or 'this profile'}.")
    spec = canary_spec(profile, kind=kind, project=project, scopes=scopes, now=session.clock.now())
    choice = choosable(profile, profile.kinds.get(spec.kind or ""))
    for scope in scopes:
        if choice is not None and scope not in choice:
            raise click.UsageError(f"--scope {scope!r} is none of {', '.join(choice) or 'such a key'}.")
    return spec


def _consent(session: Session, endpoint: str, yes: bool) -> None:
    if yes:
        return
    if not session.console.interactive:
        raise KeyformError(
            f"trying the profile mints and revokes a canary key at {endpoint}",
            "Say that this is meant with --yes.",
        )
    if session.console.ask(f"Mint and revoke a canary key at {endpoint}? Only `yes` does it: ") != "yes":
        raise KeyformError("declined", "Nothing was sent.")


def _credential(variable: str | None) -> Secret | None:
    from keyform.model import Secret

    if variable is None:
        return None
    text = os.environ.get(variable)
    if not text:
        raise KeyformError(
            f"the environment variable {variable} is not set", "Set it to the credential alone."
        )
    return Secret(text)


def _open(
    session: Session,
    path: str,
    profile: Profile,
    endpoint: str,
    credential: Secret | None,
    options: dict[str, Any],
) -> Service:
    from keyform.apply.workspace import Wrapping
    from keyform.services import open_service

    return open_service(
        "canary",
        path,
        profile=profile,
        endpoint=endpoint,
        credential=credential,
        options=options,
        folder=session.folder,
        clock=session.clock,
        wrap_transport=(session.wrap or Wrapping()).transport,
    )
