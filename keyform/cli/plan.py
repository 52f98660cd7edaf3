"""``keyform plan``."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyform.cli import complete
from keyform.cli.main import CHANGES, ERROR, OK
from keyform.cli.options import (
    EXPIRY,
    JSON,
    MARKDOWN,
    TEXT,
    asking,
    check_reason,
    check_targets,
    fail_on_option,
    fails,
    format_option,
    moment,
    plan_options,
    planning,
    rotation_options,
    variable_options,
)
from keyform.cli.showing import errors_as_json, print_plan
from keyform.engine.plan import FORMAT, Plan
from keyform.engine.plan_file import dump_plan
from keyform.errors import PlanError
from keyform.files import advice, reason, write_private
from keyform.model import instant

if TYPE_CHECKING:
    from keyform.cli.session import Session
    from keyform.ports import Clock


@click.command("plan")
@click.option(
    "--out",
    metavar="FILE",
    shell_complete=complete.files,
    help="Save the plan, to be applied exactly as it is.",
)
@format_option(TEXT, JSON, MARKDOWN)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there are changes.")
@click.option(
    "--at", metavar="TIME", help="Plan as if it were this time (RFC 3339, like 2027-01-31T00:00:00Z)."
)
@click.option(
    "--rotate",
    multiple=True,
    metavar="ADDR",
    shell_complete=complete.addresses,
    help="Rotate this key, due or not, and plan nothing else. Repeatable.",
)
@click.option(
    "--rollback",
    multiple=True,
    metavar="ADDR",
    shell_complete=complete.addresses,
    help="Make the older generation of this key current again, and plan nothing else. Repeatable.",
)
@rotation_options
@fail_on_option
@plan_options
@variable_options
@click.pass_obj
def command(
    session: Session,
    out: str | None,
    output: str,
    detailed_exitcode: bool,
    at: str | None,
    rotate: tuple[str, ...],
    rollback: tuple[str, ...],
    reason: str | None,
    now: bool,
    fail_on: tuple[str, ...],
    targets: tuple[str, ...],
    refresh_only: bool,
    allow_mass_change: bool,
    allow_endpoint_change: bool,
    variables: tuple[str, ...],
    var_files: tuple[str, ...],
) -> int:
    """Show what would change, and why.

    Reads the services, the state and the configuration; writes nothing. With --out the plan is saved, and
    `keyform apply FILE` does exactly what it says or refuses. A listing that cannot be read as a whole ends
    it with 1, whatever was found; so does what --fail-on names.
    """
    from keyform.apply import plan_now

    if at is not None:
        if out is not None:
            raise click.UsageError(
                "--at and --out exclude each other: a plan for another time is not applied."
            )
        then = moment("--at", at)
        if then < session.clock.now():
            raise click.UsageError(f"--at {at!r} is in the past, and nobody plans for that.")
        session.clock = _Fixed(session.clock, then)
    if out is not None:
        refuse_other_files(session.path(out))
    options = planning(targets, refresh_only, allow_mass_change, allow_endpoint_change)
    if bool(rotate) + bool(rollback) + refresh_only > 1:
        raise click.UsageError("--rotate, --rollback and --refresh-only exclude each other.")
    if (reason is not None and not (rotate or rollback)) or (now and not rotate):
        raise click.UsageError("--now belongs to --rotate, and --reason to that or to --rollback.")
    options = asking(options, reason, rotate=rotate, now=now, rollback=rollback)
    with errors_as_json(session, output):
        config = session.load(variables, var_files)
        if EXPIRY in fail_on and config.schedule is None:
            raise PlanError(
                "--fail-on expiry needs to know when the next run is, and the configuration does not say",
                "Add a `schedule`, like `schedule: every 24h`.",
            )
        with session.workspace(config, "plan") as ws:
            check_targets(ws, options.targets)
            check_reason(ws, reason)
            plan = plan_now(ws, options, present=at is None)
    if at is not None:
        session.console.tell(
            f"This is what a run at {instant(plan.created_at)} would do with what is there now; it is no "
            "plan to apply."
        )
    print_plan(session, plan, output)
    session.tell_all(plan.diagnostics)
    if plan.failed:
        if out is not None:
            session.console.tell(f"{out} was not written: the plan has errors.")
        return ERROR
    if out is not None:
        save_plan(session, plan, out)
    if fails(session, plan, fail_on) or plan.half_seen or plan.held_back:
        return ERROR
    return CHANGES if detailed_exitcode and not plan.empty else OK


def refuse_other_files(path: Path) -> None:
    """A plan may take the place of an older plan and of nothing else: not of the state, not of a key."""
    try:
        if not path.exists():
            return
        old = path.read_bytes() if path.is_file() else b"?"
    except OSError as problem:
        raise PlanError(f"the plan cannot be saved to {path}: {reason(problem)}", advice(problem)) from None
    if old and not _is_plan(old):
        raise PlanError(
            f"{path} exists and is not a keyform plan, so it is not written over",
            "Choose another file for --out, or remove that one.",
        )


def _is_plan(data: bytes) -> bool:
    """Whether a file's bytes claim to be a plan, of whatever version and however damaged."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(raw, dict) and raw.get("format") == FORMAT


def save_plan(session: Session, plan: Plan, out: str) -> None:
    """Write a plan where it was asked for, and say how to apply it. Raises ``PlanError``."""
    path = session.path(out)
    try:
        write_private(path, dump_plan(plan))
    except OSError as problem:
        raise PlanError(f"the plan cannot be saved to {path}: {reason(problem)}", advice(problem)) from None
    session.console.tell(
        f"The plan is saved to {path}. To apply exactly this:\n  {session.command('apply', out)}"
    )


class _Fixed:
    """A clock that stands at one moment; waiting still takes real time."""

    def __init__(self, real: Clock, moment: datetime) -> None:
        self._real, self._moment = real, moment

    def now(self) -> datetime:
        return self._moment

    def monotonic(self) -> float:
        return self._real.monotonic()

    def sleep(self, seconds: float) -> None:
        self._real.sleep(seconds)
