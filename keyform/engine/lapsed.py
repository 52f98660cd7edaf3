"""Rotations for now that an interrupted run was asked for, and that came to nothing: they are still due."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from keyform.engine.options import Asked, Options
from keyform.engine.plan import MINT, Step
from keyform.state import KeyRecord, State

_WHY = "`rotate --now`, which was interrupted before the new secret was stored"


def still_due(state: State, steps: Iterable[Step]) -> State:
    """The state after these steps, where they minted nothing that lasts: a current generation that one of
    them was to end at once is marked as such, until another one takes its place."""
    keys = dict(state.keys)
    for step in steps:
        record = keys.get(step.address)
        if step.op != MINT or not step.now or record is None or step.generation is None:
            continue
        if record.current.number < step.generation:
            current = replace(record.current, revoke_now=True)
            keys[step.address] = replace(record, current=current)
    return replace(state, keys=keys) if keys != state.keys else state


def asked_of(record: KeyRecord, options: Options) -> Asked | None:
    """What was asked for a key, now or by a run that was interrupted."""
    asked = options.asked(record.address)
    if not record.current.revoke_now:
        return asked
    return Asked(asked.reason if asked and asked.reason else _WHY, now=True)
