"""Approval, progress and the end of a run: what ``apply`` and ``destroy`` share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import click

from keyform.cli.desk import desk_for
from keyform.cli.interrupt import finishing_first
from keyform.cli.main import ERROR, INTERRUPTED, OK
from keyform.cli.options import JSON, TEXT, check_reason, check_targets, format_option
from keyform.cli.progress import Events, follower
from keyform.cli.showing import as_json, one_line, print_plan
from keyform.engine.options import DESTROY, Options
from keyform.engine.plan import Plan
from keyform.errors import KeyformError, Pending, PlanError
from keyform.report.changes import done_words
from keyform.report.safe import visible

if TYPE_CHECKING:
    from keyform.apply import Outcome
    from keyform.cli.session import Session
    from keyform.diagnostics import Diagnostic

_Command = TypeVar("_Command", bound=Callable[..., Any])


def execution_options(command: _Command) -> _Command:
    """``--auto-approve``, ``--parallelism``, ``--secrets-from`` and ``--format``."""
    command = format_option(TEXT, JSON)(command)
    command = click.option(
        "--secrets-from",
        metavar="FILE|-|fd:N",
        help="Answers for assisted services: a secret per line, or ADDRESS<TAB>SECRET and ADDRESS<TAB>done.",
    )(command)
    command = click.option(
        "--parallelism",
        type=click.IntRange(1, 256),
        default=10,
        show_default=True,
        metavar="N",
        help="Keys worked on at once.",
    )(command)
    return click.option("--auto-approve", is_flag=True, help="Do not ask.")(command)


def overwrite_option(command: _Command) -> _Command:
    """``--overwrite-secrets``."""
    return click.option(
        "--overwrite-secrets",
        is_flag=True,
        help="Write over values in the stores that keyform did not write.",
    )(command)


_REVIEWED = {
    "apply": "Use --auto-approve, or have a plan reviewed and apply that: `keyform plan --out FILE`, then "
    "`keyform apply FILE`.",
    "rollback": "Use --auto-approve, or have a plan reviewed and apply that: `keyform plan --rollback ADDR "
    "--out FILE`, then `keyform apply FILE`.",
    "rotate": "Use --auto-approve, or have a plan reviewed and apply that: `keyform plan --rotate ADDR --out "
    "FILE`, then `keyform apply FILE`.",
}


def carry_out(
    session: Session,
    operation: str,
    options: Options,
    *,
    saved: Plan | None = None,
    auto_approve: bool,
    parallelism: int,
    overwrite: bool = False,
    secrets_from: str | None,
    output: str,
    variables: Sequence[str],
    var_files: Sequence[str],
) -> int:
    """Apply a saved plan, or plan, ask and apply. Returns the exit code."""
    from keyform.apply import apply

    asking = saved is None and not auto_approve
    if asking and (output == JSON or not session.console.interactive):
        raise PlanError(
            f"`keyform {operation}` has to ask, and there is nobody to answer"
            if output != JSON
            else f"`keyform {operation} --format json` cannot ask",
            _REVIEWED.get(operation, "Use --auto-approve."),
        )
    stop = threading.Event()
    events = follower(session, output == JSON)
    shown = False
    try:
        config = session.load(variables, var_files)
        desk = desk_for(session, operation, secrets_from, stop)
        with session.workspace(config, operation, desk) as ws, events, ExitStack() as signals:

            def begin(plan: Plan) -> None:
                events.expect(len(plan.changes))
                # Run again, a rotation is a second one; what it left is finished by an apply.
                verb = "apply" if options.rotate or options.rollback else operation
                signals.enter_context(finishing_first(stop, events, session.console, verb))

            def approve(plan: Plan) -> bool:
                nonlocal shown
                shown = True
                if output != JSON:
                    print_plan(session, plan, output)
                session.tell_all(plan.diagnostics)
                if asking and not _yes(session, options):
                    return False
                begin(plan)
                return True

            check_targets(ws, options.targets)
            check_reason(ws, options.rotate_reason or options.rollback_reason)
            if saved is not None:
                begin(saved)
            outcome = apply(
                ws,
                options,
                plan=saved,
                approve=approve,
                parallelism=parallelism,
                overwrite=overwrite,
                on_event=events.take,
                stop=stop,
            )
    except KeyformError as problem:
        if output == JSON:
            session.console.data(one_line({"type": "error", "diagnostics": as_json(problem.diagnostics)}))
        raise
    if not shown and saved is None:
        if output != JSON:
            print_plan(session, outcome.plan, output)
        session.tell_all(outcome.plan.diagnostics)
    if outcome.plan.held_back and not outcome.declined:
        errors = [told for told in outcome.plan.diagnostics if told.severity == "error"]
        if output == JSON:
            session.console.data(one_line({"type": "error", "diagnostics": as_json(errors)}))
        if saved is not None:  # else they were told with the plan
            session.tell_all(errors)
    code = finish(session, operation, outcome, events, output)
    if code == OK and saved is None and outcome.plan.half_seen:
        session.console.tell("This ends with an error, since not every listing could be read as a whole.")
        return ERROR
    return code


def finish(session: Session, operation: str, outcome: Outcome, events: Events, output: str) -> int:
    """Tell how it ended, and give the exit code."""
    if outcome.declined:
        session.console.tell("Not approved; nothing was changed.")
        return ERROR
    waiting = [problem for problem in outcome.failed if problem.code == Pending.code]
    session.tell_all((*events.warnings, *(problem for problem in outcome.failed if problem not in waiting)))
    tell_waiting(session, operation, waiting)
    if output != JSON and not outcome.plan.empty:
        session.console.data(_closing(operation, outcome, events, len(waiting)) + "\n")
    if outcome.interrupted:
        session.console.tell(f"Interrupted before {outcome.skipped} changes. To go on, run it again.")
        return INTERRUPTED
    return ERROR if outcome.failed or outcome.plan.held_back else OK


def _closing(operation: str, outcome: Outcome, events: Events, waiting: int) -> str:
    done = done_words(events.counts("done")) or "nothing done"
    failed, skipped = sum(events.counts("failed").values()), outcome.skipped
    waiting = min(waiting, failed)
    failed -= waiting
    verb = operation.capitalize()
    wrong = len(outcome.plan.held_back)
    if not failed and not skipped and not wrong and not outcome.failed:
        return f"{verb} complete: {done}{f'; {outcome.held} held' if outcome.held else ''}."
    left = (
        (failed, "failed"),
        (waiting, "waiting for a person"),
        (skipped, "not begun"),
        (outcome.held, "held"),
        (wrong, "held back by an error"),
    )
    rest = [f"{count} {what}" for count, what in left if count]
    return f"{verb} incomplete: {'; '.join([done, *rest])}."


def tell_waiting(session: Session, operation: str, waiting: Sequence[Diagnostic]) -> None:
    """The steps that wait for a person, each on a line, and what to run where."""
    if not waiting:
        return
    style = session.console.err_style
    lines = [line for problem in waiting for line in style.fitted(visible(problem.summary), "  ", "    ")]
    details = dict.fromkeys(problem.detail for problem in waiting if problem.detail)
    hints = [line for detail in details for line in style.fitted(visible(detail))]
    steps = "1 step waits" if len(waiting) == 1 else f"{len(waiting)} steps wait"
    kept = f"What is done is kept; the next `keyform {operation}` goes on with the rest."
    session.console.tell("\n".join([f"{steps} for a person:", *lines, *hints, *style.fitted(kept)]))


def _yes(session: Session, options: Options) -> bool:
    what = "This cannot be undone. Revoke them?" if options.mode == DESTROY else "Carry this plan out?"
    return session.console.ask(f"\n{what} Only 'yes' will be accepted: ") == "yes"
