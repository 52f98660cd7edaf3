"""Making a saved plan afresh, to hold against it what it shows. Nothing of the plan that is made here is ever
carried out: an apply does what the saved one says, or refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keyform.diagnostics import WARNING, Diagnostic, error
from keyform.engine.plan import Change, Plan
from keyform.engine.planner import covered, make_plan
from keyform.engine.sight import Sight
from keyform.engine.then import SKEW, as_then

OF_CHANGES = frozenset(
    {"origins-removed", "full-access", "credits-removed", "left-alive", "value-left", "secret-unknown"}
)
"""What is said of the changes alone. All else that a plan tells is about what others did, or passes by
itself."""

_PARTS = {
    "diff": "its differences",
    "seen": "what the service showed",
    "held": "what the stores held",
    "key_id": "its key",
    "stored": "what the stores hold",
    "left": "what is left in the stores",
    "passing": "the last use, the credits left or the end of its key",
    "privilege": "its direction of privilege",
    "privilege_words": "what its key can do",
}


def shown_otherwise(plan: Plan, sight: Sight) -> Iterator[Diagnostic]:
    """The errors that forbid a saved plan because it shows something else than planning shows, so that it was
    reviewed as something that it is not. ``sight`` is as things are now."""
    if plan.created_at > sight.now + SKEW:
        yield _unfit(plan.created_at.isoformat(), "it says that it was made later than now")
        return
    again = make_plan(as_then(sight, plan), plan.options)
    right: dict[str, list[Change]] = {}
    for change in again.changes:
        right.setdefault(change.address, []).append(change)
    for change in plan.changes:
        shown = right.get(change.address, [])
        if change not in shown and (wrong := _differing(change, shown)):
            yield _unfit(change.address, wrong, change.address)
    changed = {change.address for change in plan.changes}
    left = len(covered(sight, plan.options) - changed - set(plan.held_back))
    if plan.unchanged != left:
        yield _unfit("its summary", f"{plan.unchanged} are unchanged, and {left} are")
    due, said = _of_changes(again), _of_changes(plan)
    for one in (*said, *due):
        if one not in due:
            yield _unfit(one[0], f"its warning {one[1]!r}", one[0])
        elif one not in said and one[0] in changed:
            yield _unfit(one[0], f"it does not warn that {one[1]!r}", one[0])


def _of_changes(plan: Plan) -> dict[tuple[str, str, str, str], None]:
    told = (d for d in plan.diagnostics if d.code in OF_CHANGES and d.severity == WARNING)
    return {(d.address or "", d.summary, d.explanation, d.code): None for d in told}


def _differing(change: Change, shown: list[Change]) -> str | None:
    """What of a change is not as in any of those that are shown for its address, or None."""
    if not shown:
        return "a change that is not due"
    mine = _whole(change)
    differing = [
        sorted(name for name in mine | other if mine.get(name) != other.get(name))
        for other in map(_whole, shown)
    ]
    least = min(differing, key=len)
    return ", ".join(_PARTS.get(name, f"its {name}") for name in least) or None


def _whole(change: Change) -> dict[str, Any]:
    return {**change.as_json(), "steps": [step.as_json() for step in change.steps]}


def _unfit(what: str, why: str, address: str | None = None) -> Diagnostic:
    return error(
        "plan-unfit",
        f"{what}: the plan shows what planning would not have shown: {why}",
        "Nothing was changed. Make a new plan with `keyform plan --out FILE`, and have that reviewed. "
        "Another version of keyform may word the same change otherwise; if this one made the plan, ask who "
        "wrote the file.",
        address=address,
    )
