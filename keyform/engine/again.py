"""Revocations that did not happen: keys that keyform revoked, and that their service still lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from keyform.ended import Ended
from keyform.engine.listings import is_of_another_state, unowned_keys
from keyform.engine.plan import END, REVOKE, Change, Step
from keyform.engine.sight import ServiceView, Sight, seen_digest
from keyform.model import ACTIVE, DISABLED, LiveKey, instant
from keyform.state import State


def still_there(sight: Sight) -> Iterator[tuple[Ended, ServiceView, LiveKey]]:
    """What was revoked by this state and can still be used, or be enabled again, as its service shows it."""
    ended = {(one.service, one.id): one for one in sight.state.ended}
    for view, key in unowned_keys(sight) if ended else ():
        one = ended.get((view.name, key.id))
        if one is None or one.where != sight.where.services.get(view.name):
            continue
        if view.profile.revokes and not is_of_another_state(sight.state, key):
            yield one, view, key


def plan_again(sight: Sight) -> Iterator[Change]:
    """Revoke once more what was revoked and is still there. What a listing may be late to show waits."""
    for one, view, key in still_there(sight):
        if one.at + max(view.profile.list_lag, view.profile.revocation_lag) > sight.now:
            continue
        yield Change(
            one.address,
            REVOKE,
            f"keyform revoked {key.id} {instant(one.at.replace(microsecond=0))}, and {view.name} still lists "
            f"it as {key.status}: that revocation did not happen, or somebody has undone it; to keep the "
            "key, adopt it with `imports`",
            view.name,
            key.id,
            one.number,
            drift=True,
            seen=seen_digest(key),
            backing=view.backing("revoke"),
            steps=(Step(END, one.address, view.name, key.id, generation=one.number),),
        )


def revoked_before(sight: Sight, step: Step) -> bool:
    """Whether a step ends a key that this state has revoked before, and that is still there."""
    return any(
        (one.address, view.name, key.id, one.number)
        == (step.address, step.service, step.key_id, step.generation)
        for one, view, key in still_there(sight)
    )


def without_proven(state: State, sight: Sight) -> State:
    """The state without those that a whole listing shows to be gone, or that nothing will ever show."""
    return replace(state, ended=tuple(one for one in state.ended if _is_open(one, sight)))


def _is_open(one: Ended, sight: Sight) -> bool:
    if sight.where.services.get(one.service) != one.where:
        return False
    view = sight.services.get(one.service)
    if view is None or not view.listing.complete:
        return True
    key = view.keys.get(one.id)
    return view.profile.lists and key is not None and key.status in (ACTIVE, DISABLED)
