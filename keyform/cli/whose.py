"""``keyform whose``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from keyform.cli import complete
from keyform.cli.main import ERROR, OK
from keyform.cli.options import JSON, TEXT, format_option, variable_options
from keyform.cli.plan import refuse_other_files, save_plan
from keyform.cli.showing import pretty
from keyform.errors import KeyformError
from keyform.model import Secret

if TYPE_CHECKING:
    from keyform.cli.session import Session
    from keyform.engine.whose import Standing

LARGEST = 1 << 16
_LEAKED = "leaked"


@click.command("whose", context_settings={"ignore_unknown_options": True})
@click.argument("strings", nargs=-1, metavar="")
@click.option("--now", "at_once", is_flag=True, help="Plan to end it at once, without an overlap.")
@click.option(
    "--out", metavar="FILE", shell_complete=complete.files, help="Save the plan that ends it, to be applied."
)
@format_option(TEXT, JSON)
@variable_options
@click.pass_obj
def command(
    session: Session,
    strings: tuple[str, ...],
    at_once: bool,
    out: str | None,
    output: str,
    variables: tuple[str, ...],
    var_files: tuple[str, ...],
) -> int:
    """Find the declared key that a leaked string is, on standard input.

    Says which key and generation it is, whether it still works, whose it is, where it is kept, and shows the
    plan that would end it: by a rotation with the declared overlap, so that nobody is cut off, or with --now
    as soon as the new key is stored. The string is compared with salted fingerprints, shown nowhere and
    written nowhere, and sent to nobody.

    Exits with 0 when it is known, and with 1 when it is not.
    """
    from keyform.apply.leak import owner_of, standing_of
    from keyform.engine.whose import Standing
    from keyform.report.whose import answer_json, answer_text

    if strings:
        raise KeyformError(
            "the string comes on standard input, never as an argument",
            "Arguments are seen by everybody on this machine and stay in the history of the shell: if that "
            "was the string, take it out of there. Run `keyform whose` and paste it, or "
            "`keyform whose < FILE`.",
        )
    secret = _read(session)
    if out is not None:
        refuse_other_files(session.path(out))
    with session.state_workspace("whose", variables, var_files) as ws:
        owner = owner_of(ws, secret)
    declared = session.declared({match.record.address for match in owner.matches})
    standing, problem = Standing(), None
    try:
        config = session.load(variables, var_files, quiet=True)
        with session.workspace(config, "whose") as ws:
            standing = standing_of(ws, secret, owner.matches, at_once=at_once, reason=_LEAKED)
    except KeyformError as failure:  # the files have told whose it is, which must not be lost now
        problem = failure
    if output == JSON:
        session.console.data(pretty(answer_json(owner, standing, declared)))
    else:
        session.console.data(answer_text(owner, standing, at_once, session.console.style, declared))
    session.tell_all(standing.told)
    if problem is not None:
        session.tell_all(problem.diagnostics)
        session.console.tell(
            "The services could not be asked, so whether it still works is not known, and there is no plan."
        )
        return ERROR
    if standing.plan is not None:
        matched = {None, *(match.record.address for match in owner.matches)}
        session.tell_all([told for told in standing.plan.diagnostics if told.address in matched])
    return _finish(session, standing, out) if owner.matches or owner.credentials else ERROR


def _finish(session: Session, standing: Standing, out: str | None) -> int:
    plan = standing.plan
    if out is None:
        return OK
    if plan is None or plan.failed or plan.held_back:
        session.console.tell(f"{out} was not written: there is no plan that could be applied.")
        return ERROR
    save_plan(session, plan, out)
    return OK


def _read(session: Session) -> Secret:
    """The string, from a pipe or without echo from a terminal. Raises ``KeyformError``."""
    if sys.stdin.isatty():  # wherever stderr goes: what is typed at a terminal must not be echoed
        text = click.prompt("The leaked string (it is not shown)", hide_input=True, err=True)
    else:
        data = sys.stdin.buffer.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise KeyformError(
                f"there are more than {LARGEST:,} bytes on standard input", "Give the leaked string alone."
            )
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise KeyformError(
                "what is on standard input is no text", "Give the leaked string alone, as UTF-8."
            ) from None
    text = text.strip()
    if not text:
        raise KeyformError("there is nothing on standard input", "Give the leaked string there.")
    if len(text.split()) > 1:
        raise KeyformError(
            "there is more than one word on standard input", "Give the leaked string alone, without a name."
        )
    return Secret(text)
