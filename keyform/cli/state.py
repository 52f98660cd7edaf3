"""``keyform state``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from keyform.cli import complete
from keyform.cli.main import Suggesting
from keyform.cli.options import variable_options
from keyform.cli.session import read_bytes
from keyform.errors import StateError
from keyform.model import is_address, normal_address
from keyform.report.changes import value
from keyform.report.safe import json_text, visible
from keyform.report.state import record_text

if TYPE_CHECKING:
    from keyform.cli.session import Session


@click.group("state", cls=Suggesting)
def command() -> None:
    """Look into the state, or mend it. No service is called."""


@command.command("list")
@variable_options
@click.pass_obj
def list_(session: Session, variables: tuple[str, ...], var_files: tuple[str, ...]) -> None:
    """Print the addresses that the state owns, one per line."""
    from keyform.apply.states import read_state

    with session.state_workspace("state list", variables, var_files) as ws:
        state = read_state(ws)
    if state is not None:
        session.console.data(
            "".join(f"{visible(a)}\n" for a in (*sorted(state.projects), *sorted(state.keys)))
        )


@command.command()
@click.argument("address", metavar="ADDR", shell_complete=complete.addresses)
@variable_options
@click.pass_obj
def show(session: Session, address: str, variables: tuple[str, ...], var_files: tuple[str, ...]) -> None:
    """Show one key or project as recorded. No secret is in it."""
    from keyform.apply.states import read_state

    address = normal_address(address)
    with session.state_workspace("state show", variables, var_files) as ws:
        state = read_state(ws)
    if state is not None and address in state.keys:
        session.console.data(record_text(state.keys[address], session.console.style))
    elif state is not None and address in state.projects:
        project = state.projects[address]
        session.console.data(
            f"{visible(address)}\n  service          {value(project.service)}\n  id               "
            f"{value(project.id)}\n  allowed_origins  {value(project.allowed_origins)}\n"
        )
    else:
        raise StateError(f"the state does not know {address}", "`keyform state list` shows what it knows.")


@command.command()
@click.argument("before", metavar="ADDR", shell_complete=complete.addresses)
@click.argument("after", metavar="NEW")
@variable_options
@click.pass_obj
def mv(
    session: Session, before: str, after: str, variables: tuple[str, ...], var_files: tuple[str, ...]
) -> None:
    """Record a key under another address. A `moved` entry does the same for every copy of the state."""
    from keyform.apply.states import move

    before, after = normal_address(before), normal_address(after)
    if not is_address(after):
        raise StateError(f"{after} is not an address", 'Write keys.NAME, keys.NAME["EACH"] or projects.NAME.')
    with session.state_workspace("state mv", variables, var_files) as ws:
        move(ws, before, after)
    session.console.tell(f"{visible(before)} is {visible(after)} now.")


@command.command()
@click.argument("addresses", metavar="ADDR...", nargs=-1, required=True, shell_complete=complete.addresses)
@variable_options
@click.pass_obj
def rm(
    session: Session, addresses: tuple[str, ...], variables: tuple[str, ...], var_files: tuple[str, ...]
) -> None:
    """Forget keys. They live on at their service, and their secrets in the store."""
    from keyform.apply.states import remove

    names = tuple(map(normal_address, addresses))
    with session.state_workspace("state rm", variables, var_files) as ws:
        remove(ws, names)
    session.console.tell(f"Forgotten: {visible(', '.join(names))}. The keys live on at their services.")


@command.command("pull")
@variable_options
@click.pass_obj
def pull_(session: Session, variables: tuple[str, ...], var_files: tuple[str, ...]) -> None:
    """Print the state file."""
    from keyform.apply.states import pull

    with session.state_workspace("state pull", variables, var_files) as ws:
        data = pull(ws)
    text = data.decode("utf-8", "backslashreplace")
    session.console.data(json_text(text) if session.console.style.colour else text)


@command.command("push")
@click.argument("file", shell_complete=complete.files)
@click.option("--force", is_flag=True, help="Push a state of another lineage, or an older one.")
@variable_options
@click.pass_obj
def push_(
    session: Session, file: str, force: bool, variables: tuple[str, ...], var_files: tuple[str, ...]
) -> None:
    """Make FILE (- for standard input) the state."""
    from keyform.apply.states import push

    data = sys.stdin.buffer.read() if file == "-" else read_bytes(session.path(file), "the state file")
    with session.state_workspace("state push", variables, var_files) as ws:
        push(ws, data, force)
    session.console.tell("Pushed.")


@command.command("unlock")
@click.argument("lock_id", metavar="ID")
@variable_options
@click.pass_obj
def unlock_(session: Session, lock_id: str, variables: tuple[str, ...], var_files: tuple[str, ...]) -> None:
    """Break the lock ID. Do it only when its holder is surely gone; it can no longer write then."""
    from keyform.apply.states import unlock

    with session.state_workspace("state unlock", variables, var_files) as ws:
        unlock(ws, lock_id)
    session.console.tell("Unlocked.")
