"""Options that several verbs share."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from keyform.cli import complete
from keyform.diagnostics import Diagnostic, error
from keyform.engine.options import NORMAL, REFRESH_ONLY, Options
from keyform.engine.plan import EXPIRES_SOON
from keyform.errors import PlanError
from keyform.model import LATEST, Secret, normal_address, parse_instant
from keyform.report.safe import visible

if TYPE_CHECKING:
    from keyform.apply import Workspace
    from keyform.cli.session import Session
    from keyform.engine.plan import Plan

_Command = TypeVar("_Command", bound=Callable[..., Any])

TEXT, JSON, MARKDOWN = "text", "json", "markdown"

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def format_option(*choices: str) -> Callable[[_Command], _Command]:
    """``--format`` with these choices; the first is the default."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(choices),
        default=choices[0],
        show_default=True,
        help="How to write the result.",
    )


def variable_options(command: _Command) -> _Command:
    """``--var`` and ``--var-file``."""
    command = click.option(
        "--var-file",
        "var_files",
        multiple=True,
        metavar="FILE",
        shell_complete=complete.files,
        help="Read variables from a YAML or JSON file.",
    )(command)
    return click.option(
        "--var", "variables", multiple=True, metavar="NAME=VALUE", help="Set a variable of `variables:`."
    )(command)


def plan_options(command: _Command) -> _Command:
    """What a plan covers: ``--target``, ``--refresh-only``, and what it may do beyond the guards."""
    command = mass_option(endpoint_option(command))
    command = click.option(
        "--refresh-only", is_flag=True, help="Only take note of what changed at the services."
    )(command)
    return target_option(command)


def mass_option(command: _Command) -> _Command:
    """``--allow-mass-change``."""
    return click.option(
        "--allow-mass-change",
        is_flag=True,
        help="Allow revoking, replacing or minting again more than 30% of the keys that the state owns.",
    )(command)


def endpoint_option(command: _Command) -> _Command:
    """``--allow-endpoint-change``."""
    return click.option(
        "--allow-endpoint-change",
        is_flag=True,
        help="Take a service or store whose declared address changed for the same one.",
    )(command)


def target_option(command: _Command) -> _Command:
    """``--target``."""
    return click.option(
        "--target",
        "targets",
        multiple=True,
        metavar="ADDR",
        shell_complete=complete.targets,
        help="Only this address. Repeatable.",
    )(command)


def rotation_options(command: _Command) -> _Command:
    """``--reason`` and ``--now``, of a rotation that is asked for."""
    return reason_option(
        click.option(
            "--now", is_flag=True, help="For a leak: no overlap; every old generation is revoked at once."
        )(command)
    )


def reason_option(command: _Command) -> _Command:
    """``--reason``, of a rotation or rollback that is asked for."""
    return click.option(
        "--reason", metavar="TEXT", help="Why, for the plan and the events of the apply; never a secret."
    )(command)


MAX_REASON = 300
_LEAST_SECRET = 12


def asking(
    options: Options,
    reason: str | None,
    *,
    rotate: Sequence[str] = (),
    now: bool = False,
    rollback: Sequence[str] = (),
) -> Options:
    """The options with rotations and rollbacks that are asked for. Raises ``UsageError`` for a reason that is
    none."""
    if reason is not None:
        reason = visible(" ".join(reason.split()))
        if not reason or len(reason) > MAX_REASON:
            raise click.UsageError(f"--reason takes 1 to {MAX_REASON} characters.")
    return replace(
        options,
        rotate=tuple(dict.fromkeys(map(normal_address, rotate))),
        rotate_reason=reason if rotate else None,
        rotate_now=now,
        rollback=tuple(dict.fromkeys(map(normal_address, rollback))),
        rollback_reason=reason if rollback else None,
    )


_NAMED = 8


def _gains(plan: Plan) -> Diagnostic | None:
    from keyform.engine.privilege import widening

    found = [change.address for change in widening(plan)]
    if not found:
        return None
    let = "1 change lets a key" if len(found) == 1 else f"{len(found)} changes let keys"
    return error(
        "fail-on-widen",
        f"{let} do more than before, or something else: {_named(found)}",
        "The plan itself is sound; --fail-on widen asks for a second approval. Have somebody who may allow "
        "this look at what it says of each, and apply the plan that they saw: `keyform plan --out FILE`, "
        "then `keyform apply FILE`.",
    )


