"""Writes ``docs/cli.md`` from the commands themselves: ``python tests/cli/reference.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from keyform.cli.main import VERBS, cli

FILE = Path(__file__).parents[2] / "docs" / "cli.md"

HEAD = """\
# Command line

Written by `python tests/cli/reference.py` from what `--help` says; a test holds the two together.

Data goes to stdout; diagnostics, questions and progress go to stderr. Colour and the progress bar appear on a
terminal only, and never under `NO_COLOR`, `--no-color` or `TERM=dumb`; under `CI` there is no bar. Relative
paths start in the folder that `-C` names.

| exit code | means |
|---|---|
| 0 | done, or nothing to do |
| 1 | an error, wrong usage included; a declined question too |
| 2 | changes are pending (`plan --detailed-exitcode` only) |
| 3 | a bug in keyform; `KEYFORM_TRACEBACK=1` or `-vv` shows where, without values |
| 130 | interrupted |
"""


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command with its full name and a context for its help."""
    top = click.Context(cli, info_name="keyform")
    yield "keyform", cli, top
    for verb in VERBS:
        command = cli.get_command(top, verb)
        assert command is not None
        context = click.Context(command, info_name=verb, parent=top)
        yield f"keyform {verb}", command, context
        if isinstance(command, click.Group):
            for name, part in command.commands.items():
                yield f"keyform {verb} {name}", part, click.Context(part, info_name=name, parent=context)


def reference() -> str:
    """The text of the file."""
    out = [HEAD]
    for name, command, context in commands():
        usage = " ".join(command.collect_usage_pieces(context))
        out += [f"## {name}", "", "```", f"{name} {usage}".strip(), "```", "", prose(command.help or ""), ""]
        records = [record for p in command.get_params(context) if (record := p.get_help_record(context))]
        options = [(option, text) for option, text in records if text and "--help" not in option]
        if options:
            out += ["| option | |", "|---|---|"]
            out += [f"| `{cell(option)}` | {cell(text)} |" for option, text in options]
            out.append("")
        if command is cli:
            out += [
                "| verb | |",
                "|---|---|",
                *(f"| `{verb}` | {text} |" for verb, text in VERBS.items()),
                "",
            ]
    return "\n".join(out)


def prose(text: str) -> str:
    """A docstring's paragraphs, each on one line."""
    import inspect

    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def cell(text: str) -> str:
    """Text in a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
