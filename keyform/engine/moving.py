"""Where the secret of a key is to be, and the steps that bring it there."""

from __future__ import annotations

from keyform.engine.holding import Amends
from keyform.engine.plan import ERASE, RELOCATE, RESTORE, FieldDiff, Step
from keyform.engine.wording import with_on_revoke
from keyform.model import DesiredKey, Place
from keyform.state import Generation

Moves = tuple[list[str], list[Step], list[FieldDiff]]
"""Why, the steps, and what is shown beside the change of ``secret`` itself."""


def secret_moves(want: DesiredKey, current: Generation, amends: Amends, gives: tuple[Place, ...]) -> Moves:
    """What becomes of the places of a secret that lives on. ``gives`` are those that it can be had from."""
    reasons: list[str] = []
    steps: list[Step] = []
    diff: list[FieldDiff] = []
    about = (want.address, current.service, current.id)
    if amends.places:
        reasons.append(amends.reason)
        steps.append(Step(RESTORE, *about, places=amends.places, sources=amends.sources))
    if with_on_revoke(want.places) != with_on_revoke(current.places):
        reason, copied = _relocation(current, want.places)
        reasons.append(reason)
        steps.append(Step(RELOCATE, *about, places=want.places, sources=gives if copied else ()))
    left = current.moved_to(want.places).leftovers
    if left:
        steps.append(Step(ERASE, *about, places=left))
        earlier = [str(place) for place in left if place in current.leftovers]
        if earlier:
            reasons.append(f"what is left of its secret at {', '.join(earlier)} is erased")
            diff.append(FieldDiff("leftovers", earlier, None))
    return reasons, steps, diff


def _relocation(current: Generation, places: tuple[Place, ...]) -> tuple[str, bool]:
    """Why the places of a secret change, in words, and whether it is copied."""
    new = [place for place in places if place not in current.places]
    gone = [place for place in current.places if place not in places]
    there, here = ", ".join(map(str, new)), ", ".join(map(str, gone))
    if current.fingerprint is None and (new or gone):
        kept = ", ".join(map(str, current.places))
        return (
            "only what is recorded of its secret's place changes: keyform never had it, so nothing is copied"
            f"{f' to {there}' if new else ''}, and what somebody put at {kept} stays there"
        ), False
    if not (new or gone):
        return "what is recorded of its secret's place changes", False
    if not new:
        return f"its secret is no longer kept at {here}", False
    if not gone:
        return f"its secret is copied to {there}", True
    return f"its secret moves from {here} to {there}", True
