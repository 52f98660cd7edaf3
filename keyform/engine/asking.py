"""Rotations and rollbacks that somebody asks for, and why one cannot be."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

from keyform.diagnostics import Diagnostic, error
from keyform.engine.options import Options
from keyform.engine.sight import ServiceView, Sight
from keyform.engine.succession import deposed_to_end
from keyform.state import Generation, State


def with_old_ended(
    state: State, addresses: AbstractSet[str], services: Mapping[str, ServiceView], now: datetime
) -> State:
    """The state with the old generations of these keys due to be revoked now, used or not. Those that only
    their service ends stay as they are."""
    if not addresses:
        return state

    def due(old: Generation) -> Generation:
        return replace(old, revoke_at=min(old.revoke_at or now, now), revoke_now=True)

    keys = dict(state.keys)
    for address in addresses & keys.keys():
        record = keys[address]
        ending = deposed_to_end(record, services)
        deposed = tuple(due(old) if old in ending else old for old in record.deposed)
        keys[address] = replace(record, deposed=deposed)
    return replace(state, keys=keys)


def not_to_be_had(sight: Sight, options: Options) -> Iterator[Diagnostic]:
    """An error for each address that was asked for and has no key to rotate or roll back. One of a
    ``for_each`` by its bare name is good where any instance has."""
    declared = {want.address for want in sight.desired.keys}
    asked = [(address, "not-rotatable", "rotated") for address in options.rotate]
    asked += [(address, "no-rollback", "rolled back") for address in options.rollback]
    for wanted, code, done in asked:
        here = {address for address in declared if wanted in (address, address.partition("[")[0])}
        if not here & set(sight.state.keys):
            why, what = _why(wanted, here, sight)
            yield error(code, f"{wanted} cannot be {done}: {why}", what, address=wanted)


def _why(asked: str, declared: set[str], sight: Sight) -> tuple[str, str]:
    known = {a for a in (*sight.state.keys, *declared) if asked in (a, a.partition("[")[0])}
    if declared & {entry.address for entry in sight.desired.imports}:
        return (
            "it is declared with an `imports` entry, and not adopted yet",
            "Adopt it first with `keyform apply`; its first rotation captures its secret.",
        )
    if declared:
        return "it is declared, and not minted yet", "`keyform apply` mints it."
    if known:
        return (
            "it is no longer declared, so nothing would take its place",
            "The next `keyform apply` revokes it. Declare it again if it is still needed.",
        )
    if asked.startswith("projects."):
        return "a project has no secret", "Name the keys of the project."
    every = {*sight.state.keys, *(want.address for want in sight.desired.keys)}
    every |= {address.partition("[")[0] for address in every}
    named = {address.partition(".")[2]: address for address in sorted(every) if address.startswith("keys.")}
    close = difflib.get_close_matches(
        asked.removeprefix("keys."), named, 1
    )  # what all begin with is no match
    return (
        "it is neither declared nor in the state",
        f"Did you mean `{named[close[0]]}`?" if close else "`keyform state list` shows the addresses.",
    )
