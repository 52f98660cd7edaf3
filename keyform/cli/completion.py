"""``keyform completion``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from keyform.cli.main import cli

if TYPE_CHECKING:
    from keyform.cli.session import Session

_INSTALL = {
    "bash": "keyform completion bash > ~/.local/share/bash-completion/completions/keyform",
    "zsh": 'keyform completion zsh > "${fpath[1]}/_keyform"',
    "fish": "keyform completion fish > ~/.config/fish/completions/keyform.fish",
}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_INSTALL)))
@click.pass_obj
def command(session: Session, shell: str) -> None:
    """Print the completion script of a shell, and on stderr how to install it."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"there is no completion for {shell}.")
    session.console.data(found(cli, {}, "keyform", "_KEYFORM_COMPLETE").source() + "\n")
    session.console.tell(f"To install it, run once and open a new shell:\n  {_INSTALL[shell]}")
