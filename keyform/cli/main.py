"""The entry point, the list of verbs, and the one place where exceptions become exit codes.

Nothing but click is imported until a verb is run, so that ``--help`` and ``--version`` are instant.
"""

from __future__ import annotations

import contextlib
import difflib
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.shell_completion import CompletionItem

from keyform import __version__

if TYPE_CHECKING:
    from keyform.apply import Wrapping
    from keyform.cli.session import Session
    from keyform.ports import Clock

OK, ERROR, CHANGES, BUG, INTERRUPTED = 0, 1, 2, 3, 130

VERBS = {
    "init": "Write a commented starting configuration.",
    "validate": "Check the configuration without touching any service.",
    "plan": "Show what would change, and why.",
    "apply": "Carry out what the configuration or a saved plan says.",
    "rotate": "Give keys a new generation now, due or not.",
    "rollback": "Make the older generation of a key current again.",
    "destroy": "Revoke every key that the state owns.",
    "import": "Adopt a key that exists at its service.",
    "generate": "Write YAML for the keys that a service already has.",
    "calendar": "Show every expiry, rotation and revocation to come.",
    "whose": "Find the declared key that a leaked string is.",
    "show": "Show the state, or a saved plan.",
    "state": "Look into the state, or mend it.",
    "services": "List the service types and what each one knows.",
    "serve": "Serve the reference key service over HTTP.",
    "audit": "Report what is risky about the keys.",
    "doctor": "Check services, credentials, stores and the state.",
    "completion": "Print the completion script of a shell.",
}
"""Verbs in the order of ``--help``, with the first line of their help."""


class Suggesting(click.Group):
    """A group that names the nearest command when one is mistyped."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as problem:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            if not close or "Did you mean" in problem.format_message():
                raise
            raise click.UsageError(f"{problem.message} Did you mean {close[0]!r}?", ctx) from None


class Verbs(Suggesting):
    """The verbs, each in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = "import_" if cmd_name == "import" else cmd_name
        command: click.Command = import_module(f"keyform.cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-C",
    "--chdir",
    "folder",
    metavar="DIR",
    default=".",
    shell_complete=lambda ctx, param, incomplete: [CompletionItem(incomplete, type="dir")],
    help="Work in DIR instead of here.",
)
@click.option("-v", "--verbose", count=True, help="Log what is done to stderr; never a secret. Repeatable.")
@click.option("--no-color", is_flag=True, help="No colour and no progress bar (as under NO_COLOR).")
@click.version_option(__version__, "--version", prog_name="keyform", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, folder: str, verbose: int, no_color: bool) -> None:
    """Declare API keys in YAML, see a plan, apply it.

    Every new secret goes straight from its key service to a secrets manager.

    Exit codes: 0 done, or nothing to do; 1 error; 2 changes pending (plan --detailed-exitcode);
    3 a bug in keyform; 130 interrupted.
    """
    ctx.obj = ctx.obj.begin(folder, verbose, no_color)


def main() -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    # What a run builds it needs until its end; looking through all of it for garbage over and over is waste.
    gc.set_threshold(500_000, 50, 50)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


class Start:
    """What a run is given from outside; becomes a session once a verb is run."""

    def __init__(self, clock: Clock | None, wrap: Wrapping | None) -> None:
        self._clock, self._wrap = clock, wrap
        self.session: Session | None = None
        self.verbose = 0

    def begin(self, folder: str, verbose: int, no_color: bool) -> Session:
        """Make the session of this run."""
        from keyform.cli.session import open_session

        self.verbose = verbose
        self.session = open_session(folder, verbose, no_color, self._clock, self._wrap)
        return self.session


def run(argv: Sequence[str], *, clock: Clock | None = None, wrap: Wrapping | None = None) -> int:
    """Run one command line and return its exit code. Exceptions become messages on stderr.

    ``clock`` and ``wrap`` replace the real time and the outside world in tests.
    """
    start = Start(clock, wrap)
    try:
        result = cli.main(args=list(argv), prog_name="keyform", standalone_mode=False, obj=start)
        code = result if isinstance(result, int) else OK
    except (KeyboardInterrupt, click.Abort):
        _say("\nInterrupted.")
        code = INTERRUPTED
    except click.ClickException as problem:
        code = _usage(problem)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else ERROR
    except Exception as problem:
        code = _explain(problem, start)
    if start.session is not None and not start.session.end():
        code = code or ERROR
    return code


def _usage(problem: click.ClickException) -> int:
    context = getattr(problem, "ctx", None)
    from keyform.masking import without_secrets

    if isinstance(problem, click.exceptions.NoArgsIsHelpError):
        _say(problem.format_message())
        return ERROR
    if context is not None:
        _say(context.get_usage())
    # What was mistyped may be a secret that was pasted in the wrong place.
    _say(f"error: {without_secrets(problem.format_message())}")
    if context is not None:
        _say(f"  `{context.command_path} --help` explains the options.")
    return ERROR


def _explain(problem: Exception, start: Start) -> int:
    from keyform.errors import Interrupted, KeyformError

    if isinstance(problem, KeyformError):
        if start.session is not None:
            start.session.tell_all(problem.diagnostics)
        else:
            _say("\n".join(f"error: {d.summary}" for d in problem.diagnostics))
        return INTERRUPTED if isinstance(problem, Interrupted) else ERROR
    from keyform.cli.logs import frames

    wanted = start.verbose >= 2 or os.environ.get("KEYFORM_TRACEBACK") == "1"
    _say(f"error: a bug in keyform: {type(problem).__name__}")
    if wanted:
        _say(frames(problem))
    else:
        _say(
            "  Please report it, with the command and with what it prints under KEYFORM_TRACEBACK=1\n"
            "  (places in the program only, no values). If an apply was under way, the next one finishes it."
        )
    return BUG


def _say(text: Any) -> None:
    """To stderr, whatever state it is in."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)