def _deaths(plan: Plan) -> Diagnostic | None:
    found = [told.address or "" for told in plan.diagnostics if told.code == EXPIRES_SOON]
    if not found:
        return None
    keys = "1 key expires" if len(found) == 1 else f"{len(found)} keys expire"
    return error(
        "fail-on-expiry",
        f"{keys} before the next run: {_named(found)}",
        "The warnings say when. Rotate them now with `keyform rotate`, or run keyform more often.",
    )


def _named(addresses: Sequence[str]) -> str:
    rest = f" and {len(addresses) - _NAMED} more" if len(addresses) > _NAMED else ""
    return ", ".join(addresses[:_NAMED]) + rest


WIDEN, EXPIRY = "widen", "expiry"

FAIL_ON: Mapping[str, Callable[[Plan], Diagnostic | None]] = {WIDEN: _gains, EXPIRY: _deaths}
"""What a plan can be failed for: for each word of ``--fail-on``, the error where the plan has it, or None."""


def fail_on_option(command: _Command) -> _Command:
    """``--fail-on``."""
    return click.option(
        "--fail-on",
        "fail_on",
        multiple=True,
        type=click.Choice(list(FAIL_ON)),
        help="Exit with 1 if the plan has this; `widen`: a key can do something that it could not do before; "
        "`expiry`: one expires before the next run (`schedule`). Repeatable.",
    )(command)


def fails(session: Session, plan: Plan, fail_on: Sequence[str]) -> bool:
    """Whether the plan has what it is to be failed for; what that is, is told."""
    found = [problem for word in dict.fromkeys(fail_on) if (problem := FAIL_ON[word](plan))]
    session.tell_all(found)
    return bool(found)


def planning(
    targets: Sequence[str], refresh_only: bool, allow_mass_change: bool, allow_endpoint_change: bool
) -> Options:
    """The engine's options for those of the command line."""
    mode = REFRESH_ONLY if refresh_only else NORMAL
    addresses = tuple(dict.fromkeys(map(normal_address, targets)))
    return Options(mode, addresses, allow_mass_change, allow_endpoint_change)


def check_targets(ws: Workspace, targets: Sequence[str]) -> None:
    """Refuse a target that is neither declared nor in the state. Raises ``PlanError``."""
    if not targets:
        return
    state, _ = ws.read_state()
    desired = ws.desired
    known = {key.address for key in desired.keys} | {project.address for project in desired.projects}
    known |= {*state.keys, *state.projects}
    known |= {address.partition("[")[0] for address in known}
    for target in targets:
        if target not in known:
            close = difflib.get_close_matches(target, sorted(known), 1)
            raise PlanError(
                f"--target {target} is neither declared nor in the state",
                f"Did you mean `{close[0]}`?" if close else "`keyform state list` shows the addresses.",
            )


def check_reason(ws: Workspace, reason: str | None) -> None:
    """Refuse a reason with a secret in it: plans, events and other people would read it. Raises
    ``PlanError``, which does not repeat it."""
    from keyform.apply.leak import owner_of

    for word in (reason or "").split():
        if len(word) < _LEAST_SECRET:
            continue
        owner = owner_of(ws, Secret(word))
        if owner.matches:
            what = f"the secret of {owner.matches[0].record.address}"
        elif owner.credentials:
            what = f"`{owner.credentials[0]}` of the configuration"
        elif owner.likenesses:
            what = f"what looks like a key of {owner.likenesses[0].service}"
        else:
            continue
        raise PlanError(
            f"--reason holds {what}",
            "A reason is shown in plans, events and logs; say it without the secret. It stands in the "
            "history of the shell now: take it out of there. `keyform whose` takes a leaked string safely.",
        )


def moment(option: str, text: str) -> datetime:
    """A time given on the command line. Raises ``UsageError``."""
    try:
        time = parse_instant(text)
    except (ValueError, OverflowError):
        raise click.UsageError(f"{option} {text!r} is no time; write it like 2027-01-31T00:00:00Z.") from None
    if not _EARLIEST <= time < LATEST:
        years = f"{_EARLIEST.year} to {LATEST.year - 1}"
        raise click.UsageError(f"{option} {text!r} is outside of the years {years}.")
    return time
