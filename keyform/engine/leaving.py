"""Which values an apply does not delete although their key leaves the place, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from keyform.diagnostics import Diagnostic, warning
from keyform.engine.holding import ANOTHER, CHANGED, ENDED, MISSING, OTHER, Holdings
from keyform.engine.plan import DROP, END, ERASE, MINT, RELOCATE, Change, Left, Step
from keyform.model import Place
from keyform.state import State


def with_left(changes: tuple[Change, ...], state: State, holdings: Holdings) -> tuple[Change, ...]:
    """The changes, each with what it leaves behind as far as the plan can know."""
    unseen = {
        (generation.service, generation.id)
        for record in state.keys.values()
        for generation in record.generations()
        if generation.fingerprint is None
    }
    takers = {
        place: change.address
        for change in changes
        for step in change.steps
        if step.op in (MINT, RELOCATE)
        for place in step.places
    }
    out = []
    for change in changes:
        left = tuple(dict.fromkeys(_left(change, holdings, takers, unseen)))
        out.append(replace(change, left=left) if left else change)
    return tuple(out)


def about_left(changes: tuple[Change, ...], holdings: Holdings) -> Iterator[Diagnostic]:
    """A store that is taken out together with its keys keeps their values."""
    for change in changes:
        for one in change.left:
            if one.place.store in holdings.absent:
                yield warning(
                    "value-left",
                    f"{change.address}: the value at {one.place} stays there: {one.why}",
                    f"Declare {one.place.store!r} again until this is applied, or delete the value by hand.",
                    address=change.address,
                )


def _left(
    change: Change,
    holdings: Holdings,
    takers: Mapping[Place, str],
    unseen: Collection[tuple[str | None, str | None]],
) -> Iterator[Left]:
    for step in change.steps:
        for place in step.places if step.op in (END, DROP, ERASE) else ():
            taker = takers.get(place, change.address)
            if place.on_revoke == "keep":
                continue
            if place.store in holdings.absent:
                yield Left(place, f"the store {place.store!r} is no longer declared")
            elif taker != change.address:
                yield Left(place, f"the secret of {taker} takes its place")
            elif (step.service, step.key_id) in unseen:
                yield Left(place, "keyform never saw the secret of this key")
            elif why := _other(step, place, holdings):
                yield Left(place, why)


def _other(step: Step, place: Place, holdings: Holdings) -> str | None:
    found = holdings.at(place)
    match found.kind:
        case kind if kind == MISSING:
            return "nothing is there"
        case kind if kind in (OTHER, CHANGED):
            return "keyform did not write what is there now"
        case kind if kind in (ANOTHER, ENDED) and found.generation != step.generation:
            return f"it holds the secret of generation {found.generation}"
    return None
