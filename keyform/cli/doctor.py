"""``keyform doctor``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from keyform.cli.main import ERROR, OK
from keyform.cli.options import variable_options
from keyform.errors import KeyformError, PlanError
from keyform.model import ACTIVE, instant
from keyform.profile import ASSISTED
from keyform.report.table import table

if TYPE_CHECKING:
    from keyform.apply import Workspace
    from keyform.cli.session import Session
    from keyform.diagnostics import Diagnostic

Finding = tuple[str, str, str]
"""What was looked at, ``ok``, ``warn`` or ``fail``, and what was found."""


_SKEW = 30
"""Seconds of clock skew that do no harm: expiries are counted in hours and days."""


@click.command("doctor")
@click.option(
    "--write-canary",
    is_flag=True,
    help="Prove each store: write a canary, read it back where that can be done, and delete it.",
)
@variable_options
@click.pass_obj
def command(
    session: Session, write_canary: bool, variables: tuple[str, ...], var_files: tuple[str, ...]
) -> int:
    """Check services, credentials, stores and the state.

    Every service is asked for its keys, and every store what the credential may do there; nothing is
    written anywhere. Exits with 1 if anything fails. No secret is shown.
    """
    config = session.load(variables, var_files)
    findings: list[Finding] = []
    told: list[Diagnostic] = []
    with session.workspace(config, "doctor") as ws:
        moved = _elsewhere(ws)
        for name in config.services:
            problem = moved.get(f"services.{name}")
            findings += _checked(f"service {name}", _service(ws, name), told, problem)
        for name in config.stores:
            problem = moved.get(f"stores.{name}")
            findings += _checked(f"store {name}", _store(ws, name, write_canary), told, problem)
        findings += _checked("state", _state(ws), told)
    session.console.data(table(("what", "result", "found"), findings, session.console.style))
    session.tell_all(told)
    return ERROR if any(result == "fail" for _, result, _ in findings) else OK


def _checked(
    what: str,
    found: Iterator[tuple[str, str]],
    told: list[Diagnostic],
    problem: Diagnostic | None = None,
) -> Iterator[Finding]:
    """The findings of one check; what it raises is a failure, told in full below the table. With a
    ``problem`` known beforehand, nothing is looked at."""
    try:
        if problem is not None:
            raise PlanError(problem)
        for result, text in found:
            yield what, result, text
    except KeyformError as failure:
        yield what, "fail", failure.diagnostics[0].summary
        told += failure.diagnostics


def _elsewhere(ws: Workspace) -> dict[str, Diagnostic]:
    """By address, what is no longer the one that the state knows, so that no credential is shown to it."""
    from keyform.apply import elsewhere_now

    try:
        return elsewhere_now(ws)
    except KeyformError:  # told with the state
        return {}


def _service(ws: Workspace, name: str) -> Iterator[tuple[str, str]]:
    service = ws.service(name)
    if not service.profile.lists:
        if service.profile.operations.get("create") == ASSISTED:
            yield "ok", "worked by hand in its dashboard, so there is nothing to reach"
            return
        service.own_key()
        signed_in = (
            service.profile.rest.get("auth", {}).get("login") and not ws.config.services[name].credential
        )
        yield (
            "ok",
            "its login was accepted; nothing lists its keys, so the state is the record of them"
            if signed_in
            else "nothing lists its keys, so nothing was asked of it; the state is the record of them",
        )
        return
    listing = service.list()
    active = sum(key.status == ACTIVE for key in listing.keys)
    yield "ok", f"reachable, credential accepted; {len(listing.keys)} keys, {active} of them active"
    if not listing.complete:
        why = f": {listing.problem.summary}" if listing.problem else ""
        yield "warn", f"the listing is incomplete{why}"
    own = service.own_key()
    yield "ok", f"keyform's credential is {f'its key {own}' if own else 'not one of its keys'}"

    skew = service.clock_skew()
    if skew is not None:
        seconds = round(skew.total_seconds())
        told = (
            "agrees with this machine's" if abs(seconds) <= _SKEW else f"is {seconds:+d} s off this machine's"
        )
        yield ("ok" if abs(seconds) <= _SKEW else "warn"), f"its clock {told}"


def _store(ws: Workspace, name: str, write_canary: bool) -> Iterator[tuple[str, str]]:
    store = ws.store(name)
    yield "ok", store.access()
    if not store.readable:
        yield "ok", "its values cannot be read back: plans tell a change by the version of the last write"
    if write_canary:
        store.probe()
        seen = "read back" if store.readable else "seen there"
        yield "ok", f"a canary was written, {seen} and deleted"
    path = ws.config.stores[name].options.get("path")
    if isinstance(path, str):
        folder = ws.config.folder / path
        mode = folder.stat().st_mode & 0o777 if folder.is_dir() else 0
        if mode & 0o077 and os.name == "posix":
            yield "warn", f"{folder} can be read by others (mode {mode:04o}); `chmod 700` it"


def _state(ws: Workspace) -> Iterator[tuple[str, str]]:
    state, version = ws.read_state()
    where = ws.backend.describe()
    if version is None:
        yield "ok", f"none yet at {where}"
    else:
        yield "ok", f"{where}: serial {state.serial}, {len(state.keys)} keys"
    if state.doubts:
        keys = "1 key" if len(state.doubts) == 1 else f"{len(state.doubts)} keys"
        yield "warn", f"{keys} may exist that nobody owns; `keyform plan` says where to look"
    holder = ws.backend.holder()
    if holder is not None:
        since = instant(holder.since)
        yield (
            "warn",
            f"locked by {holder.who} on {holder.host} (process {holder.pid}) for {holder.operation} since "
            f"{since}; lock id {holder.id}",
        )
    if ws.backend.journal.read():
        yield "warn", "an interrupted apply is waiting; the next `keyform apply` finishes what it left"
